"""ZeroRedundancyOptimizer: each rank holds the state of some parameters, and all end with the bits of one process."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch

from ranks import on_ranks
from shards import initial, set_gradients
from sm3 import SM3, SMMF

OPTIMIZERS = {"SM3": partial(SM3, lr=0.05), "SMMF": partial(SMMF, lr=0.01)}
SHAPES = [(5, 7), (9,), (), (64, 33), (3, 2, 2)]
STEPS = 6


def make_params():
    return [initial(shape, number, torch.float32).requires_grad_() for number, shape in enumerate(SHAPES)]


def shared_out(rank):
    """Parameters after the steps, and how many of them this rank keeps state for."""
    found = {}
    for name, make in OPTIMIZERS.items():
        params = make_params()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing it compiles what PyTorch itself calls deprecated
            from torch.distributed.optim import ZeroRedundancyOptimizer

            optimizer = ZeroRedundancyOptimizer(params, optimizer_class=make.func, **make.keywords)
        for step in range(STEPS):
            set_gradients(params, step)
            optimizer.step()
        found[name] = [param.detach() for param in params], len(optimizer.optim.state)
    return found


@pytest.fixture(scope="module")
def ranks():
    return on_ranks(2, shared_out)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_rank_keeps_a_part_of_the_state_and_all_have_the_bits_of_one(ranks, name):
    """Difference 0 on both ranks; no parameter's state is kept twice."""
    params = make_params()
    alone = OPTIMIZERS[name](params)
    for step in range(STEPS):
        set_gradients(params, step)
        alone.step()
    for found in ranks:
        assert all(torch.equal(mine, param) for mine, param in zip(found[name][0], params, strict=True))
    kept = [found[name][1] for found in ranks]
    assert sum(kept) == len(SHAPES)
    assert min(kept) >= 1
