"""Each solver as a list of fits of rising complexity, on several sets of rows: what `choose` chooses from.

    ls       all functions up to each total degree; all up to each hyperbolic cross
    als      the steps of a lower set that grows
    omp      the passes of a matching pursuit
    srlasso  values of lam from 8 down to 1 times that of the theory, and least squares on their supports, which undoes
             the shrinking: noise asks for larger lam than the theory's constant, and then shrinks too much

How many terms, or which lam, is one number with few values, so it is chosen together with the solver, on the same held
out rows. Work is counted before it is done, in multiplications: a solver that would take much longer than `budget` is
left out and says so. The rates were measured on one core (2e9 a second).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.adaptive import MOST_TERMS, grow
from sm3.poly.solvers.by_order import by_order, cross_orders, total_degrees
from sm3.poly.solvers.growing_fit import GrowingFit, Rows
from sm3.poly.solvers.linear_map import LinearMap, RowsOf
from sm3.poly.solvers.omp import pursue
from sm3.poly.solvers.solution import Solution, relative_residual
from sm3.poly.solvers.srlasso import srlasso_path, theory_lam
from sm3.poly.solvers.updated_qr import UpdatedQR

Array = NDArray[np.float64]
SOLVERS = ("ls", "als", "omp", "srlasso")
# Families whose size is a number of terms chosen one by one, which grows with the number of rows.
PER_ROW = ("als", "omp")
# Chosen: about a minute of one core.
BUDGET = 1e11
# Measured (f1 to f3 of arXiv 2208.09045 with 0, 1 and 10 % noise): the best lam is 1 to 3 times the theory's.
_LAM_FACTORS = (8.0, 5.7, 4.0, 2.8, 2.0, 1.4, 1.0)
# Growth of a matching pursuit where one function a pass is too slow: 1500 terms in about 40 passes.
_GROWTH = 0.2
# Measured: events of the LASSO path per sample.
_EVENTS = 2.5
# Chosen: what is asked of several outputs with one support, for each lam.
_JOINT_GAP, _JOINT_STEPS = 1e-5, 5000


@dataclass(frozen=True)
class Tried:
    """One solver on one set of rows: fits of several families, each with a size that says which belongs to which."""

    family: list[str]  # (n,) only fits of the same family are compared between sets of rows
    size: Array  # (n,) rising within a family: number of terms, or 1 / lam
    errors: Array  # (n, q) squared error on the rows that judge
    solution: Callable[[int], Solution]


@dataclass(frozen=True)
class Problem:
    """What the solvers share. Rows of A (m, N) and y (m, q) carry the same factor; u (N,) weights."""

    A: LinearMap
    y: Array
    u: Array
    index_set: IndexSet
    row_sets: Sequence[Rows]
    lam: float | None  # given: the only one tried
    budget: float
    alone: bool  # a solver that nothing can stand in for is used whatever it takes

    @property
    def most_terms(self) -> int:
        """Terms whose orthogonalisation, 2 m k^2 on each set of rows, the budget allows; at most 0.6 m."""
        m = len(self.y)
        afforded = np.sqrt(self.budget / (2 * m * len(self.row_sets)))
        return max(1, int(min(MOST_TERMS * m, afforded)))


def run(solver: str, problem: Problem) -> list[Tried] | str:
    """The solver on every set of rows, or why it is left out."""
    return {"ls": _ls, "als": _als, "omp": _omp, "srlasso": _srlasso}[solver](problem)


def _ls(problem: Problem) -> list[Tried] | str:
    orders = {"degree": total_degrees(problem.index_set), "cross": cross_orders(problem.index_set)}
    most = problem.most_terms
    fits = {
        family: by_order(problem.A, problem.y, order, problem.row_sets, max_terms=most)
        for family, order in orders.items()
    }
    return [_of_fits({family: fits[family][i] for family in fits}, "ls") for i in range(len(problem.row_sets))]


def _als(problem: Problem) -> list[Tried] | str:
    if not problem.index_set.is_lower():
        return "the index set is not lower"
    grown = grow(problem.A, problem.y, problem.index_set, problem.row_sets, max_terms=problem.most_terms)
    return [_of_fits({"als": growth.fit}, "als") for growth in grown]


def _omp(problem: Problem) -> list[Tried] | str:
    m, n = problem.A.shape
    # The product for several sets of rows costs about twice that for one.
    growth = 0.0 if 2.0 * problem.most_terms * m * n <= problem.budget else _GROWTH
    if growth and 80.0 * m * n > problem.budget and not problem.alone:
        return f"40 products with a matrix of {m} x {n} are too slow"
    pursuits = pursue(problem.A, problem.y, problem.u, problem.row_sets, max_terms=problem.most_terms, growth=growth)
    return [_of_fits({"omp": pursuit.fit}, "omp") for pursuit in pursuits]


def _srlasso(problem: Problem) -> list[Tried] | str:
    m, q = problem.y.shape
    # Events each touch some 3 m columns' worth of numbers; steps, of which a lam takes a part, a set of 2 m twice.
    work = _EVENTS * 3.0 * m**3 if q == 1 else len(_LAM_FACTORS) * _JOINT_STEPS / 5 * 4.0 * m * m * q
    if work * len(problem.row_sets) > problem.budget and not problem.alone:
        return f"{m} samples and {q} outputs are too many"
    return [_lasso_on(problem, rows) for rows in problem.row_sets]


def _lasso_on(problem: Problem, rows: Rows) -> Tried:
    # The same lam for a part of the rows: their sums are smaller by what lam ~ 1 / sqrt(m) makes larger.
    theory = theory_lam(len(problem.y))
    lams = [problem.lam] if problem.lam else [factor * theory for factor in _LAM_FACTORS]
    part, y = RowsOf(problem.A, rows.fit), problem.y[rows.fit]
    # Several outputs take steps, not a path: what they predict is settled long before the certificate is.
    if y.shape[1] == 1:
        solutions = srlasso_path(part, y, problem.u, lams)
    else:
        solutions = srlasso_path(part, y, problem.u, lams, gap=_JOINT_GAP, max_iter=_JOINT_STEPS)
    family, size = ["lasso"] * len(lams), [1 / lam for lam in lams]
    if problem.lam is None:
        for lam, solution in zip(lams, list(solutions), strict=True):
            solutions.append(_refitted(part, y, solution))
            family.append("support")
            size.append(1 / lam)
    errors = []
    for solution in solutions:
        columns = np.take(problem.A.columns(solution.support), rows.judge, axis=0)
        errors.append(np.square(problem.y[rows.judge] - columns @ solution.coef).sum(axis=0))
    return Tried(family, np.array(size), np.array(errors), lambda i: solutions[i])


def _refitted(A: LinearMap, y: Array, solution: Solution) -> Solution:
    """Least squares on the support, where that is determined well enough to be worth it."""
    if not 0 < len(solution.support) <= MOST_TERMS * len(y):
        return solution
    qr = UpdatedQR(y, len(solution.support))
    kept = qr.append(A.columns(solution.support))
    return Solution(
        support=solution.support[kept],
        coef=qr.solve(),
        residual=relative_residual(qr.residual, y),
        loo=float(qr.loo().sum()),
        cond=qr.condition(),
        gap=None,  # the certificate belongs to the shrunk coefficients
        n_iter=solution.n_iter,
        solver="srlasso",
        path=solution.path,
    )


def _of_fits(fits: dict[str, GrowingFit], solver: str) -> Tried:
    """Steps of fits of several families as one list."""
    steps = [(family, step) for family, fit in fits.items() for step in range(len(fit.path))]
    return Tried(
        family=[family for family, _ in steps],
        size=np.array([fits[family].path[step]["terms"] for family, step in steps]),
        errors=np.concatenate([fit.judged_errors() for fit in fits.values()]),
        solution=cache(lambda i: fits[steps[i][0]].solution(steps[i][1], solver, steps[i][1])),
    )
