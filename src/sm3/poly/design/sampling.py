"""Where to evaluate a function: random points, space-filling points, and points chosen for a set of polynomials.

    monte_carlo      independent draws from the measure of the variables
    latin_hypercube  one point in each of m slices of every variable       (scipy.stats.qmc)
    sobol            a scrambled Sobol' sequence                            (scipy.stats.qmc)
    christoffel      independent draws with density K / N, K = sum_nu Psi_nu^2: m ~ N log N points do for any set
    from_pool        the same from a given pool of points, by their leverage
    greedy           from a pool, each time the point whose prediction is least certain so far (D-optimality)

All points are canonical; with the weights w_i, sums of w_i f(y_i) / m estimate the mean of f over the measure, and
row_scale = sqrt(w / m) makes the design nearly orthonormal. Rule of thumb (Adcock & Brugiapaglia, arXiv 2208.09045):
with 8 smooth variables or more, none of them dominant, `monte_carlo` is as good as `christoffel`. Sources: Cohen &
Migliorati, SMAI J. Comput. Math. 3 (2017); Fedorov, Theory of Optimal Experiments, 1972.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.stats import qmc

from sm3.errors import SettingError, explain
from sm3.poly.basis.one_variable import Basis
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Doubles of a block of rows of the design that is factored at a time: 64 MB.
_BLOCK = 8_000_000
# Singular values of the design on a pool below this part of the largest are functions that the pool cannot tell apart.
_RANK = 1e-10
# Chosen: candidates per basis function where no pool is given, and the least number of them.
_POOL_PER_FUNCTION, _LEAST_POOL = 10, 1000
# Chosen: weight of the prior that makes a greedy design of less than N points definite; small beside one point.
_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Sample:
    """Points, their weights, and for a choice from a pool the positions in it."""

    points: Array  # (m, d) canonical
    weights: Array  # (m,) > 0; the measure's density over the one sampled from
    rows: Ints | None = None  # (m,) positions in the pool

    def row_scale(self) -> Array:
        """(m,) the factors sqrt(weight / m) of the rows of a least-squares problem."""
        return np.sqrt(self.weights / max(len(self.weights), 1))


def monte_carlo(bases: Sequence[Basis], m: int, rng: np.random.Generator) -> Sample:
    """m independent draws from the measure; weights 1.

    >>> from sm3.poly.basis.classical import Hermite, Legendre
    >>> monte_carlo([Legendre(), Hermite()], 100, np.random.default_rng(0)).points.shape
    (100, 2)
    """
    _accept(m)
    return Sample(_columns([basis.draw(m, rng) for basis in bases], m), np.ones(m))


def latin_hypercube(bases: Sequence[Basis], m: int, rng: np.random.Generator) -> Sample:
    """m points, one in each of m equally probable slices of every variable; weights 1."""
    _accept(m)
    return _from_uniform(bases, qmc.LatinHypercube(len(bases), seed=rng).random(m))


def sobol(bases: Sequence[Basis], m: int, rng: np.random.Generator) -> Sample:
    """The first m points of a scrambled Sobol' sequence; weights 1. Best balanced where m is a power of 2."""
    _accept(m)
    uniform = qmc.Sobol(len(bases), scramble=True, seed=rng).random_base2(max(m - 1, 0).bit_length())
    return _from_uniform(bases, uniform[:m])


def christoffel(bases: Sequence[Basis], index_set: IndexSet, m: int, rng: np.random.Generator) -> Sample:
    """m independent draws with density K / N relative to the measure; weights N / K.

    Exact: an index is drawn uniformly, then each coordinate from psi_{nu_j}^2 d(measure). All weights are at most N.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.index_sets.families import total_degree
    >>> line = total_degree(1, 20)
    >>> sample = christoffel([Legendre()], line, 200, np.random.default_rng(0))
    >>> matrix = Design([Legendre()], line, sample.points, row_scale=sample.row_scale()).matrix()
    >>> bool(np.linalg.cond(matrix) < 3)
    True
    """
    _accept(m)
    drawn = index_set.take(rng.integers(len(index_set), size=m))
    points = _columns([basis.draw(m, rng) for basis in bases], m)
    by_variable = np.argsort(drawn.variable, kind="stable")
    ends = np.searchsorted(drawn.variable[by_variable], np.arange(len(bases) + 1))
    for j in np.flatnonzero(np.diff(ends)).tolist():
        pairs = by_variable[ends[j] : ends[j + 1]]
        points[drawn.row_of_pair[pairs], j] = bases[j].draw_induced(drawn.degree[pairs].astype(np.int64), rng)
    return Sample(points, len(index_set) / christoffel_sum(bases, index_set, points))


