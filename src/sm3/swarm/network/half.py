"""Weights in half precision: every front end reads the same rounded numbers and computes with them in float32."""

from __future__ import annotations

import torch
from torch import nn


def round_weights(module: nn.Module) -> None:
    """Round every parameter and buffer of `module` to the nearest half-precision number, in place; its type stays float32."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
