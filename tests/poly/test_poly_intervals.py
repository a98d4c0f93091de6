"""Intervals of Sobol' indices: the bound holds exactly where means are exact, and coverage is what is promised."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.families import total_degree
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.sensitivity.bootstrap import fixed_term_intervals, mammen, refit_intervals
from sm3.poly.sensitivity.cross_fit import Fold, cross_fit_intervals
from sm3.poly.sensitivity.indices import indices_of
from sm3.poly.sensitivity.intervals import Wanted


def design_of(terms: IndexSet, points: np.ndarray) -> Design:
    return Design([Legendre()] * terms.dimension, terms, points)


def flat(intervals) -> np.ndarray:
    """(2, u): first, total, pairs."""
    return np.concatenate([intervals.first, intervals.total, intervals.pair], axis=1)


def covered(intervals, truth: np.ndarray) -> np.ndarray:
    lower, upper = flat(intervals)
    return (lower <= truth + 1e-12) & (truth <= upper + 1e-12)


def least_squares_folds(terms: IndexSet, points: np.ndarray, y: np.ndarray, rng, count: int = 5) -> list[Fold]:
    """The same terms fitted without each fold."""
    matrix, number = design_of(terms, points).matrix(), rng.permutation(len(y)) % count
    folds = []
    for k in range(count):
        coef = np.linalg.lstsq(matrix[number != k], y[number != k], rcond=None)[0]
        rows = np.flatnonzero(number == k)
        folds.append(Fold(rows, design_of(terms, points[rows]), coef.reshape(len(terms), -1)))
    return folds


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- cross-fit ---


@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_the_bound_holds_for_any_polynomial_where_means_are_exact(seed, spoil):
    """Rows and weights of a quadrature leave no sampling error, and a level near 0 leaves no room for one either."""
    rng = np.random.default_rng(seed)
    terms = total_degree(2, 4)
    truth_coef = rng.standard_normal(len(terms))
    nodes, weights = Legendre().gauss(
        9
    )  # exact for products of degree 8 and for squares of squares not: none is needed
    points = np.array(list(product(nodes, nodes)))
    weight = np.array([a * b for a, b in product(weights, weights)])
    y = design_of(terms, points).times(truth_coef)
    rows = np.arange(len(points))
    polynomial = truth_coef + spoil * rng.standard_normal(len(terms))
    fold = Fold(rows, design_of(terms, points), polynomial[:, None])
    truth = indices_of(terms, truth_coef)
    found = cross_fit_intervals(truth, [fold], y, weight=weight, level=1e-9)
    # the t quantile of level 1e-9 is about 1e-9, times a standard error of order 1
    lower, upper = flat(found)
    wanted = Wanted.of(truth).values(truth)
    assert (lower <= wanted + 1e-8).all()
    assert (wanted <= upper + 1e-8).all()


def test_a_perfect_polynomial_leaves_no_width(rng):
    """No residual, no doubt: both ends are the index, to rounding."""
    terms = total_degree(3, 3)
    coef = rng.standard_normal(len(terms))
    points = rng.uniform(-1, 1, (60, 3))
    truth = indices_of(terms, coef)
    y = design_of(terms, points).times(coef)
    found = cross_fit_intervals(truth, least_squares_folds(terms, points, y, rng), y)
    # 20 coefficients of order 1 from a system of condition below 100: 1e-12 is a hundred times its rounding
    np.testing.assert_allclose(flat(found), np.tile(Wanted.of(truth).values(truth), (2, 1)), rtol=0, atol=1e-12)
    assert found.unexplained < 1e-20


def test_a_useless_polynomial_promises_nothing(rng):
    """As many terms as rows can bear: Q2 is far below 0, and no index is narrowed to less than half of [0, 1]."""
    terms = total_degree(3, 4)
    points = rng.uniform(-1, 1, (40, 3))
    y = rng.standard_normal(40)
    folds = least_squares_folds(terms, points, y, rng)
    found = cross_fit_intervals(indices_of(terms, folds[0].coef[:, 0]), folds, y)
    assert found.unexplained > 1
    assert (np.diff(flat(found), axis=0) > 0.5).all()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_cross_fit_intervals_cover_the_function_although_the_polynomial_misses_part(noise):
    """|y| has kinks, so a polynomial of degree 4 misses 3 % of it; noise adds its own part. 60 samples of 100 rows."""
    rng = np.random.default_rng(1)
    terms = total_degree(3, 4)
    a = np.array([0.0, 1.0, 4.5])
    by_one = 1 / (3 * (1 + a) ** 2)
    variance = np.prod(1 + by_one) - 1
    first = by_one / variance
    total = by_one * np.prod(1 + by_one) / (1 + by_one) / variance
    hits = []
    for _ in range(60):
        points = rng.uniform(-1, 1, (120, 3))
        y = np.prod((np.abs(2 * points) + a) / (1 + a), axis=1)
        y = y + noise * np.sqrt(variance) * rng.standard_normal(len(y))
        folds = least_squares_folds(terms, points, y, rng)
        found = cross_fit_intervals(indices_of(terms, folds[0].coef[:, 0]), folds, y)
        lower, upper = np.concatenate([found.first, found.total], axis=1)
        truth = np.concatenate([first, total])
        hits.append((lower <= truth) & (truth <= upper))
    # at 95 % coverage fewer than 52 of 60 hits have a probability of 3e-3, once for each of 6 indices: 0.88 is 52.8
    assert np.mean(hits, axis=0).min() >= 0.88


def test_outputs_are_taken_one_by_one(rng):
    """Each as if it were alone; a constant one has no intervals."""
    terms = total_degree(2, 2)
    points = rng.uniform(-1, 1, (50, 2))
    matrix = design_of(terms, points).matrix()
    y = matrix @ rng.standard_normal((len(terms), 3)) + 0.1 * rng.standard_normal((50, 3))
    y[:, 1] = 0.0
    folds = least_squares_folds(terms, points, y, np.random.default_rng(5))
    many = cross_fit_intervals(indices_of(terms, folds[0].coef), folds, y)
    assert many.first.shape == (2, 2, 3)
    assert many.unexplained.shape == (3,)
    assert np.isnan(many.total[:, :, 1]).all()
    for k in (0, 2):
        alone = [Fold(fold.rows, fold.design, fold.coef[:, [k]]) for fold in folds]
        one = cross_fit_intervals(indices_of(terms, folds[0].coef[:, k]), alone, y[:, k])
        np.testing.assert_allclose(many.total[:, :, k], one.total, rtol=1e-12)
        np.testing.assert_allclose(many.pair[:, :, k], one.pair, rtol=1e-12)


# --- bootstrap ---


def test_mammens_weights_have_the_moments_of_resampling():
    """Mean 0, second and third moment 1, from the two values and their probabilities themselves."""
    drawn = mammen((200_000,), np.random.default_rng(0))
    low, high = np.unique(drawn)
    share = (5**0.5 + 1) / (2 * 5**0.5)
    for power, moment in ((1, 0), (2, 1), (3, 1)):
        np.testing.assert_allclose(share * low**power + (1 - share) * high**power, moment, atol=1e-15)
    # a binomial share of 200,000 has a standard deviation of 1e-3
    np.testing.assert_allclose((drawn == low).mean(), share, atol=4e-3)
    assert 1 + low > 0.38


def noisy_quadratic(rng, m: int, noise: float) -> tuple[IndexSet, np.ndarray, np.ndarray, np.ndarray]:
    """Terms, their true coefficients, the design and measured values."""
    terms = total_degree(2, 2)
    coef = np.array([1.0, 1.0, 0.3, 0.0, 0.5, 0.0])
    points = rng.uniform(-1, 1, (m, 2))
    matrix = design_of(terms, points).matrix()
    return terms, coef, matrix, matrix @ coef + noise * rng.standard_normal(m)


def test_fixed_term_intervals_cover_where_the_terms_are_right():
    """Known coefficients, two of them 0, and 40 % noise: 150 samples of 60 rows."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(150):
        terms, coef, matrix, y = noisy_quadratic(rng, 60, 0.4)
        found = fixed_term_intervals(terms, matrix, y, rng, replicates=300)
        truth = indices_of(terms, coef)
        hits.append(covered(found, Wanted(2, found.pairs).values(truth)))
    # 95 % nominal; a bootstrap of 60 rows loses some percent. Fewer than 132 of 150 at 92 % have a probability of 4 %
    # for one index; the seed is fixed and a wrong formula is at 0.5 or 1.0
    assert np.mean(hits, axis=0).min() >= 0.88
    assert np.mean(hits) <= 0.99


