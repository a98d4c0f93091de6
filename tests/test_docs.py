"""The README and the guides run as they stand, the reference covers every public name, and quoted tables are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    """Code blocks of one language, without the indentation of a list item they stand in."""
    found = []
    for indent, kind, body in FENCE.findall(path.read_text(encoding="utf-8")):
        if kind == language:
            found.append("\n".join(line.removeprefix(indent) for line in body.splitlines()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    """In one namespace and an empty folder; a block that starts with `# name.py` is that file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        first = block.splitlines()[0]
        if re.fullmatch(r"# \w+\.py", first):
            (tmp_path / first.removeprefix("# ")).write_text(block)
        exec(compile(block, str(page), "exec"), namespace)


def commands(path: Path) -> list[tuple[str, list[str]]]:
    """(command, printed lines) of the console blocks that show output."""
    found = []
    for block in blocks(path, "console"):
        lines = block.splitlines()
        if lines and lines[0].startswith("$ sm3 plan") and len(lines) > 1 and not lines[1].startswith("$"):
            found.append((lines[0].removeprefix("$ sm3 "), lines[1:]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_printed_plans_are_what_the_command_prints(page, tmp_path):
    """Every line shown in a console block, up to `...`, is printed by that command today."""
    import shlex

    for block in blocks(page, "python"):
        first = block.splitlines()[0]
        if re.fullmatch(r"# \w+\.py", first):
            (tmp_path / first.removeprefix("# ")).write_text(block)
    for command, expected in commands(page):
        arguments = [sys.executable, "-m", "sm3.cli", *shlex.split(command.split("  #")[0])]
        printed = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for line in expected:
            if line.strip() == "...":
                break
            assert line.rstrip() in [other.rstrip() for other in printed.splitlines()], command


def test_every_public_name_has_a_reference_entry():
    """`sm3`, `sm3.optim.torch`, `sm3.plan` and `sm3.errors`."""
    import sm3.errors
    import sm3.optim.torch
    import sm3.plan

    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = [f"sm3.{name}" for name in sm3.__all__ if name[0].isalpha()]
    names += [f"sm3.optim.torch.{name}" for name in sm3.optim.torch.__all__ if name not in ("SM3", "SMMF", "lean")]
    names += [f"sm3.plan.{name}" for name in sm3.plan.__all__]
    missing = [name for name in names if name not in text]
    assert not missing
    assert "automodule:: sm3.errors" in text


def test_every_setting_stands_in_the_generated_table():
    """The docs row comes from the same data as the check."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from settings_page import settings_page
    finally:
        sys.path.pop(0)
    from sm3.optim.rules import RULES

    page = settings_page()
    for rule in RULES.values():
        for hyper in rule.HYPERPARAMETERS:
            assert f"| `{hyper.name}` | `{hyper.default!r}` | {hyper.accepted()} |" in page
            assert hyper.about


def test_public_text_uses_one_word_per_concept():
    """Banned synonyms do not appear in docs, README or public docstrings."""
    from sm3 import SM3, SMMF

    texts = {
        str(path): path.read_text(encoding="utf-8") for path in [*PAGES, *(ROOT / "docs" / "concept").glob("*.md")]
    }
    texts |= {cls.__name__: cls.__doc__ for cls in (SM3, SMMF)}
    for name, text in texts.items():
        for banned in ("exp_avg", "moment buffer", "slot variable", "momentum buffer"):
            assert banned not in text, f"{name}: {banned}"


def test_links_between_pages_point_to_files():
    """Relative links of the README and the docs."""
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        if "_build" in page.parts or "generated" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_step_times_in_the_readme_are_those_of_the_newest_record():
    """`python -m benchmarks.readme` would change nothing; `make record` measures and writes both."""
    from benchmarks import readme, record

    text = readme.README.read_text(encoding="utf-8")
    assert text == readme.updated(text, record.newest())


def test_the_comparison_quoted_in_the_readme_is_a_committed_record():
    """Every line of the table, and the seconds of the run, stand in the file that the README names."""
    record = (ROOT / "benchmarks/records/amd-epyc-2-cores/2026-11-24-compare.txt").read_text(encoding="utf-8")
    (table,) = blocks(ROOT / "README.md", "text")
    recorded = [line.rstrip() for line in record.splitlines()]
    assert len(table.splitlines()) >= 8
    for line in table.splitlines():
        assert line.rstrip() in recorded
    assert "2 min 9 s" in record


def test_the_quality_table_is_a_committed_record():
    """Every line of the table in docs/concept/quality.md stands in the record it names."""
    page = (ROOT / "docs/concept/quality.md").read_text(encoding="utf-8")
    record = (ROOT / "benchmarks/records/amd-epyc-2-cores/2026-11-25-quality.txt").read_text(encoding="utf-8")
    recorded = [line.rstrip() for line in record.splitlines()]
    (table,) = blocks(ROOT / "docs/concept/quality.md", "text")
    assert len(table.splitlines()) > 10
    assert [line for line in table.splitlines() if line.rstrip() not in recorded] == []
    assert "2026-11-25-quality.txt" in page
