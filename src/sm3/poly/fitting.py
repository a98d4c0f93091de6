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
from sm3.poly.accuracy import HeldOut
from sm3.poly.design import Design
from sm3.poly.features import canonical
from sm3.poly.inputs import Input
from sm3.poly.multi_index import IndexSet
from sm3.poly.rows import Fold, Rows, random_folds
from sm3.poly.solvers.candidates import SOLVERS
from sm3.poly.solvers.choose import choose
from sm3.poly.solvers.growing_fit import Rows as Judged
from sm3.poly.solvers.least_squares import least_squares
from sm3.poly.solvers.linear_map import LinearMap, RowsOf
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
SUPPORTS = ("joint", "per_output")
# Folds that decide where the user asks for no validation. Chosen: a fit is then repeated less often.
SELECTION_FOLDS = 3
# Numbers in the design matrix up to which BLAS keeps to one thread: steps of a fit take microseconds, and threads that
# wait for each other on a busy machine make them milliseconds (measured: 300 x 2993, four runs on two cores, 30 times).
ONE_THREAD = 4_000_000
# With fewer rows a fold would be fitted on a single one.
FEWEST = 3


@dataclass(frozen=True)
class Settings:
    """How to fit, checked: one of SOLVERS or "auto"; the penalty of "srlasso", None being the theory's; supports."""

    solver: str
    lam: float | None
    support: str
    whole: bool  # the user named the terms: "ls" takes them all

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
class FoldModel:
    """A model fitted without the rows of one fold, in the units of y."""

    rows: Ints  # positions of the rows it has not seen
    index_set: IndexSet
    coef: Array  # (k, q)


@dataclass(frozen=True, eq=False)
class Learned:
    """What a fit found. `index_set` has the constant first; `loo` is in units of the variance."""

    index_set: IndexSet
    coef: Array  # (k, q)
    solver: str
    loo: float | None
    cond: float
    gap: float | None
    n_iter: int
    path: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    held_out: HeldOut
    fold_models: tuple[FoldModel, ...]


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


def learn(rows: Rows, folds: Sequence[Fold], inputs: Sequence[Input], terms: IndexSet, settings: Settings) -> Learned:
    """Terms, coefficients and held-out predictions from distinct rows, folds (possibly none) and candidate terms."""
    outputs = rows.y.shape[1]
    small = len(rows) * len(terms) <= ONE_THREAD
    with threadpool_limits(1 if small else None, user_api="blas"):
        if settings.support == "joint" or outputs == 1:
            return _learn_jointly(rows, folds, inputs, terms, settings)
        alone = [
            _learn_jointly(Rows(rows.x, rows.y[:, [k]], rows.weight), folds, inputs, terms, settings)
            for k in range(outputs)
        ]
        return _together(alone, terms)


def _learn_jointly(
    rows: Rows, folds: Sequence[Fold], inputs: Sequence[Input], terms: IndexSet, settings: Settings
) -> Learned:
    problem = _Problem.of(rows, inputs, terms, settings)
    everything = np.arange(len(rows))
    if not np.ptp(rows.y, axis=0).any() or len(terms) == 1 or len(rows) < FEWEST:
        found = _constant(problem, folds)
    elif settings.whole and settings.solver == "ls":
        found = _whole(problem, folds)
    else:
        found = _chosen(problem, rows, folds)
    index_set, coef = problem.polynomial(found.solution, everything)
    models = [
        FoldModel(fold.test, *problem.polynomial(solution, fold.train))
        for fold, solution in zip(folds, found.fold_solutions, strict=True)
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
        held_out=_held_out(problem, rows, models),
        fold_models=tuple(models) if _is_partition(folds, len(rows)) else (),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Of all rows, and of each fold in turn without its rows."""

    solution: Solution
    fold_solutions: list[Solution]
    candidates: list[dict[str, object]]


def _chosen(problem: _Problem, rows: Rows, folds: Sequence[Fold]) -> _Found:
    """The best solver and the best of its fits, by the folds; where there are none, by some that are not reported."""
    settings = problem.settings
    used = folds or random_folds(rows, SELECTION_FOLDS, np.random.default_rng(0))
    choice = choose(
        problem.A,
        problem.y,
        problem.u,
        problem.terms,
        [Judged(fold.train, fold.test) for fold in used],
        solvers=SOLVERS if settings.solver == "auto" else (settings.solver,),
        lam=settings.lam,
        row_scale=problem.root,
    )
    # without folds of the user's nothing counts as held out
    return _Found(choice.solution, choice.fold_solutions if folds else [], choice.candidates if folds else [])


def _whole(problem: _Problem, folds: Sequence[Fold]) -> _Found:
    """Least squares on all terms, which the user has named."""
    alone = [least_squares(RowsOf(problem.A, fold.train), problem.y[fold.train]) for fold in folds]
    return _Found(least_squares(problem.A, problem.y), alone, [])


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


def _held_out(problem: _Problem, rows: Rows, models: Sequence[FoldModel]) -> HeldOut:
    """Residuals of each fold's rows under the model that has not seen them, in the units of y."""
    held = HeldOut(np.empty(0), np.empty((0, rows.y.shape[1])), np.empty((0, rows.y.shape[1])))
    for model in models:
        columns = problem.A.columns(problem.terms.find(model.index_set))
        values = np.take(columns, model.rows, axis=0) / problem.root[model.rows, None]
        y = rows.y[model.rows]
        held = held.joined(HeldOut(rows.weight[model.rows], y, y - values @ model.coef))
    return held


def _together(alone: Sequence[Learned], terms: IndexSet) -> Learned:
    """Fits of single outputs as one, on the union of their terms."""
    index_set, coef = _union([one.index_set for one in alone], [one.coef for one in alone], terms)
    losses = [one.loo for one in alone if one.loo is not None]
    gaps = [one.gap for one in alone if one.gap is not None]
    return Learned(
        index_set=index_set,
        coef=coef,
        solver=alone[0].solver if len({one.solver for one in alone}) == 1 else "auto",
        loo=float(np.mean(losses)) if losses else None,
        cond=max(one.cond for one in alone),
        gap=max(gaps) if gaps else None,
        n_iter=sum(one.n_iter for one in alone),
        path=[{"output": k, **step} for k, one in enumerate(alone) for step in one.path],
        candidates=[{"output": k, **candidate} for k, one in enumerate(alone) for candidate in one.candidates],
        held_out=HeldOut(
            alone[0].held_out.weight,
            np.column_stack([one.held_out.y for one in alone]),
            np.column_stack([one.held_out.residual for one in alone]),
        ),
        fold_models=tuple(
            FoldModel(models[0].rows, *_union([m.index_set for m in models], [m.coef for m in models], terms))
            for models in zip(*(one.fold_models for one in alone), strict=True)
        ),
    )


def _union(sets: Sequence[IndexSet], coefs: Sequence[Array], terms: IndexSet) -> tuple[IndexSet, Array]:
    """The terms of several models of one output, in the order of the candidates, and a column of coefficients each."""
    places = [terms.find(one) for one in sets]
    support = np.unique(np.concatenate(places))
    coef = np.zeros((len(support), len(sets)))
    for k, (place, values) in enumerate(zip(places, coefs, strict=True)):
        coef[np.searchsorted(support, place), k] = values[:, 0]
    return terms.take(support), coef


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
