"""The hyper-parameters of a fitted polynomial with their indices, intervals, and the places that the intervals allow.

The intervals are those of `sm3.poly.sensitivity.cross_fit`: they hold for the function, whatever the polynomial misses,
because all that is not explained may belong to any hyper-parameter. Noise does not belong to any: what repeats have
shown to be noise, at least, is taken off the upper ends. With variance V, residual R and noise s2, an index is at most
(L + R - s2) / (V - s2), where (L + R) / V is the upper end that knows nothing of s2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sm3.poly.sensitivity.indices import sobol_indices
from sm3.poly.sensitivity.sobol_intervals import sobol_intervals
from sm3.tune.axes import Axis

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor

Vector = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Effect:
    """One hyper-parameter. Its indices are shares of the variance that the polynomial explains."""

    name: str
    first: float  # what it does alone
    first_interval: Interval
    total: float  # with everything it does together with others
    total_interval: Interval
    places: tuple[int, int]  # best and worst place that the intervals of the totals allow


def effects(axes: Sequence[Axis], model: PolynomialRegressor, noise: float = 0.0) -> tuple[Effect, ...]:
    """By total index. `noise`: the part of the variance that is noise for certain."""
    indices, ends = sobol_indices(model), sobol_intervals(model)
    first, total = _without_noise(ends.first, noise), _without_noise(ends.total, noise)
    low, high = total
    order = np.argsort(-indices.total, kind="stable")
    return tuple(
        Effect(
            axes[j].name,
            float(indices.first[j]),
            (float(first[0, j]), float(first[1, j])),
            float(indices.total[j]),
            (float(low[j]), float(high[j])),
            # above it are those whose intervals begin where its own ends, below it those that end where it begins
            (1 + int((low > high[j]).sum()), len(axes) - int((high < low[j]).sum())),
        )
        for j in order
    )


def overlap(found: Sequence[Effect]) -> bool:
    """Whether one number lies in all intervals of totals. One hyper-parameter alone has nothing to be above."""
    lows, highs = zip(*(effect.total_interval for effect in found), strict=True)
    return len(found) > 1 and max(lows) <= min(highs)


def least_q2(model: PolynomialRegressor) -> float:
    """The Q2 from which on the first can be told from the last, if they share the explained part as they do now.

    The first has at least T Q2 of the variance, the last at most t Q2 + 1 - Q2: apart when Q2 > 1 / (1 + T - t).
    """
    totals = np.nan_to_num(sobol_indices(model).total)
    return 1.0 / (1.0 + float(np.ptp(totals))) if len(totals) > 1 else 0.0


def _without_noise(ends: Vector, noise: float) -> Vector:  # (2, d)
    low, high = ends
    return np.stack([low, np.maximum(low, (high - noise) / (1.0 - noise))])
