"""What an interval for Sobol' indices holds, and the list of indices that get one. How they are found:

cross_fit.py   where the indices of the *function* lie, whatever the polynomial misses     (the report shows these)
bootstrap.py   what another sample of the same size could have given for the polynomial
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.sensitivity.indices import SobolIndices

if TYPE_CHECKING:
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.95
# Pairs with an interval: more are not read, and each costs a column of numbers (chosen).
MOST_PAIRS = 20


@dataclass(frozen=True, eq=False)
class SobolIntervals:
    """Lower and upper ends along a first axis of length 2; then as in `SobolIndices`, outputs last if there are q.

    `pairs` (p, 2) are the pairs of variables that `pair` stands for, the largest `MOST_PAIRS` of the model.
    `unexplained`, () or (q,), is 1 - Q2 on rows the model had not seen, None where that was not measured.
    """

    kind: str  # "cross-fit", "fixed terms" or "refit"
    level: float
    first: Array  # (2, d) or (2, d, q)
    total: Array
    pairs: Integers
    pair: Array  # (2, p) or (2, p, q)
    unexplained: Array | None = None


@dataclass(frozen=True, eq=False)
class Wanted:
    """The u = 2 d + p indices that get an interval: first, then total of each variable, then these pairs."""

    dimension: int
    pairs: Integers  # (p, 2)

    @classmethod
    def of(cls, found: SobolIndices) -> Wanted:
        """Every variable, and the pairs of the largest share (of several outputs: summed)."""
        share = np.nan_to_num(found.pair).sum(axis=tuple(range(1, found.pair.ndim)))
        largest = np.sort(np.argsort(-share, kind="stable")[:MOST_PAIRS])
        return cls(found.index_set.dimension, found.pairs[largest])

    @property
    def size(self) -> int:
        """u."""
        return 2 * self.dimension + len(self.pairs)

    def values(self, found: SobolIndices) -> Array:
        """The wanted ones among the indices of any model of the same variables, (u,) or (u, q)."""
        place = {pair: row for row, pair in enumerate(map(tuple, found.pairs.tolist()))}
        rows = [place.get(tuple(pair), -1) for pair in self.pairs.tolist()]
        # a pair that does not occur has a share of 0, the last row of these
        shares = np.concatenate([found.pair, np.zeros((1, *found.pair.shape[1:]))])
        return np.concatenate([found.first, found.total, shares[rows]])

    def terms(self, index_set: IndexSet) -> Array:
        """(N, u): 1 where a term counts for an index, else 0."""
        present = np.zeros((len(index_set), self.dimension))
        present[index_set.row_of_pair, index_set.variable] = 1.0
        length = index_set.length[:, None]
        one, other = self.pairs.T
        return np.concatenate(
            [present * (length == 1), present, present[:, one] * present[:, other] * (length == 2)], 1
        )

    def intervals(
        self, kind: str, level: float, ends: Array, *, many: bool, unexplained: Array | None = None
    ) -> SobolIntervals:
        """Ends (2, u, q) taken apart; without the last axis unless `many`. A share lies between 0 and 1."""
        told = np.clip(ends if many else ends[..., 0], 0.0, 1.0)
        first, total, pair = np.split(told, [self.dimension, 2 * self.dimension], axis=1)
        return SobolIntervals(kind, level, first, total, self.pairs, pair, unexplained)


def checked_level(level: float) -> float:
    """`SettingError` unless it is a probability strictly between 0 and 1."""
    if not 0 < level < 1:
        raise SettingError(
            explain("level is out of range.", got=level, accepted="0 < level < 1", do="leave it at 0.95")
        )
    return float(level)


def row_weights(weight: ArrayLike | None, m: int) -> Array:
    """(m,), default all 1; `SettingError` unless they are m finite numbers >= 0, not all 0."""
    weights = np.ones(m) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != (m,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise SettingError(
            explain(
                "the weights of the rows cannot be used.",
                got=f"shape {weights.shape}, {weights!r}"[:120],
                accepted=f"{m} finite numbers >= 0, not all 0",
                do="pass those the model was fitted with",
            )
        )
    return weights
