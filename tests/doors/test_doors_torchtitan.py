"""torchtitan: a container of several optimizers per part of a model, its schedulers, its flat checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from torchtitan.components.optimizer import LRSchedulersContainer

from doors.pages import run_code
from doors.ranks import RANKS, join, leave, run_ranks
from doors.same import assert_same_run, is_whole, same_bits
from sm3 import SM3, SMMF

WORDS = 29
DTYPES = [torch.float32, torch.bfloat16]
FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


class First(nn.Module):
    """The first part of a pipeline: what comes in as words."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(WORDS, 12)
        self.layers = nn.ModuleDict({"0": nn.Linear(12, 12)})

    def forward(self, words: Tensor) -> Tensor:
        return self.layers["0"](self.embeddings(words)).tanh()


class Last(nn.Module):
    """The last part; it has embeddings, too, so that every part has two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"1": nn.Linear(12, 12), "frozen": nn.Linear(12, 12).requires_grad_(False)})
        self.embeddings_out = nn.Linear(12, WORDS)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.embeddings_out(self.layers["frozen"](self.layers["1"](hidden).tanh()))


def parts(dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    torch.manual_seed(0)
    return [First().to(dtype), Last().to(dtype)]


def train(model_parts: list[nn.Module], optimizers: Any, steps: range) -> list[float]:
    losses = []
    for step in steps:
        words = (torch.arange(16) + 16 * (step % 2)) % WORDS
        optimizers.zero_grad()
        loss = cross_entropy(model_parts[1](model_parts[0](words)).float(), (words + 1) % WORDS)
        loss.backward()
        optimizers.step()
        losses.append(float(loss.detach()))
    return losses


def assert_same_runs(one: Any, other: Any) -> None:
    whole, resumed = nn.ModuleList(one.model_parts), nn.ModuleList(other.model_parts)
    for optimizer, its_other in zip(one, other, strict=True):
        assert_same_run(whole, optimizer, resumed, its_other)
        assert is_whole(its_other)


def save(optimizers: Any, folder: Path, *, alone: bool = True) -> None:
    """As torchtitan's checkpointer does: model parts and the container, through PyTorch's distributed checkpoint."""
    models = {f"part{number}": part.state_dict() for number, part in enumerate(optimizers.model_parts)}
    dcp.save({**models, "optimizer": optimizers}, checkpoint_id=str(folder), no_dist=alone)


def load(optimizers: Any, folder: Path, *, alone: bool = True) -> None:
    models = {f"part{number}": part.state_dict() for number, part in enumerate(optimizers.model_parts)}
    dcp.load({**models, "optimizer": optimizers}, checkpoint_id=str(folder), no_dist=alone)
    for number, part in enumerate(optimizers.model_parts):
        part.load_state_dict(models[f"part{number}"])


def test_the_page_gives_each_part_its_optimizers(run_page):
    """SM3 for embeddings, SMMF for the rest, of both parts; AdamW is still found; the loss falls."""
    model_parts = parts()
    names = run_page("torchtitan", model_parts=model_parts)
    optimizers = names["optimizers"]
    assert [type(optimizer) for optimizer in optimizers] == [SM3, SMMF] * 2
    assert optimizers.optimizers[2].param_groups[0]["param_names"] == ["embeddings_out.weight", "embeddings_out.bias"]
    assert optimizers.optimizers[0].param_groups[0]["fused"] is True  # torchtitan's own key, kept and not obeyed
    assert names["Optimizers"]._resolve_optimizer_factory("AdamW") is torch.optim.AdamW
    with pytest.raises(NotImplementedError, match="Adan"):
        names["Optimizers"]._resolve_optimizer_factory("Adan")
    losses = train(model_parts, optimizers, range(60))
    assert sum(losses[-2:]) < 0.7 * sum(losses[:2])  # the same two batches


def test_its_flat_state_has_a_key_per_parameter_and_tensor(run_page):
    """No two optimizers collide, and no tensor is cast or missing."""
    model_parts = parts(torch.bfloat16)
    optimizers = run_page("torchtitan", model_parts=model_parts)["optimizers"]
    train(model_parts, optimizers, range(2))
    flat = optimizers.state_dict()
    assert flat["state.embeddings.weight.accumulator_0"].shape == (WORDS,)
    assert flat["state.layers.1.weight.m_sign"].dtype == torch.uint8
    assert flat["param_groups.layers.0.weight.lr"] == 3e-3
    assert not [key for key in flat if "frozen" in key]
    tensors = {key: value for key, value in flat.items() if key.startswith("state.")}
    assert sum(tensor.nbytes for tensor in tensors.values()) == sum(one.state_bytes() for one in optimizers)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32", "torch.int64", "torch.uint8"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_resumed_run_equals_one_without_a_stop(dtype, run_page, tmp_path):
    """12 steps against 6, a distributed checkpoint, new parts and container, 6; torchtitan's schedule: 0."""

    def begin() -> tuple[Any, Any]:
        container = run_page("torchtitan", model_parts=parts(dtype))["optimizers"]
        for optimizer in container:
            optimizer.param_groups[0]["rounding"] = "stochastic"
        schedule = LRSchedulersContainer.Config(warmup_steps=4, decay_ratio=0.5)
        return container, schedule.build(optimizers=container, training_steps=12)

    def go(container: Any, schedulers: Any, steps: range) -> None:
        for step in steps:
            train(container.model_parts, container, range(step, step + 1))
            schedulers.step()

    whole, schedulers = begin()
    go(whole, schedulers, range(12))
    half, half_schedulers = begin()
    go(half, half_schedulers, range(6))
    save(half, tmp_path / "saved")
    resumed, schedulers = begin()
    load(resumed, tmp_path / "saved")
    schedulers.load_state_dict(half_schedulers.state_dict())
    go(resumed, schedulers, range(6, 12))
    assert_same_runs(whole, resumed)


