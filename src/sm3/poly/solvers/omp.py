"""Weighted orthogonal matching pursuit: the basis function that correlates best joins, least squares, again.

    pick argmax_nu ||(A^T r)_nu|| / u_nu,    orthogonalise twice,    r <- y - A_S x_S

Dividing by the intrinsic weight u_nu prefers functions of small maximum, that is low degrees and few variables: lower
sets are found from about s log N samples, where dividing by the column norms finds half of them. How many terms to
keep is decided by leave-one-out, which the factorisation gives for nothing. Greedy weighted recovery: Mohammad-Taheri &
Brugiapaglia, arXiv 2303.00844; leave-one-out as the stop: Blatman & Sudret, J. Comput. Phys. 230 (2011).

Several row sets (the folds of a cross-validation and the whole) run in step, so that one product with A^T serves all:
it is bound by memory, and six columns cost about as much as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.solvers.growing_fit import GrowingFit, Rows
from sm3.poly.solvers.linear_map import LinearMap, targets, weights
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Measured (f1 to f3 of arXiv 2208.09045, d = 8, 16, 32): leave-one-out is least below this share of the samples.
_MOST_TERMS = 0.6
# A residual this far below y is rounding: 16 digits less one for the sums.
_ROUNDING = 10 * np.finfo(float).eps
# Chosen: in a bulk, a function joins if it correlates at least half as well as the best.
_BULK_SHARE = 0.5


def omp(A: LinearMap, y: ArrayLike, u: ArrayLike, *, max_terms: int | None = None, growth: float = 0.0) -> Solution:
    """Greedy sparse least squares; the number of terms is the one of least leave-one-out error.

    A: (m, N). y: (m, q): one support for all outputs, each weighing as its norm. u: (N,) weights > 0.
    max_terms: default 0.6 m, at most N. growth: 0 adds one function a pass; otherwise up to max(1, growth k) at once
    where k are there, those at least half as good as the best: 0.2 reaches 1500 terms in about 40 passes, a little less
    sparse, for matrices where a pass costs seconds.
    Leave-one-out sees only functions that were chosen for these very rows: it is too small, and with noise it keeps too
    many of them (measured: 1 % noise, error doubled). Held-out rows do not (`choose`).
    Raises `SettingError` for settings out of range, `InputError` where y does not fit or is not finite.

    >>> rng = np.random.default_rng(0)
    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> A = DenseMap(rng.standard_normal((40, 200)))
    >>> solution = omp(A, 3 * A.columns([7]) - 2 * A.columns([90]), np.ones(200))
    >>> solution.support.tolist(), solution.coef.ravel().round(12).tolist()
    ([7, 90], [3.0, -2.0])
    """
    return omp_on_rows(A, y, u, [np.arange(A.shape[0])], max_terms=max_terms, growth=growth)[0]


def omp_on_rows(
    A: LinearMap,
    y: ArrayLike,
    u: ArrayLike,
    row_sets: Sequence[Ints],
    *,
    max_terms: int | None = None,
    growth: float = 0.0,
) -> list[Solution]:
    """`omp` on each of several subsets of the rows, one product with A^T a pass for all of them."""
    rows = [Rows(fit, np.arange(0)) for fit in row_sets]
    return [one.least_loo() for one in pursue(A, y, u, rows, max_terms=max_terms, growth=growth)]


def pursue(
    A: LinearMap,
    y: ArrayLike,
    u: ArrayLike,
    row_sets: Sequence[Rows],
    *,
    max_terms: int | None = None,
    growth: float = 0.0,
) -> list[Pursuit]:
    """The pursuits themselves, every step of them, with the errors on the rows that judge."""
    values, weight = targets(A, y), weights(A, u)
    if growth < 0 or (max_terms is not None and max_terms < 0):
        raise SettingError(
            explain(
                "a setting of omp is out of range.",
                got=f"max_terms={max_terms}, growth={growth}",
                accepted="max_terms >= 0 and growth >= 0",
                do="leave them out",
            )
        )
    pursuits = [Pursuit(A, values, rows, max_terms) for rows in row_sets]
    while running := [pursuit for pursuit in pursuits if not pursuit.done]:
        residuals = np.concatenate([pursuit.fit.padded_residual(len(values)) for pursuit in running], axis=1)
        score = A.transposed_times(residuals).reshape(A.shape[1], len(running), -1)
        best = np.sqrt(np.einsum("nfq,nfq->fn", score, score)) / weight
        for pursuit, of_all in zip(running, best, strict=True):
            pursuit.grow(of_all, growth)
    return pursuits


class Pursuit:
    """One pursuit on one set of rows; `fit` has its steps."""

    def __init__(self, A: LinearMap, y: Array, rows: Rows, max_terms: int | None) -> None:
        m = len(rows.fit)
        self.limit = min(int(_MOST_TERMS * m) if max_terms is None else max_terms, A.shape[1], m)
        self.fit = GrowingFit(A, y, rows, self.limit)
        self.open = np.ones(A.shape[1], dtype=bool)  # functions neither chosen nor dependent on chosen ones
        self.passes = 0

    @property
    def done(self) -> bool:
        full = self.fit.size >= self.limit or not self.open.any()
        return bool(full or self.fit.relative_residual() <= _ROUNDING)

    def grow(self, score: Array, growth: float) -> None:
        """Append the best open functions, one or a bulk."""
        score = np.where(self.open, score, -1.0)
        room = min(max(1, int(growth * self.fit.size)), self.limit - self.fit.size)
        if room == 1:
            chosen = np.array([score.argmax()])
        else:
            chosen = np.argpartition(-score, min(room, len(score) - 1))[:room]
            chosen = chosen[np.argsort(-score[chosen])]
            chosen = chosen[score[chosen] >= _BULK_SHARE * score[chosen[0]]]
        self.fit.append(chosen)
        self.open[chosen] = False
        self.passes += 1

    def least_loo(self) -> Solution:
        """The step of least leave-one-out error."""
        return self.fit.solution(self.fit.least("relative_loo"), "omp", self.passes)
