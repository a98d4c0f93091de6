"""The square-root LASSO: optimal by its certificate, by its conditions, and by two methods that share no code."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.families import hyperbolic_cross, total_degree
from sm3.poly.solvers import joint_support, lasso_path
from sm3.poly.solvers.joint_support import rotated
from sm3.poly.solvers.lasso_path import LassoPath
from sm3.poly.solvers.linear_map import DenseMap
from sm3.poly.solvers.primal_dual import pair, primal_dual
from sm3.poly.solvers.srlasso import srlasso, srlasso_path, theory_lam


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def gaussian(rng, m=60, n=300, noise=0.1, q=1):
    """Columns of norm about 1, ten of them in y, weights between 1 and 3."""
    a, u = rng.standard_normal((m, n)) / m**0.5, rng.uniform(1, 3, n)
    coef = np.zeros((n, q))
    coef[rng.choice(n, 10, replace=False)] = rng.standard_normal((10, q))
    return a, a @ coef + noise * rng.standard_normal((m, q)) / m**0.5, u, coef


def cross(f, d, order, m, seed=0):
    """Design, values and weights of a function on a hyperbolic cross."""
    terms, bases = hyperbolic_cross(d, order), [Legendre()] * d
    points = np.random.default_rng(seed).uniform(-1, 1, (m, d))
    A = Design(bases, terms, points, row_scale=np.full(m, m**-0.5))
    return A, f(points)[:, None] / m**0.5, terms.weights(bases)


def exponential(y):
    return np.exp(-y.sum(axis=1) / (2 * y.shape[1]))


def reciprocal(y):
    d = y.shape[1]
    return 1 / (1 + y @ 10.0 ** (-3 * np.arange(d) / (d - 1)) / (2 * d))


def objective(a, y, u, lam, solution):
    coef = np.zeros((a.shape[1], y.shape[1]))
    coef[solution.support] = solution.coef
    return lam * (u * np.linalg.norm(coef, axis=1)).sum() + np.linalg.norm(a @ coef - y)


@pytest.mark.parametrize(("m", "n", "lam"), [(60, 300, 0.15), (60, 300, 0.3), (60, 300, 0.4), (100, 40, 0.01)])
def test_conditions_of_the_optimum_hold(rng, m, n, lam):
    """|A_j^T r| = lam u_j ||r|| with the sign of z_j on the support, and no more off it."""
    a, y, u, _ = gaussian(rng, m, n)
    solution = srlasso(DenseMap(a), y, u, lam)
    r = y[:, 0] - a[:, solution.support] @ solution.coef[:, 0]
    reach = a.T @ r / (lam * u * np.linalg.norm(r))

    # The residual is known to eps ||y||, and divided by its norm, here at least 1e-3 ||y||.
    assert np.allclose(reach[solution.support], np.sign(solution.coef[:, 0]), atol=1e-10)
    assert np.abs(reach).max() <= 1 + 1e-10
    assert solution.gap < 1e-12
    assert 0 < len(solution.support) < 60


def test_optimum_is_that_of_coordinate_descent(rng):
    """At the optimum z solves the LASSO with mu = lam ||r||, which scikit-learn solves by another method."""
    a, y, u, _ = gaussian(rng)
    lam = 0.2
    solution = srlasso(DenseMap(a), y, u, lam)
    mu = lam * np.linalg.norm(y - a[:, solution.support] @ solution.coef)

    peer = Lasso(alpha=mu / 60, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(a / u, y[:, 0]).coef_ / u
    coef = np.zeros(300)
    coef[solution.support] = solution.coef[:, 0]
    assert np.abs(coef - peer).max() < 1e-6 * np.abs(peer).max()


@pytest.mark.parametrize("q", [1, 3])
def test_optimum_is_that_of_primal_dual_steps_on_all_columns(rng, q):
    """No working set, no path: products only. Same objective to 1e-7 and same coefficients to 1e-4."""
    a, y, u, _ = gaussian(rng, q=q)
    lam = 0.2
    solution = srlasso(DenseMap(a), y, u, lam, gap=1e-9)
    reference, _ = primal_dual(DenseMap(a / u), y, lam, gap=1e-9)

    assert objective(a, y, u, lam, solution) == pytest.approx(reference.objective, rel=1e-7)
    coef = np.zeros((300, q))
    coef[solution.support] = solution.coef
    # An objective within 1e-9 leaves the root of that, times a condition, to the coefficients.
    assert np.abs(coef - reference.x / u[:, None]).max() < 1e-4 * np.abs(coef).max()


@pytest.mark.parametrize("f", [exponential, reciprocal])
def test_the_hyperbolic_cross_of_the_paper_takes_seconds(f):
    """N = 8391, m = 316 (arXiv 2208.09045, d = 8): optimal to 1e-8 in less than 4 s of one core; measured 0.3 s."""
    A, y, u = cross(f, 8, 46, 316)
    A.matrix()
    start = time.process_time()
    solution = srlasso(A, y, u)

    assert time.process_time() - start < 4
    assert solution.gap < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("f", [exponential, reciprocal])
def test_the_hyperbolic_cross_has_the_optimum_of_plain_steps(f):
    """Never above what 40,000 primal-dual steps on all 8391 columns reach, minutes later, and that within 1e-5.

    The steps are the ones that are late: measured 1e-7 and 4e-6 above, where the path's own gap is 1e-13."""
    A, y, u = cross(f, 8, 46, 316)
    lam = theory_lam(316)
    solution = srlasso(A, y, u)
    reference, _ = primal_dual(DenseMap(A.matrix() / u), y, lam, gap=1e-6, max_iter=40_000)

    found = objective(A.matrix(), y, u, lam, solution)
    assert found <= reference.objective
    assert found == pytest.approx(reference.objective, rel=1e-5)


