"""The solver, and its number of terms or penalty, that predicts held-out rows best; and an honest error of the choice.

Everything is chosen by one K-fold: each solver's fits of rising complexity are judged on the rows of the fold they
have not seen (candidates.py), and the pair of least error over all folds wins. The least of several errors flatters,
so the error that is reported for a fold comes from the pair that is best on the *other* folds: its rows have no part in
fitting what predicts them, and their errors none in choosing it. Selection by cross-validation is close to the best
solver on benchmarks of sparse expansions (Luethen, Marelli & Sudret, arXiv 2009.04800).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.candidates import BUDGET, PER_ROW, SOLVERS, Problem, Tried, run
from sm3.poly.solvers.growing_fit import Rows
from sm3.poly.solvers.linear_map import LinearMap, targets, weights
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what is known about it."""

    solution: Solution  # on all rows
    fold_solutions: list[Solution]  # per fold, fitted without its rows, chosen without its errors
    residual: list[Array]  # per fold (n, q) y - prediction of its rows by that solution, in the scale of the rows
    q2: Array  # (q,) 1 - squares of these residuals / squares of y about its mean; nan where y does not vary
    candidates: list[dict[str, object]]  # per solver: its name, honest q2 (q,), number of terms; or why it is left out


def choose(
    A: LinearMap,
    y: ArrayLike,
    u: ArrayLike,
    index_set: IndexSet,
    folds: Sequence[Rows],
    *,
    solvers: Sequence[str] = SOLVERS,
    lam: float | None = None,
    row_scale: ArrayLike | None = None,
    budget: float = BUDGET,
) -> Choice:
    """Fit every solver on all rows and on the folds, and keep what predicts best.

    A: (m, N), the functions of `index_set`. y: (m, q). u: (N,) weights. folds: two or more, the rows that fit and those
    that judge. solvers: of "ls", "als", "omp", "srlasso"; with one name only its number of terms, or lam, is chosen.
    lam: the only penalty for "srlasso" to try; default: a range above the theory's. row_scale: (m,) the factor that
    the rows of A and y carry, for the mean in `q2`; default 1. budget: multiplications each solver may take, about
    2e9 a second: numbers of terms are held to it, and of several solvers one that needs more is left out and named.
    Raises `SettingError` for unknown solvers, less than two folds, or where no solver is left.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.design.matrix import Design
    >>> from sm3.poly.index_sets.families import hyperbolic_cross
    >>> rng = np.random.default_rng(0)
    >>> points, index_set = rng.uniform(-1, 1, (100, 3)), hyperbolic_cross(3, 12)
    >>> bases, scale = [Legendre()] * 3, np.full(100, 0.1)
    >>> A = Design(bases, index_set, points, row_scale=scale)
    >>> y = 0.1 * np.exp(points.sum(axis=1, keepdims=True) / 3)
    >>> choice = choose(A, y, index_set.weights(bases), index_set, k_fold(100, 5, rng), row_scale=scale)
    >>> choice.solution.solver, bool(choice.q2[0] > 0.999999)
    ('ls', True)
    """
    values, weight = targets(A, y), weights(A, u)
    if len(folds) < 2 or not solvers or set(solvers) - set(SOLVERS):
        raise SettingError(
            explain(
                "these solvers and folds are not accepted.",
                got=f"solvers={list(solvers)}, {len(folds)} folds",
                accepted=f"some of {SOLVERS}, two folds or more",
                do="leave solvers out, and pass k_fold(m, 5, rng)",
            )
        )
    row_sets = [Rows.all(len(values)), *folds]
    problem = Problem(A, values, weight, index_set, row_sets, lam, budget, alone=len(solvers) == 1)
    outcome = {name: run(name, problem) for name in solvers}
    scores = {name: _Score(found, values, folds) for name, found in outcome.items() if not isinstance(found, str)}
    if not scores:
        raise SettingError(
            explain(
                "no solver can be used here.",
                got="; ".join(f"{name}: {reason}" for name, reason in outcome.items()),
                accepted="a problem that one of them can do within the budget",
                do="raise budget, or pass a smaller index set",
            )
        )
    root = np.ones(len(values)) if row_scale is None else np.asarray(row_scale, dtype=np.float64)
    name, which = _best(scores, None)
    chosen = [_best(scores, k) for k in range(len(folds))]
    residual = [scores[other].residual(problem, k, i) for k, (other, i) in enumerate(chosen)]
    return Choice(
        solution=scores[name].whole.solution(which),
        fold_solutions=[scores[other].fold_solution(k, i) for k, (other, i) in enumerate(chosen)],
        residual=residual,
        q2=_q2(values, residual, folds, root),
        candidates=[_report(one, found, scores, name, problem, root) for one, found in outcome.items()],
    )


