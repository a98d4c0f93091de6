"""The extra environment in which the doors are tested: other people's trainers, beside the main environment's PyTorch.

    python tests/doors/environment.py

makes build/doors once: a virtual environment that sees this interpreter's packages, so that PyTorch is not installed
twice, and holds exactly the packages of requirements.txt. The main environment is not touched.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "doors"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = FOLDER / ".made"
PYTHON = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_this_process() -> bool:
    """Whether this interpreter is the environment's."""
    return Path(sys.prefix).resolve() == FOLDER.resolve()


def made_from() -> str:
    """What the environment is made from; when this changes it is made anew."""
    parts = [REQUIREMENTS.read_text(encoding="utf-8"), sys.version, sysconfig.get_path("purelib")]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def is_ready() -> bool:
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8") == made_from()


def make() -> None:
    """Make it if it is not there. Raises `CalledProcessError` where pip fails."""
    if is_ready():
        STAMP.touch()  # for make
        return
    venv.create(FOLDER, clear=True, symlinks=sys.platform != "win32")
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(FOLDER)}))
    # After the environment's own packages, so that those come first.
    shared = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "main_environment.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", "--disable-pip-version-check"]
    # Compiled at the first import: a tenth of the files ever are.
    subprocess.run(
        [*pip, "--no-deps", "--ignore-installed", "--no-compile", "--requirement", str(REQUIREMENTS)], check=True
    )
    STAMP.write_text(made_from(), encoding="utf-8")


if __name__ == "__main__":
    make()
