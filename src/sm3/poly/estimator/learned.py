"""What a fit found, of all rows and of each fold; and fits of single outputs put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.poly.estimator.accuracy import HeldOut
from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FoldModel:
    """A model fitted without the rows of one fold, in the units of y."""

    rows: Ints  # positions of the rows it has not seen
    index_set: IndexSet
    coef: Array  # (k, q)
    counts: bool = True  # in Q2; not if it fits its own rows so badly that it says nothing about the final model


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

    def judged_by_its_like(self) -> Learned:
        """`held_out` without the rows of models that do not count."""
        if not self.fold_models:
            return self
        counted = [np.full(len(model.rows), model.counts) for model in self.fold_models]
        return replace(self, held_out=self.held_out.only(np.concatenate(counted)))

    def unjudged(self) -> Learned:
        """Without what folds say, where they were only to choose by."""
        return replace(self, held_out=self.held_out.none(), fold_models=(), candidates=[])


def together(alone: Sequence[Learned], terms: IndexSet) -> Learned:
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
            FoldModel(
                models[0].rows,
                *_union([m.index_set for m in models], [m.coef for m in models], terms),
                counts=all(m.counts for m in models),
            )
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
