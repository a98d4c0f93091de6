"""How many trials would do: the error of the polynomial over the number of trials, and what noise alone leaves.

Fits on parts of the trials are judged on the trials they have not seen. Their unexplained part 1 - Q2 is taken to fall
as a power of the number of trials, down to the part that is noise where repeats tell it; the number named is where
the lower end of the interval of Q2 would reach the limit, its width falling as the root of the number of trials.
An extrapolation, and called so: "about".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sm3.tune.axes import Axis
from sm3.tune.fit import FOLDS, held_out_q2

Vector = NDArray[np.float64]
# Parts of the trials that are fitted, and how often each with other trials; the last point is the cross-validation of
# the ranking itself, which fits on 0.8. Chosen: a factor of two between them, and cheaper than the ranking.
PARTS = (0.2, 0.4)
REPETITIONS = 5
# An extrapolation over more than this factor is not worth its digits. Chosen.
FARTHEST = 50
LEAST_PAIRS = 5  # of runs with the same settings, for a statement about noise; chosen


@dataclass(frozen=True)
class Point:
    """Q2 on trials that were not fitted, after a fit on `trials` of them: median of several fits, and their range."""

    trials: int
    q2: float
    low: float
    high: float


@dataclass(frozen=True)
class Ceiling:
    """The Q2 that a perfect model of the settings would reach: the rest is noise of single runs."""

    q2: float
    interval: tuple[float, float]  # 95 %
    pairs: int


def ceiling(first: Vector, second: Vector, values: Vector) -> Ceiling | None:
    """From the targets of pairs of runs with the same settings, and of all trials; None for too few pairs.

    Half the mean squared difference of a pair is the variance of one run: 1 - that / variance of all. The interval is
    that of a variance of normal noise (chi-squared with one degree of freedom for each pair).

    >>> ceiling(np.zeros(5), np.array([0.0, 0.2, -0.2, 0.1, -0.1]), np.array([-1.0, 1.0])).q2
    0.99
    """
    pairs, variance = len(first), float(np.var(values))
    if pairs < LEAST_PAIRS or variance == 0:
        return None
    noise = float(np.mean(np.square(first - second))) / 2.0
    most, least = (noise * pairs / float(stats.chi2.ppf(p, pairs)) for p in (0.025, 0.975))
    return Ceiling(1.0 - noise / variance, (1.0 - most / variance, 1.0 - least / variance), pairs)


def learning_curve(
    axes: Sequence[Axis], columns: Vector, values: Vector, seed: int, solver: str, last: Point
) -> tuple[Point, ...]:
    """Q2 over the number of trials, by fits on random parts of them by the solver that is best on all; then `last`."""
    rng = np.random.default_rng(seed)
    points = []
    for part in PARTS:
        count = round(part * len(values))
        if count < 2 * FOLDS:
            continue
        found = []
        for _ in range(REPETITIONS):
            order = rng.permutation(len(values))
            found.append(held_out_q2(axes, columns, values, order[:count], order[count:], solver))
        points.append(Point(count, float(np.median(found)), min(found), max(found)))
    return (*points, last)


def needed(
    points: Sequence[Point],
    trials: int,
    half_width: float,  # of the interval of Q2
    least: float,
    noise: float = 0.0,  # unexplained part that stays
) -> int | None:
    """The number of trials at which Q2 - its half width would reach `least`; None where the curve does not say.

    >>> curve = [Point(n, 1 - 4 / n**0.5, 0, 0) for n in (10, 20, 40)]  # 0.5 at 64, which is 0.8 of 80
    >>> needed(curve, 50, 0.0, 0.5)
    81
    """
    usable = [point for point in points if 1.0 - point.q2 > noise]
    if len(usable) < 2 or usable[-1].q2 <= 0 or half_width >= usable[-1].q2:
        return None  # no better than the mean: nothing rises yet
    sizes = np.log([point.trials / usable[-1].trials for point in usable])
    errors = np.log([(1.0 - point.q2 - noise) / (1.0 - usable[-1].q2 - noise) for point in usable])
    slope = float(sizes @ errors / (sizes @ sizes))  # least squares through the last point, which is known best
    for factor in np.geomspace(1.0, FARTHEST, 1000):
        unexplained = noise + (1.0 - usable[-1].q2 - noise) * factor**slope
        if 1.0 - unexplained - half_width / math.sqrt(factor) >= least:
            return round_up(factor * trials)
    return None


def round_up(count: float) -> int:
    """To two digits, because no more are known.

    >>> round_up(101.0), round_up(87.2), round_up(1234.5)
    (110, 88, 1300)
    """
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return int(math.ceil(count / step - 1e-9) * step)
