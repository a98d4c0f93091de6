"""A lower set that grows, and its reduced margin: all indices that may enter next and leave it lower.

When nu enters, only nu + e_j can become admissible, and it is if its other predecessors are inside: the margin is
updated, never computed anew, at O(d |nu|) look-ups per new index. Source: Chkifa, Cohen & Schwab, Found. Comput. Math.
14 (2014); for least squares Migliorati, arXiv 1807.00402.
"""

from __future__ import annotations

from collections.abc import Iterable

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.families import Caps, caps_of
from sm3.poly.index_sets.multi_index import IndexSet, Pairs


class ReducedMargin:
    """A lower set S, at first empty, and its reduced margin R(S). Indices are tuples of (variable, degree) pairs.

    dimension: number of variables d. max_degree: a cap on each variable's degree, None for no limit: an index beyond it
    never becomes a candidate. Both sets keep the order in which indices entered.

    >>> margin = ReducedMargin(2)
    >>> margin.candidates
    [()]
    >>> margin.add([(), ((0, 1),)])
    [((0, 1),), ((1, 1),), ((0, 2),)]
    >>> margin.add([((1, 1),)])  # now (1, 1) has both its predecessors
    [((0, 1), (1, 1)), ((1, 2),)]
    >>> margin.candidate_set().dense().tolist()
    [[2, 0], [1, 1], [0, 2]]
    """

    def __init__(self, dimension: int, *, max_degree: Caps = None) -> None:
        self._caps = caps_of(dimension, max_degree).tolist()
        self.dimension = dimension
        self._members: dict[Pairs, None] = {}
        self._candidates: dict[Pairs, None] = {(): None}
        # Variables j with e_j inside: no other can join an index that has one already.
        self._active: list[int] = []

    @classmethod
    def of(cls, index_set: IndexSet, *, max_degree: Caps = None) -> ReducedMargin:
        """The margin of a lower set that is there already. Raises `SettingError` where it is not lower."""
        margin = cls(index_set.dimension, max_degree=max_degree)
        rows = (index_set.pairs(row) for row in range(len(index_set)))
        margin.add(sorted(rows, key=lambda nu: sum(degree for _, degree in nu)))
        return margin

    @property
    def members(self) -> list[Pairs]:
        """S, in the order in which its indices entered."""
        return list(self._members)

    @property
    def candidates(self) -> list[Pairs]:
        """R(S), the oldest candidate first."""
        return list(self._candidates)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, nu: Pairs) -> bool:
        return nu in self._members

    def index_set(self) -> IndexSet:
        """S as an `IndexSet`, rows in the order of `members`."""
        return IndexSet.from_pairs(self.dimension, self._members)

    def candidate_set(self) -> IndexSet:
        """R(S) as an `IndexSet`, rows in the order of `candidates`."""
        return IndexSet.from_pairs(self.dimension, self._candidates)

    def add(self, indices: Iterable[Pairs]) -> list[Pairs]:
        """Move candidates into S, one after the other; returns those that became candidates, in that order.

        An index may become a candidate by another one of the same call. Raises `SettingError` for an index that is no
        candidate when its turn comes; those before it have entered.
        """
        entered: list[Pairs] = []
        for nu in indices:
            if nu not in self._candidates:
                raise SettingError(
                    explain(
                        "this index cannot enter the set.",
                        got=f"{nu}" + (", which is inside already" if nu in self._members else ""),
                        accepted=f"one of the {len(self._candidates)} candidates: all smaller indices are inside",
                        do="add its predecessors first, or raise max_degree",
                    )
                )
            del self._candidates[nu]
            self._members[nu] = None
            if len(nu) == 1 and nu[0][1] == 1:
                self._active.append(nu[0][0])
            for child in self._followers(nu):
                self._candidates[child] = None
                entered.append(child)
        return entered

    def _followers(self, nu: Pairs) -> list[Pairs]:
        """Those nu + e_j whose predecessors are all inside."""
        degrees = dict(nu)
        out = []
        for j in self._active if nu else range(self.dimension):
            degree = degrees.get(j, 0) + 1
            if degree > self._caps[j]:
                continue
            child = tuple(sorted({**degrees, j: degree}.items()))
            if all(_lowered(child, i) in self._members for i, (variable, _) in enumerate(child) if variable != j):
                out.append(child)
        return out


def _lowered(nu: Pairs, at: int) -> Pairs:
    """The index with its pair number `at` one degree lower."""
    variable, degree = nu[at]
    return nu[:at] + (((variable, degree - 1),) if degree > 1 else ()) + nu[at + 1 :]