def christoffel_sum(bases: Sequence[Basis], index_set: IndexSet, points: ArrayLike) -> Array:
    """K(y) = sum_nu Psi_nu(y)^2 at points (m, d), shape (m,): the reciprocal of the Christoffel function."""
    return Design(bases, index_set, points, store=False).row_sums_of_squares()


def mixture_weights(bases: Sequence[Basis], parts: Sequence[tuple[IndexSet | None, int]], points: ArrayLike) -> Array:
    """Weights (m,) of points that were drawn in parts, `count` of them for each index set, None for plain Monte Carlo.

    Each point is weighted by the measure's density over that of the whole mixture, so points drawn for an earlier,
    smaller set stay useful (Migliorati, arXiv 1807.00402). Counts need not sum to m.
    """
    points = np.asarray(points, dtype=np.float64)
    density = np.zeros(len(points))
    for index_set, count in parts:
        share = 1.0 if index_set is None else christoffel_sum(bases, index_set, points) / len(index_set)
        density += count * share
    return sum(count for _, count in parts) / density


def leverages(bases: Sequence[Basis], index_set: IndexSet, pool: ArrayLike) -> tuple[Array, int]:
    """Leverage of each point of a pool (K,), and their sum: how many of the functions the pool can tell apart."""
    pool = np.asarray(pool, dtype=np.float64)
    whiten, rank = _whitening(bases, index_set, pool)
    blocks = (Design(bases, index_set, pool[rows]).matrix() @ whiten for rows in _row_blocks(len(pool), len(index_set)))
    return np.concatenate([np.square(block).sum(axis=1) for block in blocks]), rank


def from_pool(bases: Sequence[Basis], index_set: IndexSet, pool: ArrayLike, m: int, rng: np.random.Generator) -> Sample:
    """m draws with replacement from a pool (K, d) by leverage: the Christoffel density of the pool's own measure.

    Weights rank / (K leverage), so that sums over the sample estimate means over the pool.
    """
    _accept(m)
    pool = np.asarray(pool, dtype=np.float64)
    leverage, _ = leverages(bases, index_set, pool)
    probability = leverage / leverage.sum()
    rows = rng.choice(len(pool), size=m, p=probability)
    return Sample(pool[rows], 1 / (len(pool) * probability[rows]), rows)


def greedy(
    bases: Sequence[Basis], index_set: IndexSet, pool: ArrayLike, m: int, *, existing: ArrayLike | None = None
) -> Sample:
    """m different points of a pool (K, d), each the one of largest leverage after `existing` and those before it.

    Each step raises the determinant of the information matrix as much as one point can. Weights are 1: the design is
    meant for ordinary least squares. Memory 16 K N bytes. Raises `SettingError` for m > K.
    """
    pool = np.asarray(pool, dtype=np.float64)
    if not 0 <= m <= len(pool):
        raise _refuse("m is out of range.", m, f"0 <= m <= {len(pool)}, the points of the pool", "give a larger pool")
    whiten, rank = _whitening(bases, index_set, pool)
    features = Design(bases, index_set, pool, store=False).matrix() @ whiten * np.sqrt(len(pool))  # (K, rank)
    information = _RIDGE * np.eye(rank)
    if existing is not None:
        known = Design(bases, index_set, existing, store=False).matrix() @ whiten * np.sqrt(len(pool))
        information += known.T @ known
    # In these coordinates the information is the identity and a point's gain is the square of its norm.
    scaled = solve_triangular(np.linalg.cholesky(information), features.T, lower=True)
    gain = np.square(scaled).sum(axis=0)
    inverse = np.eye(rank)
    rows = np.empty(m, dtype=np.int64)
    for step in range(m):
        rows[step] = best = int(np.argmax(gain))
        point = scaled[:, best]
        direction = inverse @ point
        grown = 1 + float(point @ direction)
        gain -= np.square(direction @ scaled) / grown
        inverse -= np.outer(direction, direction) / grown
        gain[best] = -np.inf
    return Sample(pool[rows], np.ones(m), rows)


