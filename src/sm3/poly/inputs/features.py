"""The columns of a table: their names, the `inputs` argument read for each of them, and labels turned into numbers.

What one specification means is in one_input.py. A table is whatever scikit-learn accepts; labels of categorical
features are the only text that may stand in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats.distributions import rv_frozen

from sm3.errors import InputError, SettingError, SettingTypeError, explain
from sm3.poly.basis.density import Discrete
from sm3.poly.inputs.distributions import TRANSFORMS
from sm3.poly.inputs.one_input import ACCEPTED, Categorical, Input, input_of

Array = NDArray[np.float64]


def specifications(inputs: Any, names: Sequence[str]) -> list[Any]:
    """One specification per feature, from the argument `inputs` of the estimator.

    None: "auto" for every feature; a mapping from names: "auto" for those it leaves out; a list: one for each, in
    order; one range or distribution: the same for all. Raises `SettingError` for an unknown name or a wrong number.

    >>> specifications({"speed": (0, 10)}, ["load", "speed"])
    ['auto', (0, 10)]
    """
    if inputs is None or (isinstance(inputs, str) and inputs == "auto"):
        return ["auto"] * len(names)
    if isinstance(inputs, Mapping):
        unknown = [name for name in inputs if name not in names]
        if unknown:
            raise _wrong_names(unknown, names)
        return [inputs.get(name, "auto") for name in names]
    if isinstance(inputs, rv_frozen | Discrete | Categorical) or is_range(inputs):
        return [inputs] * len(names)
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise SettingTypeError(
            explain(
                "inputs is of an unknown kind.",
                got=f"{inputs!r}"[:200],
                accepted=f"None, a list or a mapping by feature name of: {ACCEPTED}",
                do='pass for example inputs=[(0, 1), scipy.stats.norm(5, 2)] or inputs={"x0": (0, 1)}',
            )
        )
    if len(inputs) != len(names):
        raise SettingError(
            explain(
                "inputs and the columns of X differ in number.",
                got=f"{len(inputs)} inputs, {len(names)} features",
                accepted="one input per feature",
                do="add the missing ones, or name the known ones in a mapping",
            )
        )
    return list(inputs)


def inputs_of(inputs: Any, names: Sequence[str], x: Array, transformation: str) -> list[Input]:
    """The inputs of a table x (m, d), "auto" taken from the range of its columns."""
    if transformation not in TRANSFORMS:
        raise SettingError(
            explain(
                "transformation has an unknown value.",
                got=repr(transformation),
                accepted=", ".join(map(repr, TRANSFORMS)),
                do='"rosenblatt" maps to a uniform variable, "basis" computes polynomials of the distribution itself',
            )
        )
    specs = specifications(inputs, names)
    return [
        input_of(spec, name, x[:, j], transformation) for j, (spec, name) in enumerate(zip(specs, names, strict=True))
    ]


def canonical(inputs: Sequence[Input], x: Array) -> Array:
    """The variables y (m, d) of the bases at physical points x (m, d), Fortran order: a column is one variable."""
    y = np.empty(x.shape, order="F")
    for j, one in enumerate(inputs):
        y[:, j] = one.map.forward(x[:, j])
    return y


def physical(inputs: Sequence[Input], y: Array) -> NDArray[Any]:
    """Points x (m, d) of variables y (m, d): float64, or objects where a categorical feature has labels."""
    x = np.column_stack([one.map.inverse(y[:, j]) for j, one in enumerate(inputs)])
    labelled = {j: one.levels for j, one in enumerate(inputs) if one.levels is not None}
    if all(levels == tuple(range(len(levels))) for levels in labelled.values()):
        return x
    table = x.astype(object)
    for j, levels in labelled.items():
        table[:, j] = np.array(levels, dtype=object)[x[:, j].astype(np.int64)]
    return table


def labelled_columns(inputs: Any, X: Any) -> dict[int, tuple[object, ...]]:
    """Position -> labels of the categorical features of a table that is not known to be numeric yet."""
    listed = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    listed = listed if isinstance(listed, Sequence) else [listed]
    if not any(isinstance(spec, Categorical) for spec in listed):
        return {}
    names = column_names(X)
    if isinstance(inputs, Sequence) and len(inputs) != len(names):
        return {}  # refused by `specifications`, once the number of features is known
    specs = specifications(inputs, names)
    return {j: tuple(spec.levels) for j, spec in enumerate(specs) if isinstance(spec, Categorical)}  # type: ignore[arg-type]


def column_names(X: Any) -> list[str]:
    """Names of the columns: those of a data frame where all are text, else x0, x1, ..."""
    columns = getattr(X, "columns", None)
    if columns is not None and all(isinstance(name, str) for name in columns):
        return list(columns)
    shape = np.shape(X) if columns is None else X.shape
    return [f"x{j}" for j in range(shape[1])] if len(shape) == 2 else []


def with_codes(X: Any, labelled: Mapping[int, tuple[object, ...]], names: Sequence[str]) -> Any:
    """A copy of the table X with the labels of these columns replaced by their positions 0, 1, ...

    Raises `InputError` for a label that is not one of the levels: between levels nothing is known.

    >>> with_codes([["sgd", 0.1], ["adam", 0.2]], {0: ("adam", "sgd")}, ["optimizer", "lr"]).tolist()
    [[1.0, 0.1], [0.0, 0.2]]
    """
    if not labelled:
        return X
    frame = hasattr(X, "iloc")
    table: Any = X.copy() if frame else np.array(X, dtype=object)
    for j, levels in labelled.items():
        code = {level: float(position) for position, level in enumerate(levels)}
        column = list(table.iloc[:, j] if frame else table[:, j])
        unknown = [label for label in column if label not in code]
        if unknown:
            raise InputError(
                explain(
                    f"the categorical feature {names[j]!r} has a label that is not one of its levels.",
                    got=f"{unknown[0]!r} in {len(unknown)} of {len(column)} rows",
                    accepted=", ".join(map(repr, levels)),
                    do="correct the table, or add the level to Categorical(...)",
                )
            )
        codes = [code[label] for label in column]
        if frame:
            table[table.columns[j]] = codes
        else:
            table[:, j] = codes
    return table


def is_range(inputs: Any) -> bool:
    """Whether it is one (lo, hi) and not a list of two inputs."""
    return isinstance(inputs, tuple) and len(inputs) == 2 and all(isinstance(end, int | float) for end in inputs)


def _wrong_names(unknown: Sequence[Any], names: Sequence[str]) -> SettingError:
    return SettingError(
        explain(
            "inputs names features that X does not have.",
            got=", ".join(map(repr, unknown)),
            accepted=", ".join(names[:20]) + (", ..." if len(names) > 20 else ""),
            do="name the columns of the data frame, or x0, x1, ... for an array",
        )
    )
