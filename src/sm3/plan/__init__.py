"""Bytes before the run: weights, gradients and optimizer state of a model, for our optimizers and their peers.

    shapes               a parameter as data (ParameterSpec); shape lists, in Python or as JSON
    safetensors_header   the shapes of a checkpoint, without reading its weights
    models               a model by name, file or module:function; the shapes of well-known models by formula
    peers                what AdamW, SGD, Adafactor, Muon, Lion, CAME, AdamW8bit and FlashAdamW allocate
    optimizers           "SM3(momentum=0)": a name and checked settings, and what they allocate for one shape
    bytes                plan(): the exact sum, per parameter and in total
    measure              the same figures from live objects, and peak memory; the only file here that imports PyTorch
    report               a table for people, a dict for JSON

Importing this package imports neither PyTorch nor Rich.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sm3.plan.bytes import ParameterBytes, Plan, plan
    from sm3.plan.measure import parameters_of, peak_memory, state_nbytes
    from sm3.plan.models import MODELS
    from sm3.plan.optimizers import OPTIMIZERS
    from sm3.plan.shapes import ParameterSpec

__all__ = [
    "MODELS",
    "OPTIMIZERS",
    "ParameterBytes",
    "ParameterSpec",
    "Plan",
    "parameters_of",
    "peak_memory",
    "plan",
    "state_nbytes",
]

_FILE_OF_NAME = {
    "MODELS": "models",
    "OPTIMIZERS": "optimizers",
    "ParameterBytes": "bytes",
    "ParameterSpec": "shapes",
    "Plan": "bytes",
    "parameters_of": "measure",
    "peak_memory": "measure",
    "plan": "bytes",
    "state_nbytes": "measure",
}


def __getattr__(name: str) -> object:
    if name in _FILE_OF_NAME:
        return getattr(import_module(f"{__name__}.{_FILE_OF_NAME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
