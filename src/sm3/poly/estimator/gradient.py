"""Derivatives of a polynomial with respect to its canonical variables, from the same tables of one-variable values.

d/dy_j of a product takes the derivative of its j-th factor and leaves the others: a term with r variables costs r
products of r factors. Terms are taken together by their number of variables, points in chunks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sm3.poly.basis.one_variable import Basis
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
# Numbers in the largest array of a chunk. Chosen: 4 MB, that is a second-level cache or two.
_AT_ONCE = 500_000


def canonical_gradient(
    bases: Sequence[Basis],  # d
    index_set: IndexSet,  # k terms of d variables
    coef: Array,  # (k, q)
    y: Array,  # (m, d) canonical points
) -> Array:
    """(m, d, q): the derivative of each output with respect to each canonical variable at each point.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.index_sets.multi_index import IndexSet
    >>> terms = IndexSet.from_dense([[1, 1]])  # psi_1(y_0) psi_1(y_1) = 3 y_0 y_1
    >>> canonical_gradient([Legendre()] * 2, terms, np.ones((1, 1)), np.array([[0.5, 0.2]])).ravel().round(12).tolist()
    [0.6, 1.5]
    """
    out = np.zeros((*y.shape, coef.shape[1]))
    degrees = index_set.max_degrees()
    start = np.concatenate([[0], np.cumsum(degrees + 1)])
    groups = [_terms_of(index_set, size, start) for size in np.unique(index_set.length) if size]
    step = max(1, _AT_ONCE // max([terms.size for terms, _, _ in groups], default=1))
    for first in range(0, len(y), step):
        part = y[first : first + step]
        table, slopes = np.empty((start[-1], len(part))), np.empty((start[-1], len(part)))
        for j in np.flatnonzero(degrees).tolist():
            table[start[j] : start[j + 1]] = bases[j].table(part[:, j], int(degrees[j]))
            slopes[start[j] : start[j + 1]] = bases[j].derivatives(part[:, j], int(degrees[j]))
        for terms, variables, entries in groups:
            _add_group(out[first : first + step], table, slopes, coef[terms[:, 0]], variables, entries)
    return out


def _terms_of(
    index_set: IndexSet, size: int, start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The n terms of `size` variables, each (n, size): number of the term, variables, rows of the tables."""
    terms = np.flatnonzero(index_set.length == size)
    at = index_set.indptr[terms][:, None] + np.arange(size)
    variables = index_set.variable[at].astype(np.int64)
    return np.repeat(terms[:, None], size, axis=1), variables, start[variables] + index_set.degree[at]


def _add_group(
    out: Array, table: Array, slopes: Array, coef: Array, variables: NDArray[np.int64], entries: NDArray[np.int64]
) -> None:
    """Add the derivatives of terms with equally many variables to out (chunk, d, q)."""
    size = entries.shape[1]
    for position in range(size):
        product = slopes[entries[:, position]]
        for other in range(size):
            if other != position:
                product *= table[entries[:, other]]
        for j in np.unique(variables[:, position]):
            chosen = variables[:, position] == j
            out[:, j] += product[chosen].T @ coef[chosen]
