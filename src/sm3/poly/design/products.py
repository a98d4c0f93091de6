"""Products of one-variable polynomials for a whole index set, for a chunk of points: what a design matrix is made of.

Two tables per chunk:
    factors   (F, w): a row of ones, then psi_k(y_j) for each active variable j and degree k >= 1
    inner     (P, w): the products that are continued by others; row 0 is the row scale, the zero index
Every basis function is one row of each, multiplied. Prefixes that are no index of the set are among `inner`, so that
any subset of indices works.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sm3.poly.basis.one_variable import Basis
from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Doubles worked on together: with their two operands 384 KiB, which a level-2 cache holds.
_BLOCK = 16384
# Measured (8391 functions, AMD EPYC): from about this width on one call per function is faster than gathering blocks.
_WIDE = 2048


class Products:
    """Which inner product and which factor each basis function is made of."""

    def __init__(self, bases: Sequence[Basis], index_set: IndexSet) -> None:
        tree = index_set.tree
        degrees = index_set.max_degrees()
        self.size = len(index_set)
        self.variables = [(j, bases[j], int(degrees[j])) for j in np.flatnonzero(degrees).tolist()]
        offset = np.concatenate(([0], np.cumsum(degrees)))
        self.factor_count = int(offset[-1]) + 1
        self.variable_of_factor: Ints = np.concatenate(([-1], np.repeat(np.arange(len(degrees)), degrees)))
        self.degree_of_factor: Ints = np.concatenate(([0], np.arange(1, self.factor_count))) - np.concatenate(
            ([0], np.repeat(offset[:-1], degrees))
        )
        factor = np.where(tree.degree > 0, offset[tree.variable] + tree.degree, 0)
        above = np.maximum(tree.parent, 0)
        inner = np.unique(above)  # nodes with children, and the zero index; parents first, as the tree has them
        place = np.searchsorted(inner, above)
        self.inner_of_row: Ints = place[tree.node_of_row]  # (N,)
        self.factor_of_row: Ints = factor[tree.node_of_row]  # (N,)
        self.inner_parent: Ints = place[inner]  # (P,)
        self.inner_factor: Ints = factor[inner]  # (P,)
        # inner products whose parents are all known at the same time
        ends = np.searchsorted(inner, tree.level_starts)
        self.levels = [slice(a, b) for a, b in pairwise(ends.tolist()) if a < b]

    def factors(self, points: Array) -> Array:
        """(F, w) for points (w, d)."""
        out = np.empty((self.factor_count, len(points)))
        start = 0
        for j, basis, degree in self.variables:
            # The table's row 0, all ones, falls on the last row of the variable before and is overwritten below.
            kept = out[start].copy()
            basis.table(np.ascontiguousarray(points[:, j]), degree, out[start : start + degree + 1])
            out[start] = kept
            start += degree
        out[0] = 1.0
        return out

    def inner(self, factors: Array, scale: Array | None) -> Array:
        """(P, w) for the factors of a chunk."""
        out = np.empty((len(self.inner_parent), factors.shape[1]))
        out[0] = 1.0 if scale is None else scale
        for level in self.levels:
            _multiply(out, self.inner_parent[level], factors, self.inner_factor[level], out[level])
        return out

    def fill(self, points: Array, scale: Array | None, out: Array) -> None:
        """All basis functions at points (w, d) into `out` (N, w), which may be a view."""
        factors = self.factors(points)
        _multiply(self.inner(factors, scale), self.inner_of_row, factors, self.factor_of_row, out)


def _multiply(left: Array, left_rows: Ints, right: Array, right_rows: Ints, out: Array) -> None:
    """out[i] = left[left_rows[i]] * right[right_rows[i]]."""
    width = left.shape[1]
    if width >= _WIDE:
        left_views, right_views = list(left), list(right)
        for i, (a, b) in enumerate(zip(left_rows.tolist(), right_rows.tolist(), strict=True)):
            np.multiply(left_views[a], right_views[b], out[i])
        return
    rows = max(1, _BLOCK // max(width, 1))
    one, two = np.empty((2, rows, width))
    for start in range(0, len(left_rows), rows):
        part = slice(start, start + rows)
        count = len(left_rows[part])
        # mode="clip" lets take write into its target without a copy; all positions are valid.
        np.take(left, left_rows[part], axis=0, out=one[:count], mode="clip")
        np.take(right, right_rows[part], axis=0, out=two[:count], mode="clip")
        np.multiply(one[:count], two[:count], out=out[part])
