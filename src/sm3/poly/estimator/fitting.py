"""From distinct rows to terms and coefficients: every solver on all rows and on the training rows of every fold.

    scale    outputs to mean 0 and variance 1, so that tolerances and joint supports mean the same for all of them
    choose   the solver, and how many terms or which penalty, by what predicts the folds best (solvers/choose.py); the
             model that a fold is judged by was chosen without it
    unscale  coefficients in the units of y, the constant always among the terms

One output, and several that share their terms, are one case here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from sm3.errors import SettingError, explain
from sm3.poly.design.matrix import Design
from sm3.poly.estimator.accuracy import HeldOut
from sm3.poly.estimator.learned import FoldModel, Learned, together
from sm3.poly.estimator.rows import Fold, Rows
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.features import canonical
from sm3.poly.inputs.one_input import Input
from sm3.poly.solvers.candidates import SOLVERS
from sm3.poly.solvers.choose import choose
from sm3.poly.solvers.growing_fit import Rows as Judged
from sm3.poly.solvers.least_squares import least_squares
from sm3.poly.solvers.linear_map import LinearMap, RowsOf
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
SUPPORTS = ("joint", "per_output")
# Numbers in the design matrix up to which BLAS keeps to one thread: steps of a fit take microseconds, and threads that
# wait for each other on a busy machine make them milliseconds (measured: 300 x 2993, four runs on two cores, 30 times).
ONE_THREAD = 4_000_000
# A fold's model does not count in Q2 if the leave-one-out error on its own rows is this many times that of most others
# and of the final model. Measured (f2 of arXiv 2208.09045, d = 16, 200 rows, 20 folds): folds that missed terms all
# others found are at 5.7 to 14 times the final model's, the others at 0.8 to 1.8. Errors below the second are equal.
FAILED, ROUNDING = 4.0, 1e-12
# With fewer rows a fold would be fitted on a single one.
FEWEST = 3


@dataclass(frozen=True)
class Settings:
    """How to fit, checked: one of SOLVERS or "auto"; the penalty of "srlasso", None being the theory's; supports."""

    solver: str
    lam: float | None
    support: str
    whole: bool  # the user named the terms: "ls" takes them all

    @property
    def fixed(self) -> bool:
        """Nothing is chosen, so nothing needs folds."""
        return self.whole and self.solver == "ls"

    @classmethod
    def of(cls, solver: str, lam: float | str, support: str, index_set: Any, degree: int | None) -> Settings:
        """`SettingError` for an argument of the estimator that is not accepted."""
        if solver not in (*SOLVERS, "auto"):
            raise _unknown("solver", solver, ("auto", *SOLVERS), 'leave it at "auto"')
        if support not in SUPPORTS:
            raise _unknown("support", support, SUPPORTS, '"joint" gives all outputs the same terms')
        number = isinstance(lam, int | float | np.number) and not isinstance(lam, bool) and 0 < lam < np.inf
        if not number and lam != "theory":
            raise _unknown("lam", lam, ("theory", "a finite number > 0"), 'leave it at "theory"')
        whole = degree is not None or isinstance(index_set, IndexSet)
        return cls(solver, float(lam) if number else None, support, whole)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Scaled data: rows of A and y carry sqrt(weight / sum of weights), outputs have mean 0 and variance 1."""

    terms: IndexSet
    A: LinearMap
    y: Array  # (m, q)
    u: Array  # (N,)
    root: Array  # (m,) the row scale
    mean: Array  # (q,)
    spread: Array  # (q,) standard deviations; 1 where an output does not vary
    settings: Settings

    @classmethod
    def of(cls, rows: Rows, inputs: Sequence[Input], terms: IndexSet, settings: Settings) -> _Problem:
        bases = [one.basis for one in inputs]
        root = rows.row_scale()
        mean = np.where(np.ptp(rows.y, axis=0) > 0, np.square(root) @ rows.y, rows.y[0])
        centred = rows.y - mean
        spread = np.sqrt(np.square(root) @ np.square(centred))
        spread = np.where(spread > 0, spread, 1.0)
        design = Design(bases, terms, canonical(inputs, rows.x), row_scale=root)
        y = np.asfortranarray(centred / spread * root[:, None])
        return cls(terms, design, y, terms.weights(bases), root, mean, spread, settings)

    def model(self, solution: Solution, rows: Ints) -> tuple[Ints, Array]:
        """Support with the constant first, and coefficients (k, q) in the units of y, of a solution on these rows.

        The constant takes up what is left of the mean: a penalised one is too small, and a greedy one may be missing.
        """
        kept = solution.support > 0
        support = np.concatenate([[0], solution.support[kept]]).astype(np.int64)
        coef = np.zeros((len(support), self.y.shape[1]))
        coef[1:] = solution.coef[kept]
        left = self.y[rows] - np.take(self.A.columns(support), rows, axis=0) @ coef
        coef[0] = self.root[rows] @ left / np.square(self.root[rows]).sum()
        coef *= self.spread
        coef[0] += self.mean
        return support, coef

    def polynomial(self, solution: Solution, rows: Ints) -> tuple[IndexSet, Array]:
        """`model` with the terms themselves."""
        support, coef = self.model(solution, rows)
        return self.terms.take(support), coef


def learn(
    rows: Rows,
    folds: Sequence[Fold],
    inputs: Sequence[Input],
    terms: IndexSet,
    settings: Settings,
    site: Ints | None = None,
) -> Learned:
    """Terms, coefficients and held-out predictions from distinct rows, folds and candidate terms.

    Fewer than two folds are enough only where nothing is chosen: for a constant, or terms that the user has named. With
    named terms and no folds, held out are the sites (m,), one at a time: default every row.
    """
    outputs = rows.y.shape[1]
    small = len(rows) * len(terms) <= ONE_THREAD
    with threadpool_limits(1 if small else None, user_api="blas"):
        if settings.support == "joint" or outputs == 1:
            return _learn_jointly(rows, folds, inputs, terms, settings, site).judged_by_its_like()
        alone = [
            _learn_jointly(Rows(rows.x, rows.y[:, [k]], rows.weight), folds, inputs, terms, settings, site)
            for k in range(outputs)
        ]
        return together(alone, terms).judged_by_its_like()


def _learn_jointly(
    rows: Rows,
    folds: Sequence[Fold],
    inputs: Sequence[Input],
    terms: IndexSet,
    settings: Settings,
    site: Ints | None,
) -> Learned:
    problem = _Problem.of(rows, inputs, terms, settings)
    everything = np.arange(len(rows))
    if settings.fixed:
        found = _whole(problem, folds, site)
    elif not np.ptp(rows.y, axis=0).any() or len(terms) == 1 or len(folds) < 2 or len(rows) < FEWEST:
        found = _constant(problem, folds)
    else:
        found = _chosen(problem, folds)
    index_set, coef = problem.polynomial(found.solution, everything)
    pairs = list(zip(folds, found.fold_solutions, strict=True))
    own = np.array([_own_error(problem, solution, fold.train) for fold, solution in pairs])
    counts = counting(_own_error(problem, found.solution, everything), own)
    models = [
        FoldModel(fold.test, *problem.polynomial(solution, fold.train), counts=one)
        for (fold, solution), one in zip(pairs, counts, strict=True)
    ]
    solution = found.solution
    return Learned(
        index_set=index_set,
        coef=coef,
        solver=solution.solver,
        loo=None if solution.loo is None else solution.loo / rows.y.shape[1],
        cond=solution.cond,
        gap=solution.gap,
        n_iter=solution.n_iter,
        path=solution.path,
        candidates=[_plain(candidate) for candidate in found.candidates],
        held_out=_held_out(problem, rows, models) if folds else _left_out(problem, rows, solution),
        fold_models=tuple(models) if _is_partition(folds, len(rows)) else (),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Of all rows, and of each fold in turn without its rows."""

    solution: Solution
    fold_solutions: list[Solution]
    candidates: list[dict[str, object]]


