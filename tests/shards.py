"""Sharded parameters for the tests of tests/distributed: made, fed with equal global gradients, gathered, compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from cases import gradient_stream
from sm3.optim.torch.loop import RuleOptimizer


def mesh_of(*shape: int, names: tuple[str, ...] | None = None) -> DeviceMesh:
    """The first ranks of the run, in a grid; all ranks must call it, those beyond the grid have no place in it."""
    return DeviceMesh("cpu", torch.arange(torch.Size(shape).numel()).view(shape), mesh_dim_names=names)


def initial(shape: tuple[int, ...], number: int, dtype: torch.dtype) -> Tensor:
    """The first values of parameter `number`, the same on every rank."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(dtype)


def fitting(placements: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """The placements for a shape that may have fewer dimensions: what cannot be cut is whole."""
    return [p if isinstance(p, Replicate) or p.dim < len(shape) else Replicate() for p in placements]


def sharded(shape: tuple[int, ...], number: int, dtype: torch.dtype, mesh: DeviceMesh, placements: Any) -> Tensor:
    """A leaf parameter, cut."""
    whole_param = initial(shape, number, dtype)
    return distribute_tensor(whole_param, mesh, placements, src_data_rank=None).detach().requires_grad_()


@lru_cache(maxsize=4096)
def global_gradient(shape: tuple[int, ...], number: int, step: int, dtype: torch.dtype) -> Tensor:
    """The same for one process and for any number of ranks; a fifth of it is exactly 0."""
    return gradient_stream(shape, seed=17 * number, zeros=True)(step).to(dtype)


def set_gradients(params: Sequence[Tensor], step: int) -> None:
    """Each rank gets its piece of the global gradient."""
    for number, param in enumerate(params):
        gradient = global_gradient(tuple(param.shape), number, step, param.dtype)
        if isinstance(param, DTensor):
            param.grad = distribute_tensor(gradient, param.device_mesh, param.placements, src_data_rank=None)
        else:
            param.grad = gradient.clone()


def whole(tensor: Tensor) -> Tensor:
    """The global tensor; all ranks of the mesh must call it."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


def gathered(optimizer: RuleOptimizer, params: Sequence[Tensor]) -> dict[str, Tensor]:
    """All parameters and all their state, whole, by name."""
    found = {f"{number}": whole(param) for number, param in enumerate(params)}
    for number, param in enumerate(params):
        state = optimizer.state.get(param, {})
        found |= {f"{number}.{name}": whole(state[name]) for name in sorted(state)}
    return found


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what is not bit-equal, or only on one side."""
    names = sorted(one.keys() ^ other.keys())
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(_bits(a), _bits(b)):
            names.append(f"{name} {tuple(a.shape)}")
    return names


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
