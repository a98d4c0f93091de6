"""Sphinx configuration. `make docs` builds docs/_build/html; warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from settings_page import write_settings_page

project = "sm3"
author = "The sm3 authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "sm3"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = True


def keep_columns(*event):
    """Paragraphs whose columns are aligned by spaces stay as they are in the source; doctests are left alone."""
    lines = event[-1]
    kept, paragraph = [], []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
            continue
        text = [one.strip() for one in paragraph]
        aligned = any("  " in one for one in text) and not any(one.startswith((">>>", "|", "..", ":")) for one in text)
        literal = next((one for one in reversed(kept) if one.strip()), "").rstrip().endswith("::")  # already
        aligned = aligned and not literal
        kept += ["::", "", *("    " + one for one in paragraph), ""] if aligned else [*paragraph, ""]
        paragraph = []
    lines[:] = kept


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_columns)


write_settings_page(Path(__file__).parent / "reference" / "generated" / "settings.md")
