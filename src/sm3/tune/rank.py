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

from sm3.tune.axes import Axis
from sm3.tune.curve import Ceiling, Point, learning_curve
from sm3.tune.effects import Effect, Interval, effects, least_q2, overlap
from sm3.tune.fit import FOLDS, regressor
from sm3.tune.refusal import LEAST, LEAST_Q2, Evidence, Refusal, not_told_apart, too_few, too_little_explained

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor

Vector = NDArray[np.float64]


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
    known = [*refusals, *_nothing_to_fit(axes, values)]
    if known:
        return Ranking(len(values), float("nan"), (float("nan"), float("nan")), refusals=tuple(known), ceiling=ceiling)
    model = regressor(axes, seed).fit(columns, values)
    q2, interval = float(model.q2_), (float(model.q2_interval_[0]), float(model.q2_interval_[1]))
    folds = Point(round(len(values) * (1 - 1 / FOLDS)), q2, *interval)
    points = learning_curve(axes, columns, values, seed, model.solver_, folds)
    evidence = Evidence(len(values), q2, interval, points, ceiling, least_q2(model))
    found: tuple[Effect, ...] = ()
    refused: tuple[Refusal, ...] = ()
    if not interval[0] >= LEAST_Q2:  # nan where nothing could be held out
        refused = (too_little_explained(evidence),)
    else:
        found = effects(axes, model, 0.0 if ceiling is None else max(0.0, 1.0 - ceiling.interval[1]))
        if overlap(found):
            found, refused = (), (not_told_apart(evidence, len(axes)),)
    return Ranking(len(values), q2, interval, found, refused, points, ceiling, model)


def _nothing_to_fit(axes: Sequence[Axis], values: Vector) -> list[Refusal]:
    if not axes:
        return [Refusal("few", "No hyper-parameter has more than one value.")]
    if len(values) < LEAST:
        return [too_few(len(values))]
    if np.ptp(values) == 0:
        return [Refusal("few", f"All {len(values)} trials have the same score: nothing moves it.")]
    return []