def test_a_checkpoint_of_step_0_is_complete_and_counts_no_step(run_page, tmp_path):
    """With `materialize()`, as on the page, reading the state leaves the run as it was."""
    whole, watched = (run_page("torchtitan", model_parts=parts())["optimizers"] for _ in range(2))
    save(watched, tmp_path / "saved")
    load(watched, tmp_path / "saved")
    for container in (whole, watched):
        train(container.model_parts, container, range(4))
    assert_same_runs(whole, watched)


def test_without_it_torchtitan_makes_a_step_of_its_own(run_page):
    """It moves no parameter, but is counted: what the last line of the page is for."""
    names = run_page("torchtitan", model_parts=parts())
    model_parts = parts()
    container = names["Optimizers"](
        names["Optimizers"].Config(param_groups=[names["embeddings"], names["others"]]), model_parts=model_parts
    )
    flat = container.state_dict()
    assert int(flat["state.layers.0.weight.step"]) == 1
    assert all(
        torch.equal(one, other)
        for one, other in zip(nn.ModuleList(model_parts).parameters(), nn.ModuleList(parts()).parameters(), strict=True)
    )


def stock_container(run_page: Callable[..., dict[str, Any]], model_parts: list[nn.Module]) -> Any:
    """The container as torchtitan published it before 0.3: flat keys by PyTorch's own functions."""

    class Stock(run_page("torchtitan", model_parts=parts())["Optimizers"]):
        def state_dict(self) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for part, optimizers in zip(self.model_parts, (self.optimizers[:2], self.optimizers[2:]), strict=True):
                found |= get_optimizer_state_dict(part, optimizers, options=FLAT)
            return found

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            for part, optimizers in zip(self.model_parts, (self.optimizers[:2], self.optimizers[2:]), strict=True):
                set_optimizer_state_dict(part, optimizers, optim_state_dict=state_dict, options=FLAT)

    names = run_page("torchtitan", model_parts=parts())
    config = Stock.Config(param_groups=[names["embeddings"], names["others"]], implementation="for-loop")
    return Stock(config, model_parts=model_parts)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_flat_states_by_pytorch_s_own_functions_resume_to_the_bit(dtype, run_page, tmp_path):
    """`torch.distributed.checkpoint.state_dict`, several optimizers a part: the difference is 0."""
    whole, half, resumed = (stock_container(run_page, parts(dtype)) for _ in range(3))
    train(whole.model_parts, whole, range(12))
    train(half.model_parts, half, range(6))
    save(half, tmp_path / "saved")
    load(resumed, tmp_path / "saved")
    train(resumed.model_parts, resumed, range(6, 12))
    assert_same_runs(whole, resumed)


def test_sharded_over_two_ranks_it_resumes_and_equals_one_process(run_page, tmp_path):
    """Every part under `fully_shard` (FSDP2), a sharded checkpoint: no stop, a stop and one process differ by 0."""
    run_ranks(__file__, tmp_path)
    alone = run_page("torchtitan", model_parts=parts())["optimizers"]
    train(alone.model_parts, alone, range(12))
    together = torch.load(tmp_path / "parameters.pt")
    for (name, param), other in zip(nn.ModuleList(alone.model_parts).named_parameters(), together, strict=True):
        assert torch.equal(param.detach(), other), name


def one_rank(folder: Path) -> None:
    """The program of a rank. All ranks see the same words, so that the mean of their gradients is that of one."""
    rank = join(folder)
    mesh = init_device_mesh("cpu", (RANKS,))

    def begin() -> Any:
        model_parts = [fully_shard(part, mesh=mesh) for part in parts()]
        return run_code("torchtitan", model_parts=model_parts)["optimizers"]

    whole, half, resumed = begin(), begin(), begin()
    train(whole.model_parts, whole, range(12))
    train(half.model_parts, half, range(6))
    save(half, folder / "saved", alone=False)
    load(resumed, folder / "saved", alone=False)
    train(resumed.model_parts, resumed, range(6, 12))
    for optimizer, other in zip(whole, resumed, strict=True):
        mine, its = (one.state_dict()["state"] for one in (optimizer, other))
        for index, entry in mine.items():
            for key, tensor in entry.items():
                assert same_bits(local(tensor), local(its[index][key])), f"{key} of parameter {index}"
    parameters = [full(param.detach()) for param in nn.ModuleList(resumed.model_parts).parameters()]
    for param, other in zip(nn.ModuleList(whole.model_parts).parameters(), parameters, strict=True):
        assert torch.equal(full(param.detach()), other)
    if rank == 0:
        torch.save(parameters, folder / "parameters.pt")
    leave()


def local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


if __name__ == "__main__":
    one_rank(Path(sys.argv[1]))
