"""How well a model predicts rows it has not seen: Q2 from held-out residuals, with a bootstrap interval.

    Q2 = 1 - sum w (y - prediction)^2 / sum w (y - mean)^2        1: perfect, 0: no better than the mean

The predictions come from models that were fitted, terms chosen and all, without the rows they are judged on (folds are
made in rows.py). A leave-one-out error of the chosen terms is not that: the choice has seen every row, and the error so
found can be several times too small. Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, for the
percentile interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

# Replicates of the bootstrap: a 95 % interval ends at the 25th and 975th of them. Efron & Tibshirani, section 13.
REPLICATES = 1000
# ... and at least, where rows are so many that the interval is short anyway. Chosen: 2e7 draws are half a second.
FEWEST_REPLICATES, MOST_DRAWS = 200, 20_000_000
# At most this many numbers are drawn at a time. Chosen: 32 MB.
_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class HeldOut:
    """n predictions of rows that the predicting model had not seen; a row may stand here for several folds."""

    weight: Array  # (n,)
    y: Array  # (n, q) what was measured
    residual: Array  # (n, q) measured - predicted

    def __len__(self) -> int:
        return len(self.weight)

    def none(self) -> HeldOut:
        """No predictions, of as many outputs."""
        return HeldOut(self.weight[:0], self.y[:0], self.residual[:0])

    def only(self, which: NDArray[np.bool_]) -> HeldOut:
        """Those that are flagged, (n,)."""
        return HeldOut(self.weight[which], self.y[which], self.residual[which])

    def joined(self, other: HeldOut) -> HeldOut:
        """Both together."""
        return HeldOut(
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.y, other.y]),
            np.concatenate([self.residual, other.residual]),
        )


def q2(held: HeldOut) -> Array:
    """Q2 of each output, (q,); nan without rows, or where the output does not vary on them.

    >>> held = HeldOut(np.ones(2), np.array([[0.0], [2.0]]), np.array([[0.0], [0.5]]))
    >>> q2(held).tolist()
    [0.875]
    """
    return np.asarray(_ratio(held.weight[None, :], *_moments(held))[0])


def q2_interval(held: HeldOut, rng: np.random.Generator, level: float = 0.95) -> Array:
    """The ends of the percentile interval over resampled rows, (q, 2)."""
    if not len(held):
        return np.full((held.y.shape[1], 2), np.nan)
    moments = _moments(held)
    n = len(held)
    replicates = min(REPLICATES, max(FEWEST_REPLICATES, MOST_DRAWS // n))
    drawn: list[Array] = []
    step = max(1, _AT_ONCE // n)
    for start in range(0, replicates, step):
        count = min(step, replicates - start)
        picks = rng.integers(0, n, size=(count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(picks.ravel(), minlength=count * n).reshape(count, n)
        drawn.append(_ratio(times * held.weight, *moments))
    ends = np.array([0.5 * (1.0 - level), 0.5 * (1.0 + level)])
    return np.array([_quantiles(column, ends) for column in np.concatenate(drawn).T])


def _quantiles(column: Array, ends: Array) -> Array:
    """Of the replicates that have a Q2: one that drew a single row again and again has none."""
    known = column[np.isfinite(column)]
    return np.quantile(known, ends) if len(known) else np.full(len(ends), np.nan)


def _moments(held: HeldOut) -> tuple[Array, Array, Array]:
    """Squared residuals, values about their mean, and these squared: each (n, q)."""
    if not len(held):
        return held.residual, held.y, held.y
    mean = np.average(held.y, axis=0, weights=held.weight)
    # a mean of equal numbers is off by a rounding, and a spread of roundings is no spread
    centred = np.where(np.ptp(held.y, axis=0) > 0, held.y - mean, 0.0)
    return np.square(held.residual), centred, np.square(centred)


def _ratio(weights: Array, squares: Array, centred: Array, centred_squares: Array) -> Array:
    """Q2 (replicates, q) under weights (replicates, n)."""
    if not len(squares):
        return np.full((len(weights), squares.shape[1]), np.nan)
    total = weights.sum(axis=1, keepdims=True)
    raw = weights @ centred_squares
    spread = raw - np.square(weights @ centred) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        # a difference of equal sums is a rounding, not a spread
        return np.where(spread > 1e-12 * raw, 1.0 - (weights @ squares) / spread, np.nan)
