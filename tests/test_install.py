"""A wheel on a machine without a compiler: pure Python, said once, and an error where the kernels are required."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}

pytestmark = [
    pytest.mark.skipif(not Path("/bin/false").exists(), reason="no /bin/false to stand for a broken compiler"),
    pytest.mark.timeout(600),
]


def build(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
    ]
    environment = {**os.environ, **NO_COMPILER, **more}
    environment.pop("SM3_NO_NATIVE", None)
    return subprocess.run(
        [*command, "-w", str(folder), str(ROOT)], env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_compiler_the_wheel_is_pure_and_steps(tmp_path):
    """The wheel has no library, its tag is for any platform, and a step goes through PyTorch's operations."""
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".dylib", ".dll"))]
        archive.extractall(tmp_path / "site")
    program = (
        "import torch, sm3; from sm3.optim.kernels.cpu import library;"
        "p = torch.nn.Parameter(torch.ones(3, 4)); p.grad = torch.ones(3, 4);"
        "sm3.SMMF([p], lr=0.1).step(); print(library.available(), round(float(p[0, 0].detach()), 4), sm3.__file__)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    available, value, place = ran.stdout.split()
    assert (available, place.startswith(str(tmp_path))) == ("False", True)
    assert float(value) == pytest.approx(0.99)  # the first step of SMMF is lr (1 - beta) sign(grad)


def test_where_the_kernels_are_required_no_wheel_is_made(tmp_path):
    """SM3_REQUIRE_NATIVE=1 turns the warning into an error that names the reason."""
    done = build(tmp_path, SM3_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert "SM3_REQUIRE_NATIVE=1" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))