def suggest(
    bases: Sequence[Basis],
    index_set: IndexSet,
    m: int,
    rng: np.random.Generator,
    *,
    method: Literal["christoffel", "greedy"] = "christoffel",
    existing: ArrayLike | None = None,
    pool: ArrayLike | None = None,
) -> Sample:
    """m points worth evaluating next for the polynomials of an index set.

    "christoffel": independent draws with weights, as `christoffel`, or `from_pool` where a pool is given.
    "greedy": points of largest leverage after `existing` (points already evaluated, used by this method only); without
    a pool the candidates are drawn half from the measure and half by `christoffel`.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.index_sets.families import total_degree
    >>> known = [[0.0], [0.5]]
    >>> new = suggest([Legendre()], total_degree(1, 2), 1, np.random.default_rng(0), method="greedy", existing=known)
    >>> bool(new.points[0, 0] < -0.99)  # the far end is what two points in the middle know least about
    True
    """
    if method == "christoffel":
        if pool is not None:
            return from_pool(bases, index_set, pool, m, rng)
        return christoffel(bases, index_set, m, rng)
    if method != "greedy":
        raise _refuse("this method is not known.", repr(method), "'christoffel' or 'greedy'", "pass one of these names")
    if pool is None:
        half = max(_LEAST_POOL, _POOL_PER_FUNCTION * max(m, len(index_set))) // 2
        halves = (monte_carlo(bases, half, rng), christoffel(bases, index_set, half, rng))
        pool = np.concatenate([part.points for part in halves])
    chosen = greedy(bases, index_set, pool, m, existing=existing)
    return Sample(chosen.points, chosen.weights)


def _whitening(bases: Sequence[Basis], index_set: IndexSet, pool: Array) -> tuple[Array, int]:
    """W (N, rank) that makes the columns of the pool's design orthonormal, block by block: QR of stacked factors, then
    a singular value decomposition, so that functions the pool cannot tell apart are left out."""
    factor = np.empty((0, len(index_set)))
    for rows in _row_blocks(len(pool), len(index_set)):
        block = Design(bases, index_set, pool[rows], store=False).matrix()
        factor = np.asarray(np.linalg.qr(np.concatenate((factor, block)), mode="r"))
    _, singular, right = np.linalg.svd(factor, full_matrices=False)
    rank = int((singular > _RANK * singular.max(initial=0.0)).sum())
    return right[:rank].T / singular[:rank], rank


def _row_blocks(count: int, width: int) -> list[slice]:
    rows = max(width, _BLOCK // max(width, 1), 1)
    return [slice(start, start + rows) for start in range(0, count, rows)]


def _columns(columns: Sequence[Array], m: int) -> Array:
    """(m, d) of d columns, of which there may be none."""
    return np.stack(columns, axis=1) if columns else np.empty((m, 0))


def _from_uniform(bases: Sequence[Basis], uniform: Array) -> Sample:
    # A Sobol' point may be exactly 0, whose quantile may be infinite: 2^-54 is below any other of its coordinates.
    inside = np.clip(uniform, 2.0**-54, 1 - 2.0**-53)
    points = [basis.quantile(inside[:, j]) for j, basis in enumerate(bases)]
    return Sample(_columns(points, len(uniform)), np.ones(len(uniform)))


def _accept(m: int) -> None:
    if m < 0:
        raise _refuse("the number of points is negative.", m, "an integer >= 0", "ask for some points")


def _refuse(happened: str, got: object, accepted: str, do: str) -> SettingError:
    return SettingError(explain(happened, got=got, accepted=accepted, do=do))
