"""Doctests import every file; those that need Triton are left out where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = (
    [] if find_spec("triton") else ["src/sm3/optim/kernels/triton/*.py", "tests/optim/kernels/triton_in_interpreter.py"]
)
