"""Accelerate: prepare, save, load; a resumed run equals one without a stop, in one process and in two (gloo)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import set_seed
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from doors.ranks import RANKS, join, leave, run_ranks
from doors.same import assert_same_run, is_whole
from sm3 import SM3, SMMF

CASES = {
    "SM3": (lambda p: SM3(p, lr=0.1), torch.float32),
    "SMMF": (lambda p: SMMF(p, lr=3e-3), torch.float32),
    "SMMF bfloat16 stochastic": (lambda p: SMMF(p, lr=3e-3, rounding="stochastic"), torch.bfloat16),
}


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its state in the process; every test starts without."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3)).to(dtype)


def batches(dtype: torch.dtype = torch.float32) -> DataLoader:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(48, 6, generator=generator).to(dtype)
    return DataLoader(TensorDataset(features, features[:, :3].argmax(1)), batch_size=8)


class Run:
    """Epochs of one prepared training, saved and loaded with everything it has."""

    def __init__(self, make: Callable[[Any], Any], dtype: torch.dtype, **settings: Any):
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, **settings)
        model, data = network(dtype), batches(dtype)
        optimizer = make(model.named_parameters())
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        self.model, self.optimizer, self.batches, self.scheduler = self.accelerator.prepare(
            model, optimizer, data, scheduler
        )

    def epochs(self, numbers: range) -> None:
        for _ in numbers:
            for features, labels in self.batches:
                with self.accelerator.accumulate(self.model):
                    self.accelerator.backward(cross_entropy(self.model(features).float(), labels))
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 0.5)
                    self.optimizer.step()
                    self.scheduler.step()
                    self.optimizer.zero_grad()


def stopped_and_resumed(case: str, folder: Path) -> tuple[Run, Run]:
    """Six epochs at once; three, saved, and three more of a new run that loaded. The generators are saved with it."""
    make, dtype = CASES[case]
    runs = []
    for stop in (False, True):
        set_seed(3)
        run = Run(make, dtype)
        run.epochs(range(3))
        if stop:
            run.accelerator.save_state(str(folder))
            run.accelerator.wait_for_everyone()  # one rank writes
            set_seed(4)
            run = Run(make, dtype)
            run.accelerator.load_state(str(folder))
        run.epochs(range(3, 6))
        runs.append(run)
    return runs[0], runs[1]


def test_the_page_trains_and_saves(run_page):
    """Six batches, accumulated by two, are three steps; the saved folder loads into a new run."""
    model = network()
    before = model[0].weight.detach().clone()
    names = run_page("accelerate", model=model, batches=batches(), loss_of=cross_entropy)
    optimizer = names["optimizer"].optimizer
    assert int(optimizer.state[model[0].weight]["step"]) == 3
    assert not torch.equal(before, model[0].weight)
    assert is_whole(optimizer)
    other = SMMF(network().named_parameters())
    prepared = names["accelerator"].prepare(other)
    prepared.load_state_dict(torch.load(Path("saved/optimizer.bin"), weights_only=True))
    assert other.param_groups[0]["lr"] == 3e-3


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_equals_one_without_a_stop(case, tmp_path):
    """With accumulation, clipping, a scheduler and dropout: the difference is 0."""
    whole, resumed = stopped_and_resumed(case, tmp_path / "saved")
    assert_same_run(whole.model, whole.optimizer, resumed.model, resumed.optimizer)
    assert int(whole.optimizer.state_dict()["state"][0]["step"]) == 6 * 3
    assert is_whole(resumed.optimizer.optimizer)


def test_float16_gradients_pass_through_the_scaler_of_accelerate():
    """A step whose scaled gradient overflows is skipped, state included, and said to be by `step_was_skipped`."""
    Accelerator(cpu=True)  # the wrapper asks for the process's state
    model = network()
    inner = SMMF(model.parameters(), lr=3e-3)
    optimizer = AcceleratedOptimizer(inner, scaler=torch.amp.GradScaler("cpu"))
    for scale, steps in ((1.0, 1), (float("inf"), 1), (1.0, 2)):
        loss = cross_entropy(model(torch.ones(2, 6)), torch.tensor([0, 1]))
        optimizer.scaler.scale(loss * scale).backward()
        optimizer.step()
        assert int(inner.state[model[0].weight]["step"]) == steps
        assert optimizer.step_was_skipped == (scale != 1.0)
        optimizer.zero_grad()


def test_two_processes_resume_to_the_bit_and_stay_alike(tmp_path):
    """DistributedDataParallel under accelerate: on each of two ranks the difference is 0, and so it is between them."""
    run_ranks(__file__, tmp_path)
    parameters = [torch.load(tmp_path / f"parameters-{rank}.pt") for rank in range(RANKS)]
    assert all(torch.equal(one, other) for one, other in zip(*parameters, strict=True))


def one_rank(folder: Path) -> None:
    """The program of a rank: the same check as in one process."""
    rank = join(folder)
    whole, resumed = stopped_and_resumed("SMMF", folder / "saved")
    assert isinstance(resumed.model, nn.parallel.DistributedDataParallel)
    assert whole.accelerator.num_processes == RANKS
    assert_same_run(whole.model, whole.optimizer, resumed.model, resumed.optimizer)
    torch.save([param.detach() for param in resumed.model.parameters()], folder / f"parameters-{rank}.pt")
    leave()


if __name__ == "__main__":
    one_rank(Path(sys.argv[1]))
