"""Importing sm3 is light, and its public names are complete."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import sm3

FRAMEWORKS = ["torch", "jax", "sklearn", "matplotlib", "triton", "numpy", "rich", "typer", "safetensors", "pandas"]


def run(code: str, **kwargs) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **kwargs).stdout


@pytest.mark.parametrize(
    "module", ["sm3", "sm3.errors", "sm3.optim", "sm3.optim.rules", "sm3.plan", "sm3.compare", "sm3.tune"]
)
def test_importing_brings_in_no_framework(module):
    """A user of one part pays for no other."""
    loaded = json.loads(run(f"import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"))
    assert not set(FRAMEWORKS) & set(loaded)


def test_importing_sm3_takes_less_than_50_milliseconds():
    """Best of seven, in a fresh interpreter each: the promise is about our code, not about a busy machine."""
    code = "import time; t = time.perf_counter(); import sm3; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(7)) < 0.050


def test_help_answers_in_less_than_300_milliseconds():
    """Best of seven, the interpreter's own start included."""
    code = """
import subprocess, sys, time
def once():
    start = time.perf_counter()
    code = "from sm3.cli import main; main(['--help'])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start
print(min(once() for _ in range(7)))
"""
    assert float(run(code)) < 0.300


def test_public_names_are_sorted_and_exist():
    """`__all__` is complete, and dir() shows it."""
    assert sm3.__all__ == sorted(sm3.__all__)
    for name in sm3.__all__:
        assert getattr(sm3, name) is not None
        assert name in dir(sm3)
    with pytest.raises(AttributeError, match="no attribute 'SM4'"):
        sm3.SM4  # noqa: B018


def test_the_public_classes_are_the_torch_ones():
    """`from sm3 import SM3` and `from sm3.optim.torch import SM3` are one class."""
    from sm3.optim import torch as optimizers

    assert sm3.SM3 is optimizers.SM3
    assert sm3.SMMF is optimizers.SMMF


def test_a_missing_extra_says_how_to_install_it():
    """And is an ImportError."""
    from sm3.errors import MissingExtraError
    from sm3.extras import EXTRA_OF_MODULE, require

    EXTRA_OF_MODULE["no_such_module"] = "torch"
    try:
        with pytest.raises(MissingExtraError, match=r'pip install "sm3\[torch\]"') as caught:
            require("no_such_module")
        assert isinstance(caught.value, ImportError)
    finally:
        del EXTRA_OF_MODULE["no_such_module"]


def test_without_pytorch_the_optimizers_say_how_to_install_it():
    """Not a bare ModuleNotFoundError."""
    code = """
import sys
sys.modules["torch"] = None
try:
    from sm3 import SM3
except ImportError as error:
    print(type(error).__name__, error)
"""
    assert 'pip install "sm3[torch]"' in run(code)
