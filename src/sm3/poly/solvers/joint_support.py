"""The square-root LASSO for several outputs with one support: min lam sum_j u_j ||z_j|| + ||A z - b||, z_j rows.

A rotation of the outputs changes neither term, so b is first reduced to its singular vectors: as many columns as it has
rank, exactly (`rotated`). More than one column is solved by primal-dual steps on a working set of functions, to which
those are added that violate ||A_j^T y|| <= lam u_j, until the gap over all functions is small enough: the optimum over
all of them at the price of a part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sm3.poly.solvers.linear_map import DenseMap, LinearMap
from sm3.poly.solvers.primal_dual import Pair, primal_dual

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Chosen: functions of the first working set, and most added at once, per sample.
_FIRST, _ADDED = 2.0, 0.5
# Directions of the outputs below this share of the largest are rounding.
_RANK = 1e-15
# Chosen: a working set is first solved to this gap, then to this share of the gap over all functions that it gave: what
# is found on a poor set is not worth many steps.
_COARSE = 0.1


def rotated(b: Array) -> tuple[Array, Array]:
    """b (m, q) = reduced (m, p) @ turn (p, q) with orthonormal rows of `turn` and p the rank of b, at least 1.

    >>> reduced, turn = rotated(np.array([[3.0, 4.0], [6.0, 8.0]]))
    >>> reduced.shape, (reduced @ turn).round(12).tolist()
    ((2, 1), [[3.0, 4.0], [6.0, 8.0]])
    """
    left, size, turn = np.linalg.svd(b, full_matrices=False)
    rank = max(1, int((size > _RANK * size[0]).sum()))
    return left[:, :rank] * size[:rank], turn[:rank]


class JointSupport:
    """Solves for falling values of lam, each from the solution before.

    A: (m, N). b: (m, q). u: (N,) > 0. gap: wanted relative duality gap over all functions. max_iter: primal-dual steps
    for one value of lam; what has been reached is then returned with its gap.
    """

    def __init__(self, A: LinearMap, b: Array, u: Array, *, gap: float, max_iter: int) -> None:
        self.A, self.b, self.u = A, b, u
        self.gap, self.max_iter = gap, max_iter
        self.iterations = 0
        reach = np.linalg.norm(A.transposed_times(b), axis=1) / u
        count = min(len(u), max(16, int(_FIRST * len(b))))
        self.working: Ints = np.sort(np.argpartition(-reach, count - 1)[:count]) if count else np.arange(0)
        self.columns = DenseMap(A.columns(self.working) / u[self.working])
        self.best: Pair | None = None  # of the working set, in scaled columns

    def advance(self, lam: float) -> tuple[Array, float]:
        """Coefficients (|working|, q) of the scaled columns, and the relative gap over all functions."""
        left, wanted = self.max_iter, _COARSE
        while True:
            found, steps = primal_dual(self.columns, self.b, lam, gap=wanted, start=self.best, max_iter=left)
            left -= steps
            self.iterations += steps
            self.best = found
            reach = np.linalg.norm(self.A.transposed_times(found.y), axis=1) / self.u
            bound = max(1.0, float(reach.max(initial=0.0)) / lam)
            reached = (found.objective + float(np.sum(self.b * found.y)) / bound) / (found.objective or 1.0)
            if reached <= self.gap or left <= 0:
                return found.x, reached
            # Not less than a part of what is wanted, unless that has been reached and was not enough.
            wanted = max(_COARSE * min(wanted, reached), min(0.5 * self.gap, 0.5 * wanted))
            reach[self.working] = 0.0
            missed = np.flatnonzero(reach > lam)
            most = max(16, int(_ADDED * len(self.b)))
            self._add(missed[np.argsort(-reach[missed])[:most]])

    def _add(self, functions: Ints) -> None:
        """Functions join the working set, with coefficient 0."""
        working = np.concatenate([self.working, functions])
        order = np.argsort(working)
        columns = np.concatenate([self.columns.matrix, self.A.columns(functions) / self.u[functions]], axis=1)
        self.working, self.columns = working[order], DenseMap(columns[:, order])
        if self.best is not None:
            x = np.concatenate([self.best.x, np.zeros((len(functions), self.b.shape[1]))])[order]
            self.best = Pair(x, self.best.y, self.best.objective, self.best.gap)
