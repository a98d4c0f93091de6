"""How long, how often, with which schedule: the settings every contestant shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sm3.errors import SettingError, explain

# The first tenth rises with the square of the step, the rest falls on a straight line to zero. The square is what SM3's
# authors train with, and does no harm to the others; the fall to zero ends every run in the same state of rest, and
# optimizers must be compared there: rankings change while the rate falls.
WARM_UP = 0.1


def schedule(step: int, steps: int) -> float:
    """The factor on the learning rate at a step counted from 0; never exactly 0, so that no step is wasted.

    >>> [round(schedule(step, 20), 3) for step in (0, 1, 2, 11, 19)]
    [0.25, 1.0, 1.0, 0.5, 0.056]
    """
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return float(((step + 1) / warm) ** 2)
    return (steps - step) / (steps - warm)


@dataclass(frozen=True)
class Protocol:
    """The budget of a comparison.

    Each contestant is trained once with each of its learning rates, from the first seed, at the full length: the best
    rate of a shorter run is another one (AdamW: four times as large at a third of the steps, measured), and would
    favour whoever minds least. The best rate is then repeated from the other seeds.
    """

    name: str
    model: str  # a key of model.SIZES
    batch: int  # sequences per step
    steps: int
    rates: int  # learning rates tried per contestant; a longer run wants lower ones, so it begins lower
    seeds: tuple[int, ...]
    windows: int  # sequences the loss is measured on
    checks: int  # measurements on them during a run, the last at its end
    log_every: int  # steps between two recorded training losses

    def as_data(self) -> dict[str, Any]:
        return {**asdict(self), "seeds": list(self.seeds), "warm_up": WARM_UP}


# Small batches and many steps, because optimizers differ per step. Three seeds rather than more steps of two: without
# a range over seeds nothing can be ranked.
QUICK = Protocol("quick", "2x128", batch=8, steps=250, rates=4, seeds=(0, 1, 2), windows=128, checks=10, log_every=5)
THOROUGH = Protocol(
    "thorough", "2x128", batch=8, steps=2000, rates=5, seeds=(0, 1, 2, 3, 4), windows=512, checks=8, log_every=20
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (QUICK, THOROUGH)}


def adjusted(protocol: Protocol, *, steps: int | None, seeds: int | None) -> Protocol:
    """The protocol with the user's number of steps and of seeds."""
    if steps is not None:
        _at_least("steps", steps, 10)
        protocol = replace(protocol, steps=steps, checks=min(protocol.checks, max(1, steps // 5)))
    if seeds is not None:
        _at_least("seeds", seeds, 1)
        protocol = replace(protocol, seeds=tuple(range(seeds)))
    return protocol


def _at_least(name: str, value: int, least: int) -> None:
    if not least <= value <= 10**6:
        raise SettingError(
            explain(
                f"{name} is not accepted.",
                got=f"{name}={value}",
                accepted=f"an integer from {least} to {10**6}",
                do=f"pass for example --{name} {max(least, 3)}",
            )
        )
