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
    "vector with one element per rank": (3,),
    "prime vector": (31,),
    "empty": (0, 3),
    "empty columns": (4, 0),
    "scalar": (),
    "two panels of SMMF, cut": (70, 1950),
}
LONG = ("sm3", "sm3-no-momentum", "smmf")
ALL = tuple(map(str, CASES))
HARDEST = ("FSDP, 3 ranks", "tensor parallel by rows, FSDP", "tensor parallel by columns, FSDP")
# (dtype, rounding, backend, cases, placements, steps)
RUNS = {
    "float32": ("float32", "nearest", None, LONG, tuple(PLACEMENTS), 50),
    "bfloat16, stochastic": ("bfloat16", "stochastic", None, LONG, tuple(PLACEMENTS), 50),
    "every setting": ("float64", "nearest", None, ALL, HARDEST, 3),
    "every setting everywhere": ("bfloat16", "stochastic", None, ALL, tuple(PLACEMENTS), 10),
    "eager": ("float16", "stochastic", "eager", ALL, tuple(PLACEMENTS), 3),
}
SLOW = ("every setting everywhere", "eager")


def refusals():
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
                found[str(case), name] = f"{type(error).__name__}: {error}"
    return found


def table(rank, dtype, rounding, backend, names, placed, steps):
    """(case, placement) -> 0, names of what differs, or "refused: reason"; every rank compares for itself."""
    meshes = {shape: mesh_of(*shape) for shape, _ in PLACEMENTS.values()}
    number_type, settings = getattr(torch, dtype), {"rounding": rounding, "seed": 5, "backend": backend}
    rows = {}
    for case in CASES:
        if str(case) not in names:
            continue
        plain = [initial(shape, n, number_type).requires_grad_() for n, shape in enumerate(SHAPES.values())]
        reference = case.make(plain, **settings)
        for step in range(steps):
            set_gradients(plain, step)
            reference.step()
        expected = gathered(reference, plain)
        for name in placed:
            mesh_shape, placements = PLACEMENTS[name]
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
    return rows | refusals()


@pytest.fixture(scope="module")
def tables():
    """The rows of each run, computed when first asked for."""
    computed: dict[str, Any] = {}

    def rows(run):
        if run not in computed:
            keys = ("dtype", "rounding", "backend", "names", "placed", "steps")
            computed[run] = on_ranks(4, table, timeout=250, **dict(zip(keys, RUNS[run], strict=True)))
        return computed[run]

    return rows


@pytest.mark.parametrize(
    ("run", "placement"),
    [
        pytest.param(run, placement, marks=pytest.mark.slow if run in SLOW else ())
        for run, row in RUNS.items()
        for placement in row[4]
    ],
)
def test_a_placement_ends_with_the_bits_of_one_process_or_is_refused(tables, run, placement):
    """All parameters and all gathered state, on every rank, by exactly 0. Refused: SM3-I, by its name."""
    for name in RUNS[run][3]:
        found = [rows[name, placement] for rows in tables(run) if (name, placement) in rows]
        assert len(found) == torch.Size(PLACEMENTS[placement][0]).numel()
        for row in found:
            if name.startswith("sm3-I"):
                assert row.startswith("refused: SM3-I cannot step sharded parameters.")
            else:
                assert row == 0, name


def test_placements_that_cannot_be_exact_are_refused_at_construction(tables):
    """With the reason and the way out."""
    for name in ("partial sums", "separate rows"):
        for case in ("sm3", "smmf"):
            message = tables("every setting")[0][case, name]
            assert message.startswith("ParameterError"), name
            assert "redistribute the parameter" in message
