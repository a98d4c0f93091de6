"""Real FSDP2 and tensor parallelism: the bits of one process, one collective per kind, release and offload included."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from ranks import on_ranks
from shards import differences, gathered, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import Sm3Error
from sm3.optim.torch import GradientRelease

OPTIMIZERS = {
    "SM3": partial(SM3, lr=0.05),
    "SM3 without momentum": partial(SM3, lr=0.05, momentum=0.0),
    "SM3 cautious": partial(SM3, lr=0.05, cautious=True, update_rms=0.2),
    "SMMF": partial(SMMF, lr=0.01),
    "SMMF cautious": partial(SMMF, lr=0.01, cautious=True),
}
STEPS = 8


def make_model(dtype=torch.float32):
    """Rows that no number of ranks divides, fewer rows than ranks, vectors, a convolution, an embedding."""
    torch.manual_seed(0)
    layers = [nn.Embedding(11, 6), nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 67), nn.LayerNorm(67), nn.Linear(67, 1)]
    return nn.Sequential(*layers, nn.Unflatten(-1, (1, 1)), nn.Conv1d(1, 3, 1)).to(dtype)


def loss_of(model, step):
    batch = torch.randint(0, 11, (4,), generator=torch.Generator().manual_seed(step))
    return model(batch).float().square().mean()


def fsdp(model, mesh, **options):
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)
    return model


def tensor_parallel(model, mesh, *, rows_first):
    """The two linear layers in the middle, one after the other; FSDP over everything."""
    plans = [RowwiseParallel(), ColwiseParallel()] if rows_first else [ColwiseParallel(), RowwiseParallel()]
    parallelize_module(model, mesh["tp"], dict(zip(("1", "3"), plans, strict=True)))
    return fsdp(model, mesh["dp"])


def wrapped(how, meshes, dtype=torch.float32):
    model = make_model(dtype)
    line, grid = meshes
    if how == "FSDP2":
        return fsdp(model, line)
    if how == "FSDP2, offloaded to the CPU":
        return fsdp(model, line, offload_policy=CPUOffloadPolicy(pin_memory=False))
    if how == "HSDP":
        return fsdp(model, grid)
    if how == "FSDP2, Shard(1) where it divides":
        return fsdp(model, line, shard_placement_fn=columns_where_they_divide)
    return tensor_parallel(model, grid, rows_first=how == "tensor parallel by rows, then columns, FSDP2")


def columns_where_they_divide(param):
    return Shard(1) if param.dim() == 2 and param.shape[1] % 4 == 0 else None


HOW = [
    "FSDP2",
    "FSDP2, offloaded to the CPU",
    "HSDP",
    "FSDP2, Shard(1) where it divides",
    "tensor parallel by columns, then rows, FSDP2",
    "tensor parallel by rows, then columns, FSDP2",
]


def everything(rank):
    """One table of all rows, so that processes start once."""
    meshes = init_device_mesh("cpu", (4,)), init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    rows: dict[tuple[str, str, str], Any] = {}
    for name, make in OPTIMIZERS.items():
        for dtype in (torch.float32, torch.bfloat16):
            options = {"rounding": "stochastic", "seed": 3}
            alone = list(make_model(dtype).parameters())
            reference = make(alone, **options)
            for step in range(STEPS):
                set_gradients(alone, step)
                reference.step()
            expected = gathered(reference, alone)
            for how in HOW:
                params = list(wrapped(how, meshes, dtype).parameters())
                optimizer = make(params, **options)
                for step in range(STEPS):
                    set_gradients(params, step)
                    optimizer.step()
                rows["equal", f"{name} {dtype}", how] = differences(expected, gathered(optimizer, params))
        rows["collectives", name, "FSDP2"] = count_collectives(make, meshes)
        rows["released", name, "FSDP2"] = released(make, meshes)
        rows["released collectives", name, "FSDP2"] = count_released(make, meshes)
        rows["bytes", name, "FSDP2"] = bytes_of_state(make, meshes)
    rows["FSDP1", "", ""] = fsdp1()
    return rows


def count_collectives(make, meshes):
    """Of the second step; at the first, ranks also compare what they are about to do."""
    params = list(wrapped("FSDP2", meshes).parameters())
    optimizer = make(params)
    counts = []
    for step in range(2):
        set_gradients(params, step)
        with CommDebugMode() as mode:
            optimizer.step()
        counts.append({str(kind).split(".")[-1]: number for kind, number in mode.get_comm_counts().items()})
    return counts


def released(make, meshes):
    """The same batches, backward with and without release, two groups, a scheduler; and clipping, whose norms agree."""
    ends, norms = [], []
    for release in (False, True):
        model = wrapped("FSDP2", meshes, torch.bfloat16)
        params = list(model.parameters())
        optimizer = make([{"params": params[:3]}, {"params": params[3:], "lr": 0.02}], rounding="stochastic")
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        handle = GradientRelease(optimizer) if release else None
        for step in range(4):
            loss_of(model, step).backward()
            if release:
                assert all(param.grad is None for param in params)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if handle is not None:
            handle.remove()
        ends.append(gathered(optimizer, params))
    with GradientRelease(optimizer, max_norm=0.01) as clipping:
        for step in range(2):
            loss_of(model, step).backward()
            optimizer.step()
            norms.append(clipping.last_norm)
    return differences(*ends), norms


def count_released(make, meshes):
    """Collectives of the second backward with release that are the optimizer's: those of backward alone taken off."""
    counts = []
    for release in (False, True):
        model = wrapped("FSDP2", meshes)
        optimizer = make(model.parameters())
        handle = GradientRelease(optimizer) if release else None
        for step in range(2):
            with CommDebugMode() as mode:
                loss_of(model, step).backward()
            optimizer.step()
            optimizer.zero_grad()
        if handle is not None:
            handle.remove()
        counts.append({str(kind).split(".")[-1]: number for kind, number in mode.get_comm_counts().items()})
    alone, with_release = counts
    found = {kind: number - alone.get(kind, 0) for kind, number in with_release.items()}
    return {kind: number for kind, number in found.items() if number}, len(list(model.parameters()))