def test_data_without_noise_are_interpolated_and_certified():
    """A sum of functions of one variable on a cross, m = 300: the optimum has no residual, and the dual proves it."""

    def additive(y):
        s = np.sin(16 * y / 15 - 0.7)
        return (0.3 + s + s * s).sum(axis=1)

    A, y, u = cross(additive, 4, 40, 300)
    solution = srlasso(A, y, u)

    assert solution.residual[0] < 1e-13
    assert solution.gap < 1e-9
    fresh = np.random.default_rng(9).uniform(-1, 1, (500, 4))
    terms = hyperbolic_cross(4, 40).take(solution.support)
    error = Design([Legendre()] * 4, terms, fresh).times(solution.coef[:, 0]) - additive(fresh)
    assert np.abs(error).max() < 1e-11 * np.abs(additive(fresh)).max()


def test_sparse_vectors_come_back_exactly(rng):
    """Ten of 300 from 60 random projections without noise, to rounding, with exactly their support."""
    a, y, _, coef = gaussian(rng, m=80, noise=0.0)
    solution = srlasso(DenseMap(a), y, np.ones(300))

    assert solution.support.tolist() == np.flatnonzero(coef[:, 0]).tolist()
    assert np.abs(solution.coef - coef[solution.support]).max() < 1e-13
    assert solution.gap < 1e-12


def test_a_large_penalty_leaves_nothing(rng):
    """z = 0 is optimal from lam = max |A_j^T y| / (u_j ||y||) on, and not before."""
    a, y, u, _ = gaussian(rng)
    edge = np.abs(a.T @ y[:, 0] / u).max() / np.linalg.norm(y)

    assert len(srlasso(DenseMap(a), y, u, edge * (1 + 1e-9)).support) == 0
    assert len(srlasso(DenseMap(a), y, u, edge * (1 - 1e-3)).support) >= 1
    assert srlasso(DenseMap(a), y, u, edge * 2).gap < 1e-14


def test_one_path_gives_what_single_solves_give(rng):
    """In the order asked for, whatever that is."""
    a, y, u, _ = gaussian(rng)
    lams = [0.1, 0.02, 0.3]
    together = srlasso_path(DenseMap(a), y, u, lams)

    for lam, solution in zip(lams, together, strict=True):
        alone = srlasso(DenseMap(a), y, u, lam)
        assert solution.support.tolist() == alone.support.tolist()
        assert np.allclose(solution.coef, alone.coef, atol=1e-12)


def test_scale_of_the_data_does_not_matter(rng):
    """1e-8 y has 1e-8 z: that is why lam needs no knowledge of the noise."""
    a, y, u, _ = gaussian(rng)
    solution, tiny = (srlasso(DenseMap(a), scale * y, u) for scale in (1.0, 1e-8))

    assert solution.support.tolist() == tiny.support.tolist()
    assert np.allclose(tiny.coef, 1e-8 * solution.coef, rtol=1e-9)


