"""Which terms a fit may choose from: the candidate index set for given inputs and rows.

The rows limit it: from c distinct values of an input, no degree above c - 1 can be told from the lower ones. So do the
inputs: a discrete one has as many polynomials as values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sm3.errors import SettingError, explain
from sm3.poly.basis.density import FromDensity
from sm3.poly.design.matrix import STORED_BYTES
from sm3.poly.estimator.rows import Rows
from sm3.poly.index_sets import families as sets
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.one_input import Input

Ints = NDArray[np.int64]
# Candidates per row, and at most: 10 for each of 1000 rows in the experiments of arXiv 2208.09045.
PER_ROW, MOST = 10, 10_000
# ... and at least, so that a small table can still show a curved or a joint effect. Chosen.
LEAST = 200
# Polynomials of a density of no classical family are computed numerically, each degree from integrals. Chosen: beyond
# this degree they cost more than they have ever explained.
HIGHEST_NUMERICAL = 32
# No polynomial of a million distinct values is of any use beyond this degree. Chosen.
HIGHEST = 10_000


def candidate_terms(
    inputs: Sequence[Input], rows: Rows, index_set: object, degree: int | None, max_basis: int | str
) -> IndexSet:
    """The candidates, the constant first. A set of the user's own is taken as it is, with the constant added.

    Raises `SettingError` for an unknown kind, a set of other variables, a negative degree or an empty allowance.

    >>> from sm3.poly.inputs.one_input import box
    >>> from sm3.poly.estimator.rows import distinct_rows
    >>> x = np.random.default_rng(0).random((100, 5))
    >>> len(candidate_terms([box(0, 1)] * 5, distinct_rows(x, x)[0], "hyperbolic_cross", None, "auto"))
    886
    """
    if isinstance(index_set, IndexSet):
        return _with_constant(index_set, len(inputs))
    allowance = _allowance(max_basis, len(rows), len(inputs))
    return terms_of(inputs, degree_caps(inputs, rows), index_set, degree, allowance)


def terms_of(inputs: Sequence[Input], caps: Ints, kind: object, degree: object, size: int) -> IndexSet:
    """The set of a kind and an order, or the largest of its kind with at most `size` terms; degrees within caps."""
    known = next((name for name in sets.KINDS if name == kind), None)
    if known is None:
        raise SettingError(
            explain(
                "index_set has an unknown value.",
                got=f"{kind!r}"[:80],
                accepted=f"{', '.join(map(repr, sets.KINDS))}, or an IndexSet",
                do='leave it at "hyperbolic_cross": many inputs, products of low degree',
            )
        )
    if degree is None:
        with np.errstate(over="ignore"):  # so many inputs that the indices within caps cannot be counted
            return sets.largest(known, len(inputs), size, max_degree=caps)
    if isinstance(degree, bool) or not isinstance(degree, int | np.integer) or degree < 0:
        raise SettingError(
            explain(
                "degree has a value that is no order of an index set.",
                got=repr(degree)[:80],
                accepted="an integer >= 0, or None",
                do="leave it at None: the largest order within max_basis",
            )
        )
    return _of_order(known, len(inputs), int(degree), caps)


def _of_order(kind: sets.Kind, dimension: int, order: int, caps: Ints) -> IndexSet:
    match kind:
        case "hyperbolic_cross":
            return sets.hyperbolic_cross(dimension, order, max_degree=caps)
        case "total_degree":
            return sets.total_degree(dimension, order, max_degree=caps)
        case "tensor_product":
            return sets.tensor_product(dimension, order, max_degree=caps)
        case "q_norm":
            return sets.q_norm(dimension, order, max_degree=caps)
        case "anchored":
            return sets.anchored(order, dimension, max_degree=caps)


def degree_caps(inputs: Sequence[Input], rows: Rows | None = None) -> Ints:
    """The highest degree of each input that its polynomials and, where given, these rows allow, (d,)."""
    caps = np.full(len(inputs), HIGHEST, dtype=np.int64)
    for j, one in enumerate(inputs):
        if rows is not None:
            caps[j] = min(caps[j], len(np.unique(rows.x[:, j])) - 1)
        if one.basis.max_degree is not None:
            caps[j] = min(caps[j], one.basis.max_degree)
        if isinstance(one.basis, FromDensity):
            caps[j] = min(caps[j], HIGHEST_NUMERICAL)
        if one.fixed:
            caps[j] = 0
    return caps


def _allowance(max_basis: int | str, rows: int, dimension: int) -> int:
    if max_basis == "auto":
        by_rows = max(LEAST, PER_ROW * rows)
        by_memory = STORED_BYTES // (8 * rows)
        # the constant and one term for each input, whatever else
        return max(dimension + 1, min(MOST, by_rows, max(by_memory, LEAST)))
    if isinstance(max_basis, bool) or not isinstance(max_basis, int | np.integer) or max_basis < 1:
        raise SettingError(
            explain(
                "max_basis has a value that leaves no terms.",
                got=repr(max_basis)[:80],
                accepted='an integer >= 1, or "auto"',
                do='leave it at "auto"',
            )
        )
    return int(max_basis)


def _with_constant(given: IndexSet, dimension: int) -> IndexSet:
    if given.dimension != dimension:
        raise SettingError(
            explain(
                "index_set and X have different numbers of variables.",
                got=f"{given.dimension} in the index set, {dimension} features",
                accepted="the same number",
                do=f"make an index set of {dimension} variables",
            )
        )
    constant = given.position(())
    if constant == 0:
        return given
    others = [row for row in range(len(given)) if row != constant]
    zero = IndexSet.from_pairs(dimension, [()])
    return IndexSet.from_pairs(dimension, [zero.pairs(0), *(given.pairs(row) for row in others)])
