"""What is verified: a model, batches and a loss, of the user or built in; refused where it does not repeat.

Promises are about equal bits, so a model whose gradients are not the same twice can prove nothing: that is found here
and said, before a promise is blamed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sm3.compare import data, protocol
from sm3.compare.task import Start, Task, byte_task
from sm3.compare.user import user_task
from sm3.errors import InputError, explain

BYTEGPT = "bytegpt"
SEED = 0


@dataclass(frozen=True)
class Subject:
    """One model, as often as it is needed, and the batches of every step, which all runs share."""

    name: str
    fresh: Callable[[], nn.Module]  # the model before its first step, always the same weights
    loss: Callable[[nn.Module, Any], Tensor]
    batches: tuple[Any, ...]  # one per step

    def loss_at(self, model: nn.Module, step: int) -> Tensor:
        """The loss of a step's batch; whatever the model draws at random (dropout) is decided by the step."""
        random.seed(step)
        np.random.seed(step)  # noqa: NPY002 - the user's code may draw from the global generator
        torch.manual_seed(step)
        try:
            loss: Any = self.loss(model, self.batches[step])
        except Exception as error:
            raise _broken(
                self.name,
                f"{type(error).__name__}: {error}, at step {step + 1}",
                "a loss that can be computed for every batch",
                "train the model for some steps with any optimizer first",
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            what = f"{type(loss).__name__}, at step {step + 1}"
            raise _broken(self.name, what, "one scalar tensor that has a gradient", "return the mean of the losses")
        if not torch.isfinite(loss):
            raise _broken(
                self.name,
                f"loss {float(loss.detach()):g} at step {step + 1}",
                "finite losses: NaN is equal to nothing",
                'take a smaller learning rate: --optimizer "SMMF(lr=1e-4)"',
            )
        return loss


def subject(name: str, steps: int) -> Subject:
    """The built-in one, or "module:function" of the user, with batches for so many steps.

    Raises `InputError` where the function fails, returns something else, does not follow its seed, or gives gradients
    that are not the same twice.
    """
    task = _built_in() if name == BYTEGPT else user_task(name)
    start: Start = task.start(SEED)
    batches = tuple(itertools.islice(start.batches, steps))
    if len(batches) < steps:
        raise _broken(
            name,
            f"{len(batches)} batches",
            f"{steps}, one per step",
            "return an endless iterator (a generator with `while True`), or pass fewer --steps",
        )
    elsewhere = next((p.device for p in start.model.parameters() if p.device.type != "cpu"), None)
    if elsewhere is not None:
        raise _broken(name, f"a parameter on {elsewhere}", "a model on the CPU", "leave out .to(device)")
    made = Subject(name, lambda: task.start(SEED).model, start.loss, batches)
    _refuse_unrepeatable(made)
    return made


def _built_in() -> Task:
    return byte_task(data.standard_library(), protocol.QUICK)


def _refuse_unrepeatable(made: Subject) -> None:
    """Weights, losses and gradients of the first two batches, twice from the beginning."""
    runs = []
    for _ in range(2):
        model, found = made.fresh(), {}
        for step in range(min(2, len(made.batches))):
            loss = made.loss_at(model, step)
            model.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for name, param in model.named_parameters():
                if param.grad is not None:
                    found[f"{name} at step {step + 1}"] = param.grad.detach().clone()
        runs.append(found)
    one, other = runs
    for name in one:
        if name not in other or not torch.equal(one[name].nan_to_num(), other[name].nan_to_num()):
            raise unrepeatable(made.name, f"another gradient of {name}")


def unrepeatable(name: str, got: str) -> InputError:
    """The error for a subject that is not the same twice."""
    return _broken(
        name,
        f"{got}, from the same weights, batch and seed",
        "gradients that repeat bit for bit",
        "let the weights, the batch and torch's seed alone decide the loss; torch.use_deterministic_algorithms(True) "
        "names operations that do not repeat",
    )


def _broken(name: str, got: str, accepted: str, do: str) -> InputError:
    return InputError(explain(f"{name} cannot be verified.", got=got, accepted=accepted, do=do))