def test_a_column_missed_by_the_working_set_is_found(rng, monkeypatch):
    """With a working set of 16 columns and checks at every thousandth of mu the optimum is the same."""
    a, y, u, _ = gaussian(rng)
    expected = srlasso(DenseMap(a), y, u)
    monkeypatch.setattr(lasso_path, "_SPARE", 0.0)
    monkeypatch.setattr(lasso_path, "_CHECK_RATIO", 1e-3)
    solution = srlasso(DenseMap(a), y, u)

    assert solution.support.tolist() == expected.support.tolist()
    assert np.allclose(solution.coef, expected.coef, atol=1e-12)


def test_path_stays_optimal_for_every_penalty_on_the_way(rng):
    """The dual vector is feasible, so the gap is that of the plain formula."""
    a, y, u, _ = gaussian(rng)
    path = LassoPath(DenseMap(a), y[:, 0], u)
    for lam in (0.3, 0.1, 0.03, 0.01):
        path.advance(lam)
        x = np.zeros((300, 1))
        x[path.active, 0] = path.values()
        found = pair(DenseMap(a / u), y, lam, x, -lam * path.dual()[:, None])
        assert found.relative_gap < 1e-12


def test_a_function_missed_by_the_joint_working_set_is_found(rng, monkeypatch):
    """From sixteen columns on, the optimum over all of them is reached and certified."""
    a, y, u, _ = gaussian(rng, q=2)
    expected = objective(a, y, u, 0.08, srlasso(DenseMap(a), y, u, 0.08, gap=1e-9))
    monkeypatch.setattr(joint_support, "_FIRST", 0.0)
    solution = srlasso(DenseMap(a), y, u, 0.08, gap=1e-9)

    assert len(solution.support) > 16
    assert solution.gap <= 1e-9
    assert objective(a, y, u, 0.08, solution) == pytest.approx(expected, rel=1e-8)


def test_a_path_that_stops_short_says_so(rng, monkeypatch):
    """The certificate comes from what was reached: half way down, objective (1 - gap) is still below the optimum."""
    a, y, u, _ = gaussian(rng)
    lam = 0.15
    optimum = objective(a, y, u, lam, srlasso(DenseMap(a), y, u, lam))
    advance = LassoPath.advance
    monkeypatch.setattr(LassoPath, "advance", lambda path, lam: advance(path, 2 * lam))
    solution = srlasso(DenseMap(a), y, u, lam)

    reached = objective(a, y, u, lam, solution)
    assert reached > optimum * 1.001
    assert reached * (1 - solution.gap) <= optimum * (1 + 1e-12)
    assert solution.gap < 0.5


@pytest.mark.parametrize("copies", [2, 3])
def test_repeated_columns_are_still_solved(rng, copies):
    """Exact ties all the way down: the objective is that without the repeats."""
    a, y, u, _ = gaussian(rng, n=100)
    lam = 0.05
    doubled, weight = np.tile(a, copies), np.tile(u, copies)
    solution = srlasso(DenseMap(doubled), y, weight, lam)

    assert solution.gap < 1e-8
    expected = objective(a, y, u, lam, srlasso(DenseMap(a), y, u, lam))
    assert objective(doubled, y, weight, lam, solution) == pytest.approx(expected, rel=1e-8)
    path = LassoPath(DenseMap(doubled), y[:, 0], weight)
    path.advance(lam)  # which does not go in circles
    assert len({index % 100 for index in path.active}) == len(path.active)


@pytest.mark.parametrize("lam", [0.3, 0.02])
def test_a_full_factorial_design_with_its_ties_is_solved(lam):
    """Three levels of four variables, a symmetric function: correlations tie in sixes, columns repeat on the grid."""
    points = np.array(list(product([-1.0, 0.0, 1.0], repeat=4)))
    terms, bases = total_degree(4, 4), [Legendre()] * 4
    A = Design(bases, terms, points, row_scale=np.full(81, 1 / 9))
    y = np.exp(points.sum(axis=1) / 4)[:, None] / 9
    solution = srlasso(A, y, terms.weights(bases), lam)

    assert solution.gap < 1e-8


@pytest.mark.parametrize(
    ("a", "y"),
    [
        (np.zeros((3, 2)), np.ones((3, 1))),
        (np.ones((3, 2)), np.zeros((3, 1))),
        (np.ones((1, 1)), np.ones((1, 1))),
        (np.ones((3, 0)), np.ones((3, 2))),
        (np.zeros((3, 2)), np.ones((3, 2)) * [1.0, 2.0]),
        (np.eye(3)[:, :2], np.array([[1.0, 2.0], [2.0, -1.0], [1.0, 1.0]])),
    ],
)
def test_small_and_empty_problems_have_small_gaps(a, y):
    """No column, no sample but one, nothing to explain, nothing to explain it with."""
    solution = srlasso(DenseMap(a), y, np.ones(a.shape[1]), 0.1)

    assert 0 <= solution.gap <= 1e-8
    assert solution.coef.shape == (len(solution.support), y.shape[1])