def test_both_bootstraps_agree_where_leverages_are_small(rng):
    """The fixed-term formula is the first order of refitting with the same kind of weights."""
    terms, _, matrix, y = noisy_quadratic(rng, 2000, 0.3)

    def fit(weight):
        root = np.sqrt(weight)
        return terms, np.linalg.lstsq(matrix * root[:, None], y * root, rcond=None)[0]

    formula = flat(fixed_term_intervals(terms, matrix, y, rng))
    refitted = flat(refit_intervals(fit, len(y), rng, replicates=400))
    wide = np.diff(formula, axis=0)[0] > 1e-3
    assert wide.sum() >= 4
    # the outer quantile of 400 replicates is off by 4 % of the width, at both ends; leverages are 6 / 2000
    ratio = np.diff(refitted, axis=0)[0][wide] / np.diff(formula, axis=0)[0][wide]
    np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_a_row_of_weight_zero_is_no_row(rng):
    """And the intervals of a seed are the same each time."""
    terms, _, matrix, y = noisy_quadratic(rng, 40, 0.3)
    weight = np.ones(45)
    weight[:5] = 0
    longer, values = np.vstack([9 * matrix[:5], matrix]), np.concatenate([y[:5] + 100, y])
    short = fixed_term_intervals(terms, matrix, y, np.random.default_rng(7))
    again = fixed_term_intervals(terms, longer, values, np.random.default_rng(7), weight=weight)
    np.testing.assert_array_equal(flat(again), flat(short))


