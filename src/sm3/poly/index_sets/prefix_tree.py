"""The prefix tree of a set of multi-indices: nodes are the indices and all their prefixes of (variable, degree) pairs.

It answers two questions without hashing Python objects: where an index stands (`find`), and from which products all
basis functions follow by one multiplication each (design/products.py). Nodes are numbered level by level, the level
being the number of pairs, so that a node's parent, the node without the last pair, comes before it; node 0 is the zero
index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """M nodes for N indices of d variables, given as compressed rows of (variable, degree) pairs."""

    parent: Ints  # (M,) -1 for node 0
    variable: Ints  # (M,) variable of the last pair, -1 for node 0
    degree: Ints  # (M,) degree of the last pair, 0 for node 0
    node_of_row: Ints  # (N,) where each index ends
    row_of_node: Ints  # (M,) the index that ends there (the last of equals), -1 for a prefix that is no index
    _keys: list[Ints]  # per level >= 1 the sorted keys (parent, variable, degree) of its nodes
    _first: list[int]  # per level >= 1 the number of its first node
    _base: tuple[int, int]  # dimension, largest degree + 1: what keys are made with

    @property
    def level_starts(self) -> list[int]:
        """First node of each level >= 1, and M at the end."""
        return [*self._first, len(self.parent)]

    @classmethod
    def of(cls, dimension: int, indptr: Ints, variable: NDArray[np.int32], degree: NDArray[np.int32]) -> PrefixTree:
        """Build level by level: O(nonzeros log N)."""
        length = np.diff(indptr)
        base = (dimension, int(degree.max(initial=0)) + 1)
        node_of_row = np.zeros(len(length), dtype=np.int64)
        parents, variables, degrees = [np.array([-1])], [np.array([-1])], [np.array([0])]
        keys: list[Ints] = []
        first: list[int] = []
        nodes = 1
        for level in range(int(length.max(initial=0))):
            rows = np.flatnonzero(length > level)
            at = indptr[rows] + level
            key = _key(node_of_row[rows], variable[at], degree[at], base)
            unique, inverse = np.unique(key, return_inverse=True)
            node_of_row[rows] = nodes + inverse
            pair, last_degree = np.divmod(unique, base[1])
            parent, last_variable = np.divmod(pair, dimension)
            parents.append(parent)
            variables.append(last_variable)
            degrees.append(last_degree)
            keys.append(unique)
            first.append(nodes)
            nodes += len(unique)
        row_of_node = np.full(nodes, -1, dtype=np.int64)
        row_of_node[node_of_row] = np.arange(len(length))
        parent, last_variable, last_degree = (np.concatenate(part) for part in (parents, variables, degrees))
        return cls(parent, last_variable, last_degree, node_of_row, row_of_node, keys, first, base)

    def find(self, indptr: Ints, variable: NDArray[np.int32], degree: NDArray[np.int32]) -> Ints:
        """The position of each given index among the N of the tree, -1 where it is none of them; shape (len,)."""
        length = np.diff(indptr)
        node = np.zeros(len(length), dtype=np.int64)
        for level in range(int(length.max(initial=0))):
            rows = np.flatnonzero((length > level) & (node >= 0))
            at = indptr[rows] + level
            if level >= len(self._keys):
                node[rows] = -1
                continue
            keys = self._keys[level]
            key = _key(node[rows], variable[at], degree[at], self._base)
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            # A degree above the largest of the tree would make the key of another pair.
            same = (keys[place] == key) & (degree[at] < self._base[1])
            node[rows] = np.where(same, self._first[level] + place, -1)
        return np.where(node >= 0, self.row_of_node[node], -1)


def _key(parent: Ints, variable: NDArray[np.int32], degree: NDArray[np.int32], base: tuple[int, int]) -> Ints:
    return (parent * base[0] + variable) * base[1] + degree
