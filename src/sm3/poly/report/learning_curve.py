"""Held-out error over the number of rows: would more rows help?

Subsets of the rows are drawn at random, the fit is repeated on each, terms chosen anew, and judged on the other rows.
The last point are the models of the validation, which had all rows but one fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.poly.design.matrix import Design
from sm3.poly.estimator.points import generator
from sm3.poly.estimator.refit import Refit
from sm3.poly.inputs.features import canonical
from sm3.poly.sensitivity.unseen import unseen_folds

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]

# Chosen: three halvings show a slope; five subsets of each size show its scatter.
PARTS = (1 / 8, 1 / 4, 1 / 2)
REPEATS = 5
LEAST_ROWS = 8


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """`errors[i]` (repetitions,): root mean square on held-out rows, in units of the output's own spread, 0 is perfect.

    Of several outputs: the root of the mean of squares over those that vary.
    """

    rows: tuple[int, ...]
    errors: tuple[Array, ...]


def learning_curve(
    model: PolynomialRegressor, *, random_state: Any = 0, progress: Callable[[], None] = lambda: None
) -> LearningCurve:
    """The curve of a fitted model, from its own rows; fewer sizes where rows are few. `progress` is called per fit."""
    rng, total = generator(random_state), len(model.rows_)
    sizes = sizes_of(model)
    again = Refit(model) if sizes else None
    found: list[tuple[int, Array]] = []
    for size in sizes:
        errors = []
        for _ in range(REPEATS):
            chosen = np.zeros(total, dtype=np.bool_)
            chosen[rng.permutation(total)[:size]] = True
            assert again is not None
            part = again(np.where(chosen, model.rows_.weight, 0.0))
            errors.append(_error(model, part.index_set_, part.coef_, ~chosen))
            progress()
        found.append((size, np.array(errors)))
    folds = [
        (len(fold.rows), _error(model, fold.design.index_set, fold.coef, fold.rows)) for fold in unseen_folds(model)
    ]
    if folds:
        judged = np.mean([count for count, _ in folds])
        found.append((round(total - judged), np.array([error for _, error in folds])))
    return LearningCurve(tuple(size for size, _ in found), tuple(errors for _, errors in found))


def sizes_of(model: PolynomialRegressor) -> list[int]:
    """The numbers of rows that fits are repeated with, `REPEATS` times each."""
    total = len(model.rows_)
    return [round(part * total) for part in PARTS if part * total >= LEAST_ROWS]


def _error(model: PolynomialRegressor, index_set: IndexSet, coef: Array, judged: NDArray[Any]) -> float:
    """Of a polynomial in the model's variables, on some of its rows."""
    rows = model.rows_
    y, weight = rows.y[judged], rows.weight[judged]
    points = canonical(model.inputs_, rows.x[judged])
    predicted = Design(model.bases_, index_set, points).times(coef.reshape(len(index_set), -1))
    spread = np.average(
        np.square(rows.y - np.average(rows.y, axis=0, weights=rows.weight)), axis=0, weights=rows.weight
    )
    squares = np.average(np.square(y - predicted), axis=0, weights=weight)
    varies = spread > 0
    return float(np.sqrt((squares[varies] / spread[varies]).mean())) if varies.any() else 0.0
