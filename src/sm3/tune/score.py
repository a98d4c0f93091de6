"""The scores of the trials as one target of a polynomial: smaller is better, bad ends are capped and never left out.

    rank   (rank - 1/2) / n among all trials, ties share their mean: for scores of any shape, outliers have no weight
    log    the logarithm: for losses over several powers of ten
    none   as they are
A trial that ended badly counts as the worst finite score there is, or as the cap where one is given; so do finite
scores beyond the cap. Leaving such trials out instead would leave a hole in the space, of a shape nobody knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sm3.errors import SettingError, explain
from sm3.tune.outcomes import Outcome

Vector = NDArray[np.float64]
TRANSFORMS = ("rank", "log", "none")
_NAMES = {"rank": "rank of the score", "log": "logarithm of the score", "none": "score"}


@dataclass(frozen=True, eq=False)
class Target:
    """What the polynomial is fitted to, one number per trial; smaller is better."""

    values: Vector  # (n,)
    bad: NDArray[np.bool_]  # (n,) ended badly
    transform: str
    endings: dict[str, int]  # how the bad ones ended, and how many
    better: str = "lower"

    @property
    def name(self) -> str:
        """In words. Where higher scores are better, the target is their negative; ranks count from the best anyway."""
        return ("negative " if self.better == "higher" and self.transform != "rank" else "") + _NAMES[self.transform]


def target(outcomes: Sequence[Outcome], better: str, transform: str = "rank", cap: float | None = None) -> Target:
    """The target of these trials.

    Raises `SettingError` for an unknown transform, a cap that is not finite, or a logarithm of a score <= 0.
    """
    check(transform, cap)
    bad = np.array([outcome.score is None for outcome in outcomes])
    sign = 1.0 if better == "lower" else -1.0
    badness = np.array([np.nan if outcome.score is None else sign * outcome.score for outcome in outcomes])
    if not bad.all():
        worst = np.nanmax(badness) if cap is None else sign * cap
        badness = np.where(bad, worst, np.minimum(badness, worst))
    else:
        badness = np.zeros(len(bad))
    endings = Counter(outcome.ending.partition(":")[0] for outcome in outcomes if outcome.score is None)
    return Target(_transformed(badness, sign, transform), bad, transform, dict(endings.most_common()), better)


def check(transform: str, cap: float | None) -> None:
    """`SettingError` for an unknown transform or a cap that is not finite: to be told before any trial runs."""
    if transform not in TRANSFORMS:
        words = " or ".join(map(repr, TRANSFORMS))
        raise _refused("transform", repr(transform), words, "pass --transform rank")
    if cap is not None and not np.isfinite(cap):
        raise _refused("cap", f"{cap}", "a finite score", "leave it out: bad ends then count as the worst score")


def _transformed(badness: Vector, sign: float, transform: str) -> Vector:
    if transform == "rank":
        return np.asarray((rankdata(badness) - 0.5) / len(badness), dtype=np.float64)
    if transform == "none":
        return badness
    scores = sign * badness
    if scores.min() <= 0:
        do = "pass --transform rank, which takes scores of any sign"
        raise _refused("transform", f"log of a score {scores.min():g}", "log for scores > 0 only", do)
    return np.asarray(sign * np.log(scores), dtype=np.float64)


def _refused(name: str, got: str, accepted: str, do: str) -> SettingError:
    return SettingError(explain(f"{name} is not accepted.", got=got, accepted=accepted, do=do))
