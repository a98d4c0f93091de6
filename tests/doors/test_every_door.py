"""Each door's tests, run with the real library in the extra environment of `environment.py`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from doors import environment, pages

HERE = Path(__file__).parent
DOORS = sorted(path.stem.removeprefix("test_doors_") for path in HERE.glob("test_doors_*.py"))


@pytest.mark.skipif(not environment.is_ready(), reason="the doors' packages are not installed: `make doors` does it")
@pytest.mark.parametrize("door", DOORS)
def test_the_door_opens_with_the_real_library(door, tmp_path):
    """All tests of test_doors_<door>.py pass there, and none is skipped."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    # The libraries may not look outside, nor write into the home folder.
    silent = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    # Their warnings are theirs: errors only here, not there.
    options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "--basetemp", str(tmp_path / "inner")]
    ran = subprocess.run(
        [str(environment.PYTHON), "-m", "pytest", *options, str(HERE / f"test_doors_{door}.py")],
        cwd=environment.ROOT,
        env={**outside, **silent, "PYTHONPATH": str(environment.ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
    assert " skipped" not in ran.stdout


def test_every_door_has_a_page_of_twenty_lines_at_most():
    """And every page has a test."""
    assert sorted(page.stem for page in pages.FOLDER.glob("*.md")) == DOORS
    for page in pages.FOLDER.glob("*.md"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 20, page.name
