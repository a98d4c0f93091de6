"""Plain least squares, its leave-one-out error, maps, weights, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.design.sampling import christoffel
from sm3.poly.index_sets.families import total_degree
from sm3.poly.solvers.by_order import by_order, cross_orders, total_degrees
from sm3.poly.solvers.growing_fit import Rows
from sm3.poly.solvers.least_squares import least_squares
from sm3.poly.solvers.linear_map import DenseMap, RowsOf, targets, weights
from sm3.poly.solvers.noise import corrected_loo, correction, inverse_trace, is_noise, largest_of_noise, noise_variance
from sm3.poly.solvers.updated_qr import UpdatedQR


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (20, 20), (150, 97), (400, 130)])  # 96 columns are a block
def test_coefficients_are_those_of_the_singular_value_decomposition(rng, m, n):
    """Two outputs at once; both methods are backward stable, so they differ by eps times the condition."""
    a, y = rng.standard_normal((m, n)), rng.standard_normal((m, 2))
    solution = least_squares(DenseMap(a), y)

    expected = np.linalg.lstsq(a, y, rcond=None)[0]
    bound = 100 * np.finfo(float).eps * np.linalg.cond(a) ** 2
    assert np.abs(solution.coef - expected).max() <= bound * np.abs(expected).max()
    assert solution.support.tolist() == list(range(n))
    assert np.allclose(solution.residual, np.linalg.norm(y - a @ expected, axis=0) / np.linalg.norm(y, axis=0))


def test_leave_one_out_is_that_of_refits(rng):
    """Summed over outputs."""
    a, y = rng.standard_normal((25, 6)), rng.standard_normal((25, 2))
    by_hand = 0.0
    for i in range(25):
        rest = np.delete(np.arange(25), i)
        by_hand += np.sum((y[i] - a[i] @ np.linalg.lstsq(a[rest], y[rest], rcond=None)[0]) ** 2)

    assert least_squares(DenseMap(a), y).loo == pytest.approx(by_hand, rel=1e-12)
    assert least_squares(DenseMap(a), y, loo=False).loo is None
    assert least_squares(DenseMap(a[:6]), y[:6]).loo == np.inf  # nothing is left to judge by


@pytest.mark.parametrize("dependent", [False, True])
def test_errors_of_points_left_out_are_those_of_refits(rng, dependent):
    """Three rows at one point, two at another, which leave together; also where a column had to be dropped."""
    a, y = rng.standard_normal((25, 6)), rng.standard_normal((25, 2))
    site = np.array([7, 1, 7, 7, *range(10, 30), 1])
    given = np.column_stack([a, a[:, 0]]) if dependent else a
    solution = least_squares(DenseMap(given), y, site=site)

    expected = np.empty_like(y)
    for number in np.unique(site):
        rest = np.flatnonzero(site != number)
        coef = np.linalg.lstsq(a[rest], y[rest], rcond=None)[0]
        expected[site == number] = y[site == number] - a[site == number] @ coef
    assert solution.left_out == pytest.approx(expected, rel=1e-11)
    assert solution.loo == pytest.approx(least_squares(DenseMap(a), y).loo, rel=1e-12)  # row by row, as without sites


def test_a_point_without_which_nothing_is_determined_has_no_error(rng):
    """Two rows alone have a part in the last column: each can be left out, both together cannot."""
    a, y = rng.standard_normal((25, 6)), rng.standard_normal((25, 1))
    a[2:, 5] = 0.0
    left_out = least_squares(DenseMap(a), y, site=np.array([0, 0, *range(1, 24)])).left_out

    assert np.isinf(left_out[:2]).all()
    assert np.isfinite(left_out[2:]).all()


def test_dependent_functions_are_left_out_of_the_support(rng):
    """The later of two equal ones; the fit is that without it."""
    a, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 1))
    doubled = np.column_stack([a[:, :2], a[:, 0], a[:, 2:]])
    solution = least_squares(DenseMap(doubled), y)

    assert solution.support.tolist() == [0, 1, 3, 4, 5]
    assert np.allclose(solution.coef, least_squares(DenseMap(a), y).coef, atol=1e-13)


def test_no_function_is_left_out_with_tolerance_zero():
    """Monomials of degree 20 on [0, 1], condition 1e15: all 21 stay, and the condition is reported."""
    a = np.linspace(0, 1, 60)[:, None] ** np.arange(21)

    assert len(least_squares(DenseMap(a), np.ones((60, 1)), tolerance=0.0).support) == 21
    assert least_squares(DenseMap(a), np.ones((60, 1)), tolerance=0.0).cond > 1e13
    assert len(least_squares(DenseMap(a), np.ones((60, 1))).support) < 21


def test_integer_weights_are_repeated_rows(rng):
    """Rows carry sqrt(weight / sum of weights) in both."""
    points, y, weight = rng.uniform(-1, 1, (40, 2)), rng.standard_normal((40, 1)), rng.integers(1, 4, 40)
    bases, terms = [Legendre()] * 2, total_degree(2, 3)

    def fit(p, values, w):
        scale = np.sqrt(w / w.sum())
        return least_squares(Design(bases, terms, p, row_scale=scale), values * scale[:, None]).coef

    repeated = np.repeat(np.arange(40), weight)
    assert np.allclose(fit(points, y, weight), fit(points[repeated], y[repeated], np.ones(len(repeated))), atol=1e-13)


def test_a_matrix_that_is_not_stored_gives_the_same(rng):
    """Products instead of a matrix."""
    points, y = rng.uniform(-1, 1, (80, 3)), rng.standard_normal((80, 1))
    stored, free = (
        least_squares(Design([Legendre()] * 3, total_degree(3, 4), points, store=store), y) for store in (True, False)
    )

    assert np.allclose(stored.coef, free.coef, atol=1e-13)
    assert stored.loo == pytest.approx(free.loo, rel=1e-12)


def test_christoffel_samples_make_the_condition_small(rng):
    """m = 4 n log n draws: delta = 1/2 has cond <= sqrt(3), and the bound is not tight; 2.5 leaves room for chance."""
    terms = total_degree(1, 40)
    sample = christoffel([Legendre()], terms, 600, rng)
    design = Design([Legendre()], terms, sample.points, row_scale=sample.row_scale())

    assert least_squares(design, np.ones((600, 1))).cond < 2.5


def test_fewer_samples_than_functions_are_refused():
    """With what to do instead."""
    with pytest.raises(SettingError, match="als, omp, srlasso"):
        least_squares(DenseMap(np.ones((2, 3))), np.ones((2, 1)))


@pytest.mark.parametrize("y", [np.ones(4), np.ones((3, 1)), np.ones((4, 0)), np.full((4, 1), np.nan)])
def test_targets_that_do_not_fit_are_refused(y):
    """One-dimensional, of another length, without an output, not finite."""
    with pytest.raises(InputError, match="y does not fit"):
        targets(DenseMap(np.ones((4, 2))), y)


@pytest.mark.parametrize("u", [[1.0], [1.0, 0.0], [1.0, np.inf], [[1.0, 1.0]]])
def test_weights_that_are_not_positive_are_refused(u):
    """Or not one per function."""
    with pytest.raises(SettingError, match="weights u"):
        weights(DenseMap(np.ones((4, 2))), u)


def test_no_functions_fit_nothing():
    """An empty index set leaves y as the residual."""
    solution = least_squares(DenseMap(np.ones((3, 0))), np.ones((3, 2)))

    assert solution.coef.shape == (0, 2)
    assert solution.residual.tolist() == [1.0, 1.0]


def test_some_rows_of_a_map_are_the_map_of_these_rows(rng):
    """Columns and both products, for one vector and several."""
    a, rows = rng.standard_normal((9, 4)), np.array([7, 0, 3])
    part, dense = RowsOf(DenseMap(a), rows), DenseMap(a[rows])

    assert part.shape == dense.shape == (3, 4)
    assert np.array_equal(part.columns([2, 1]), dense.columns([2, 1]))
    for shape in ((), (2,)):
        x, r = rng.standard_normal((4, *shape)), rng.standard_normal((3, *shape))
        assert np.allclose(part.times(x), dense.times(x), atol=1e-15)
        assert np.allclose(part.transposed_times(r), dense.transposed_times(r), atol=1e-14)


def test_a_vector_is_no_matrix():
    """DenseMap says what it takes."""
    with pytest.raises(InputError, match=r"shape \(m, N\)"):
        DenseMap(np.ones(3))


def test_orders_grow_to_the_whole_set(rng):
    """The last step is least squares on everything, each step that on the set of its order."""
    terms, points = total_degree(2, 4), rng.uniform(-1, 1, (60, 2))
    A, y = Design([Legendre()] * 2, terms, points), rng.standard_normal((60, 1))
    fit = by_order(A, y, total_degrees(terms), [Rows.all(60)])[0]

    assert [step["terms"] for step in fit.path] == [0, 1, 3, 6, 10, 15]
    assert np.allclose(fit.solution(5, "ls", 5).coef, least_squares(A, y).coef, atol=1e-12)
    quadratic = least_squares(DenseMap(A.columns(np.flatnonzero(total_degrees(terms) <= 2))), y)
    assert np.allclose(fit.solution(3, "ls", 3).coef, quadratic.coef, atol=1e-12)


def test_orders_stop_before_the_samples_do():
    """Eleven samples hold the cubic (10 functions) but not the quartic; two hold no more than the constant."""
    terms = total_degree(2, 4)
    A, y = Design([Legendre()] * 2, terms, np.random.default_rng(0).uniform(-1, 1, (11, 2))), np.ones((11, 1))

    assert by_order(A, y, total_degrees(terms), [Rows.all(11)])[0].size == 10
    assert by_order(A, y, total_degrees(terms), [Rows(np.arange(2), np.arange(2, 11))])[0].size == 1
    with pytest.raises(SettingError, match="one number per function"):
        by_order(A, y, [1, 2], [Rows.all(11)])


def test_orders_of_a_cross_are_products():
    """prod (nu_j + 1) - 1, which is the total degree on the axes."""
    terms = total_degree(2, 2)

    assert dict(zip(map(tuple, terms.dense().tolist()), cross_orders(terms).tolist(), strict=True)) == {
        (0, 0): 0, (1, 0): 1, (2, 0): 2, (0, 1): 1, (0, 2): 2, (1, 1): 3
    }  # fmt: skip


def test_noise_variance_is_unbiased(rng):
    """Mean over 400 draws of 40 rows and 10 terms: standard error sqrt(2 / 30 / 400) = 1.3 %, four of them allowed."""
    a = rng.standard_normal((40, 10))
    qr = UpdatedQR(2.0 * rng.standard_normal((40, 400)))
    qr.append(a)

    assert noise_variance(qr.residual / 40**0.5, 10).mean() == pytest.approx(4.0, rel=0.052)
    assert np.isinf(noise_variance(qr.residual, 40)).all()


def test_correction_of_leave_one_out_grows_with_the_terms(rng):
    """Formula by hand; infinite where nothing is left to judge by."""
    a = rng.standard_normal((30, 4))
    qr = UpdatedQR(rng.standard_normal((30, 1)))
    qr.append(a)
    trace = float(np.trace(np.linalg.inv(a.T @ a)))

    assert inverse_trace(qr) == pytest.approx(trace, rel=1e-12)
    assert corrected_loo(qr) == pytest.approx(float(qr.loo()[0]) * 30 / 26 * (1 + trace / 30), rel=1e-12)
    assert correction(30, 30, trace) == np.inf


def test_noise_is_taken_for_noise_and_a_function_is_not(rng):
    """Of 300 residuals of pure noise at most one in ten passes for a function (two standard deviations: 2 to 5 %), and
    the largest of a thousand candidates exceeds its bound at most one time in twenty, here counted twice as many."""
    columns = rng.standard_normal((400, 1000)) / 20
    noise = rng.standard_normal((400, 300))
    energy, residual = np.square(columns.T @ noise), np.square(noise).sum(axis=0)

    seen = [is_noise(float(energy[:60, i].sum()), float(residual[i]), 60, 400) for i in range(300)]
    assert 0.9 <= np.mean(seen) < 1
    largest = [energy[:, i].max() <= largest_of_noise(float(residual[i]), 1000, 400) for i in range(300)]
    assert np.mean(largest) >= 0.9
    signal = 0.4 * columns[:, 5] * 20 + noise[:, 0]  # 0.4 standard deviations of the noise, 400 rows: 8 sigma
    energy, residual = np.square(columns.T @ signal), float(np.square(signal).sum())
    assert not is_noise(float(energy[:60].sum()), residual, 60, 400)
    assert energy.max() > largest_of_noise(residual, 1000, 400)
