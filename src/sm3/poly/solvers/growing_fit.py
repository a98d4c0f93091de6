"""Least squares on functions that join one after the other: some rows fit, others judge, and every step is kept.

What matching pursuit, adaptive sets and whole sets of rising order have in common. Rows that judge cost little: with
A = Q R on the fitting rows, Q_j = A_j R^{-1} on the judging ones grows by the same steps as Q, and their residual
y_j - Q_j Q^T y by one product a step. So the held-out error is known after each step without solving for coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from sm3.poly.solvers.linear_map import LinearMap
from sm3.poly.solvers.noise import correction
from sm3.poly.solvers.solution import Solution, relative_residual
from sm3.poly.solvers.updated_qr import DEPENDENT, UpdatedQR, back_substitute

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Which rows of a design matrix fit, and which judge; those that judge may be none."""

    fit: Ints
    judge: Ints

    @classmethod
    def all(cls, m: int) -> Rows:
        """Every row fits, none judges."""
        return cls(np.arange(m), np.arange(0))


class GrowingFit:
    """A fit of y (m, q) on columns of A that are appended; outputs weigh alike, each in units of its norm.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> A = DenseMap([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    >>> fit = GrowingFit(A, np.array([[0.0], [2.0], [4.0], [6.0]]), Rows(np.arange(3), np.array([3])))
    >>> for position in range(2):
    ...     _ = fit.append(np.array([position]))
    >>> fit.judged_errors().round(12).ravel().tolist()  # of no function, the mean, the line: 6, 6 - 2 and 0 squared
    [36.0, 16.0, 0.0]
    """

    def __init__(self, A: LinearMap, y: Array, rows: Rows, capacity: int = 64) -> None:
        self.A, self.rows, self.y = A, rows, y[rows.fit]
        norms = np.linalg.norm(self.y, axis=0)
        self.scale = np.where(norms > 0, norms, 1.0)
        self.qr = UpdatedQR(self.y / self.scale, max(capacity, 1), tolerance=DEPENDENT)
        self.order: list[int] = []  # positions in the index set, in the order of the factorisation
        self._judged_residual = y[rows.judge] / self.scale
        self._judged_q = np.empty((len(rows.judge), max(capacity, 1)), order="F")
        self._norm = float(np.linalg.norm(self.qr.y)) or 1.0
        self._errors: list[Array] = []
        self.path: list[dict[str, float]] = []
        self._record()

    @property
    def size(self) -> int:
        return self.qr.size

    def append(self, positions: Ints) -> Flags:
        """Append functions of the index set; says which were independent of those before and kept."""
        columns = self.A.columns(positions)
        before = self.qr.size
        kept = self.qr.append(np.take(columns, self.rows.fit, axis=0))
        if kept.any():
            self.order += positions[kept].tolist()
            if len(self.rows.judge):
                self._judge(np.take(columns[:, kept], self.rows.judge, axis=0), before)
            self._record()
        return kept

    def padded_residual(self, m: int) -> Array:
        """(m, q) the residual on the fitting rows, zero on all others, in units of the outputs' norms."""
        out = np.zeros((m, self.y.shape[1]))
        out[self.rows.fit] = self.qr.residual
        return out

    def relative_residual(self) -> float:
        """Norm of the residual over that of y, outputs weighing alike."""
        return math.sqrt(np.vdot(self.qr.residual, self.qr.residual)) / self._norm

    def judged_errors(self) -> Array:
        """(steps, q) squared error on the judging rows after each step, in the units of y."""
        return np.array(self._errors) * np.square(self.scale)

    def least(self, criterion: Literal["relative_loo", "corrected"], among: int | None = None) -> int:
        """The step where this is least, of all or of the first ones; in both outputs weigh alike."""
        loss = np.array([record["relative_loo"] for record in self.path[:among]])
        if criterion == "corrected":
            # The first k columns of R^{-1} are those of the inverse of the first k functions' own triangle.
            norms = np.square(back_substitute(self.qr.buffer, np.eye(self.size))).sum(axis=0)
            trace = np.concatenate([[0.0], np.cumsum(norms)])
            terms = [int(record["terms"]) for record in self.path[:among]]
            loss *= [correction(len(self.y), k, float(trace[k])) for k in terms]
        return int(loss.argmin())

    def solution(self, step: int, solver: str, n_iter: int) -> Solution:
        """The fit after this step of `path`."""
        record = self.path[step]
        k = int(record["terms"])
        support = np.array(self.order[:k], dtype=np.int64)
        ascending = np.argsort(support)
        residual = self.y - self.qr.q[:, :k] @ self.qr.projection[:k] * self.scale
        return Solution(
            support=support[ascending],
            coef=(self.qr.solve(k) * self.scale)[ascending],
            residual=relative_residual(residual, self.y),
            loo=record["loo"],
            cond=self.qr.condition(k),
            gap=None,
            n_iter=n_iter,
            solver=solver,
            path=self.path,
        )

    def _judge(self, columns: Array, before: int) -> None:
        """Extend Q_j by the columns (n, p) just appended, and take their part off the residual."""
        end = self.qr.size
        if end > self._judged_q.shape[1]:
            wider = np.empty((len(columns), max(end, 2 * self._judged_q.shape[1])), order="F")
            wider[:, :before] = self._judged_q[:, :before]
            self._judged_q = wider
        r = self.qr.triangle
        new = columns - self._judged_q[:, :before] @ r[:before, before:]
        if end - before == 1:
            new /= r[before, before]
        else:
            new = solve_triangular(r[before:, before:], new.T, trans="T", check_finite=False).T
        self._judged_q[:, before:end] = new
        self._judged_residual = self._judged_residual - new @ self.qr.projection[before:]

    def _record(self) -> None:
        loo = self.qr.loo()
        self._errors.append(np.square(self._judged_residual).sum(axis=0))
        self.path.append(
            {
                "terms": float(self.qr.size),
                "residual": self.relative_residual(),
                "loo": float(np.square(self.scale) @ loo),
                "relative_loo": float(loo.sum()),
            }
        )
