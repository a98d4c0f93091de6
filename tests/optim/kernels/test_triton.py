"""The Triton kernels, without a GPU: their results in Triton's interpreter, their machine code from its compiler.

Both need a process of their own: whether triton interprets or compiles is decided when it is imported.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (it exists for Linux)")

HERE = Path(__file__)


def test_the_kernels_equal_the_eager_ones_in_the_interpreter():
    """All tests of `triton_in_interpreter.py` pass, and none is skipped."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE.parent / "triton_in_interpreter.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        cwd=HERE.parents[3],
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout


# What is compiled, for a GPU that is not here: (rule, settings, dtype). The second and third have every part.
EVERYTHING = {"cautious": True, "rounding": "stochastic", "weight_decay": 0.1, "maximize": True, "update_rms": 0.2}
COMPILED: dict[str, tuple[str, dict[str, Any], str]] = {
    "sm3": ("SM3", {}, "float32"),
    "sm3, every part": ("SM3", {**EVERYTHING, "beta2": 0.9}, "bfloat16"),
    "smmf, every part": ("SMMF", EVERYTHING, "float16"),
}
# NVIDIA compute capability 8.0, the oldest with a bfloat16 and with a minimum that keeps NaN.
CAPABILITY = 80


def test_the_kernels_compile_and_keep_every_rounding(tmp_path):
    """Down to machine code, with exact roots and quotients, no fused multiply-add, no flushing of denormals."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, str(HERE)],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=HERE.parents[3],
    )
    assert run.returncode == 0, run.stdout + run.stderr
    codes = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(code["case"], code["kernel"]) for code in codes] == [
        *(("sm3", kernel) for kernel in ("sm3_tiles", "sm3_folds")),
        *(("sm3, every part", kernel) for kernel in ("sm3_tiles", "sm3_folds", "store_rms")),
        *(("smmf, every part", kernel) for kernel in ("smmf_tiles", "smmf_sums", "smmf_normalise", "store_rms")),
    ]
    for code in codes:
        assert code["machine code"] > 0
        assert not code["inexact"], code
        if code["kernel"].endswith("tiles"):
            assert {"sqrt.rn.f32", "div.rn.f32"} <= set(code["exact"])
            assert code["wide loads"] >= 2  # parameter and gradient of aligned tiles: four numbers at a time
            assert code["wide stores"] >= 1


def compile_and_report() -> None:
    """Runs the steps with launches replaced by compilations; one JSON line a kernel."""
    import torch
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from sm3.optim import rules
    from sm3.optim.kernels.triton import sm3, smmf, table

    class NoDevice:
        """What triton asks of a driver before it compiles."""

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", CAPABILITY, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, _device: int = 0) -> int:
            return 0

    driver.set_active(NoDevice())
    for case, (name, settings, dtype) in COMPILED.items():

        def launch(kernel: Any, programs: int, tables: Any, flags: Any, case: str = case) -> None:
            code = kernel.warmup(*tables, flags, grid=(programs,), **table.OPTIONS)
            print(json.dumps({"case": case, "kernel": kernel.fn.__name__, **_report(code)}))

        table.launch = launch
        rule = getattr(rules, f"{name}Rule")(**settings)
        param = torch.zeros(8, 16, dtype=getattr(torch, dtype))
        state = {
            entry.name: torch.ones(entry.shape, dtype=getattr(torch, entry.dtype))
            for entry in rule.state((8, 16), dtype)
        }
        step = {"SM3": sm3.sm3_step_, "SMMF": smmf.smmf_step_}[name]
        step([param], [param], [state], rule, [0])


# Roundings that are not to nearest, or that flush denormals. (A conversion to integer may carry .ftz: harmless, its
# argument is 0 or at least 2^-125.)
INEXACT = r"\b(?:fma|(?:sqrt|div|rcp)\.(?:approx|full)|(?:add|sub|mul|sqrt|div)\.[a-z.]*ftz)[.\w]*"


def _report(code: Any) -> dict[str, Any]:
    text = code.asm["ptx"]
    return {
        "machine code": len(code.asm["cubin"]),
        "exact": sorted(set(re.findall(r"\b(?:sqrt|div)\.rn\.f32", text))),
        "inexact": sorted(set(re.findall(INEXACT, text))),
        "wide loads": len(re.findall(r"ld\.global[.\w]*\.v[24]\.b32", text)),
        "wide stores": len(re.findall(r"st\.global[.\w]*\.v[24]\.b32", text)),
    }


if __name__ == "__main__":
    compile_and_report()
