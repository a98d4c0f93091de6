"""Weighted square-root LASSO: min lam ||z||_{1,u} + ||A z - y||, with a certificate.

The best lam does not depend on how much noise there is, which is its point. With columns A_j / u_j it is an ordinary
square-root LASSO, one point on the path of LASSO solutions: one output is solved exactly by walking that path
(lasso_path.py), several outputs with one support by restarted primal-dual steps (primal_dual.py) on a working set that
grows by the columns found to violate |A_j^T r| <= lam u_j ||r||. Both give the optimum over all columns.

Dividing by u first is also what makes primal-dual steps fast here: ||A|| falls from 13.8 to 1.4 on the hyperbolic cross
of 8391 functions and 316 samples, and the number of steps in proportion.

Data without noise are often interpolated at the optimum, where ||A z - y|| is not smooth. The path ends there, and the
dual vector that proves it is the limit of r / (mu / lam).

Sources: Belloni, Chernozhukov & Wang, Biometrika 98 (2011); Adcock, Bao & Brugiapaglia, Numer. Math. 142 (2019);
Adcock & Brugiapaglia, arXiv 2208.09045 (lam = 1 / (5 sqrt(m))); several outputs as values in a Hilbert space: Adcock,
Brugiapaglia, Dexter & Moraga, arXiv 2203.13908.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.solvers.condition import condition
from sm3.poly.solvers.joint_support import JointSupport, rotated
from sm3.poly.solvers.lasso_path import LassoPath, PathStuckError
from sm3.poly.solvers.linear_map import LinearMap, targets, weights
from sm3.poly.solvers.solution import Solution, relative_residual

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Support = Literal["joint", "per_output"]


def theory_lam(m: int) -> float:
    """1 / (5 sqrt(m)), the value of the experiments of arXiv 2208.09045 for m samples, whatever the noise.

    >>> theory_lam(400)
    0.01
    """
    return float(1 / (5 * np.sqrt(max(m, 1))))


def srlasso(
    A: LinearMap,
    y: ArrayLike,
    u: ArrayLike,
    lam: float | None = None,
    *,
    support: Support = "joint",
    gap: float = 1e-8,
    max_iter: int = 100_000,
) -> Solution:
    """min lam sum_j u_j ||z_j|| + ||A z - y||, and how far at most the result is from the least possible value.

    A: (m, N). y: (m, q). u: (N,) weights > 0, as `index_set.weights(bases)`. lam: default 1 / (5 sqrt(m)).
    support: "joint" takes the norms over all outputs, so that they share one support (bring them to one scale first);
    "per_output" solves each alone. gap: wanted relative duality gap. A single output is solved to rounding whatever
    `gap` says; several to `gap`, or to what max_iter primal-dual steps reach: `Solution.gap` tells.
    Raises `SettingError` for settings out of range, `InputError` where y does not fit or is not finite.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> rng = np.random.default_rng(0)
    >>> A = DenseMap(rng.standard_normal((60, 200)) / 60**0.5)
    >>> solution = srlasso(A, 3 * A.columns([7]) - 2 * A.columns([90]), np.ones(200))
    >>> solution.support.tolist(), solution.coef.ravel().round(9).tolist(), solution.gap < 1e-9
    ([7, 90], [3.0, -2.0], True)
    """
    lam = theory_lam(A.shape[0]) if lam is None else lam
    return srlasso_path(A, y, u, [lam], support=support, gap=gap, max_iter=max_iter)[0]


def srlasso_path(
    A: LinearMap,
    y: ArrayLike,
    u: ArrayLike,
    lams: Sequence[float],
    *,
    support: Support = "joint",
    gap: float = 1e-8,
    max_iter: int = 100_000,
) -> list[Solution]:
    """`srlasso` for several values of lam, in the order given: on one path, for the price of the smallest."""
    values, weight = targets(A, y), weights(A, u)
    if not all(0 < lam < np.inf for lam in lams) or not 0 < gap < 1 or max_iter < 1 or support not in _SUPPORTS:
        raise SettingError(
            explain(
                "a setting of srlasso is not accepted.",
                got=f"lam={list(lams)}, gap={gap}, max_iter={max_iter}, support={support!r}",
                accepted=f"lam > 0, 0 < gap < 1, max_iter >= 1, support one of {_SUPPORTS}",
                do="leave them out",
            )
        )
    if support == "per_output" and values.shape[1] > 1:
        alone = [
            srlasso_path(A, values[:, [k]], weight, lams, gap=gap, max_iter=max_iter) for k in range(values.shape[1])
        ]
        return [_together(A, values, parts) for parts in zip(*alone, strict=True)]
    falling = np.argsort([-lam for lam in lams], kind="stable")
    found = _solve(A, values, weight, [float(lams[i]) for i in falling], gap, max_iter)
    return [found[i] for i in np.argsort(falling)]


_SUPPORTS = ("joint", "per_output")


def _solve(A: LinearMap, y: Array, u: Array, lams: list[float], gap: float, max_iter: int) -> list[Solution]:
    """For falling values of lam."""
    reduced, turn = rotated(y)
    try:
        if reduced.shape[1] == 1:
            return _exact(A, y, u, lams, reduced[:, 0], turn)
    except PathStuckError:
        pass  # columns that tie exactly; primal-dual steps do not mind
    joint = JointSupport(A, reduced, u, gap=gap, max_iter=max_iter)
    found = []
    for lam in lams:
        x, reached = joint.advance(lam)
        used = np.flatnonzero(np.linalg.norm(x, axis=1))
        support = joint.working[used]
        coef = (x[used] / u[support, None]) @ turn
        found.append(_solution(A, y, support, coef, reached, joint.iterations))
    return found


def _exact(A: LinearMap, y: Array, u: Array, lams: list[float], b: Array, turn: Array) -> list[Solution]:
    """One output, or several that are multiples of one."""
    path = LassoPath(A, b, u)
    steps, found = [], []
    for lam in lams:
        path.advance(lam)
        steps.append({"lam": lam, "mu": path.mu, "terms": float(len(path.active)), "events": float(path.events)})
        active = np.array(path.active, dtype=np.int64)
        scaled = A.columns(active) / u[active]
        candidates = [path.values()] + ([path.end_values()] if path.interpolates else [])
        objectives = [lam * float(np.abs(x).sum()) + float(np.linalg.norm(b - scaled @ x)) for x in candidates]
        best = int(np.argmin(objectives))
        reached = 1 - path.least_objective(lam) / objectives[best] if objectives[best] else 0.0
        # What is below the rounding of the largest coefficient came in by rounding.
        used = np.abs(candidates[best]) > np.finfo(float).eps * np.abs(candidates[best]).max(initial=0.0)
        active, values = active[used], candidates[best][used]
        cond = condition(path.qr.triangle * u[path.active])
        ascending = np.argsort(active)
        coef = (values / u[active])[ascending, None] @ turn
        found.append(_solution(A, y, active[ascending], coef, max(reached, 0.0), path.events, steps, cond))
    return found


def _solution(
    A: LinearMap,
    y: Array,
    support: Ints,
    coef: Array,
    gap: float,
    n_iter: int,
    path: list[dict[str, float]] | None = None,
    cond: float | None = None,
) -> Solution:
    columns = A.columns(support)
    if cond is None:
        triangle = np.asarray(np.linalg.qr(columns, mode="r"))
        cond = condition(triangle) if columns.shape[1] <= len(y) else float("inf")
    residual = relative_residual(y - columns @ coef, y)
    return Solution(support, coef, residual, None, cond, gap, n_iter, "srlasso", list(path or []))


def _together(A: LinearMap, y: Array, parts: tuple[Solution, ...]) -> Solution:
    """Solutions of single outputs as one, on the union of their supports; the gap is the largest of them."""
    support = np.unique(np.concatenate([part.support for part in parts]))
    coef = np.zeros((len(support), len(parts)))
    for k, part in enumerate(parts):
        coef[np.searchsorted(support, part.support), k] = part.coef[:, 0]
    gap = max(part.gap or 0.0 for part in parts)
    return _solution(A, y, support, coef, gap, sum(part.n_iter for part in parts))
