"""Adaptive least squares on given data: the lower set grows where its reduced margin correlates with the residual.

    S = {0}; repeat: fit on S; g_nu = <residual, Psi_nu> for nu in R(S), the reduced margin; add the fewest nu whose
    g^2 sum to a share of all of them (bulk chasing, Doerfler marking)

Every sample is used in every fit, as samples cost (Migliorati, arXiv 1807.00402); the version of arXiv 2208.09045,
which draws new ones for each step, is in adaptive_sampling.py.

Three things a search of the margin needs where data are given and may be noisy:
 1. A zero coefficient hides what is behind it: cos(y_1) has none at degree 1, so degree 2 is never looked at. Hence
    the oldest index of the margin joins every few steps, and
 2. where the margin correlates no more than noise would, all functions are looked at once. One that stands out beyond
    what the largest of N noises reaches joins with all its predecessors.
 3. Outputs, several of them, weigh alike and share one set.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.margin import ReducedMargin
from sm3.poly.index_sets.multi_index import IndexSet, Pairs
from sm3.poly.solvers.growing_fit import GrowingFit, Rows
from sm3.poly.solvers.linear_map import LinearMap, targets
from sm3.poly.solvers.noise import is_noise, largest_of_noise
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# arXiv 2208.09045, section 4 and its code: share of the margin's energy that joins at a step.
BULK = 0.5
# Measured (f1 to f3 of arXiv 2208.09045, d = 8, 16): the error falls up to about this share of the samples.
MOST_TERMS = 0.6
# Chosen: the oldest index of the margin joins at every step of this number.
_OLDEST_EVERY = 5
# Chosen: steps in a row that look like noise before the growth may stop. One is too few: sixteen equal terms of degree
# 2 behind small ones of degree 1 show only after a step.
_PATIENCE = 3
# A residual this far below y is rounding: 16 digits less one for the sums.
_ROUNDING = 10 * np.finfo(float).eps


def samples_needed(n: int) -> int:
    """max(n + 1, ceil(n log n)): Christoffel samples that fit n functions stably. arXiv 2208.09045, eq. 4.1.

    >>> samples_needed(1), samples_needed(73)
    (2, 314)
    """
    return max(n + 1, int(np.ceil(n * np.log(max(n, 1)))))


def adaptive_least_squares(
    A: LinearMap,
    y: ArrayLike,
    index_set: IndexSet,
    *,
    max_terms: int | None = None,
    bulk: float = BULK,
    oldest_every: int | None = _OLDEST_EVERY,
    stop_at_noise: bool = False,
) -> Solution:
    """Least squares on a lower subset of `index_set` that grows from the constant.

    Of all steps the one of least corrected leave-one-out error is returned. The set is chosen by few numbers, so that
    this error is honest enough to tell noise: measured on f1 and f3 of arXiv 2208.09045 with 0, 1 and 10 % of it, the
    step is within 4 % of the best one, or 10 % once. (`omp` chooses among all functions, and its leave-one-out is not.)
    A: (m, N), the functions of `index_set`, which has to be lower. y: (m, q). max_terms: default 0.6 m, which on smooth
    functions without noise has a tenth of the error of m / log m terms. bulk: share of the margin's energy that joins
    at a step, 0 < bulk <= 1. oldest_every: steps between two additions of the oldest index of the margin; None: never.
    stop_at_noise: end the growth where the margin looks like noise three times in a row: saves time where much of the
    data is noise; without noise it stops too early at times, as the tail of a smooth function looks like it too.
    Raises `SettingError` for settings out of range, `InputError` where y does not fit or is not finite.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.design.matrix import Design
    >>> from sm3.poly.index_sets.families import total_degree
    >>> points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    >>> index_set = total_degree(2, 8)
    >>> A = Design([Legendre(), Legendre()], index_set, points, row_scale=np.full(60, 60**-0.5))
    >>> y = np.cos(points[:, :1]) / 60**0.5  # even in the first variable: every second coefficient is zero
    >>> solution = adaptive_least_squares(A, y, index_set)
    >>> bool(solution.residual[0] < 1e-8)
    True
    """
    everything = [Rows.all(A.shape[0])]
    growth = grow(
        A,
        y,
        index_set,
        everything,
        max_terms=max_terms,
        bulk=bulk,
        oldest_every=oldest_every,
        stop_at_noise=stop_at_noise,
    )[0]
    return growth.fit.solution(growth.fit.least("corrected", growth.sure), "als", growth.steps)


def grow(
    A: LinearMap,
    y: ArrayLike,
    index_set: IndexSet,
    row_sets: Sequence[Rows],
    *,
    max_terms: int | None = None,
    bulk: float = BULK,
    oldest_every: int | None = _OLDEST_EVERY,
    stop_at_noise: bool = False,
) -> list[Growth]:
    """The same on several sets of rows, every step kept, with the errors on the rows that judge."""
    values = targets(A, y)
    lower = len(index_set) == A.shape[1] and len(index_set) > 0 and index_set.is_lower()
    if not lower or not 0 < bulk <= 1 or (oldest_every is not None and oldest_every < 1):
        raise SettingError(
            explain(
                "a setting of adaptive least squares is not accepted.",
                got=f"{len(index_set)} indices, {A.shape[1]} columns, bulk={bulk}, oldest_every={oldest_every}",
                accepted="a lower index set, one index per column, 0 < bulk <= 1, oldest_every >= 1 or None",
                do="pass the index set of the design; where it is not lower take another solver: omp, srlasso",
            )
        )
    grown = []
    for rows in row_sets:
        limit = MOST_TERMS * len(rows.fit) if max_terms is None else max_terms
        growth = Growth(A, values, index_set, rows, min(max(int(limit), 1), len(rows.fit)), oldest_every)
        while growth.step(bulk, stop_at_noise=stop_at_noise):
            pass
        grown.append(growth)
    return grown


class Growth:
    """A lower set that grows on one set of rows; `fit` has its steps."""

    def __init__(
        self, A: LinearMap, y: Array, index_set: IndexSet, rows: Rows, limit: int, oldest_every: int | None
    ) -> None:
        self.A, self.index_set, self.rows = A, index_set, rows
        self.limit, self.oldest_every = limit, oldest_every
        self.fit = GrowingFit(A, y, rows, limit)
        self.margin = ReducedMargin(index_set.dimension, max_degree=index_set.max_degrees().tolist())
        self.steps = 0
        self._in_vain = 0  # steps in a row whose margin looked like noise
        # Candidates of the margin that the index set has, oldest first, with their columns on the fitting rows.
        self._positions = np.zeros(0, dtype=np.int64)
        self._columns = np.zeros((len(rows.fit), 0), order="F")
        self._take([()])

    def step(self, bulk: float, *, stop_at_noise: bool = False) -> bool:
        """One step; False where the growth has ended."""
        if self.fit.size >= self.limit or self.fit.relative_residual() <= _ROUNDING:
            return False
        energy = np.square(self._columns.T @ self.fit.qr.residual).sum(axis=1)
        residual = float(np.square(self.fit.qr.residual).sum())
        noise = is_noise(float(energy.sum()), residual, len(energy), len(self.rows.fit))
        chosen = self._hidden(residual) if noise else []
        in_vain = self._in_vain + 1 if noise and not chosen else 0
        if not (chosen or len(energy)) or (stop_at_noise and in_vain >= _PATIENCE):
            return False
        self._in_vain = in_vain
        self.steps += 1
        self._take((chosen or self._marked(energy, bulk))[: self.limit - self.fit.size])
        return True

    @property
    def sure(self) -> int:
        """Number of entries of the path without those of steps at the end whose margin looked like noise."""
        return max(1, len(self.fit.path) - self._in_vain)

    def _marked(self, energy: Array, bulk: float) -> list[Pairs]:
        """The bulk of the margin, and now and then its oldest index."""
        falling = np.argsort(-energy)
        count = int(np.searchsorted(np.cumsum(energy[falling]), bulk * energy.sum())) + 1
        marked = falling[:count].tolist()
        if self.oldest_every and (self.steps + 1) % self.oldest_every == 0 and 0 not in marked:
            marked.append(0)
        return [self.index_set.pairs(int(position)) for position in self._positions[marked]]

    def _take(self, chosen: list[Pairs]) -> None:
        """These indices of the margin join; those that become candidates are asked for."""
        joined = self._find(chosen)
        entered = self._find(self.margin.add(chosen))
        # What a lower index set lacks has only followers it lacks too: it never joins.
        entered = entered[(entered >= 0) & ~np.isin(entered, joined)]
        self.fit.append(joined)
        stay = ~np.isin(self._positions, joined)
        new = np.take(self.A.columns(entered), self.rows.fit, axis=0)
        self._positions = np.concatenate([self._positions[stay], entered])
        self._columns = np.asfortranarray(np.concatenate([self._columns[:, stay], new], axis=1))

    def _hidden(self, residual: float) -> list[Pairs]:
        """The function that stands out most among all, with its missing predecessors; none if noise reaches as far."""
        m = len(self.rows.fit)
        energy = np.square(self.A.transposed_times(self.fit.padded_residual(self.A.shape[0]))).sum(axis=1)
        energy[self.fit.order] = 0.0
        best = int(energy.argmax())
        if energy[best] <= largest_of_noise(residual, len(energy), m):
            return []
        degrees = [range(degree + 1) for _, degree in self.index_set.pairs(best)]
        variables = [variable for variable, _ in self.index_set.pairs(best)]
        below = [
            tuple((variable, degree) for variable, degree in zip(variables, nu, strict=True) if degree)
            for nu in sorted(product(*degrees), key=sum)
        ]
        missing = [nu for nu in below if nu not in self.margin]
        return missing if len(missing) <= self.limit - self.fit.size else []

    def _find(self, indices: Sequence[Pairs]) -> Ints:
        return self.index_set.find(IndexSet.from_pairs(self.index_set.dimension, indices))
