"""A fitted model taken apart into text and arrays, and put together again with every part checked.

Files are persistence.py; here is which attributes a model has, and what must hold between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import CheckpointError, explain
from sm3.poly.estimator.accuracy import HeldOut
from sm3.poly.estimator.learned import FoldModel
from sm3.poly.estimator.rows import Rows
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.distributions import STORABLE
from sm3.poly.inputs.one_input import Input, input_from, specification

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor

Arrays = dict[str, NDArray[Any]]
# arguments of the estimator that are numbers or texts
_ARGUMENTS = ("transformation", "solver", "degree", "max_basis", "lam", "support", "extrapolate")
# what the fit reported, as numbers, texts, lists or None
_REPORT = ("solver_", "loo_", "cond_", "kappa_", "gap_", "n_iter_", "n_basis_", "path_", "candidates_")
_PRIVATE = ("_single_output", "_folds", "_chosen_on")
_LABELS = (str, int, float, bool, type(None))


def state_of(model: PolynomialRegressor) -> tuple[dict[str, Any], Arrays]:
    """What JSON can hold, and arrays. `CheckpointError` for an input that has no form as data."""
    names = getattr(model, "feature_names_in_", None)
    own_set = isinstance(model.index_set, IndexSet)
    state = {
        "arguments": {name: _plain(getattr(model, name)) for name in _ARGUMENTS},
        "inputs_given": model.inputs is not None,
        "index_set": None if own_set else model.index_set,
        "cv": _folds_of(model),
        "random_state": int(model.random_state) if _is_number(model.random_state) else None,
        "inputs": [_record(one) for one in model.inputs_],
        "names": None if names is None else [str(name) for name in names],
        "target_names": getattr(model, "target_names_", None),  # of a model that was fitted from a table
        "report": {name: _plain(getattr(model, name)) for name in _REPORT},
        "private": {name: _plain(getattr(model, name)) for name in _PRIVATE},
        "notes": list(model.notes_),
        "fold_models": [fold.counts for fold in model.fold_models_],
    }
    arrays: Arrays = {"coef": model.coef_, "q2": np.asarray(model.q2_), "q2_interval": np.asarray(model.q2_interval_)}
    arrays |= {"mean": np.asarray(model.mean_), "variance": np.asarray(model.variance_)}
    arrays |= _set_arrays("terms", model.index_set_)
    if own_set:
        arrays |= _set_arrays("index_set", model.index_set)
    arrays |= {f"rows.{part}": getattr(model.rows_, part) for part in ("x", "y", "weight")}
    arrays |= {f"held_out.{part}": getattr(model._held_out, part) for part in ("weight", "y", "residual")}
    for k, fold in enumerate(model.fold_models_):
        arrays |= {f"fold{k}.rows": fold.rows, f"fold{k}.coef": fold.coef}
        arrays |= _set_arrays(f"fold{k}.terms", fold.index_set)
    return state, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def model_from(state: Mapping[str, Any], arrays: Arrays) -> PolynomialRegressor:
    """The model again. Raises a ValueError, KeyError, TypeError or IndexError for parts that do not fit together."""
    from sm3.poly.estimator.regressor import PolynomialRegressor  # the estimator imports this file

    inputs = [input_from(record) for record in state["inputs"]]
    own_set = _set_from("index_set", arrays, len(inputs)) if state["index_set"] is None else state["index_set"]
    model = PolynomialRegressor(
        [specification(record) for record in state["inputs"]] if state["inputs_given"] else None,
        index_set=own_set,
        cv=state["cv"],
        random_state=state["random_state"],
        **{name: state["arguments"][name] for name in _ARGUMENTS},
    )
    model.n_features_in_ = len(inputs)
    if state["names"] is not None:
        model.feature_names_in_ = np.array(_matching(state["names"], len(inputs)), dtype=object)
    if state["target_names"] is not None:
        model.target_names_ = list(map(str, state["target_names"]))
    model.inputs_, model.bases_ = inputs, [one.basis for one in inputs]
    model.index_set_ = _set_from("terms", arrays, len(inputs))
    for name in _REPORT:
        setattr(model, name, state["report"][name])
    for name in _PRIVATE:
        setattr(model, name, state["private"][name])
    model.notes_ = tuple(map(str, state["notes"]))
    model._factors = None
    model.coef_ = arrays["coef"]
    k, q = len(model.index_set_), arrays["rows.y"].shape[1]
    _expect(arrays["coef"].shape == ((k,) if model._single_output else (k, q)), "coefficients")
    _expect(bool(np.isfinite(arrays["coef"]).all()), "coefficients")
    caps = [basis.max_degree for basis in model.bases_]
    degrees = model.index_set_.max_degrees().tolist()
    _expect(all(cap is None or degree <= cap for degree, cap in zip(degrees, caps, strict=True)), "degrees")
    model.rows_ = Rows(*_three(arrays, "rows", ("x", "y", "weight"), (len(inputs), q)))
    model._held_out = HeldOut(*_three(arrays, "held_out", ("weight", "y", "residual"), (q, q)))
    counts = state["fold_models"]
    model.fold_models_ = tuple(_fold(arrays, k, len(inputs), q, len(model.rows_), counts) for k in range(len(counts)))
    for name in ("q2", "mean", "variance"):
        setattr(model, name + "_", _number(arrays[name]))
    model.q2_interval_ = arrays["q2_interval"]
    return model


def _folds_of(model: PolynomialRegressor) -> int | str | None:
    """A splitter cannot be stored: its number of folds can."""
    if model.cv is None or isinstance(model.cv, str):
        return model.cv
    return int(model.cv) if _is_number(model.cv) else max(2, model._folds)


def _fold(arrays: Arrays, k: int, dimension: int, outputs: int, rows: int, counts: list[Any]) -> FoldModel:
    index_set, judged = _set_from(f"fold{k}.terms", arrays, dimension), arrays[f"fold{k}.rows"]
    coef = arrays[f"fold{k}.coef"]
    _expect(coef.shape == (len(index_set), outputs) and bool(np.isfinite(coef).all()), f"coefficients of fold {k}")
    _expect(judged.dtype == np.int64 and judged.min() >= 0 and judged.max() < rows, f"rows of fold {k}")
    _expect(isinstance(counts[k], bool), f"counts of fold {k}")
    return FoldModel(judged, index_set, coef, counts[k])


def _three(arrays: Arrays, name: str, parts: tuple[str, str, str], widths: tuple[int, int]) -> list[NDArray[Any]]:
    """Two tables and the weights of their rows, in the order of `parts`; all finite, of equal length."""
    found = [arrays[f"{name}.{part}"] for part in parts]
    tables = [array for part, array in zip(parts, found, strict=True) if part != "weight"]
    weight = found[parts.index("weight")]
    shapes = [(len(weight), width) for width in widths]
    _expect([table.shape for table in tables] == shapes and weight.ndim == 1, name)
    _expect(all(array.dtype == np.float64 and np.isfinite(array).all() for array in found), name)
    return found


def _set_arrays(name: str, index_set: IndexSet) -> Arrays:
    return {
        f"{name}.indptr": index_set.indptr,
        f"{name}.variable": index_set.variable,
        f"{name}.degree": index_set.degree,
    }


def _set_from(name: str, arrays: Arrays, dimension: int) -> IndexSet:
    indptr, variable, degree = (arrays[f"{name}.{part}"] for part in ("indptr", "variable", "degree"))
    _expect(indptr.ndim == 1 and len(indptr) > 0 and indptr[0] == 0 and bool((np.diff(indptr) >= 0).all()), name)
    _expect(indptr[-1] == len(variable) == len(degree), name)
    ends = indptr.tolist()
    pairs = list(zip(variable.tolist(), degree.tolist(), strict=True))
    # from_pairs checks ranges, order and repetition
    return IndexSet.from_pairs(dimension, [tuple(pairs[a:b]) for a, b in pairwise(ends)])


def _record(one: Input) -> dict[str, Any]:
    record = dict(one.record)
    levels = record.get("levels", [])
    if record.get("name", "norm") in STORABLE and all(type(level) in _LABELS for level in levels):
        return record
    raise CheckpointError(
        explain(
            "an input of this model cannot be written to a file.",
            got=f"{record.get('name', record.get('levels'))!r}"[:120],
            accepted="ranges, distributions of scipy.stats with numbers as parameters, labels that are text or numbers",
            do="describe the input by one of those, or use pickle among trusted parties",
        )
    )


def _expect(holds: bool, part: str) -> None:
    if not holds:
        raise CheckpointError(
            explain(
                "a part of the model has the wrong form.",
                got=part,
                accepted="shapes and ranges as saved",
                do="copy the file again from where it was saved",
            )
        )


def _matching(names: list[Any], count: int) -> list[str]:
    _expect(len(names) == count, "names of the features")
    return [str(name) for name in names]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(array: NDArray[Any]) -> Any:
    return float(array) if array.ndim == 0 else array


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, in lists and mappings too."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
