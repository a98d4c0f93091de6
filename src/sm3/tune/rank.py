"""Which hyper-parameters move a target, from one polynomial: Q2, first and total Sobol' indices, all with intervals.

A ranking is given only where it can mean something. It is refused

    sampled    when the trials were not drawn independently from the stated ranges,
    few        when there are fewer than LEAST of them, or the target does not vary,
    q2         when the lower end of the interval of Q2 is below LEAST_Q2: what the polynomial does not predict it
               cannot share out,
    overlap    when one number lies in the intervals of all total indices: then no hyper-parameter is above any other.

A refusal names a number of trials that would do, where the learning curve gives one. Indices: Sobol' 1993, Homma &
Saltelli 1996; from coefficients: Sudret 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sm3.poly.sensitivity import sobol_indices
from sm3.poly.sobol_intervals import sobol_intervals
from sm3.tune.axes import Axis
from sm3.tune.curve import Ceiling, Point, learning_curve, needed, round_up
from sm3.tune.fit import regressor

if TYPE_CHECKING:
    from sm3.poly import PolynomialRegressor

Vector = NDArray[np.float64]
Interval = tuple[float, float]
# Half of the variance. Chosen: below it, more of the score is left out of the ranking than is in it.
LEAST_Q2 = 0.5
# Five folds of four. Chosen: with fewer nothing is ever certain, and the user is told at once.
LEAST = 20


@dataclass(frozen=True)
class Effect:
    """One hyper-parameter. Indices are shares of the variance that the polynomial explains."""

    name: str
    first: float  # what it does alone
    first_interval: Interval
    total: float  # with everything it does together with others
    total_interval: Interval
    places: tuple[int, int]  # best and worst place that the intervals of the totals allow


@dataclass(frozen=True)
class Refusal:
    """Why there is no ranking, and what would help."""

    reason: str  # "sampled", "few", "q2" or "overlap"
    text: str
    needed: int | None = None  # trials in all


@dataclass(frozen=True, eq=False)
class Ranking:
    """The effects by their total index; none of them where there are refusals."""

    trials: int
    q2: float  # nan where nothing was fitted
    q2_interval: Interval
    effects: tuple[Effect, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    curve: tuple[Point, ...] = ()
    ceiling: Ceiling | None = None
    model: PolynomialRegressor | None = field(default=None, repr=False)

    @property
    def ranked(self) -> bool:
        return not self.refusals


def rank(
    axes: Sequence[Axis],
    columns: Vector,  # (n, d) coordinates
    values: Vector,  # (n,) target
    *,
    seed: int = 0,
    refusals: Sequence[Refusal] = (),  # known before the fit; with them nothing is fitted
    ceiling: Ceiling | None = None,
) -> Ranking:
    """Fit, judge, and rank or refuse. The same trials and seed give the same answer."""
    found = [*refusals, *_too_few(axes, values)]
    if found:
        return Ranking(len(values), float("nan"), (float("nan"), float("nan")), refusals=tuple(found), ceiling=ceiling)
    model = regressor(axes, seed).fit(columns, values)
    q2 = float(model.q2_)
    interval = (float(model.q2_interval_[0]), float(model.q2_interval_[1]))
    points = learning_curve(axes, columns, values, seed, model.solver_)
    if not interval[0] >= LEAST_Q2:  # nan where nothing could be held out
        found.append(_poor(len(values), q2, interval, points, ceiling))
        return Ranking(len(values), q2, interval, (), tuple(found), points, ceiling, model)
    effects = _effects(axes, model)
    if _overlap(effects):
        found.append(_alike(len(values), effects))
    return Ranking(len(values), q2, interval, () if found else effects, tuple(found), points, ceiling, model)


def _effects(axes: Sequence[Axis], model: PolynomialRegressor) -> tuple[Effect, ...]:
    """By total index; places are those the intervals leave open."""
    indices = sobol_indices(model)
    ends = sobol_intervals(model)
    low, high = ends.total
    order = np.argsort(-indices.total, kind="stable")
    return tuple(
        Effect(
            axes[j].name,
            float(indices.first[j]),
            (float(ends.first[0, j]), float(ends.first[1, j])),
            float(indices.total[j]),
            (float(low[j]), float(high[j])),
            # above it are those whose intervals begin where its own ends, below it those that end where it begins
            (1 + int((low > high[j]).sum()), len(axes) - int((high < low[j]).sum())),
        )
        for j in order
    )


def _overlap(effects: Sequence[Effect]) -> bool:
    """Whether one number lies in all intervals of totals. One hyper-parameter alone has nothing to be above."""
    lows, highs = zip(*(effect.total_interval for effect in effects), strict=True)
    return len(effects) > 1 and max(lows) <= min(highs)


def _too_few(axes: Sequence[Axis], values: Vector) -> list[Refusal]:
    if not axes:
        return [Refusal("few", "No hyper-parameter has more than one value.")]
    if len(values) < LEAST:
        return [Refusal("few", f"{len(values)} trials are too few to judge any polynomial: at least {LEAST}.", LEAST)]
    if np.ptp(values) == 0:
        return [Refusal("few", f"All {len(values)} trials have the same score: nothing moves it.")]
    return []


def _poor(trials: int, q2: float, interval: Interval, points: Sequence[Point], ceiling: Ceiling | None) -> Refusal:
    """Too little is predicted. Noise is the reason where repeats say so, else the number of trials."""
    told = f"{trials} trials do not suffice: Q2 = {q2:.2f}, 95 % from {interval[0]:.2f} to {interval[1]:.2f}"
    told += f"; a ranking needs {LEAST_Q2} at its lower end."
    if ceiling is not None and ceiling.interval[1] < LEAST_Q2:
        text = f"{told} More trials would not help: of two runs with the same settings, noise alone is "
        text += f"{100 * (1 - ceiling.q2):.0f} % of the variance. Let the function average several seeds."
        return Refusal("q2", text)
    noise = 0.0 if ceiling is None else max(0.0, 1.0 - ceiling.q2)
    number = needed(points, trials, q2 - interval[0], LEAST_Q2, noise)
    if number is not None:
        return Refusal("q2", f"{told} Try about {number}.", number)
    text = f"{told} The learning curve names no number: so far the polynomial predicts "
    text += "no better than the mean. " if interval[0] <= 0 else "little, and more trials have not helped. "
    text += f"Try {round_up(4 * trials)}; if Q2 stays where it is, the score hardly depends on these ranges, "
    return Refusal("q2", text + "or its noise hides it (`repeats` in SPACE.toml would tell).")


def _alike(trials: int, effects: Sequence[Effect]) -> Refusal:
    """Well predicted, and yet nothing is above anything: how many trials would part the first from the last."""
    first, last = effects[0], effects[-1]
    gap = first.total - last.total
    halves = (first.total - first.total_interval[0]) + (last.total_interval[1] - last.total)
    # intervals shrink as the root of the number of trials
    number = round_up(trials * (halves / gap) ** 2) if gap > 0 and halves < 10 * gap else None
    text = (
        f"The intervals of all {len(effects)} hyper-parameters overlap: with {trials} trials, none is above another. "
    )
    return Refusal("overlap", text + (f"Try about {number}." if number else "They may well matter equally."), number)
