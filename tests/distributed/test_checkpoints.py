"""torch.distributed.checkpoint: saved on 2 ranks, loaded on 3, then 1, then 4; the bits of one that never stopped."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ranks import on_ranks
from shards import differences, gathered, set_gradients
from sm3 import SM3, SMMF

OPTIMIZERS = {
    "SM3": partial(SM3, lr=0.05, rounding="stochastic", seed=5),
    "SMMF": partial(SMMF, lr=0.01, rounding="stochastic", seed=5),
}
ROUTES = {
    "sharded": StateDictOptions(),
    "sharded, asynchronous": StateDictOptions(),
    "flattened": StateDictOptions(flatten_optimizer_state_dict=True),
    "full, from rank 0": StateDictOptions(full_state_dict=True, cpu_offload=True, broadcast_from_rank0=True),
}
LEGS = ((2, 0, 3), (3, 3, 6), (1, 6, 8), (4, 8, 10))  # ranks, first step, last step


def make_model():
    """Uneven rows, fewer rows than ranks, vectors, tied weights, a frozen layer, and one that never has a gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(11, 6), nn.Linear(6, 67), nn.LayerNorm(67), nn.Linear(67, 3), nn.Linear(6, 11, bias=False)
    )
    model[4].weight = model[0].weight
    model[2].requires_grad_(False)
    return model.to(torch.bfloat16)


def parameters(model):
    return [param for param in model.parameters() if param.requires_grad]


def advance(optimizer, params, first, last):
    for step in range(first, last):
        set_gradients(params, step)
        params[-1].grad = None  # never stepped: it has no state to lose
        optimizer.step()


def leg(rank, ranks, first, last, folder):
    """Load what the leg before saved, step, save; on the last leg everything, whole, for comparison."""
    found = {}
    for route, options in ROUTES.items():
        for name, make in OPTIMIZERS.items():
            model = make_model()
            fully_shard(model, mesh=init_device_mesh("cpu", (ranks,)))
            optimizer = make(parameters(model))
            optimizer.materialize()  # so that a parameter never stepped is in every checkpoint
            place = Path(folder) / f"{route} {name}"
            if first:
                restore(model, optimizer, options, place / f"{first}", rank)
            advance(optimizer, parameters(model), first, last)
            store(model, optimizer, options, place / f"{last}", rank, asynchronous="asynchronous" in route)
            found[route, name] = gathered(optimizer, parameters(model))
    return found


def parts(model, optimizer, options):
    return {
        "model": get_model_state_dict(model, options=options),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=options),
    }


def store(model, optimizer, options, place, rank, *, asynchronous):
    saving = StateDictOptions(full_state_dict=options.full_state_dict, cpu_offload=options.cpu_offload,
                              flatten_optimizer_state_dict=options.flatten_optimizer_state_dict)  # fmt: skip
    held = parts(model, optimizer, saving)
    place.parent.mkdir(parents=True, exist_ok=True)
    if options.full_state_dict:
        if rank == 0:
            torch.save(held, place)
        dist.barrier()
    elif asynchronous:
        dcp.async_save(held, checkpoint_id=place).result()
    else:
        dcp.save(held, checkpoint_id=place)


def restore(model, optimizer, options, place, rank):
    if options.full_state_dict:
        held = torch.load(place, weights_only=True) if rank == 0 else {"model": {}, "optimizer": {}}
    else:
        held = parts(model, optimizer, options)
        dcp.load(held, checkpoint_id=place)
    set_model_state_dict(model, held["model"], options=options)
    set_optimizer_state_dict(model, optimizer, held["optimizer"], options=options)


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """After every leg, and what one process has there that never stopped."""
    folder = str(tmp_path_factory.mktemp("checkpoints"))
    reached = {}
    for world, first, last in LEGS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = on_ranks(world, leg, timeout=120, ranks=world, first=first, last=last, folder=folder)
        reached[world] = found[0]
    alone = {}
    for name, make in OPTIMIZERS.items():
        params = parameters(make_model())
        optimizer = make(params)
        optimizer.materialize()
        for world, first, last in LEGS:
            advance(optimizer, params, first, last)
            alone[world, name] = gathered(optimizer, params)
    return reached, alone


@pytest.mark.parametrize("world", [world for world, _, _ in LEGS])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_run_moved_between_ranks_has_the_bits_of_one_that_never_stopped(ends, route, name, world):
    """Parameters and state, bfloat16 with stochastic rounding, after each of four legs on 2, 3, 1 and 4 ranks."""
    reached, alone = ends
    assert differences(alone[world, name], reached[world][route, name]) == []
