"""A QR factorisation that grows: columns appended in blocks or removed, rows appended; least squares on the side.

Appending p columns X to the k that are there: classical Gram-Schmidt against Q, a Householder QR of what is left, and
both once more. Twice is enough (Giraud, Langou, Rozloznik & van den Eshof, Numer. Math. 101, 2005; for blocks Barlow &
Smoktunowicz, Numer. Math. 123, 2013), and all of it is matrix products: 8 m k p operations.

    W = Q^T X            X <- X - Q W            X  = Q1 S1
    V = Q^T Q1           Q1 <- Q1 - Q V          Q1 = Q2 S2
    R <- [R, W + V S1; 0, S2 S1]                 Q <- [Q, Q2]

Never normal equations: they square the condition number, which reaches 1e8 and more for one variable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr_delete
from scipy.linalg.lapack import dtrtrs

from sm3.errors import InputError, explain
from sm3.poly.solvers.condition import condition

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
# Chosen: a column with less than this of its norm outside the span of the others is taken as dependent. Its coefficient
# would be known to 7 digits at best from data exact to 16.
DEPENDENT = 1e-9


class UpdatedQR:
    """Least squares of y (m, q) on columns that come and go.

    y: targets, shape (m, q). capacity: columns to make room for; more are made as needed. tolerance: a column is
    dropped if less than this share of its norm is outside the span of those before it.

    >>> qr = UpdatedQR(np.array([[1.0], [2.0], [6.0]]))
    >>> qr.append(np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0]])).tolist()  # the third repeats the first
    [True, True, False]
    >>> qr.solve().ravel().round(12).tolist()
    [0.5, 2.5]
    """

    def __init__(self, y: Array, capacity: int = 64, *, tolerance: float = DEPENDENT) -> None:
        self.y = np.asarray(y, dtype=np.float64)
        self.tolerance = tolerance
        self.size = 0  # number of columns k
        self.residual = self.y.copy(order="F")  # (m, q) y - Q Q^T y
        self.leverage = np.zeros(len(self.y))  # (m,) h_i, the diagonal of Q Q^T
        room = max(1, min(capacity, len(self.y)))
        self._q = np.empty((len(self.y), room), order="F")
        self._r = np.zeros((room, room), order="F")
        self._projection = np.zeros((room, self.y.shape[1]))

    @property
    def q(self) -> Array:
        """(m, k) orthonormal columns; a view, valid until the next change."""
        return self._q[:, : self.size]

    @property
    def triangle(self) -> Array:
        """(k, k) upper triangular R; a view, valid until the next change."""
        return self._r[: self.size, : self.size]

    @property
    def buffer(self) -> Array:
        """(>= k, k) the columns of R in their buffer: what `back_substitute` takes without a copy."""
        return self._r[:, : self.size]

    @property
    def projection(self) -> Array:
        """(k, q) Q^T y; a view, valid until the next change."""
        return self._projection[: self.size]

    def append(self, columns: Array) -> Flags:
        """Append columns (m, p) in their order; says for each whether it was kept, shape (p,)."""
        p = columns.shape[1]
        if p == 0:
            return np.zeros(0, dtype=bool)
        if p == 1:
            return np.array([self.size < len(self.y) and self._append_one(columns[:, 0])])
        if self.size + p <= len(self.y):
            q = self.q
            w = q.T @ columns
            first, s1 = _orthonormal(columns - q @ w)
            if (np.abs(np.diagonal(s1)) > self.tolerance * np.linalg.norm(columns, axis=0)).all():
                v = q.T @ first
                second, s2 = _orthonormal(first - q @ v)
                self._keep(second, w + v @ s1, s2 @ s1)
                return np.ones(p, dtype=bool)
        # A dependent column spoils the directions found after it in its block: halve until it stands alone.
        return np.concatenate([self.append(columns[:, : p // 2]), self.append(columns[:, p // 2 :])])

    def _append_one(self, column: Array) -> bool:
        """The same for one column (m,), which is what a pursuit does a thousand times: products with vectors."""
        q, k = self.q, self.size
        w = column @ q
        new = column - q @ w
        norm = math.sqrt(new @ new)
        if norm <= self.tolerance * math.sqrt(column @ column):
            return False
        new /= norm
        v = new @ q
        new -= q @ v
        again = math.sqrt(new @ new)
        new /= again
        self._make_room(k + 1)
        self._q[:, k] = new
        self._r[:k, k] = w + v * norm
        self._r[k, k] = again * norm
        self._projection[k] = new @ self.residual
        self.residual -= new[:, None] * self._projection[k]
        self.leverage += new * new
        self.size = k + 1
        return True

    def _keep(self, new: Array, above: Array, corner: Array) -> None:
        k, end = self.size, self.size + new.shape[1]
        self._make_room(end)
        self._q[:, k:end] = new
        self._r[:k, k:end] = above
        self._r[k:end, k:end] = corner
        # Q^T y from the residual: it has no part along the old columns whose rounding could drown the new ones.
        self._projection[k:end] = new.T @ self.residual
        self.residual -= new @ self._projection[k:end]
        self.leverage += np.einsum("ij,ij->i", new, new)
        self.size = end

    def _make_room(self, needed: int) -> None:
        if needed <= self._q.shape[1]:
            return
        room = min(max(needed, 2 * self._q.shape[1]), len(self.y))
        wider = UpdatedQR(self.y, room)
        wider._keep_as(self)
        self._q, self._r, self._projection = wider._q, wider._r, wider._projection

    def remove(self, position: int) -> None:
        """Remove one column, by rotations: O(m k)."""
        k = self.size - 1
        # With overwrite_qr SciPy works in these buffers and returns views of them.
        q, r = qr_delete(self.q, self.triangle, position, which="col", overwrite_qr=True, check_finite=False)
        if not np.shares_memory(q, self._q):
            self._q[:, :k], self._r[:k, :k] = q[:, :k], r[:k, :k]
        self._r[k, :] = 0.0
        self._r[:, k] = 0.0
        self.size = k
        self._refresh()

    def append_rows(self, rows: Array, y: Array) -> None:
        """Append samples: rows (p, k) of the columns that are there, and their targets (p, q).

        The triangle comes from a QR of [R; rows], O(k^2 p) (Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34,
        2012); Q follows by one product. Raises `InputError` for shapes that do not fit.
        """
        k = self.size
        if rows.ndim != 2 or rows.shape[1] != k or y.shape != (len(rows), self.y.shape[1]):
            raise InputError(
                explain(
                    "these rows do not fit the factorisation.",
                    got=f"rows of shape {rows.shape}, y of shape {y.shape}",
                    accepted=f"(p, {k}) and (p, {self.y.shape[1]})",
                    do="pass the columns kept by append, in their order",
                )
            )
        turn, triangle = np.linalg.qr(np.concatenate([self.triangle, rows]))
        top = self.q @ turn[:k]
        room = self._q.shape[1]
        self.y = np.concatenate([self.y, y])
        self._q = np.empty((len(self.y), room), order="F")
        self._q[: len(top), :k], self._q[len(top) :, :k] = top, turn[k:]
        self._r[:k, :k] = triangle
        self._refresh()

    def copy(self) -> UpdatedQR:
        """A factorisation of its own, with the same columns."""
        other = UpdatedQR(self.y, max(self.size, 1), tolerance=self.tolerance)
        other._keep_as(self)
        return other

    def _keep_as(self, other: UpdatedQR) -> None:
        k = self.size = other.size
        self._q[:, :k], self._r[:k, :k], self._projection[:k] = other.q, other.triangle, other.projection
        self.residual, self.leverage = other.residual.copy(order="F"), other.leverage.copy()

    def _refresh(self) -> None:
        """Projection, residual and leverage from Q; the residual twice, as its own rounding is projected out."""
        q = self.q
        self._projection[: self.size] = q.T @ self.y
        self.residual = np.asfortranarray(self.y - q @ self.projection)
        self.residual -= q @ (q.T @ self.residual)
        self.leverage = np.einsum("ij,ij->i", q, q)

    def solve(self, size: int | None = None) -> Array:
        """Coefficients (k, q) of least squares; with `size` on the first columns only, (size, q)."""
        k = self.size if size is None else size
        return back_substitute(self._r[:, :k], self._projection[:k])

    def loo(self) -> Array:
        """Leave-one-out squared error per output, shape (q,): sum over rows of (r_i / (1 - h_i))^2.

        Infinite where a row is interpolated (h_i = 1): without it the fit would not be determined.
        """
        left = 1 - self.leverage
        # 1 - h carries rounding of a few eps per column; below this it has no digit.
        if left.min(initial=1.0) <= 1e2 * np.finfo(float).eps * max(self.size, 1):
            return np.full(self.y.shape[1], np.inf)
        errors = self.residual / left[:, None]
        return np.asarray(np.einsum("iq,iq->q", errors, errors))

    def condition(self, size: int | None = None) -> float:
        """Ratio of the extreme singular values, of all columns or of the first ones; see `condition`."""
        k = self.size if size is None else size
        return condition(self._r[:k, :k])


def back_substitute(buffer: Array, right: Array, *, transposed: bool = False) -> Array:
    """R^{-1} right, or R^{-T} right, for the upper triangle R in the first k rows of `buffer` (>= k, k), k >= 0.

    Whole columns of a Fortran buffer go to LAPACK as they are; R alone, a part of them, would be copied (measured: five
    times slower at k = 500).
    """
    return np.asarray(dtrtrs(buffer, right, trans=int(transposed))[0]) if len(right) else right.copy()


def _orthonormal(columns: Array) -> tuple[Array, Array]:
    """Householder QR (m, p), (p, p). A zero column gives a zero on the diagonal."""
    q, r = np.linalg.qr(columns)
    return q, r
