"""Why there is no ranking, and what would help: in words, and as a number of trials where the curve has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sm3.tune.curve import Ceiling, Point, needed, round_up

# Half of the variance. Chosen: below it, more of the score is left out of the ranking than is in it.
LEAST_Q2 = 0.5
# Five folds of four. Chosen: with fewer nothing is ever certain, and the user is told at once.
LEAST = 20
# Beyond this Q2, noise is no reason for anything. Chosen.
MOSTLY = 0.95


@dataclass(frozen=True)
class Refusal:
    """`reason` is one of "sampled", "few", "q2", "overlap"; see rank.py."""

    reason: str
    text: str
    needed: int | None = None  # trials in all


@dataclass(frozen=True)
class Evidence:
    """What a refusal after a fit rests on."""

    trials: int
    q2: float
    interval: tuple[float, float]
    curve: Sequence[Point]
    ceiling: Ceiling | None
    apart: float  # the Q2 from which on the first can be told from the last

    @property
    def number(self) -> int | None:
        """Trials at which the lower end of Q2 would be high enough, for the limit and for telling first from last."""
        noise = 0.0 if self.ceiling is None else max(0.0, 1.0 - self.ceiling.q2)
        number = needed(self.curve, self.trials, self.q2 - self.interval[0], max(LEAST_Q2, self.apart), noise)
        # Where it should be enough already, the curve is not what keeps them together.
        return number if number is not None and number > self.trials else None


def too_few(trials: int) -> Refusal:
    return Refusal("few", f"{trials} trials are too few to judge any polynomial: at least {LEAST}.", LEAST)


def too_little_explained(found: Evidence) -> Refusal:
    """Q2 is low. Noise is the reason where repeats say so, else the number of trials."""
    low, high = found.interval
    told = f"{found.trials} trials do not suffice: Q2 = {found.q2 + 0:.2f}, 95 % from {low:.2f} to {high:.2f}; "
    told += f"a ranking needs {LEAST_Q2} at the lower end. "
    if found.ceiling is not None and found.ceiling.interval[1] < LEAST_Q2:
        noise = 100 * (1 - found.ceiling.q2)
        told += f"More trials would not help: noise of single runs is {noise:.0f} % of the variance. "
        return Refusal("q2", told + "Let the function average several seeds.")
    number = found.number
    if number is not None:
        return Refusal("q2", told + f"Try about {number}.", number)
    told += "The learning curve names no number: "
    told += "nothing is predicted yet. " if low <= 0 else "more trials have hardly helped so far. "
    told += f"Try {round_up(4 * found.trials)}; if Q2 stays where it is, the score hardly depends on these ranges"
    return Refusal("q2", told + (", or noise hides it: `repeats` would tell." if found.ceiling is None else "."))


def not_told_apart(found: Evidence, count: int) -> Refusal:
    """Enough is explained, and yet the rest could belong to any of the hyper-parameters."""
    told = f"The intervals of all {count} hyper-parameters overlap: the {100 * (1 - found.q2):.0f} % that "
    told += f"{found.trials} trials do not explain may belong to any of them, so none is surely above another. "
    number = found.number
    if number is not None:
        told += f"Try about {number}. "
    elif found.ceiling is None and found.q2 < MOSTLY:
        told += "They may matter equally, or noise is much of the rest: `repeats` would tell. "
    else:
        told += "They may matter equally. "
    return Refusal("overlap", told.rstrip(), number)
