"""The contestants as data: a class, its fixed settings, and the learning rates tried for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sm3.errors import MissingExtraError, SettingError, explain

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Contestant:
    """One optimizer with everything but its learning rate fixed."""

    name: str
    optimizer: str  # "package.Class", imported when it is needed
    settings: Mapping[str, Any]
    rates: tuple[float, ...]  # log-spaced, ascending; `--quick` leaves the lowest out; one value alone: no sweep
    about: str = ""

    @property
    def kind(self) -> str:
        """The name of the class, which is also its name in `sm3.plan`."""
        return self.optimizer.rpartition(".")[2]

    def make(self, parameters: Iterable[Tensor], lr: float) -> Optimizer:
        module, _, name = self.optimizer.rpartition(".")
        optimizer: Optimizer = getattr(importlib.import_module(module), name)(parameters, lr=lr, **self.settings)
        return optimizer

    def as_data(self) -> dict[str, Any]:
        """What decides a run of it, for the record; the learning rate is recorded per run."""
        return {"name": self.name, "optimizer": self.optimizer, "settings": dict(self.settings)}


# Weight decay is 0 for all: it is a property of the training, not of the optimizer, and would need a sweep of its own.
# No update is clipped, except Adafactor's by its own rule. The grids: see docs/concept/fair-comparison.md.
CONTESTANTS = (
    Contestant(
        "AdamW",
        "torch.optim.AdamW",
        # 0.95 ended lowest of 0.95, 0.99 and 0.999 (3.38, 3.39, 3.40 bits/byte at lr 4e-3), and fused is PyTorch's
        # fastest step on a CPU: the baseline gets its best loss and its best time.
        {"betas": (0.9, 0.95), "weight_decay": 0.0, "fused": True},
        (5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
        "two full-size moments",
    ),
    Contestant(
        "Adafactor",
        "torch.optim.Adafactor",
        {"weight_decay": 0.0},
        (0.0075, 0.015, 0.03, 0.06, 0.12),
        "rows and columns of the second moment, no first moment; the step scales with the parameter",
    ),
    Contestant(
        "SM3",
        "sm3.SM3",
        {"momentum": 0.9},
        (0.0075, 0.015, 0.03, 0.06, 0.12),
        "one accumulator per row and per column, and a full-size momentum",
    ),
    Contestant(
        "SM3 EMA cautious",
        "sm3.SM3",
        # What `sm3.lean` takes, from the study of docs/concept/quality.md.
        {"momentum": 0.9, "beta2": 0.95, "cautious": True},
        (2e-3, 4e-3, 8e-3, 16e-3, 32e-3),
        "SM3 with a mean that forgets instead of the sum; entries whose momentum and gradient disagree stay",
    ),
    Contestant(
        "SMMF",
        "sm3.SMMF",
        # -0.8 is what the authors advise for Transformers.
        {"decay_rate": -0.8},
        (1e-3, 2e-3, 4e-3, 8e-3, 16e-3),
        "both moments as two vectors each, and one bit per parameter for the signs",
    ),
    Contestant(
        "SMMF beta=None",
        "sm3.SMMF",
        {"beta": None, "decay_rate": -0.8},
        (5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
        "the second moment alone, as two vectors",
    ),
)

# What else our two can be, at no cost in state worth naming: tried when asked for by name, or all with
# `--optimizers all`. docs/concept/quality.md says what came out.
RECIPES = (
    Contestant(
        "SM3 EMA",
        "sm3.SM3",
        {"momentum": 0.9, "beta2": 0.95},
        (2e-3, 4e-3, 8e-3),
        "SM3 with an exponential mean that forgets, instead of the sum",
    ),
    Contestant(
        "SM3 EMA rms",
        "sm3.SM3",
        {"momentum": 0.9, "beta2": 0.95, "update_rms": 0.2},
        (1e-3, 2e-3, 4e-3),
        "SM3 EMA, every tensor's update held at a root mean square of 0.2",
    ),
    Contestant(
        "SMMF growth 1",
        "sm3.SMMF",
        {"decay_rate": -0.8, "growth_rate": 1.0},
        (2e-3, 4e-3, 8e-3),
        "SMMF whose first moment does not fade",
    ),
    Contestant(
        "SMMF cautious",
        "sm3.SMMF",
        {"decay_rate": -0.8, "cautious": True},
        (2e-3, 4e-3, 8e-3),
        "SMMF, entries whose momentum and gradient disagree are left out",
    ),
    Contestant(
        "SMMF rms",
        "sm3.SMMF",
        {"decay_rate": -0.8, "update_rms": 0.2},
        (4e-3, 8e-3, 16e-3),
        "SMMF, every tensor's update held at a root mean square of 0.2",
    ),
    Contestant(
        "SMMF beta=None rms",
        "sm3.SMMF",
        {"beta": None, "decay_rate": -0.8, "update_rms": 0.2},
        (4e-3, 8e-3, 16e-3),
        "the second moment alone, and updates held at 0.2",
    ),
)

BASELINE = "AdamW"
EVERYONE = "all"


def kernels_of_ours() -> str:
    """Which kernels step SM3 and SMMF here: "cpu" (C++), or "eager" (plain PyTorch) where no compiler was found."""
    import torch

    from sm3 import SM3

    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    try:
        SM3([parameter], lr=0.0, backend="cpu").step()
    except MissingExtraError:
        return "eager"
    return "cpu"


def choose(names: Iterable[str] | None, rates: Mapping[str, tuple[float, ...]], count: int) -> tuple[Contestant, ...]:
    """The contestants of these names (None: the six of the main job; "all": the recipes too), AdamW always.

    Each with the user's rates, or with the highest `count` of ours.
    """
    known = {contestant.name.casefold(): contestant for contestant in (*CONTESTANTS, *RECIPES)}
    wanted = [name.strip() for name in names] if names is not None else [contestant.name for contestant in CONTESTANTS]
    if EVERYONE in wanted:
        wanted = [contestant.name for contestant in known.values()]
    wanted += [name for name in rates if name.casefold() not in {other.casefold() for other in wanted}]
    for name in wanted:
        if name.casefold() not in known:
            raise SettingError(
                explain(
                    "there is no such contestant.",
                    got=repr(name),
                    accepted=", ".join(repr(contestant.name) for contestant in known.values()) + f", {EVERYONE!r}",
                    do="separate several by commas, for example --optimizers AdamW,SMMF",
                )
            )
    # AdamW stays in: steps, seconds and bytes are all told relative to it.
    kept = {name.casefold() for name in wanted} | {BASELINE.casefold()}
    own = {name.casefold(): values for name, values in rates.items()}
    return tuple(
        replace(contestant, rates=own.get(key, contestant.rates[-count:]))
        for key, contestant in known.items()
        if key in kept
    )


def rates_from(texts: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """`["SMMF=1e-3,2e-3"]` -> `{"SMMF": (0.001, 0.002)}`, ascending and without doubles."""
    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, values = text.rpartition("=")
        try:
            rates = tuple(sorted({float(value) for value in values.split(",")}))
        except ValueError:
            rates = ()
        if not (equals and name.strip() and rates and all(0.0 < rate < float("inf") for rate in rates)):
            raise SettingError(
                explain(
                    "the learning rates are not understood.",
                    got=repr(text),
                    accepted="NAME=value,value,... with finite values > 0",
                    do='pass for example --lr "SMMF=2e-3,4e-3,8e-3"',
                )
            )
        found[name.strip()] = rates
    return found
