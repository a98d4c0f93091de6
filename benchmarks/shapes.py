"""The lists of parameters that are stepped. Each is here because it can embarrass somebody.

A set is a name below, a model that `sm3 plan` knows by name, or one matrix written as ROWSxCOLUMNS.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from sm3.plan.models import specs_of

Shapes = list[tuple[int, ...]]

HEADLINE = "gpt2-small"
ABOUT = {
    HEADLINE: "the headline: 50 matrices, two of them embeddings, and 98 vectors",
    "8192x4096": "a power of two: rows share cache sets, arrays their place in a page: worst for many arrays",
    "8192x4112": "one matrix, off the power of two",
    "small": "100 matrices of 64 x 64 and 100 vectors of 64: overhead per tensor; all of it stays in the cache",
}


def shapes_of(name: str) -> Shapes:
    """The shapes of a set, in the order of the model."""
    if name == "small":
        return [(64, 64)] * 100 + [(64,)] * 100
    if matrix := re.fullmatch(r"(\d+)x(\d+)", name):
        return [(int(matrix[1]), int(matrix[2]))]
    return [tuple(spec.shape) for spec in specs_of(name)]


def parameters(shapes: Shapes, dtype: torch.dtype) -> list[Tensor]:
    """Weights as a model has them when training begins, with gradients; the same on every call."""
    generator = torch.Generator().manual_seed(0)
    params = []
    for shape in shapes:
        param = torch.randn(shape, generator=generator).mul_(0.02).to(dtype).requires_grad_()
        param.grad = torch.randn(shape, generator=generator).mul_(0.01).to(dtype)
        params.append(param)
    return params
