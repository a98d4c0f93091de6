"""A whole training that was stopped in mid-epoch: model, optimizer, schedule and sampler made anew, equal bits."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from sm3 import SM3, SMMF
from sm3.optim.torch import load, save, warmup_cooldown

RUNS = {
    "SM3": partial(SM3, lr=0.05, rounding="stochastic", seed=2),
    "SM3 with its recipe": partial(SM3, lr=0.05, beta2=0.95, cautious=True, rounding="stochastic"),
    "SMMF": partial(SMMF, lr=0.01, weight_decay=0.1, rounding="stochastic", seed=2),
    "SMMF without first moment": partial(SMMF, lr=0.01, beta=None, update_rms=0.2, rounding="stochastic"),
}
STEPS = 24  # ten batches an epoch; stopped after the first step, at an epoch's end, in the second epoch
DATA = TensorDataset(torch.randn(70, 12, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16))


class Training:
    """Everything that a run is made of, from one seed."""

    def __init__(self, make):
        torch.manual_seed(7)
        layers = [nn.Linear(12, 67), nn.Tanh(), nn.LayerNorm(67), nn.Dropout(0.2), nn.Linear(67, 12)]
        self.model = nn.Sequential(*layers).to(torch.bfloat16)
        self.optimizer = make(self.model.named_parameters())
        self.schedule = torch.optim.lr_scheduler.SequentialLR(
            self.optimizer,
            [
                warmup_cooldown(self.optimizer, STEPS, warmup=0.2),
                torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9),
            ],
            milestones=[12],
        )
        self.draws = torch.Generator().manual_seed(3)
        self.left: list[torch.Tensor] = []  # of this epoch
        self.losses: list[float] = []

    def advance(self, steps):
        for _ in range(steps):
            if not self.left:
                sampler = RandomSampler(DATA, generator=self.draws)
                self.left = [batch for (batch,) in DataLoader(DATA, batch_size=7, sampler=sampler)]
            batch = self.left.pop(0)
            loss = (self.model(batch) - batch).float().square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.losses.append(loss.item())

    def store(self, folder):
        save(self.optimizer, folder / "optimizer.safetensors")
        rest = {
            "model": self.model.state_dict(),
            "schedule": self.schedule.state_dict(),
            "draws": self.draws.get_state(),
            "global": torch.get_rng_state(),  # dropout
            "left": self.left,
        }
        torch.save(rest, folder / "rest.pt")

    def restore(self, folder):
        rest = torch.load(folder / "rest.pt", weights_only=True)
        self.model.load_state_dict(rest["model"])
        load(self.optimizer, folder / "optimizer.safetensors")
        self.schedule.load_state_dict(rest["schedule"])
        self.draws.set_state(rest["draws"])
        self.left = rest["left"]
        torch.set_rng_state(rest["global"])


@pytest.mark.filterwarnings("ignore:The epoch parameter in", "ignore:Detected call of")
@pytest.mark.parametrize("stopped", [1, 10, 17])
@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_training_ends_with_the_bits_of_one_that_never_was(tmp_path, name, stopped):
    """bfloat16 with stochastic rounding, dropout, two schedules in turn; every loss, weight and state by exactly 0."""
    whole = Training(RUNS[name])
    whole.advance(STEPS)

    first = Training(RUNS[name])
    first.advance(stopped)
    first.store(tmp_path)
    torch.manual_seed(99)  # another process would start from anywhere
    second = Training(RUNS[name])
    second.restore(tmp_path)
    second.advance(STEPS - stopped)

    assert first.losses + second.losses == whole.losses
    for mine, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine.view(torch.uint8), theirs.view(torch.uint8))
        state, expected = second.optimizer.state[mine], whole.optimizer.state[theirs]
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in state)
