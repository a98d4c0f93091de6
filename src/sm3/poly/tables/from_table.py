"""Between a CSV table and a model: which columns are inputs, cells as numbers or labels, and predictions as columns.

Whatever a cell has wrong is told with its line and column before the estimator sees it: a number outside the stated
distribution, a label that is none of the levels, a negative weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, explain
from sm3.poly.estimator.notes import notes_of
from sm3.poly.estimator.regressor import PolynomialRegressor
from sm3.poly.inputs.domain import ExtrapolationWarning
from sm3.poly.inputs.one_input import Categorical, Input, input_of
from sm3.poly.tables.table import Table

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted: m rows of d inputs, q outputs, and the distribution of each input."""

    names: tuple[str, ...]  # d
    inputs: tuple[Any, ...]  # d, as PolynomialRegressor takes them
    X: NDArray[Any]  # (m, d)
    targets: tuple[str, ...]  # q
    y: Array  # (m,) for one output, else (m, q)
    weight: Array | None  # (m,)
    left_out: tuple[str, ...]  # columns that take no part


def problem_of(
    table: Table,
    targets: Sequence[str],
    inputs: Mapping[str, Any] | None = None,
    *,
    ignore: Sequence[str] = (),
    weight: str | None = None,
) -> Problem:
    """The columns of a table in their roles. Without `inputs` every other column is an input, uniform on its range.

    Raises `InputError` for a column that is not there or has two roles, no input at all, or a bad cell.
    """
    for name in (*targets, *ignore, *([weight] if weight else [])):
        table.position(name)
    special = [*targets, *ignore, *([weight] if weight else [])]
    rest = [name for name in table.names if name not in special]
    names = rest if inputs is None else list(inputs)
    _one_role_each([*special, *names] if inputs is not None else special)
    if not names:
        raise InputError(
            explain(
                f"{table.source} has no inputs.",
                got=f"columns {', '.join(table.names)}",
                accepted="at least one column besides target, weight and ignored ones",
                do="add the columns that the target depends on",
            )
        )
    specs = ["auto"] * len(names) if inputs is None else list(inputs.values())
    columns = [_column(table, name, spec) for name, spec in zip(names, specs, strict=True)]
    y = table.numbers(targets)
    return Problem(
        tuple(names),
        tuple(specs),
        _side_by_side(columns),
        tuple(targets),
        y[:, 0] if len(targets) == 1 else y,
        None if weight is None else _weights(table, weight),
        tuple(name for name in rest if name not in names),
    )


def fit_problem(problem: Problem, **settings: Any) -> PolynomialRegressor:
    """A model that knows the names of its inputs and outputs (`feature_names_in_`, `target_names_`)."""
    model = PolynomialRegressor(list(problem.inputs), **settings)
    model.fit(problem.X, problem.y, sample_weight=problem.weight)
    model.feature_names_in_ = np.array(problem.names, dtype=object)
    model.target_names_ = list(problem.targets)
    # once more, now that inputs have names
    model.notes_ = notes_of(
        model.inputs_,
        problem.names,
        rows=len(model.rows_),
        terms=len(model.index_set_),
        kappa=model.kappa_,
        cond=model.cond_,
        judged=bool(len(model._held_out)),
        failed=sum(not fold.counts for fold in model.fold_models_),
        chosen_on=len(model.rows_),
    )
    return model


def predict_table(model: PolynomialRegressor, table: Table) -> tuple[Array, list[str]]:
    """Predictions (m, q) for the rows of a table that has the model's inputs as columns, and what was warned about."""
    columns = [
        _column(table, name, one if one.levels is None else Categorical(one.levels))
        for name, one in zip(input_names(model), model.inputs_, strict=True)
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # of scikit-learn, that an array has no names: they were looked up above
        warnings.simplefilter("always", ExtrapolationWarning)
        predicted = model.predict(_side_by_side(columns))
    return predicted.reshape(len(table), -1), [str(warning.message) for warning in caught]


def input_names(model: PolynomialRegressor) -> tuple[str, ...]:
    """Names of the inputs, x0, x1, ... where the model was fitted without."""
    given = getattr(model, "feature_names_in_", None)
    return tuple(f"x{j}" for j in range(model.n_features_in_)) if given is None else tuple(map(str, given))


def output_names(model: PolynomialRegressor) -> tuple[str, ...]:
    """Names of the outputs; where the model was fitted without, y, or y0, y1, ..."""
    if given := getattr(model, "target_names_", None):
        return tuple(map(str, given))
    return ("y",) if np.ndim(model.coef_) == 1 else tuple(f"y{k}" for k in range(model.coef_.shape[1]))


def _column(table: Table, name: str, spec: Any) -> NDArray[Any]:
    """Labels, or numbers that the input can have. An input of a model is not checked: `extrapolate` is for that."""
    if isinstance(spec, Categorical):
        return _labels(table, name, tuple(spec.levels))  # type: ignore[arg-type]
    values = table.number(name)
    if isinstance(spec, str | Input):
        return values
    described = input_of(spec, name)
    possible = described.possible(values)
    if not possible.all():
        row = int(np.argmin(possible))
        lo, hi = described.support
        among = "" if described.values is None else f", one of {len(described.values)} values"
        raise InputError(
            explain(
                f"a value contradicts the distribution of its input: {table.place(name, row)}.",
                got=f"{values[row]:.9g}; {int((~possible).sum())} of {len(values)} rows are like that",
                accepted=f"from {lo:.9g} to {hi:.9g}{among}",
                do="correct the row, or the distribution of the input",
            )
        )
    return values


def _labels(table: Table, name: str, levels: tuple[object, ...]) -> NDArray[np.object_]:
    """Cells of a categorical column as the levels they stand for: words as they are, numbers by value."""
    by_text = {str(level): level for level in levels}
    by_number = {float(level): level for level in levels if isinstance(level, int | float)}
    found = np.empty(len(table), dtype=object)
    for row, cell in enumerate(table.text(name)):
        label = by_text.get(cell.strip())
        if label is None and by_number:
            try:
                label = by_number.get(float(cell))
            except ValueError:
                label = None
        if label is None:
            raise InputError(
                explain(
                    f"a label is none of the values of its input: {table.place(name, row)}.",
                    got=repr(cell),
                    accepted=", ".join(map(str, levels)),
                    do="correct the cell, or add the value to the input",
                )
            )
        found[row] = label
    return found


def _side_by_side(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if all(column.dtype == np.float64 for column in columns):
        return np.column_stack(columns)
    table = np.empty((len(columns[0]), len(columns)), dtype=object)
    for j, column in enumerate(columns):
        table[:, j] = column
    return table


def _weights(table: Table, name: str) -> Array:
    values = table.number(name)
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise InputError(
            explain(
                f"a weight is negative: {table.place(name, row)}.",
                got=f"{values[row]:.9g}",
                accepted="numbers >= 0",
                do="leave a row out by weight 0",
            )
        )
    return values


def _one_role_each(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(
            explain(
                f"a column has two roles: {twice[0]!r}.",
                got=", ".join(names),
                accepted="each column once: input, target, weight or ignored",
                do="name it only once",
            )
        )
