"""Sets of multi-indices, stored sparsely: which products of one-variable polynomials a model may use.

An index nu = (nu_1, .., nu_d) says the degree of each variable; nearly all are zero, so a row holds the pairs
(variable, degree >= 1) only, variables ascending (compressed rows). No array of size N x d is made but by `dense`. The
usual sets (total degree, hyperbolic cross, ...) are in families.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.prefix_tree import PrefixTree

if TYPE_CHECKING:
    from sm3.poly.basis.one_variable import Basis

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Pairs = tuple[tuple[int, int], ...]  # ((variable, degree >= 1), ...), variables ascending; () is the zero index


@dataclass(frozen=True, eq=False)
class IndexSet:
    """N distinct multi-indices of d variables; rows keep the order they were given in.

    Generators give every index after its parent, the index without its last (variable, degree) pair, and row 0 is zero.

    >>> from sm3.poly.index_sets.families import hyperbolic_cross
    >>> cross = hyperbolic_cross(2, 3)
    >>> cross.dense().tolist()
    [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1], [0, 2], [0, 3], [1, 1]]
    >>> cross.parent.tolist()
    [-1, 0, 0, 0, 0, 0, 0, 1]
    """

    dimension: int
    indptr: Ints  # (N + 1,) row i holds the pairs indptr[i] .. indptr[i + 1] - 1
    variable: NDArray[np.int32]  # (nnz,) ascending within a row
    degree: NDArray[np.int32]  # (nnz,) >= 1

    @classmethod
    def from_dense(cls, indices: ArrayLike) -> IndexSet:
        """From an integer array (N, d); rows keep their order. Raises `SettingError` for negative or repeated rows."""
        dense = np.asarray(indices)
        if dense.ndim != 2 or (dense.size and (not np.issubdtype(dense.dtype, np.integer) or dense.min() < 0)):
            raise _refuse(
                "these are no multi-indices.",
                f"an array of shape {dense.shape}, {dense.dtype}",
                "integers >= 0, shape (N, d)",
                "pass one row per index and one column per variable",
            )
        row, variable = np.nonzero(dense)
        indptr = np.concatenate(([0], np.cumsum(np.count_nonzero(dense, axis=1)))).astype(np.int64)
        return cls(dense.shape[1], indptr, variable.astype(np.int32), dense[row, variable].astype(np.int32))._distinct()

    @classmethod
    def from_pairs(cls, dimension: int, rows: Iterable[Pairs]) -> IndexSet:
        """From rows of (variable, degree) pairs. Raises `SettingError` for rows that are not as `Pairs` says.

        >>> IndexSet.from_pairs(10, [(), ((3, 2),), ((3, 1), (9, 1))]).max_degrees().tolist()
        [0, 0, 0, 2, 0, 0, 0, 0, 0, 1]
        """
        rows = list(rows)
        indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
        pairs = np.array([pair for row in rows for pair in row], dtype=np.int64).reshape(-1, 2)
        variable, degree = pairs[:, 0], pairs[:, 1]
        inside = np.ones(len(pairs), dtype=bool)
        inside[indptr[:-1][np.diff(indptr) > 0]] = False  # pairs with another before them in their row
        falling = np.diff(variable, prepend=-1) <= 0
        if (variable < 0).any() or (variable >= dimension).any() or (degree < 1).any() or (falling & inside).any():
            raise _refuse(
                "a row of pairs is no multi-index.",
                f"{len(rows)} rows of {dimension} variables",
                "variables in [0, dimension), ascending within a row; degrees >= 1",
                "leave variables of degree 0 out and sort each row by variable",
            )
        return cls(dimension, indptr, variable.astype(np.int32), degree.astype(np.int32))._distinct()

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return (
            f"IndexSet({len(self)} indices of {self.dimension} variables, at most {self.length.max(initial=0)} active)"
        )

    @cached_property
    def length(self) -> Ints:
        """(N,) number of active variables of each index."""
        return np.diff(self.indptr)

    @cached_property
    def row_of_pair(self) -> Ints:
        """(nnz,) the row each pair belongs to."""
        return np.repeat(np.arange(len(self)), self.length)

    @cached_property
    def tree(self) -> PrefixTree:
        """The indices and all their prefixes."""
        return PrefixTree.of(self.dimension, self.indptr, self.variable, self.degree)

    @cached_property
    def parent(self) -> Ints:
        """(N,) position of each index without its last pair; -1 for the zero index and where the parent is missing."""
        tree = self.tree
        above = tree.parent[tree.node_of_row]
        return np.where(above >= 0, tree.row_of_node[above], -1)

    def dense(self) -> Ints:
        """All degrees, shape (N, d)."""
        out = np.zeros((len(self), self.dimension), dtype=np.int64)
        out[self.row_of_pair, self.variable] = self.degree
        return out

    def pairs(self, row: int) -> Pairs:
        """One index as its (variable, degree) pairs."""
        at = slice(self.indptr[row], self.indptr[row + 1])
        return tuple(zip(self.variable[at].tolist(), self.degree[at].tolist(), strict=True))

    def take(self, rows: ArrayLike) -> IndexSet:
        """The indices at these positions, in this order; parents need not be among them."""
        chosen = positions(rows, len(self))
        length = self.length[chosen]
        indptr = np.concatenate(([0], np.cumsum(length)))
        at = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], length)
        return IndexSet(self.dimension, indptr, self.variable[at], self.degree[at])

    def find(self, other: IndexSet) -> Ints:
        """Position of each index of `other` in this set, -1 where it is none of it; shape (len(other),)."""
        if other.dimension != self.dimension:
            raise _refuse(
                "the two index sets have different variables.",
                f"{other.dimension} variables",
                f"{self.dimension} variables",
                "compare sets of the same dimension",
            )
        return self.tree.find(other.indptr, other.variable, other.degree)

    def position(self, nu: Sequence[tuple[int, int]]) -> int:
        """Position of the index with these (variable, degree) pairs, -1 where it is not in the set.

        >>> IndexSet.from_dense([[0, 0], [1, 0], [1, 1]]).position([(0, 1), (1, 1)])
        2
        """
        return int(self.find(IndexSet.from_pairs(self.dimension, [tuple(nu)]))[0])

    def is_lower(self) -> bool:
        """Whether with each index all smaller ones are in the set (downward closed). The empty set is."""
        return bool((self.find(self._predecessors()) >= 0).all())

    def max_degrees(self) -> Ints:
        """Largest degree of each variable, shape (d,)."""
        out = np.zeros(self.dimension, dtype=np.int64)
        np.maximum.at(out, self.variable, self.degree)
        return out

    def supports(self) -> tuple[Ints, list[tuple[int, ...]]]:
        """Groups of rows by their set of active variables: the group of each row (N,), and each group's variables.

        >>> group, variables = IndexSet.from_dense([[0, 0], [1, 0], [1, 1], [2, 0]]).supports()
        >>> variables
        [(), (0,), (0, 1)]
        >>> group.tolist()
        [0, 1, 2, 1]
        """
        tree = PrefixTree.of(self.dimension, self.indptr, self.variable, np.ones_like(self.degree))
        nodes, group = np.unique(tree.node_of_row, return_inverse=True)
        rows = tree.row_of_node[nodes]
        return group, [tuple(variable for variable, _ in self.pairs(row)) for row in rows]

    def weights(self, bases: Sequence[Basis]) -> Array:
        """Intrinsic weights u_nu = max |Psi_nu| (N,): products of the sup norms of the factors.

        Where a sup norm is infinite (Hermite, Laguerre) the factor is sqrt(nu_j + 1): a choice without a theorem, that
        grows as slowly as the weight of Legendre does and keeps the low degrees first.
        """
        degrees = self.max_degrees()
        offset = np.concatenate(([0], np.cumsum(degrees + 1)))
        factor = np.empty(offset[-1])
        for j, basis in enumerate(bases):
            sup = basis.sup_norms(int(degrees[j]))
            factor[offset[j] : offset[j + 1]] = np.where(np.isfinite(sup), sup, np.sqrt(np.arange(len(sup)) + 1.0))
        out = np.ones(len(self))
        np.multiply.at(out, self.row_of_pair, factor[offset[self.variable] + self.degree])
        return out

    def _predecessors(self) -> IndexSet:
        """Every index with one of its degrees lowered by one: nnz rows."""
        length = self.length[self.row_of_pair]
        start = np.concatenate(([0], np.cumsum(length)))
        at = np.arange(start[-1]) + np.repeat(self.indptr[self.row_of_pair] - start[:-1], length)
        degree = self.degree[at]
        lowered = start[:-1] + np.arange(len(self.row_of_pair)) - self.indptr[self.row_of_pair]
        degree[lowered] -= 1
        kept = degree > 0
        length = length - (degree[lowered] == 0)
        return IndexSet(self.dimension, np.concatenate(([0], np.cumsum(length))), self.variable[at][kept], degree[kept])

    def _distinct(self) -> IndexSet:
        if (self.tree.row_of_node >= 0).sum() < len(self):
            raise _refuse(
                "an index is given twice.",
                f"{len(self)} rows, {(self.tree.row_of_node >= 0).sum()} of them different",
                "each index once",
                "remove repeated rows: numpy.unique(indices, axis=0)",
            )
        return self


def positions(rows: ArrayLike, count: int) -> Ints:
    """Positions, negative ones or a mask as positions in [0, count); an empty list is one of no positions."""
    chosen = np.asarray(rows)
    return np.asarray(np.arange(count)[chosen if chosen.size else chosen.astype(np.int64)])


def _refuse(happened: str, got: str, accepted: str, do: str) -> SettingError:
    return SettingError(explain(happened, got=got, accepted=accepted, do=do))
