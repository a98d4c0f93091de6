"""Where the Sobol' indices of the function lie, whatever the polynomial misses: an interval from held-out residuals.

Let f be the function, s a polynomial made without looking at the rows used here, r = f - s, and P the projection on
what an index counts (the main effect of x_j; all terms with x_j; the interaction of a pair). Then, exactly,

    ||P f||^2 = ||P s||^2 + 2 <r, P s> + ||P r||^2,      0 <= ||P r||^2 <= ||r||^2

The first term is a sum of squared coefficients, without noise. The second and ||r||^2 are means over held-out rows of
products with the residual: small where the polynomial is good. The third is not known, but bounded. With L the first
two terms, R = ||r||^2 and V the variance of the measured values, the index lies in

    [ L / V,  (L + R) / V ]

and R / V = 1 - Q2. Noise in the measurements is part of R and of V, and the bound stays true: an index of f is
(L + a) / (V - R + b) for some 0 <= a <= b <= R, least at a = 0, b = R and largest at a = b = R. Both ends get the
sampling error of their means, by the delta method for a ratio.

Each row is held out once: K models are fitted, terms chosen and all, each without one fold. That is why overfitting and
a choice of terms on the same data do no harm here. Means over rows are means over the inputs' distribution, so the
rows must have been drawn from it, or carry the weights that make up for it.
Sources: the identity is Pythagoras; cross-fitting as in Chernozhukov et al. 2018 (double machine learning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from sm3.poly.sensitivity.indices import SobolIndices
from sm3.poly.sensitivity.intervals import LEVEL, SobolIntervals, Wanted, checked_level, row_weights

if TYPE_CHECKING:
    from sm3.poly.design.matrix import Design

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """A polynomial and rows it has not seen."""

    rows: Integers  # (n,) which of the m rows
    design: Design  # values of the k terms at these rows
    coef: Array  # (k, q)


def cross_fit_intervals(
    found: SobolIndices,
    folds: Sequence[Fold],
    y: ArrayLike,  # (m,) or (m, q)
    *,
    weight: ArrayLike | None = None,
    level: float = LEVEL,
) -> SobolIntervals:
    """Intervals for the indices of the measured function; `found`, of a model of all rows, says which pairs to take.

    Every row with a weight is in one fold. `weight` (m,), default 1: what makes the rows a sample of the inputs'
    distribution. An interval that the rows cannot narrow is [0, 1].
    """
    wanted, level = Wanted.of(found), checked_level(level)
    measured = np.asarray(y, dtype=np.float64)
    values = measured.reshape(len(measured), -1)
    weights = row_weights(weight, len(values))
    weights = weights / weights.sum()
    ends, unexplained = [], []
    for output in range(values.shape[1]):
        held = _HeldOut.of(folds, values[:, output], output, weights)
        unexplained.append(held.unexplained)
        ends.append(_ends(wanted, folds, held, output, level))
    many = measured.ndim == 2
    missed = np.array(unexplained) if many else np.asarray(unexplained[0])
    return wanted.intervals("cross-fit", level, np.stack(ends, axis=-1), many=many, unexplained=missed)


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """One output at all rows: the residual r, and numbers whose weighted mean, plus `known`, is the variance V."""

    weights: Array  # (m,), sum 1
    residual: Array  # (m,)
    spread: Array  # (m,)
    known: float

    @classmethod
    def of(cls, folds: Sequence[Fold], y: Array, output: int, weights: Array) -> _HeldOut:
        """V from the measured values alone, or from the polynomials and their residuals: whichever is surer."""
        residual, predicted, exact = np.zeros_like(y), np.zeros_like(y), 0.0
        for fold in folds:
            coef, varying = fold.coef[:, output], fold.design.index_set.length > 0
            residual[fold.rows] = y[fold.rows] - fold.design.times(coef)
            predicted[fold.rows] = fold.design.times(np.where(varying, coef, 0.0))
            exact += float(weights[fold.rows].sum() * np.square(coef[varying]).sum())
        used = weights > 0
        if not np.ptp(y[used]) > 0:  # residuals of a constant are roundings
            return cls(weights, np.zeros_like(y), np.zeros_like(y), 0.0)
        bias = residual - weights @ residual
        by_model = 2.0 * residual * predicted + np.square(bias)
        by_values = np.square(y - weights @ y)
        if _error(weights, by_model) < _error(weights, by_values) and exact + weights @ by_model > 0:
            return cls(weights, residual, by_model, exact)
        return cls(weights, residual, by_values, 0.0)

    @property
    def variance(self) -> float:
        """V."""
        return float(self.known + self.weights @ self.spread)

    @property
    def unexplained(self) -> float:
        """R / V = 1 - Q2, nan where nothing varies."""
        variance = self.variance
        return float(self.weights @ np.square(self.residual)) / variance if variance > 0 else float("nan")


def _ends(wanted: Wanted, folds: Sequence[Fold], held: _HeldOut, output: int, level: float) -> Array:
    """Both ends of each wanted index for one output, (2, u)."""
    variance = held.variance
    if not variance > 0:
        return np.full((2, wanted.size), np.nan)
    mean = np.zeros((2, wanted.size))
    for fold in folds:
        coef, part = fold.coef[:, output], held.weights[fold.rows]
        terms = wanted.terms(fold.design.index_set)
        known = part.sum() * (np.square(coef) @ terms)
        lower = known + part @ _products(fold, held, coef, terms)
        mean += np.stack([lower, lower + part @ np.square(held.residual[fold.rows])])
    ratio = mean / variance
    # second pass: the deviations from the ratio that is now known
    square, rows = np.zeros((2, wanted.size)), 0
    for fold in folds:
        coef, part = fold.coef[:, output], held.weights[fold.rows]
        products = _products(fold, held, coef, wanted.terms(fold.design.index_set))
        both = np.stack([products, products + np.square(held.residual[fold.rows])[:, None]])
        deviation = both - ratio[:, None, :] * held.spread[fold.rows][:, None]
        centre = np.einsum("r,eru->eu", part, deviation) / max(part.sum(), np.finfo(float).tiny)
        square += np.einsum("r,eru->eu", np.square(part), np.square(deviation - centre[:, None, :]))
        rows += int(np.count_nonzero(part))
    freedom = max(rows - len(folds), 1)
    error = np.sqrt(square * rows / freedom) / variance
    reach = float(student.ppf(0.5 * (1.0 + level), freedom))
    return np.stack([ratio[0] - reach * error[0], ratio[1] + reach * error[1]])


def _products(fold: Fold, held: _HeldOut, coef: Array, terms: Array) -> Array:
    """2 r P s at the rows of a fold, for each index (n, u)."""
    return 2.0 * held.residual[fold.rows][:, None] * fold.design.times(coef[:, None] * terms)


def _error(weights: Array, values: Array) -> float:
    """Squared standard error of a weighted mean."""
    return float(np.square(weights) @ np.square(values - weights @ values))