def _chosen(problem: _Problem, folds: Sequence[Fold]) -> _Found:
    """The best solver and the best of its fits, by the folds."""
    settings = problem.settings
    choice = choose(
        problem.A,
        problem.y,
        problem.u,
        problem.terms,
        [Judged(fold.train, fold.test) for fold in folds],
        solvers=SOLVERS if settings.solver == "auto" else (settings.solver,),
        lam=settings.lam,
        row_scale=problem.root,
    )
    return _Found(choice.solution, choice.fold_solutions, choice.candidates)


def _whole(problem: _Problem, folds: Sequence[Fold], site: Ints | None) -> _Found:
    """Least squares on all terms, which the user has named."""
    alone = [least_squares(RowsOf(problem.A, fold.train), problem.y[fold.train], loo=False) for fold in folds]
    return _Found(least_squares(problem.A, problem.y, site=site), alone, [])


def _constant(problem: _Problem, folds: Sequence[Fold]) -> _Found:
    """Nothing varies, or nothing can be told: the mean of y, which `_Problem.model` puts in."""
    nothing = Solution(
        support=np.zeros(0, dtype=np.int64),
        coef=np.zeros((0, problem.y.shape[1])),
        residual=np.where(np.abs(problem.y).max(axis=0) > 0, 1.0, 0.0),
        loo=None,
        cond=1.0,
        gap=None,
        n_iter=0,
        solver=SOLVERS[0] if problem.settings.solver == "auto" else problem.settings.solver,
    )
    return _Found(nothing, [nothing] * len(folds), [])