def test_too_few_rows_are_refused(rng):
    """As many rows as terms, or a row that alone determines a coefficient: no residual tells anything."""
    terms, _, matrix, y = noisy_quadratic(rng, 6, 0.3)
    with pytest.raises(InputError, match="6 rows, 6 terms"):
        fixed_term_intervals(terms, matrix, y, rng)
    lonely = np.vstack([np.tile(matrix[:5], (4, 1)), matrix[5:]])
    with pytest.raises(InputError, match="21 rows, 6 terms"):
        fixed_term_intervals(terms, lonely, np.arange(21.0), rng)


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_a_level_is_a_probability(level, rng):
    """95 is not 95 %."""
    terms, _, matrix, y = noisy_quadratic(rng, 20, 0.3)
    with pytest.raises(SettingError, match=r"leave it at 0\.95"):
        fixed_term_intervals(terms, matrix, y, rng, level=level)


@pytest.mark.parametrize("weight", [np.ones(3), -np.ones(20), np.zeros(20), np.full(20, np.nan)])
def test_wrong_weights_are_refused(weight, rng):
    """Of another length, negative, all zero, not finite."""
    terms, _, matrix, y = noisy_quadratic(rng, 20, 0.3)
    with pytest.raises(SettingError, match="weights of the rows"):
        fixed_term_intervals(terms, matrix, y, rng, weight=weight)


def test_the_largest_pairs_get_an_interval():
    """Of 45 pairs of ten variables 20 are wanted, those of the largest share, in ascending order."""
    terms = total_degree(10, 2)
    rng = np.random.default_rng(0)
    found = indices_of(terms, rng.standard_normal(len(terms)))
    wanted = Wanted.of(found)
    assert len(wanted.pairs) == 20
    assert wanted.pairs.tolist() == sorted(wanted.pairs.tolist())
    kept = [found.interaction(pair) for pair in wanted.pairs]
    assert min(kept) >= np.sort(found.pair)[-20]
    np.testing.assert_allclose(wanted.values(found)[20:], kept, rtol=1e-15)
    # the same indices once more, as sums over the terms that count for each
    np.testing.assert_allclose(found.shares[:, 0] @ wanted.terms(terms), wanted.values(found), rtol=1e-13)
