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
from sm3.poly.solvers.linear_map import LinearMap, targets, weights
from sm3.poly.solvers.solution import Solution, relative_residual
from sm3.poly.solvers.updated_qr import UpdatedQR

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
    pursuits = [_Pursuit(A, values, rows, max_terms) for rows in row_sets]
    while running := [pursuit for pursuit in pursuits if not pursuit.done]:
        residuals = np.concatenate([pursuit.padded_residual(len(values)) for pursuit in running], axis=1)
        score = A.transposed_times(residuals).reshape(A.shape[1], len(running), -1)
        best = np.sqrt(np.einsum("nfq,nfq->fn", score, score)) / weight
        for pursuit, of_all in zip(running, best, strict=True):
            pursuit.grow(of_all, growth)
    return [pursuit.solution() for pursuit in pursuits]


class _Pursuit:
    """The state of one pursuit: a factorisation, and the leave-one-out error after every pass."""

    def __init__(self, A: LinearMap, y: Array, rows: Ints, max_terms: int | None) -> None:
        self.A, self.rows, self.y = A, rows, y[rows]
        norms = np.linalg.norm(self.y, axis=0)
        self.scale = np.where(norms > 0, norms, 1.0)  # outputs weigh alike; undone in the solution
        self.limit = min(int(_MOST_TERMS * len(rows)) if max_terms is None else max_terms, A.shape[1], len(rows))
        self.qr = UpdatedQR(self.y / self.scale, max(self.limit, 1))
        self.order: list[int] = []
        self.open = np.ones(A.shape[1], dtype=bool)  # functions neither chosen nor dependent on chosen ones
        self.passes = 0
        self.path = [self._record()]

    @property
    def done(self) -> bool:
        rounding = np.linalg.norm(self.qr.residual) <= _ROUNDING * np.linalg.norm(self.qr.y)
        return bool(self.qr.size >= self.limit or rounding or not self.open.any())

    def padded_residual(self, m: int) -> Array:
        out = np.zeros((m, self.y.shape[1]))
        out[self.rows] = self.qr.residual
        return out

    def grow(self, score: Array, growth: float) -> None:
        """Append the best open functions, one or a bulk."""
        score = np.where(self.open, score, -1.0)
        room = min(max(1, int(growth * self.qr.size)), self.limit - self.qr.size)
        if room == 1:
            chosen = np.array([score.argmax()])
        else:
            chosen = np.argpartition(-score, min(room, len(score) - 1))[:room]
            chosen = chosen[np.argsort(-score[chosen])]
            chosen = chosen[score[chosen] >= _BULK_SHARE * score[chosen[0]]]
        kept = self.qr.append(np.take(self.A.columns(chosen), self.rows, axis=0))
        self.open[chosen] = False
        self.order += chosen[kept].tolist()
        self.passes += 1
        if kept.any():
            self.path.append(self._record())

    def _record(self) -> dict[str, float]:
        loo = self.qr.loo()
        return {
            "terms": float(self.qr.size),
            "residual": float(np.linalg.norm(self.qr.residual) / (np.linalg.norm(self.qr.y) or 1.0)),
            "loo": float(np.square(self.scale) @ loo),
            "relative_loo": float(loo.sum()),
        }

    def solution(self) -> Solution:
        best = min(self.path, key=lambda record: record["relative_loo"])
        k = int(best["terms"])
        support = np.array(self.order[:k], dtype=np.int64)
        coef = self.qr.solve(k) * self.scale
        ascending = np.argsort(support)
        residual = self.y - self.qr.q[:, :k] @ self.qr.projection[:k] * self.scale
        return Solution(
            support=support[ascending],
            coef=coef[ascending],
            residual=relative_residual(residual, self.y),
            loo=best["loo"],
            cond=self.qr.condition(k),
            gap=None,
            n_iter=self.passes,
            solver="omp",
            path=self.path,
        )