def _report(
    solver: str,
    found: list[Tried] | str,
    scores: dict[str, _Score],
    winner: str,
    problem: Problem,
    root: Array,
) -> dict[str, object]:
    """What one solver reached alone, its own terms or penalty chosen by the other folds; or why it is left out."""
    if isinstance(found, str):
        return {"solver": solver, "left_out": found}
    score, folds = scores[solver], problem.row_sets[1:]
    held = [score.residual(problem, k, score.best(k)[1]) for k in range(len(folds))]
    return {
        "solver": solver,
        "q2": _q2(problem.y, held, folds, root),
        "terms": len(score.whole.solution(score.best(None)[1]).support),
        "chosen": solver == winner,
    }


def k_fold(m: int, count: int, rng: np.random.Generator) -> list[Rows]:
    """m rows in `count` random folds of equal size; each judges once, the others then fit.

    >>> [len(fold.judge) for fold in k_fold(10, 3, np.random.default_rng(0))]
    [4, 3, 3]
    """
    parts = np.array_split(rng.permutation(m), count)
    return [Rows(np.sort(np.concatenate(parts[:k] + parts[k + 1 :])), np.sort(part)) for k, part in enumerate(parts)]


class _Score:
    """Held-out errors of one solver's fits, those of the folds matched to those on all rows."""

    def __init__(self, tried: list[Tried], y: Array, folds: Sequence[Rows]) -> None:
        self.whole, self.folds = tried[0], tried[1:]
        scale = np.square(y).sum(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        share = [len(rows.fit) / len(y) for rows in folds]
        self.match = [_match(self.whole, fold, part) for fold, part in zip(self.folds, share, strict=True)]
        # (n, K) per fit on all rows and fold, outputs weighing alike
        self.error = np.stack(
            [(fold.errors[match] / scale).sum(axis=1) for fold, match in zip(self.folds, self.match, strict=True)],
            axis=1,
        )

    def best(self, without: int | None) -> tuple[float, int]:
        """The least total error over all folds but one, and its fit; the largest of equal ones.

        Fits that are larger than any of a fold are matched to its largest and tie with each other: where the error
        still fell there, the largest is the guess that it goes on falling.
        """
        total = self.error.sum(axis=1) if without is None else np.delete(self.error, without, axis=1).sum(axis=1)
        total = np.where(np.isfinite(total), total, np.inf)
        at = len(total) - 1 - int(total[::-1].argmin())
        return float(total[at]), at

    def fold_solution(self, fold: int, which: int) -> Solution:
        return self.folds[fold].solution(int(self.match[fold][which]))

    def residual(self, problem: Problem, fold: int, which: int) -> Array:
        """(n, q) y - prediction on the rows that judge."""
        solution, judge = self.fold_solution(fold, which), problem.row_sets[fold + 1].judge
        columns = np.take(problem.A.columns(solution.support), judge, axis=0)
        return np.asarray(problem.y[judge] - columns @ solution.coef)


def _best(scores: dict[str, _Score], without: int | None) -> tuple[str, int]:
    """The solver and its fit of least error over all folds but one; the earlier solver where two are equal."""
    found = {name: score.best(without) for name, score in scores.items()}
    name = min(found, key=lambda one: found[one][0])
    return name, found[name][1]


def _match(whole: Tried, fold: Tried, share: float) -> NDArray[np.int64]:
    """For each fit on all rows the one of the fold that is as large, or the next smaller; else its smallest.

    Where terms are chosen one by one, as large means as many per row: a fold with 0.8 of the rows can tell 0.8 of the
    terms from noise.
    """
    match = np.zeros(len(whole.size), dtype=np.int64)
    for family in set(whole.family):
        ours = np.array([one == family for one in whole.family])
        theirs = np.flatnonzero([one == family for one in fold.family])
        wanted = whole.size[ours] * (share if family in PER_ROW else 1.0)
        place = np.searchsorted(fold.size[theirs], wanted * (1 + 1e-12), side="right") - 1
        match[ours] = theirs[np.maximum(place, 0)]
    return match


def _q2(y: Array, residual: list[Array], folds: Sequence[Rows], root: Array) -> Array:
    """1 - squares of held-out residuals / squares of the same y about its mean over all rows, (q,)."""
    centred = y - np.outer(root, root @ y / np.square(root).sum())
    judged = np.concatenate([fold.judge for fold in folds])
    spread = np.square(centred[judged]).sum(axis=0)
    missed = sum(np.square(part).sum(axis=0) for part in residual)
    # A sum of roundings about a mean is no spread.
    varies = spread > 1e-24 * np.square(y).sum(axis=0)
    return np.where(varies, 1 - missed / np.where(varies, spread, 1.0), np.nan)
