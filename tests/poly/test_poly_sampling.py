"""Samples against what they promise: means, weights, conditions, balance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sm3.errors import SettingError
from sm3.poly.basis.classical import Chebyshev1, Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import Discrete
from sm3.poly.design.matrix import Design
from sm3.poly.design.sampling import (
    christoffel,
    christoffel_sum,
    from_pool,
    greedy,
    latin_hypercube,
    leverages,
    mixture_weights,
    monte_carlo,
    sobol,
    suggest,
)
from sm3.poly.index_sets.families import hyperbolic_cross, total_degree

MIXED = [Legendre(), Hermite(), Laguerre(), Discrete(range(12)), Jacobi(1.0, -0.5), Chebyshev1()]


def rng(seed=0):
    return np.random.default_rng(seed)


def gram(bases, index_set, sample):
    matrix = Design(bases, index_set, sample.points, row_scale=sample.row_scale()).matrix()
    return matrix.T @ matrix


def condition(bases, index_set, sample):
    return np.linalg.cond(Design(bases, index_set, sample.points, row_scale=sample.row_scale()).matrix())


def test_christoffel_points_make_the_gram_matrix_the_identity():
    """On average: 60,000 points, six kinds of variable. Also the weights average to one, and none exceeds N."""
    cross = hyperbolic_cross(6, 5)
    sample = christoffel(MIXED, cross, 60_000, rng())
    # Entries are means of w Psi_mu Psi_nu, bounded by N = 90 and of variance at most N: five deviations.
    assert np.abs(gram(MIXED, cross, sample) - np.eye(len(cross))).max() < 5 * np.sqrt(len(cross) / 60_000)
    assert sample.weights.mean() == pytest.approx(1, abs=5 * np.sqrt(len(cross) / 60_000))
    assert sample.weights.max() <= len(cross)
    assert np.allclose(sample.weights * christoffel_sum(MIXED, cross, sample.points), len(cross), rtol=1e-12)


def test_christoffel_points_are_stable_at_n_log_n_where_monte_carlo_is_not():
    """100 functions of one variable, 461 points: the worst case of Monte Carlo, whose kappa is N^2 there."""
    line = total_degree(1, 99)
    m = int(np.ceil(100 * np.log(100)))
    exact = [condition([Legendre()], line, christoffel([Legendre()], line, m, rng(seed))) for seed in range(10)]
    plain = [condition([Legendre()], line, monte_carlo([Legendre()], m, rng(seed))) for seed in range(3)]
    assert max(exact) < 10
    assert min(plain) > 1000


@pytest.mark.parametrize("basis", [Hermite(), Laguerre(2.0)], ids=str)
def test_christoffel_points_serve_unbounded_variables(basis):
    """Sup norms are infinite, the condition is not: two variables of total degree 12."""
    index_set = total_degree(2, 12)
    m = int(np.ceil(len(index_set) * np.log(len(index_set))))
    assert max(condition([basis] * 2, index_set, christoffel([basis] * 2, index_set, m, rng(s))) for s in range(5)) < 6
    assert condition([basis] * 2, index_set, monte_carlo([basis] * 2, m, rng())) > 100


def test_the_christoffel_sum_of_lower_sets_is_largest_at_the_corner():
    """kappa = sum u_nu^2 for Legendre; at the centre it is smaller by orders."""
    cross = hyperbolic_cross(4, 8)
    corner, centre = christoffel_sum([Legendre()] * 4, cross, [[1.0] * 4, [0.0] * 4])
    assert corner == pytest.approx((cross.weights([Legendre()] * 4) ** 2).sum(), rel=1e-13)
    assert centre < corner / 10


def test_mixture_weights_reuse_points_of_smaller_sets():
    """500 points for a set of 20, 1000 for one of 60 and 300 plain ones, weighted as one sample of the last set."""
    small, large = hyperbolic_cross(3, 5), hyperbolic_cross(3, 12)
    bases = [Legendre(), Hermite(), Legendre()]
    parts = [(small, 20_000), (large, 30_000), (None, 10_000)]
    points = np.concatenate(
        [
            christoffel(bases, small, 20_000, rng(0)).points,
            christoffel(bases, large, 30_000, rng(1)).points,
            monte_carlo(bases, 10_000, rng(2)).points,
        ]
    )
    weights = mixture_weights(bases, parts, points)
    matrix = Design(bases, large, points, row_scale=np.sqrt(weights / len(points))).matrix()
    # half of the points are from the large set's own density, so weights stay below 2 N
    assert weights.max() <= 2 * len(large)
    assert np.abs(matrix.T @ matrix - np.eye(len(large))).max() < 5 * np.sqrt(2 * len(large) / 60_000)
    assert np.allclose(
        mixture_weights(bases, [(large, 7)], points), len(large) / christoffel_sum(bases, large, points), rtol=1e-12
    )
    assert np.array_equal(mixture_weights(bases, [(None, 5)], points), np.ones(len(points)))


def test_leverages_are_those_of_a_dense_decomposition():
    """Diagonal of the hat matrix; they sum to the rank, also where functions coincide on the pool."""
    cross = hyperbolic_cross(3, 9)
    pool = monte_carlo([Legendre()] * 3, 400, rng()).points
    q, _ = np.linalg.qr(Design([Legendre()] * 3, cross, pool).matrix())
    leverage, rank = leverages([Legendre()] * 3, cross, pool)
    assert rank == len(cross)
    assert np.allclose(leverage, (q**2).sum(axis=1), rtol=1e-9)
    flat = pool.copy()
    flat[:, 2] = 0.5  # psi_1(y_3), psi_2(y_3), .. are multiples of the constant now
    leverage, rank = leverages([Legendre()] * 3, cross, flat)
    assert rank == len(hyperbolic_cross(2, 9))
    assert leverage.sum() == pytest.approx(rank, rel=1e-9)


def test_leverages_do_not_depend_on_the_blocks_they_are_computed_in(monkeypatch):
    """A pool in 20 blocks and in one."""
    from sm3.poly.design import sampling

    cross = hyperbolic_cross(2, 9)
    pool = monte_carlo([Hermite()] * 2, 1000, rng()).points
    whole, _ = leverages([Hermite()] * 2, cross, pool)
    monkeypatch.setattr(sampling, "_BLOCK", 50 * len(cross))
    assert np.allclose(leverages([Hermite()] * 2, cross, pool)[0], whole, rtol=1e-8)


def test_points_from_a_pool_are_stable_and_weighted_for_its_own_measure():
    """As `christoffel`, and the rows say which points they are."""
    line = total_degree(1, 49)
    pool = monte_carlo([Legendre()], 50_000, rng()).points
    sample = from_pool([Legendre()], line, pool, 200, rng(1))
    assert np.array_equal(sample.points, pool[sample.rows])
    assert condition([Legendre()], line, sample) < 6
    assert sample.weights.mean() == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("design", [latin_hypercube, sobol])
def test_space_filling_points_have_one_in_each_slice(design):
    """Of 64 equally probable slices of every continuous variable, by its own distribution function."""
    sample = design(MIXED, 64, rng())
    for j, basis in enumerate(MIXED):
        if not isinstance(basis, Discrete):
            assert np.array_equal(np.sort((basis.cdf(sample.points[:, j]) * 64 - 1e-9).astype(int)), np.arange(64))
    assert np.array_equal(sample.weights, np.ones(64))


@pytest.mark.parametrize("design", [monte_carlo, latin_hypercube, sobol])
@pytest.mark.parametrize("m", [0, 1, 5, 100])
def test_any_number_of_points(design, m):
    """Not only powers of two, without a warning, finite, and the same for the same seed."""
    sample = design(MIXED, m, rng(3))
    assert sample.points.shape == (m, 6)
    assert np.isfinite(sample.points).all()
    assert np.array_equal(sample.points, design(MIXED, m, rng(3)).points)


def test_monte_carlo_draws_each_variable_from_its_measure():
    """Independent columns, each by its own law."""
    points = monte_carlo(MIXED, 4000, rng(5)).points
    for j, basis in enumerate(MIXED):
        if not isinstance(basis, Discrete):
            assert stats.kstest(points[:, j], basis.cdf).pvalue > 1e-4
    # correlations of 4000 independent pairs stay below five times 1 / sqrt(4000)
    assert np.abs(np.corrcoef(points.T) - np.eye(6)).max() < 5 / np.sqrt(4000)


def test_greedy_points_know_more_than_random_ones():
    """The determinant of the information matrix, 40 points for 35 functions; no point twice."""
    index_set = total_degree(3, 4)
    bases = [Legendre()] * 3
    pool = monte_carlo(bases, 2000, rng()).points
    chosen = greedy(bases, index_set, pool, 40)
    assert len(set(chosen.rows.tolist())) == 40

    def log_determinant(points):
        matrix = Design(bases, index_set, points).matrix()
        return np.linalg.slogdet(matrix.T @ matrix)[1]

    random = max(log_determinant(pool[rng(s).choice(2000, 40, replace=False)]) for s in range(20))
    assert log_determinant(chosen.points) > random + 10


def test_each_greedy_step_takes_the_largest_leverage():
    """Against a dense inverse at every step, starting from points that are known."""
    index_set = total_degree(2, 3)
    bases = [Legendre(), Hermite()]
    pool, known = monte_carlo(bases, 200, rng(1)).points, monte_carlo(bases, 15, rng(2)).points
    rows = greedy(bases, index_set, pool, 8, existing=known).rows
    candidates = Design(bases, index_set, pool).matrix()
    have = Design(bases, index_set, known).matrix()
    for row in rows:
        # the ridge of 1e-6 pool points is far below the 15 points that are known
        gain = np.einsum("ij,ij->i", candidates @ np.linalg.inv(have.T @ have), candidates)
        assert gain[row] >= gain.max() * (1 - 1e-4)
        have = np.vstack((have, candidates[row]))
        candidates[row] = 0  # no point twice


@pytest.mark.parametrize("method", ["christoffel", "greedy"])
def test_suggestions_make_a_poor_design_better(method):
    """30 points crowded in the middle, and 60 more: the condition falls by a factor of 100."""
    line = total_degree(1, 15)
    known = rng().uniform(-0.5, 0.5, (30, 1))
    new = suggest([Legendre()], line, 60, rng(), method=method, existing=known)
    together = np.concatenate((known, new.points))
    before = np.linalg.cond(Design([Legendre()], line, known).matrix())
    assert np.linalg.cond(Design([Legendre()], line, together).matrix()) < before / 100


def test_suggestions_may_come_from_a_pool():
    """Both methods then return points of it."""
    pool = monte_carlo(MIXED, 300, rng()).points
    index_set = total_degree(6, 1)
    for method in ("christoffel", "greedy"):
        sample = suggest(MIXED, index_set, 10, rng(), method=method, pool=pool)
        assert (pool[:, None] == sample.points).all(axis=2).any(axis=0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monte_carlo(MIXED, -1, rng()), "negative"),
        (lambda: sobol(MIXED, -1, rng()), "negative"),
        (lambda: christoffel(MIXED, total_degree(6, 1), -1, rng()), "negative"),
        (lambda: greedy(MIXED, total_degree(6, 1), monte_carlo(MIXED, 5, rng()).points, 6), "give a larger pool"),
        (lambda: suggest(MIXED, total_degree(6, 1), 6, rng(), method="optimal"), "'christoffel' or 'greedy'"),
    ],
)
def test_impossible_requests_are_explained(call, message):
    """What is accepted, and what to do."""
    with pytest.raises(SettingError, match=message):
        call()
