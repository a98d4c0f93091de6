"""Every placement of the table ends with the bits of one process, or is refused with a reason; none is silently local.

Given equal gradients: each rank gets its piece of the same global gradient, so that the optimizer alone is compared.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from cases import CASES
from ranks import on_ranks
from shards import differences, fitting, gathered, initial, mesh_of, set_gradients, sharded
from sm3.errors import Sm3Error

# Mesh and placements; ranks beyond a mesh stand by. _StridedShard is what FSDP2 makes of tensor parallelism by columns.
PLACEMENTS: dict[str, tuple[tuple[int, ...], tuple[Any, ...]]] = {
    "FSDP, 1 rank": ((1,), (Shard(0),)),
    "FSDP, 2 ranks": ((2,), (Shard(0),)),
    "FSDP, 3 ranks": ((3,), (Shard(0),)),
    "FSDP, 4 ranks": ((4,), (Shard(0),)),
    "HSDP": ((2, 2), (Replicate(), Shard(0))),
    "Shard(1)": ((3,), (Shard(1),)),
    "tensor parallel by rows, FSDP": ((2, 2), (Shard(0), Shard(1))),
    "tensor parallel by columns, FSDP": ((2, 2), (_StridedShard(0, split_factor=2), Shard(0))),
    "Shard(0) twice": ((2, 2), (Shard(0), Shard(0))),
    "replicas": ((2,), (Replicate(),)),
}
SHAPES: dict[str, tuple[int, ...]] = {
    "uneven rows": (5, 7),
    "fewer rows than ranks, padded signs": (3, 67),
    "signs without padding": (6, 64),
    "embedding": (40, 24),
    "convolution": (7, 3, 3, 3),
    "one row: empty shards": (1, 17),
    "one column": (17, 1),
    "vector": (9,),
    "prime vector": (31,),
    "empty": (0, 3),
    "empty columns": (4, 0),
    "scalar": (),
    "two panels of SMMF, cut": (70, 1950),
}
# (dtype, rounding, backend, names of cases or None for all, steps)
LONG = ("sm3", "sm3-no-momentum", "smmf")
RUNS = {
    "float32": ("float32", "nearest", None, LONG, 50),
    "bfloat16, stochastic": ("bfloat16", "stochastic", None, LONG, 50),
    "float64 and every setting": ("float64", "nearest", None, None, 4),
    "float16, stochastic, eager": ("float16", "stochastic", "eager", None, 3),
}


def table(rank, dtype, rounding, backend, names, steps):
    """(case, placement) -> 0, names of what differs, or "refused: reason"; every rank compares for itself."""
    meshes = {shape: mesh_of(*shape) for shape, _ in PLACEMENTS.values()}
    number_type, settings = getattr(torch, dtype), {"rounding": rounding, "seed": 5, "backend": backend}
    rows = {}
    for case in CASES:
        if names is not None and str(case) not in names:
            continue
        plain = [initial(shape, n, number_type).requires_grad_() for n, shape in enumerate(SHAPES.values())]
        reference = case.make(plain, **settings)
        for step in range(steps):
            set_gradients(plain, step)
            reference.step()
        expected = gathered(reference, plain)
        for name, (mesh_shape, placements) in PLACEMENTS.items():
            mesh = meshes[mesh_shape]
            if mesh.get_coordinate() is None:
                continue
            params = [
                sharded(shape, n, number_type, mesh, fitting(placements, shape))
                for n, shape in enumerate(SHAPES.values())
            ]
            try:
                optimizer = case.make(params, **settings)
            except Sm3Error as error:
                rows[str(case), name] = f"refused: {error}"
                continue
            for step in range(steps):
                set_gradients(params, step)
                optimizer.step()
            rows[str(case), name] = differences(expected, gathered(optimizer, params)) or 0
    return rows


@pytest.fixture(scope="module")
def tables():
    """The rows of each run, computed when first asked for."""
    computed: dict[str, Any] = {}

    def rows(run):
        if run not in computed:
            dtype, rounding, backend, names, steps = RUNS[run]
            arguments = {"dtype": dtype, "rounding": rounding, "backend": backend, "names": names, "steps": steps}
            computed[run] = on_ranks(4, table, timeout=200, **arguments)
        return computed[run]

    return rows


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("run", RUNS)
def test_a_placement_ends_with_the_bits_of_one_process_or_is_refused(tables, run, placement):
    """All parameters and all gathered state, on every rank, by exactly 0. Refused: SM3-I, by its name."""
    names = RUNS[run][3] or [str(case) for case in CASES]
    for name in names:
        found = [rows[name, placement] for rows in tables(run) if (name, placement) in rows]
        assert len(found) == torch.Size(PLACEMENTS[placement][0]).numel()
        for row in found:
            if name.startswith("sm3-I"):
                assert row.startswith("refused: SM3-I cannot step sharded parameters.")
            else:
                assert row == 0, name


def refusals(rank):
    """What is refused at construction, by message."""
    mesh, grid = mesh_of(2), mesh_of(2, 2)
    found = {}
    places = {
        "partial sums": (mesh, [Partial()]),
        "separate rows": (grid, [_StridedShard(0, split_factor=2), Replicate()]),
    }
    for name, (where, placements) in places.items():
        if where.get_coordinate() is None:
            continue
        rows = 4 if name == "separate rows" else 8
        local = torch.zeros(rows, 3)
        param = DTensor.from_local(local, where, placements, run_check=False, shape=torch.Size((8, 3)), stride=(3, 1))
        for case in CASES[0], CASES[9]:
            try:
                case.make([param.detach().requires_grad_()])
            except Sm3Error as error:
                found[name, str(case)] = f"{type(error).__name__}: {error}"
    return found


def test_placements_that_cannot_be_exact_are_refused_at_construction():
    """With the reason and the way out."""
    found = on_ranks(4, refusals)
    for rows in found:
        for (name, _), message in rows.items():
            assert message.startswith("ParameterError"), name
            assert "redistribute the parameter" in message
    first = found[0]
    assert {name for name, _ in first} == {"partial sums", "separate rows"}
    assert {case for _, case in first} == {"sm3", "smmf"}
