"""Sentences about a fitted model that its reader should know: what was assumed, what is not certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sm3.poly.basis.one_variable import Basis
    from sm3.poly.index_sets.multi_index import IndexSet
    from sm3.poly.inputs.one_input import Input

# Names of features in one sentence. Chosen.
_NAMED = 5
# From here on half of the 16 digits of a number are lost in the coefficients.
ILL_CONDITIONED = 1e8


def kappa(index_set: IndexSet, bases: Sequence[Basis]) -> float:
    """The largest value of the sum of squares of the terms; infinite where an unbounded input takes part.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.index_sets.multi_index import IndexSet
    >>> round(kappa(IndexSet.from_dense([[0, 0], [1, 0], [1, 1]]), [Legendre(), Legendre()]), 9)  # 1 + 3 + 9
    13.0
    """
    active = np.flatnonzero(index_set.max_degrees())
    if any(not np.isfinite(bases[j].bounds).all() for j in active.tolist()):
        return float("inf")
    return float(np.square(index_set.weights(bases)).sum())


def notes_of(
    inputs: Sequence[Input],
    names: Sequence[str],
    *,
    rows: int,
    terms: int,
    kappa: float,
    cond: float,
    judged: bool,
    failed: int,
    chosen_on: int,
) -> tuple[str, ...]:
    """The sentences that apply, in this order: inputs, rows, validation, later rows."""
    notes = []
    fixed = [name for one, name in zip(inputs, names, strict=True) if one.fixed]
    if fixed:
        notes.append(f"{_listed(fixed)}: a single value in the data, so nothing was learned about it.")
    learned = [name for one, name in zip(inputs, names, strict=True) if one.learned and not one.fixed]
    if learned:
        notes.append(
            f"{_listed(learned)}: no distribution was given, so it is uniform on the range of the data; mean, "
            "variance and Sobol' indices refer to that box."
        )
    labels = [name for one, name in zip(inputs, names, strict=True) if one.levels is not None and len(one.levels) > 2]
    if labels:
        notes.append(f"{_listed(labels)}: levels have no order, but early ones get their terms first.")
    if terms > 1 and np.isfinite(kappa) and rows < kappa * np.log(terms):
        notes.append(
            f"{rows} rows are fewer than kappa log k = {kappa * np.log(terms):.0f}, from which on random rows are "
            "certain to give a stable fit: rely on Q2 and on the condition number instead."
        )
    if cond > ILL_CONDITIONED:
        notes.append(f"the condition number is {cond:.1e}: coefficients have lost half of their digits or more.")
    if not judged:
        notes.append("nothing was held out, so Q2 is not known.")
    if failed:
        notes.append(
            f"{failed} of the models of the validation did not find the terms that the others did, and fit their own "
            "rows much worse than this model: they are not counted in Q2. More rows would make the choice surer."
        )
    if chosen_on < rows:
        notes.append(
            f"the terms were chosen on {chosen_on} of {rows} rows: add_samples(..., reselect=True) chooses them anew."
        )
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