def bytes_of_state(make, meshes):
    """(planned here, measured here, of all ranks together, of one process)"""
    params = list(wrapped("FSDP2", meshes).parameters())
    optimizer = make(params)
    planned = optimizer.state_bytes()
    optimizer.materialize()
    tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    return planned, sum(tensor.nbytes for tensor in local), make(make_model().parameters()).state_bytes()


def fsdp1():
    """With flat parameters, and with the original ones as views of them."""
    messages = []
    for original in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FullyShardedDataParallel(make_model(), use_orig_params=original, device_id=torch.device("cpu"))
        for make in (SM3, SMMF):
            try:
                make(model.parameters())
            except Sm3Error as error:
                messages.append(str(error))
    return messages


@pytest.fixture(scope="module")
def rows():
    return on_ranks(4, everything, timeout=200)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_ends_with_the_bits_of_one_process(rows, name, dtype, how):
    """Parameters and gathered state, given equal gradients, with stochastic rounding."""
    assert [found["equal", f"{name} {dtype}", how] for found in rows] == [[]] * 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_there_is_one_collective_per_kind_and_step(rows, name):
    """For all parameters together: SM3 one maximum, and a sum of counts if asked for; SMMF one trade and one gather."""
    if name == "SM3 cautious":
        expected = {"allreduce_": 2}
    elif name.startswith("SM3"):
        expected = {"allreduce_": 1}
    else:
        expected = {"alltoall_base_": 1, "_allgather_base_": 1}
    for found in rows:
        first, second = found["collectives", name, "FSDP2"]
        assert second == expected
        assert sum(first.values()) == sum(expected.values()) + 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_released_parameter_sends_at_most_one_message_of_each_kind(rows, name):
    """It is stepped as soon as its gradient is there, alone: no message waits for another parameter's gradient."""
    for found in rows:
        sent, parameters = found["released collectives", name, "FSDP2"]
        kinds = {"allreduce_"} if name.startswith("SM3") else {"alltoall_base_", "_allgather_base_"}
        assert set(sent) == kinds
        most = 2 * parameters if name == "SM3 cautious" else parameters
        assert all(0 < number <= most for number in sent.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_released_steps_are_ordinary_steps(rows, name):
    """In backward, under FSDP2, bfloat16 with stochastic rounding: parameters and state by exactly 0.

    With `max_norm` every rank sees the same norm, that of the whole gradient.
    """
    found = [row["released", name, "FSDP2"] for row in rows]
    assert [unequal for unequal, _ in found] == [[]] * 4
    assert found[0][1][0] > 0.01
    assert all(norms == found[0][1] for _, norms in found)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_planned_bytes_are_measured_bytes_on_every_rank(rows, name):
    """Less than one process needs; SMMF's factors, and signs of short rows, are whole everywhere."""
    for found in rows:
        planned, measured, alone = found["bytes", name, "FSDP2"]
        assert planned == measured
        assert measured < alone or (name.startswith("SMMF") and measured == alone)


def test_fsdp1_is_refused_with_a_pointer_to_fsdp2(rows):
    """Its parameters have lost their shape; with use_orig_params they are marked pieces of one-dimensional memory."""
    for found in rows:
        assert len(found["FSDP1", "", ""]) == 4
        assert all("FullyShardedDataParallel" in m and "fully_shard" in m for m in found["FSDP1", "", ""])