def counting(final: float, of_folds: Array) -> list[bool]:
    """Which folds' models tell of the final one, from the leave-one-out error of each on its own rows; see FAILED.

    A search for terms can fail for want of a few rows. A fold where it did shows that on the rows it was fitted to, so
    that one need not look at those it was kept from: what Q2 is made of stays unseen. Where the final model does as
    badly, or most folds do, all count. A fold without the one row that no model can predict counts too: on its own rows
    it does better, not worse. So does a fold whose error is not known.

    >>> counting(1.0, np.array([1.2, 9.0, 0.2, 1.1, np.nan]))
    [True, False, True, True, True]
    >>> counting(9.0, np.array([1.2, 9.0, 1.1])), counting(1.0, np.array([8.0, 9.0, 1.1]))
    ([True, True, True], [True, True, True])
    """
    known = of_folds[np.isfinite(of_folds)]
    if not np.isfinite(final) or not len(known):
        return [True] * len(of_folds)
    limit = FAILED * max(final, float(np.median(known)), ROUNDING)
    return [not limit < one < np.inf for one in of_folds.tolist()]


def _own_error(problem: _Problem, solution: Solution, rows: Ints) -> float:
    """Root mean square leave-one-out error on the rows it was fitted to; nan if not known."""
    share = float(np.square(problem.root[rows]).sum())
    return np.nan if solution.loo is None else float(np.sqrt(solution.loo / share))


def _held_out(problem: _Problem, rows: Rows, models: Sequence[FoldModel]) -> HeldOut:
    """Residuals of each fold's rows under the model that has not seen them, in the units of y."""
    held = HeldOut(rows.weight, rows.y, rows.y).none()
    for model in models:
        columns = problem.A.columns(problem.terms.find(model.index_set))
        values = np.take(columns, model.rows, axis=0) / problem.root[model.rows, None]
        y = rows.y[model.rows]
        held = held.joined(HeldOut(rows.weight[model.rows], y, y - values @ model.coef))
    return held


def _left_out(problem: _Problem, rows: Rows, solution: Solution) -> HeldOut:
    """Residuals of each site under the fit without it, in the units of y: exact where no term was chosen by the rows.

    None where a fit without a site is not determined.
    """
    if solution.left_out is None or not np.isfinite(solution.left_out).all():
        return HeldOut(rows.weight, rows.y, rows.y).none()
    return HeldOut(rows.weight, rows.y, solution.left_out * problem.spread / problem.root[:, None])


def _is_partition(folds: Sequence[Fold], rows: int) -> bool:
    """Whether every row is judged exactly once."""
    judged = np.concatenate([fold.test for fold in folds]) if folds else np.empty(0, dtype=np.int64)
    return bool(len(judged) == rows and len(np.unique(judged)) == rows)


def _plain(candidate: dict[str, object]) -> dict[str, Any]:
    """With lists in place of arrays."""
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in candidate.items()}


def _unknown(name: str, got: object, accepted: Sequence[str], do: str) -> SettingError:
    return SettingError(
        explain(f"{name} has an unknown value.", got=f"{got!r}"[:80], accepted=", ".join(map(str, accepted)), do=do)
    )
