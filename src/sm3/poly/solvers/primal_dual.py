"""The square-root LASSO by primal-dual steps, restarted where the duality gap has fallen enough.

    min_x lam sum_j ||x_j|| + ||A x - b||      x (N, q) with rows x_j, A (m, N), b (m, q), norms Euclidean (Frobenius)
    x  <- shrink(x - tau A^T y, tau lam)
    y  <- project on ||y|| <= 1 of  y + sigma (A (2 x_new - x) - b)            tau sigma ||A||^2 < 1

It needs nothing but products with A, so it is the reference for the exact path, its stand-in where that gets stuck, and
the solver for several outputs with one support. Chambolle & Pock, J. Math. Imaging Vis. 40 (2011). Restarts and the
ratio of the two step lengths after Applegate et al., arXiv 2106.04756, with the certified gap in place of theirs; for
this problem with restarts by schedule see Adcock, Brugiapaglia & Webster, arXiv 2203.13908.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sm3.poly.solvers.condition import largest_eigenvalue
from sm3.poly.solvers.linear_map import LinearMap

Array = NDArray[np.float64]
# Chosen: steps between two looks at the gap, which costs as much as one step.
_LOOK = 50
# Chosen: restart at the average once the gap has fallen to this, or after this share of all steps so far.
_FALL, _SHARE = 0.3, 0.36
# ||A|| is estimated from below, within a percent; the steps must be too short rather than too long.
_SAFETY = 1.03


@dataclass(frozen=True)
class Pair:
    """A primal and a dual point, and what they prove."""

    x: Array  # (N, q)
    y: Array  # (m, q) scaled so that ||y|| <= 1 and ||A_j^T y|| <= lam for all j
    objective: float
    gap: float  # objective - (-<b, y>) >= objective - minimum

    @property
    def relative_gap(self) -> float:
        return self.gap / self.objective if self.objective > 0 else 0.0


def pair(A: LinearMap, b: Array, lam: float, x: Array, y: Array) -> Pair:
    """Objective and certified gap of x with any y, which is shrunk until it is feasible."""
    objective = lam * float(np.linalg.norm(x, axis=1).sum()) + float(np.linalg.norm(A.times(x) - b))
    reach = float(np.linalg.norm(A.transposed_times(y), axis=1).max(initial=0.0))
    feasible = y / max(1.0, reach / lam, float(np.linalg.norm(y)))
    return Pair(x, feasible, objective, objective + float(np.sum(b * feasible)))


def primal_dual(
    A: LinearMap, b: Array, lam: float, *, gap: float, start: Pair | None = None, max_iter: int = 100_000
) -> tuple[Pair, int]:
    """The best pair found and the number of steps; its relative gap is at most `gap` unless max_iter was reached.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> best, steps = primal_dual(DenseMap(np.eye(2)), np.array([[3.0], [1.0]]), 0.8, gap=1e-10)
    >>> best.x.ravel().round(6).tolist(), best.relative_gap <= 1e-10
    ([1.666667, 0.0], True)
    """
    zero = pair(A, b, lam, np.zeros((A.shape[1], b.shape[1])), -b / (np.linalg.norm(b) or 1.0))
    best = zero if start is None else min(zero, pair(A, b, lam, start.x, start.y), key=lambda one: one.gap)
    norm = _SAFETY * np.sqrt(largest_eigenvalue(lambda v: A.times(A.transposed_times(v)), A.shape[0]))
    weight = 1.0 / (float(np.linalg.norm(b)) or 1.0)  # dual over primal step length
    done = 0
    while best.relative_gap > gap and done < max_iter and norm > 0:
        began, steps = best, 0
        x, y, ax = began.x, began.y, A.times(began.x)
        sum_x, sum_y = np.zeros_like(x), np.zeros_like(y)
        while True:
            for _ in range(_LOOK):
                x, y, ax = _step(A, b, lam, x, y, ax, 1 / (norm * weight), weight / norm)
                sum_x += x
                sum_y += y
            steps, done = steps + _LOOK, done + _LOOK
            now = min(pair(A, b, lam, x, y), pair(A, b, lam, sum_x / steps, sum_y / steps), key=lambda one: one.gap)
            if now.gap < best.gap:
                best = now
            if now.gap <= _FALL * began.gap or steps > _SHARE * done or now.relative_gap <= gap or done >= max_iter:
                break
        moved_x, moved_y = np.linalg.norm(now.x - began.x), np.linalg.norm(now.y - began.y)
        if moved_x > 0 and moved_y > 0:
            weight = float(np.sqrt(weight * moved_y / moved_x))
    return best, done


def _step(
    A: LinearMap, b: Array, lam: float, x: Array, y: Array, ax: Array, tau: float, sigma: float
) -> tuple[Array, Array, Array]:
    moved = x - tau * A.transposed_times(y)
    size = np.linalg.norm(moved, axis=1, keepdims=True)
    x = moved * np.maximum(0.0, 1 - tau * lam / np.maximum(size, np.finfo(float).tiny))
    ax_new = A.times(x)
    y = y + sigma * (2 * ax_new - ax - b)
    return x, y / max(1.0, float(np.linalg.norm(y))), ax_new
