"""Ranks that disagree, lack gradients, are stuck or die: an error or the neutral element, never a wrong number."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.tensor import Shard, distribute_tensor

from ranks import endings, on_ranks
from shards import differences, gathered, global_gradient, initial, mesh_of, set_gradients, sharded, whole
from sm3 import SM3, SMMF
from sm3.errors import Sm3Error
from sm3.optim.torch import exchange

OPTIMIZERS = {
    "SM3": partial(SM3, lr=0.05),
    "SM3 cautious": partial(SM3, lr=0.05, cautious=True, update_rms=0.2),
    "SMMF": partial(SMMF, lr=0.01),
}
SHAPES = [(5, 7), (6, 64), (9,), (1, 8)]


def make_params(mesh, shapes=SHAPES):
    return [sharded(shape, number, torch.float32, mesh, [Shard(0)]) for number, shape in enumerate(shapes)]


def caught(step):
    try:
        step()
    except Sm3Error as error:
        return f"{type(error).__name__}: {error}"
    return ""


def everything(rank):
    """One table of all rows, so that processes start once."""
    pair = mesh_of(2)
    first = disagreements(rank, pair) if rank < 2 else {}
    return first | lacking(rank) | nonfinite(rank)


@pytest.fixture(scope="module")
def rows():
    return on_ranks(3, everything)


def disagreements(rank, mesh):
    """(optimizer, kind) -> (message, whether parameters are as before)."""
    found = {}
    for name, make in OPTIMIZERS.items():

        def compare(kind, params, optimizer, name=name):
            before = [whole(param) for param in params]
            set_gradients(params, 0)
            for param in params:
                param.grad = param.grad if param.requires_grad else None
            message = caught(optimizer.step)
            found[name, kind] = message, all(torch.equal(whole(p), b) for p, b in zip(params, before, strict=True))

        params = make_params(mesh)
        compare("learning rate", params, make(params, lr=0.1 + rank))
        params = make_params(mesh)
        compare("seed", params, make(params, seed=rank))
        params = make_params(mesh, [(4, 3), (4, 3)])
        compare("order", params, make(list(zip("ab" if rank == 0 else "ba", params, strict=True))))
        params = make_params(mesh)
        compare("frozen", params, make([param.requires_grad_(rank == 0 or i != 1) for i, param in enumerate(params)]))
        params = make_params(mesh)
        optimizer = make(params)
        if rank == 1:
            optimizer.materialize()
            optimizer.state[params[2]]["step"] += 3
        compare("state", params, optimizer)
        params = make_params(mesh)
        optimizer = make(params)
        set_gradients(params, 0)
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 1 + rank
        compare("schedule", params, optimizer)
    return found


@pytest.mark.parametrize("kind", ["learning rate", "seed", "order", "frozen", "state"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ranks_that_disagree_get_an_error_before_anything_moves(rows, name, kind):
    """On the first step, on every rank, saying about what."""
    about = {"learning rate": "settings", "seed": "settings", "state": "state"}.get(kind, "parameters")
    for found in rows[:2]:
        message, unmoved = found[name, kind]
        assert message.startswith(f"RankError: the ranks disagree about their {about}")
        assert unmoved


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_schedule_that_runs_apart_is_found_at_its_first_step(rows, name):
    """The settings' digest travels with the step's own collective."""
    for found in rows[:2]:
        assert found[name, "schedule"][0].startswith("RankError: the ranks disagree about their settings in this step")


def lacking(rank):
    """Name -> differences from one process that has zeros where a rank has no gradient."""
    mesh, found = mesh_of(3), {}
    for name, make in OPTIMIZERS.items():
        plain = [initial(shape, number, torch.float32).requires_grad_() for number, shape in enumerate(SHAPES)]
        alone, params = make(plain), make_params(mesh)
        optimizer = make(params)
        for step in range(6):
            set_gradients(params, step)
            set_gradients(plain, step)
            # Parameter 0: never on rank 0. Parameter 1: nobody at steps 0 and 3. Parameter 2: rank 1 at odd steps.
            if rank == 0:
                params[0].grad = None
            plain[0].grad[:2] = 0
            if step in (0, 3):
                params[1].grad = plain[1].grad = None
            if step % 2:
                if rank == 1:
                    params[2].grad = None
                plain[2].grad[3:6] = 0
            alone.step()
            optimizer.step()
            if step == 0:
                assert params[1] not in optimizer.state
        found[name] = differences(gathered(alone, plain), gathered(optimizer, params))
        before = gathered(optimizer, params)
        for param in params:
            param.grad = None
        optimizer.step()
        found[name, "nobody"] = differences(before, gathered(optimizer, params))
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_missing_gradient_counts_as_zero_where_another_rank_has_one(rows, name):
    """By exactly 0 against one process; also at a first step, when the rank has no state yet."""
    assert [found[name] for found in rows] == [[]] * 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_where_nobody_has_a_gradient_nothing_changes(rows, name):
    """State and step counters included."""
    assert [found[name, "nobody"] for found in rows] == [[]] * 3


def nonfinite(rank):
    """A NaN in the last row, which rank 2 holds."""
    mesh, found = mesh_of(3), {}
    for name, make in OPTIMIZERS.items():
        for policy in ("propagate", "skip", "error"):
            params = make_params(mesh)
            optimizer = make(params, nonfinite=policy)
            set_gradients(params, 0)
            optimizer.step()
            before = gathered(optimizer, params)
            poisoned = global_gradient((5, 7), 0, 1, torch.float32).clone()
            poisoned[4, 3] = torch.nan
            set_gradients(params, 1)
            params[0].grad = distribute_tensor(poisoned, mesh, [Shard(0)], src_data_rank=None)
            message = caught(optimizer.step)
            after = gathered(optimizer, params)
            found[name, policy] = message, differences(before, after)
            if policy == "propagate":
                plain = [initial(shape, number, torch.float32).requires_grad_() for number, shape in enumerate(SHAPES)]
                alone = make(plain)
                for step in range(2):
                    set_gradients(plain, step)
                    plain[0].grad = poisoned if step == 1 else plain[0].grad
                    alone.step()
                pairs = [(after[key].nan_to_num(1e9), it.nan_to_num(1e9)) for key, it in gathered(alone, plain).items()]
                found[name, "as alone"] = all(torch.equal(one, other) for one, other in pairs)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_nan_on_one_rank_is_judged_by_all(rows, name):
    """It spreads as in one process, or all leave the step out, or all raise; the others say that it was not them."""
    for rank, found in enumerate(rows):
        assert found[name, "as alone"]
        assert found[name, "skip"] == ("", [])
        message, changed = found[name, "error"]
        assert message.startswith("GradientError")
        assert ("0 of group 0" if rank == 2 else "another rank") in message
        assert changed == []


def dying(rank, folder, how, name):
    """Two steps, a checkpoint; in the third step rank 1 dies or is stuck. What others saw, and after how long."""
    params = make_params(mesh_of(3))
    optimizer = OPTIMIZERS[name](params)
    for step in range(2):
        set_gradients(params, step)
        optimizer.step()
    dcp.save(as_saved(optimizer, params), checkpoint_id=folder)
    set_gradients(params, 2)
    if rank == 1:

        def fall(*_):
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(14)

        exchange.Ranks.gather, exchange.Ranks.maximum_ = fall, fall
    start = time.monotonic()
    message = caught(optimizer.step)
    return message, time.monotonic() - start


def as_saved(optimizer, params):
    return {
        f"{number}.{key}": tensor.detach()
        for number, param in enumerate(params)
        for key, tensor in {"param": param, **optimizer.state[param]}.items()
    }


def reviving(rank, folder, name):
    """What is different after loading on two ranks, against two steps alone."""
    params = make_params(mesh_of(2))
    optimizer = OPTIMIZERS[name](params)
    optimizer.materialize()
    dcp.load(as_saved(optimizer, params), checkpoint_id=folder)
    plain = [initial(shape, number, torch.float32).requires_grad_() for number, shape in enumerate(SHAPES)]
    alone = OPTIMIZERS[name](plain)
    for step in range(2):
        set_gradients(plain, step)
        alone.step()
    return differences(gathered(alone, plain), gathered(optimizer, params))


@pytest.mark.parametrize(("how", "name"), [("dies", "SM3"), ("is stuck", "SMMF")])
def test_a_rank_that_is_gone_ends_the_others_with_an_error_in_bounded_time(tmp_path, how, name):
    """At once if its process is gone, within the process group's timeout (8 s here) if it is stuck.

    The checkpoint of the step before loads, on another number of ranks.
    """
    folder = str(tmp_path / "step-2")
    ended = endings(3, dying, timeout=60, patience=8, folder=folder, how=how, name=name)
    for rank in (0, 2):
        message, seconds = ended[rank].result
        assert message.startswith("RankError: a collective of the optimizer's step did not complete"), ended[
            rank
        ].stderr
        assert seconds < 16
    assert how != "dies" or ended[1].returncode == -signal.SIGKILL
    assert on_ranks(2, reviving, folder=folder, name=name) == [[], []]
