"""Least squares on all columns of a map, by LAPACK's blocked Householder QR.

For columns that come one after another see updated_qr.py. Stable from samples of the basis's own measure if m >= c
kappa log n, kappa the largest sum of squares of the basis functions, and from Christoffel samples if m >= c n log n
(Cohen, Davenport & Leviatan, Found. Comput. Math. 13, 2013; Cohen & Migliorati, SMAI J. Comput. Math. 3, 2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dgemqrt, dgeqrt

from sm3.errors import SettingError, explain
from sm3.poly.solvers.condition import condition
from sm3.poly.solvers.linear_map import LinearMap, targets
from sm3.poly.solvers.solution import Solution, relative_residual
from sm3.poly.solvers.updated_qr import DEPENDENT, UpdatedQR, back_substitute

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Measured (m = 2100, N = 1001, one core): 10 % faster than LAPACK's own choice of 32 columns a block.
_BLOCK = 96


def least_squares(
    A: LinearMap, y: ArrayLike, *, loo: bool = True, site: Ints | None = None, tolerance: float = DEPENDENT
) -> Solution:
    """min ||A x - y|| for every column of y, on all columns of A.

    A: shape (m, N), m >= N. y: (m, q). loo: also the leave-one-out error, for about half the cost again, and the error
    at each row of the fit without its site. site: (m,) numbers of the points, which are left out one at a time with all
    their rows; default: every row is one. tolerance: columns with less than this share of their norm outside the span
    of those before them are left out of the support (0 keeps all).
    Raises `SettingError` where m < N, `InputError` where y does not fit or is not finite.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> line = DenseMap([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> solution = least_squares(line, [[1.0], [3.0], [5.0]])
    >>> solution.coef.ravel().round(12).tolist()
    [1.0, 2.0]
    """
    values = targets(A, y)
    m, n = A.shape
    if m < n:
        raise SettingError(
            explain(
                "there are fewer samples than basis functions.",
                got=f"{m} samples, {n} basis functions",
                accepted="at least as many samples as basis functions for plain least squares",
                do="take a smaller index set, or a solver that chooses the functions: als, omp, srlasso",
            )
        )
    everything = np.arange(n)
    sites = np.arange(m) if site is None else np.asarray(site)
    if n == 0:
        return _solution(everything, np.zeros((0, values.shape[1])), values, values, 1.0)
    # The columns are overwritten and asked for again where they are needed: a copy less in memory.
    factor, block, _ = dgeqrt(min(_BLOCK, n), A.columns(everything), overwrite_a=1)
    triangle = np.asfortranarray(np.triu(factor[:n]))
    norms = np.linalg.norm(triangle, axis=0)  # rotations keep the norms of the columns
    if (np.abs(np.diagonal(triangle)) <= tolerance * norms).any():
        del factor
        return _without_dependent(A.columns(everything), values, tolerance, sites if loo else None)
    projection = dgemqrt(factor, block, np.asfortranarray(values), trans="T")[0]
    del factor
    coef = back_substitute(triangle, projection[:n])
    residual = values - A.times(coef)
    loo_of_rows, left_out = None, None
    if loo:
        q = np.asarray(dtrsm(1.0, triangle, A.columns(everything), side=1, overwrite_b=1))  # A R^{-1}
        loo_of_rows, left_out = _left_out(q, residual, sites)
    return _solution(everything, coef, residual, values, condition(triangle), loo_of_rows, left_out)


def _left_out(q: Array, residual: Array, site: Ints) -> tuple[float, Array]:
    """Sum over rows of (r_i / (1 - h_i))^2, h_i the squared norm of row i of Q; and the errors (m, q) site by site.

    Of several rows s at a site the errors are (I - Q_s Q_s^T)^{-1} r_s (Cook & Weisberg, Residuals and Influence in
    Regression, 1982); infinite where the fit without them would not be determined.
    """
    least = 1e2 * np.finfo(float).eps * q.shape[1]
    left = 1 - np.einsum("ij,ij->i", q, q)
    if left.min() <= least:
        return float("inf"), np.full(residual.shape, np.inf)
    errors = residual / left[:, None]
    loo = float(np.square(errors).sum())
    numbers, count = np.unique(site, return_counts=True)
    for number in numbers[count > 1]:
        rows = np.flatnonzero(site == number)
        kept, turn = np.linalg.eigh(np.eye(len(rows)) - q[rows] @ q[rows].T)
        errors[rows] = turn @ (turn.T @ residual[rows] / kept[:, None]) if kept[0] > least else np.inf
    return loo, errors


def _without_dependent(columns: Array, y: Array, tolerance: float, site: Ints | None) -> Solution:
    """The same with dependent columns left out, found in blocks from the first on."""
    n = columns.shape[1]
    qr = UpdatedQR(y, n, tolerance=tolerance)
    kept = np.concatenate([qr.append(columns[:, i : i + _BLOCK]) for i in range(0, n, _BLOCK)])
    loo, left_out = (None, None) if site is None else _left_out(qr.q, qr.residual, site)
    return _solution(np.flatnonzero(kept), qr.solve(), qr.residual, y, qr.condition(), loo, left_out)


def _solution(
    support: Ints,
    coef: Array,
    residual: Array,
    y: Array,
    cond: float,
    loo: float | None = None,
    left_out: Array | None = None,
) -> Solution:
    return Solution(
        support, coef, relative_residual(residual, y), loo, cond, gap=None, n_iter=1, solver="ls", left_out=left_out
    )
