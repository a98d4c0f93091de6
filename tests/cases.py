"""The conformance table: every optimizer of the package, crossed by the tests with every contract.

Joining this table is what it means for an optimizer or a setting to be done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sm3 import SM3, SMMF
from sm3.optim.torch.loop import RuleOptimizer


@dataclass(frozen=True)
class Case:
    """One optimizer with settings."""

    name: str
    optimizer: type[RuleOptimizer]
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self, params: Any, **more: Any) -> RuleOptimizer:
        return self.optimizer(params, **{**self.settings, **more})

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("sm3", SM3, {"lr": 0.1}),
    Case("sm3-no-momentum", SM3, {"lr": 0.1, "momentum": 0.0}),
    Case("sm3-decay", SM3, {"lr": 0.1, "weight_decay": 0.1}),
    Case("sm3-ema", SM3, {"lr": 0.01, "beta2": 0.95}),
    Case("sm3-I", SM3, {"lr": 0.1, "variant": "I"}),
    Case("sm3-I-ema-no-momentum", SM3, {"lr": 0.01, "variant": "I", "beta2": 0.9, "momentum": 0.0}),
    Case("sm3-cautious", SM3, {"lr": 0.1, "cautious": True}),
    Case("sm3-update-rms", SM3, {"lr": 0.1, "update_rms": 0.2, "cautious": True}),
    Case("sm3-update-rms-no-momentum", SM3, {"lr": 0.1, "update_rms": 0.2, "momentum": 0.0, "beta2": 0.95}),
    Case("smmf", SMMF, {"lr": 1e-2}),
    Case("smmf-decay", SMMF, {"lr": 1e-2, "weight_decay": 0.1, "decay_rate": -0.8, "growth_rate": 1.0}),
    Case("smmf-no-first-moment", SMMF, {"lr": 1e-2, "beta": None}),
    Case("smmf-published", SMMF, {"lr": 1e-2, "published": True}),
    Case("smmf-published-no-first-moment", SMMF, {"lr": 1e-2, "published": True, "beta": None, "weight_decay": 0.01}),
    Case("smmf-update-rms", SMMF, {"lr": 1e-2, "update_rms": 0.2, "weight_decay": 0.1}),
    Case("smmf-update-rms-no-first-moment", SMMF, {"lr": 1e-2, "update_rms": 0.3, "beta": None}),
    Case("smmf-cautious", SMMF, {"lr": 1e-2, "cautious": True}),
]

# Each shape earns its place.
SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (),
    "one element": (1,),
    "size one twice": (1, 1),
    "empty vector": (0,),
    "empty matrix": (0, 3),
    "empty columns": (3, 0),
    "vector": (24,),
    "prime vector": (31,),
    "matrix": (12, 20),
    "prime matrix": (7, 13),
    "one row": (1, 17),
    "one column": (17, 1),
    "rows of 67 elements, padded to whole bytes of signs": (3, 67),
    "rows of 64 elements, signs without padding": (5, 64),
    "convolution": (6, 3, 3, 3),
    "depthwise convolution": (8, 1, 3, 3),
    "leading ones": (1, 1, 5, 7),
    "rank six": (2, 1, 3, 2, 1, 4),
    "large prime: padded to near-square": (4099,),
}

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def parameters(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """Leaf parameters with normal values."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def gradient_stream(shape: tuple[int, ...], seed: int = 0, zeros: bool = False) -> Callable[[int], Tensor]:
    """float64 gradients with heavy-tailed scales, one per step; with `zeros`, a fifth of the entries are exactly 0."""

    def gradient(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        values = values * torch.randn(shape, generator=generator, dtype=torch.float64).exp()
        if zeros:
            values = values * (torch.rand(shape, generator=generator) >= 0.2)
        return values

    return gradient


def set_gradients(params: list[Tensor], step: int, *, zeros: bool = False, seed: int = 0) -> None:
    """The same gradients for the same (step, seed), whatever the optimizer."""
    for number, param in enumerate(params):
        gradient = gradient_stream(tuple(param.shape), seed=seed + 17 * number, zeros=zeros)
        param.grad = gradient(step).to(param.dtype)


def everything(optimizer: RuleOptimizer) -> list[Tensor]:
    """Copies of all parameters and all state tensors, to compare bit for bit."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state = [optimizer.state[param][name] for param in params for name in sorted(optimizer.state.get(param, {}))]
    return [tensor.detach().clone() for tensor in params + state]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Bit-equality, NaN equal to NaN, dtypes and shapes included."""
    return len(first) == len(second) and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
        for a, b in zip(first, second, strict=True)
    )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
