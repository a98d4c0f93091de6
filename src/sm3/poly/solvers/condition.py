"""The condition number of a triangular factor: ratio of its extreme singular values, by a few Lanczos steps.

LAPACK's estimator (trcon) is for the 1-norm, up to k times another number; theory of least squares from random samples
(Cohen, Davenport & Leviatan 2013) speaks of the 2-norm: cond <= sqrt((1 + delta) / (1 - delta)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal
from scipy.linalg.lapack import dtrtrs

Array = NDArray[np.float64]
# Measured: below this size all singular values cost less than a millisecond.
_SMALL = 64
# Chosen: stop when one more step changes the value by less than this; the end is then a few percent low.
_STEP = 1e-3


def condition(triangle: Array) -> float:
    """Largest over smallest singular value of an upper triangular matrix (k, k); inf if singular, 1 if empty.

    Beyond 64 columns an estimate from below, within a few percent.

    >>> condition(np.diag([1.0, 3.0]))
    3.0
    """
    k = len(triangle)
    if k == 0:
        return 1.0
    if not np.diagonal(triangle).all():
        return float("inf")
    triangle = np.asfortranarray(triangle)  # LAPACK would copy a part of a buffer at every call
    if k <= _SMALL:
        values = np.linalg.svd(triangle, compute_uv=False)
        return float(values[0] / values[-1]) if values[-1] > 0 else float("inf")

    def gram(v: Array) -> Array:
        return np.asarray(triangle.T @ (triangle @ v))

    def inverse_gram(v: Array) -> Array:
        return np.asarray(dtrtrs(triangle, dtrtrs(triangle, v, trans=1)[0])[0])

    return float(np.sqrt(largest_eigenvalue(gram, k) * largest_eigenvalue(inverse_gram, k)))


def largest_eigenvalue(apply: Callable[[Array], Array], size: int, steps: int = 40) -> float:
    """Of a symmetric positive definite map, by Lanczos with full re-orthogonalisation, from a fixed start."""
    basis = np.zeros((steps + 1, size))
    start = np.random.default_rng(0).standard_normal(size)  # fixed: the same matrix has the same condition
    basis[0] = start / np.linalg.norm(start)
    diagonal: list[float] = []
    off: list[float] = []
    best = 0.0
    for i in range(min(steps, size)):
        v = apply(basis[i])
        diagonal.append(float(basis[i] @ v))
        now = float(eigvalsh_tridiagonal(np.array(diagonal), np.array(off)).max())
        if now - best <= _STEP * now:
            return now
        best = now
        for _ in range(2):
            v -= basis[: i + 1].T @ (basis[: i + 1] @ v)
        norm = float(np.linalg.norm(v))
        if norm <= np.finfo(float).eps * best:
            break  # an invariant subspace: the value is exact
        off.append(norm)
        basis[i + 1] = v / norm
    return best
