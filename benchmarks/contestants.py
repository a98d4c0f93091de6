"""The optimizers that are stepped, by name.

Fused AdamW is PyTorch's fastest and the base of every ratio; a second one is the control. SGD is the practical floor:
with momentum it moves the bytes of SM3, without the bytes of SM3 without momentum, and computes next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from sm3 import SM3, SMMF

LR = 1e-6  # so small that the weights stay what they are
BASE, CONTROL = "AdamW fused", "AdamW fused, control"

Make = Callable[[list[Tensor]], Optimizer]

OURS: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
    "SM3": (SM3, {}),
    "SM3 without momentum": (SM3, {"momentum": 0.0}),
    "SMMF": (SMMF, {}),
    "SMMF without first moment": (SMMF, {"beta": None}),
}


def rounding(dtype: torch.dtype) -> str:
    """How ours write parameters of this dtype here: stochastic is what 16-bit weights are trained with."""
    return "nearest" if dtype == torch.float32 else "stochastic"


def ours(name: str, params: list[Tensor], **more: Any) -> Optimizer:
    """One of our optimizers, for the dtype of these parameters."""
    kind, settings = OURS[name]
    return kind(params, lr=LR, rounding=rounding(params[0].dtype), **settings, **more)


def contestants() -> dict[str, Make]:
    """Name -> how to make it for a list of parameters."""
    theirs: dict[str, Make] = {
        BASE: lambda params: AdamW(params, lr=LR, fused=True),
        CONTROL: lambda params: AdamW(params, lr=LR, fused=True),
        "AdamW foreach": lambda params: AdamW(params, lr=LR, foreach=True),
        "SGD + momentum fused": lambda params: SGD(params, lr=LR, momentum=0.9, fused=True),
        "SGD fused": lambda params: SGD(params, lr=LR, fused=True),
    }
    return theirs | {name: _maker(name) for name in OURS}


def _maker(name: str) -> Make:
    return lambda params: ours(name, params)