def test_outputs_that_are_multiples_share_the_exact_path(rng):
    """Rank one: the norm over outputs is a factor, so the support is that of one output and the gap is rounding."""
    a, y, u, _ = gaussian(rng)
    turn = np.array([[2.0, -1.0, 0.5]])
    alone, together = srlasso(DenseMap(a), y, u), srlasso(DenseMap(a), y @ turn, u)

    assert together.support.tolist() == alone.support.tolist()
    assert np.allclose(together.coef, alone.coef @ turn, atol=1e-12)
    assert together.gap < 1e-12


def test_joint_support_satisfies_the_conditions_of_groups(rng):
    """||A_j^T R|| = lam u_j ||R|| along z_j on the support, and no more off it, as far as the gap says."""
    a, y, u, _ = gaussian(rng, q=4)
    lam = 0.3
    solution = srlasso(DenseMap(a), y, u, lam, gap=1e-10)
    r = y - a[:, solution.support] @ solution.coef
    along = a.T @ r / (lam * u * np.linalg.norm(r))[:, None]
    size = np.linalg.norm(along, axis=1)

    assert solution.gap <= 1e-10
    # The dual is as good as the root of the gap: 1e-5, times ten for the norm of the data.
    assert size.max() <= 1 + 1e-4
    large = np.linalg.norm(solution.coef, axis=1) > 1e-3
    direction = solution.coef / np.linalg.norm(solution.coef, axis=1, keepdims=True)
    assert np.abs(along[solution.support][large] - direction[large]).max() < 1e-3


def test_rotating_the_outputs_rotates_the_coefficients(rng):
    """The joint problem knows no axes of its own."""
    a, y, u, _ = gaussian(rng, q=2)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    one, other = (srlasso(DenseMap(a), values, u, 0.2, gap=1e-10) for values in (y, y @ turn))

    assert objective(a, y, u, 0.2, one) == pytest.approx(objective(a, y @ turn, u, 0.2, other), rel=1e-9)
    assert rotated(y @ turn)[0].shape == (60, 2)


def test_per_output_solves_each_alone(rng):
    """Supports are joined with zeros where an output has none; the gap is the largest."""
    a, y, u, _ = gaussian(rng, q=2)
    solution = srlasso(DenseMap(a), y, u, support="per_output")
    parts = [srlasso(DenseMap(a), y[:, [k]], u) for k in range(2)]

    assert solution.support.tolist() == sorted(set(parts[0].support) | set(parts[1].support))
    for k, part in enumerate(parts):
        at = np.searchsorted(solution.support, part.support)
        assert np.allclose(solution.coef[at, k], part.coef[:, 0], atol=1e-13)
        assert np.count_nonzero(solution.coef[:, k]) == len(part.support)
    assert solution.gap == max(part.gap for part in parts)


def test_a_gap_that_was_not_reached_is_told(rng):
    """Two hundred steps are not enough for 1e-12; what they reached is certified."""
    a, y, u, _ = gaussian(rng, q=2)
    solution = srlasso(DenseMap(a), y, u, gap=1e-12, max_iter=200)
    optimum = srlasso(DenseMap(a), y, u, gap=1e-8)
    lam = theory_lam(60)

    assert solution.gap > 1e-12
    reached = objective(a, y, u, lam, solution)
    assert reached * (1 - solution.gap) <= objective(a, y, u, lam, optimum) <= reached * (1 + 1e-8)


@pytest.mark.parametrize("settings", [{"lam": 0.0}, {"lam": np.inf}, {"gap": 0.0}, {"max_iter": 0}, {"support": "all"}])
def test_settings_out_of_range_are_refused(settings):
    """With what is accepted."""
    with pytest.raises(SettingError, match="lam > 0"):
        srlasso(DenseMap(np.eye(2)), np.ones((2, 1)), np.ones(2), **settings)


def test_values_that_are_not_finite_are_refused():
    """NaN would go round the path without an end."""
    with pytest.raises(InputError, match="not all finite"):
        srlasso(DenseMap(np.eye(2)), np.array([[1.0], [np.nan]]), np.ones(2))
