"""One member of the ensemble: our optimizers, a warm-up and a cosine, an exponential average of the weights.

Everything random comes from (seed, epoch), so training that was stopped after an epoch goes on with the same bits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from sm3.errors import CheckpointError, SettingError, explain
from sm3.optim.torch import SM3, SMMF
from sm3.swarm.learn.augment import augment
from sm3.swarm.learn.prepare import Views
from sm3.swarm.network.classifier import ARCHITECTURES, Member
from sm3.swarm.network.view import View

Report = Callable[[str, int, int], None]

SETTLING = 30  # batches from which the statistics of the averaged weights are counted

# learning rates chosen on the validation wells of the set `wide`, seed 0: python -m benchmarks.swarm.optimizers
OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], float]] = {
    "smmf": (SMMF, 5e-3),
    "sm3": (SM3, 0.1),
    "adamw": (torch.optim.AdamW, 2e-3),
}


@dataclass(frozen=True)
class TrainSettings:
    """How one member is trained. `lr=None` takes the optimizer's own of `OPTIMIZERS`."""

    architecture: str = "small"
    optimizer: str = "smmf"
    lr: float | None = None
    epochs: int = 12
    batch: int = 64
    weight_decay: float = 1e-4
    smoothing: float = 0.02  # of the labels: a well's phenotype does not show in every exposure
    average: float = 0.99

    def __post_init__(self) -> None:
        named = self.architecture in ARCHITECTURES and self.optimizer in OPTIMIZERS
        positive = (
            self.epochs >= 1 and self.batch >= 2 and (self.lr is None or (math.isfinite(self.lr) and self.lr > 0))
        )
        if not named or not positive:
            raise SettingError(
                explain(
                    "These settings cannot be trained.",
                    got=asdict(self),
                    accepted=f"architecture of {tuple(ARCHITECTURES)}, optimizer of {tuple(OPTIMIZERS)}, epochs >= 1, "
                    "batch >= 2, lr > 0",
                    do="start from the defaults and change one",
                )
            )


def train_member(
    views: Views,
    settings: TrainSettings,
    seed: int,
    store: Path,
    report: Report = lambda *_: None,
    *,
    stop_after: int | None = None,
) -> Member:
    """Train on `views`; continues from `store` if a checkpoint with the same settings and seed lies there.

    `stop_after` epochs of this call the training is left (for tests of resuming); then the member so far is returned.
    """
    torch.manual_seed(seed)
    member = Member(settings.architecture)
    average = AveragedModel(member, multi_avg_fn=get_ema_multi_avg_fn(settings.average))  # type: ignore[no-untyped-call]
    build, lr = OPTIMIZERS[settings.optimizer]
    optimizer = build(member.parameters(), lr=settings.lr or lr, weight_decay=settings.weight_decay)
    steps = max(1, len(views) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, steps * settings.epochs))
    parts = {"member": member, "average": average, "optimizer": optimizer, "schedule": schedule}
    file, key = store / f"member-{seed}.pt", {**asdict(settings), "seed": seed, "wells": len(views)}
    first = _load(file, parts, key)
    last = settings.epochs if stop_after is None else min(settings.epochs, first + stop_after)
    for epoch in range(first, last):
        random = torch.Generator().manual_seed(seed * 1000 + epoch)
        before = epoch * steps

        def tell(done: int, before: int = before) -> None:
            report(f"member {seed + 1}", before + done, steps * settings.epochs)

        _epoch(views, member, average, optimizer, schedule, settings, random=random, report=tell)
        _save(file, parts, key, epoch + 1)
    # An average of weights has no use for an average of their statistics: those are counted anew, 1.15 nats otherwise.
    update_bn(_batches(views, settings, torch.Generator().manual_seed(seed * 1000 + 999), SETTLING), average.module)
    trained = average.module.eval()
    assert isinstance(trained, Member)
    return trained


def _batches(views: Views, settings: TrainSettings, random: torch.Generator, most: int) -> Iterator[Tensor]:
    for _, seen, _ in _shuffled(views, settings, random, most):
        yield seen


def _shuffled(
    views: Views, settings: TrainSettings, random: torch.Generator, most: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of the batch, normalised and augmented views, smoothed labels; once through the wells, `most` batches."""
    eyes = View()
    order = torch.randperm(len(views), generator=random)
    for step in range(min(most, max(1, len(views) // settings.batch))):
        at = order[step * settings.batch : (step + 1) * settings.batch]
        with torch.no_grad():
            cut, radius = augment(views.cut[at].float()[:, None], views.radius_um[at], random)
            seen, _ = eyes.normalise(cut, eyes.mask(radius))
        yield step, seen, views.positive[at] * (1 - 2 * settings.smoothing) + settings.smoothing


def _factor(step: int, total: int) -> float:
    warm = max(1, total // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))


def _epoch(
    views: Views,
    member: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    settings: TrainSettings,
    *,
    random: torch.Generator,
    report: Callable[[int], None],
) -> None:
    member.train()
    for step, seen, goal in _shuffled(views, settings, random, len(views)):
        loss: Tensor = functional.binary_cross_entropy_with_logits(member(seen)[0], goal)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        average.update_parameters(member)
        report(step + 1)


def _save(file: Path, parts: dict[str, Any], key: dict[str, Any], epoch: int) -> None:
    unfinished = file.with_suffix(".part")
    torch.save({"key": key, "epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}, unfinished)
    os.replace(unfinished, file)


def _load(file: Path, parts: dict[str, Any], key: dict[str, Any]) -> int:
    if not file.exists():
        return 0
    try:
        held = torch.load(file, weights_only=True)
        same = held["key"] == key
    except Exception as error:
        raise CheckpointError(
            explain(
                f"{file} cannot be read.",
                got=error,
                accepted="a checkpoint of this command",
                do="delete it to start afresh",
            )
        ) from error
    if not same:
        raise CheckpointError(
            explain(
                f"{file} is of another training.",
                got=held["key"],
                accepted=str(key),
                do="give another --out, or delete it",
            )
        )
    for name, part in parts.items():
        part.load_state_dict(held[name])
    return int(held["epoch"])
