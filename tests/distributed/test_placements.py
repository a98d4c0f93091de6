"""Every placement of the table ends with the bits of one process, or is refused with a reason; none is silently local.

Given equal gradients: each rank is fed its piece of the same global gradient, so that what is compared is the optimizer.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

from cases import CASES, gradient_stream
from ranks import on_ranks
from sm3.errors import Sm3Error

STEPS = 50
WORLD = 4

# Meshes of the ranks 0, 1, ..: (shape, placements by name). Ranks beyond a mesh stand by.
PLACEMENTS: dict[str, tuple[tuple[int, ...], tuple[Any, ...]]] = {
    "rows over 1 rank": ((1,), (Shard(0),)),
    "rows over 2 ranks": ((2,), (Shard(0),)),
    "rows over 3 ranks": ((3,), (Shard(0),)),
    "rows over 4 ranks": ((4,), (Shard(0),)),
    "HSDP: replicas of rows": ((2, 2), (Replicate(), Shard(0))),
    "columns": ((3,), (Shard(1),)),
    "tensor parallel by rows under FSDP": ((2, 2), (Shard(0), Shard(1))),
    "tensor parallel by columns under FSDP": ((2, 2), (_StridedShard(0, split_factor=2), Shard(0))),
    "rows twice": ((2, 2), (Shard(0), Shard(0))),
    "whole on every rank": ((2,), (Replicate(),)),
}

SHAPES = [(5, 7), (3, 67), (6, 64), (7, 3, 3, 3), (40, 24), (1, 17), (17, 1), (9,), (31,), (0, 3), (4, 0), (), (70, 1950)]


def global_gradient(shape, number, step, dtype):
    return gradient_stream(shape, seed=17 * number, zeros=True)(step).to(dtype)


def initial(shape, number, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(dtype)


def fit(placements, shape):
    """The placements for a shape that may have fewer dimensions: what cannot be cut is whole."""
    return [Replicate() if isinstance(p, Shard | _StridedShard) and p.dim >= len(shape) else p for p in placements]


def step_(optimizer, params, step, steps=None):
    for number, param in enumerate(params):
        gradient = global_gradient(tuple(param.shape), number, step, param.dtype)
        if isinstance(param, DTensor):
            gradient = distribute_tensor(gradient, param.device_mesh, param.placements, src_data_rank=None)
        param.grad = gradient
    optimizer.step()


def whole(tensor):
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(optimizer, params):
    """All parameters and all state, whole, by name."""
    found = {f"{number} param": whole(param) for number, param in enumerate(params)}
    for number, param in enumerate(params):
        found |= {f"{number} {name}": whole(tensor) for name, tensor in optimizer.state[param].items()}
    return found


def differences(one, other):
    """Names of what is not bit-equal."""
    assert one.keys() == other.keys()
    names = []
    for name in one:
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)):
            names.append(f"{name} {tuple(a.shape)}")
    return names


def run_table(rank, names, dtype, steps, more):
    meshes = {shape: DeviceMesh("cpu", torch.arange(torch.Size(shape).numel()).view(shape)) for shape, _ in PLACEMENTS.values()}
    table = {}
    for case in CASES:
        if str(case) not in names:
            continue
        settings = {"rounding": "stochastic", "seed": 5} if dtype == "bfloat16" else {}
        plain = [initial(shape, n, getattr(torch, dtype)).requires_grad_() for n, shape in enumerate(SHAPES)]
        reference = case.make(plain, **settings, **more)
        for step in range(steps):
            step_(reference, plain, step)
        expected = gathered(reference, plain)
        for name, (mesh_shape, placements) in PLACEMENTS.items():
            mesh = meshes[mesh_shape]
            if mesh.get_coordinate() is None:
                continue
            params = [
                distribute_tensor(initial(shape, n, getattr(torch, dtype)), mesh, fit(placements, shape), src_data_rank=None)
                for n, shape in enumerate(SHAPES)
            ]
            params = [param.detach().requires_grad_() for param in params]
            try:
                optimizer = case.make(params, **settings, **more)
                for step in range(steps):
                    step_(optimizer, params, step)
            except Sm3Error as error:
                table[str(case), name] = "refused: " + str(error).splitlines()[0]
                continue
            table[str(case), name] = differences(expected, gathered(optimizer, params)) or 0
    return table
