"""The pages of docs/guide/doors, and their code as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "guide" / "doors"
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_code(name: str, **given: Any) -> dict[str, Any]:
    """Run the code of a page with the names that it presumes; returns all its names."""
    page = FOLDER / f"{name}.md"
    (code,) = CODE.findall(page.read_text(encoding="utf-8"))
    namespace = {"__name__": name, **given}
    exec(compile(code, str(page), "exec"), namespace)
    return namespace
