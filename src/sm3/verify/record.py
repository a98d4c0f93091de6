"""The run that is never stopped: its losses, its end, and on the disk its beginning and the gradients of every step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sm3.errors import InputError, explain
from sm3.optim.torch.loop import RuleOptimizer
from sm3.verify.difference import snapshot
from sm3.verify.subject import Subject
from sm3.verify.training import Training
from sm3.verify.variant import Variant

START = "start.pt"


@dataclass(frozen=True)
class Record:
    """What the other runs are held against; its gradients can be stepped again without the model."""

    variant: Variant
    folder: Path
    steps: int
    losses: tuple[float, ...]
    end: dict[str, Tensor]  # parameters and state after the last step
    state_bytes: int  # as the optimizer says them
    optimizer: RuleOptimizer

    def leaves(self) -> dict[str, nn.Parameter]:
        """The trainable parameters as they were before the first step."""
        saved: dict[str, Tensor] = torch.load(self.folder / START, weights_only=True)
        return {name: nn.Parameter(value) for name, value in saved.items()}

    def set_gradients(self, leaves: dict[str, nn.Parameter], step: int) -> None:
        """The gradients of a step, counted from 0; None where the run had none."""
        grads = read_gradients(self.folder, step)
        for name, leaf in leaves.items():
            leaf.grad = grads.get(name)


def read_gradients(folder: Path, step: int) -> dict[str, Tensor]:
    """The gradients of a step by the parameters' names."""
    grads: dict[str, Tensor] = torch.load(folder / f"step_{step}.pt", weights_only=True)
    return grads


def record(subject: Subject, variant: Variant, folder: Path) -> Record:
    """Train from beginning to end. Disk: the gradients of all steps; refused where there is no room for them."""
    training = Training(subject, variant.precision)
    folder.mkdir(parents=True)
    need = sum(leaf.nbytes for leaf in training.leaves.values()) * (len(subject.batches) + 1)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            explain(
                "there is no room for the gradients of all steps.",
                got=f"{free:,} bytes free in {folder}",
                accepted=f"{need:,} bytes: parameters times steps",
                do="pass fewer --steps, or set TMPDIR to a folder on a larger disk",
            )
        )
    torch.save({name: leaf.detach() for name, leaf in training.leaves.items()}, folder / START)
    optimizer = variant.make(training.leaves.items())
    losses = []
    for step in range(len(subject.batches)):
        losses.append(training.backward(step))
        grads = {name: leaf.grad for name, leaf in training.leaves.items() if leaf.grad is not None}
        torch.save(grads, folder / f"step_{step}.pt")
        optimizer.step()
    end = snapshot(training.leaves, optimizer)
    return Record(variant, folder, len(losses), tuple(losses), end, optimizer.state_bytes(), optimizer)
