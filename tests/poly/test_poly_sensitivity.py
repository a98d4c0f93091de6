"""Sobol' indices from coefficients: against closed forms, against integrals, and as a decomposition."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.index_sets.families import hyperbolic_cross, tensor_product, total_degree
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.sensitivity.indices import indices_of, moments


def projected(function, degree: int, nodes: int = 200) -> np.ndarray:
    """Legendre coefficients (degree + 1,) of a function on [-1, 1], by Gauss quadrature on each half: |y| is a kink."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    halves = np.concatenate([(points - 1) / 2, (points + 1) / 2])
    table = Legendre().table(halves, degree)
    return table @ (np.tile(weights, 2) / 4 * function(halves))


def separable(factors: list[np.ndarray]) -> tuple[IndexSet, np.ndarray]:
    """The polynomial prod_j g_j(y_j) from the coefficients of each g_j, as a full tensor product."""
    terms = tensor_product(len(factors), [len(factor) - 1 for factor in factors])
    return terms, np.prod([factor[terms.dense()[:, j]] for j, factor in enumerate(factors)], axis=0)


def ishigami(degree: int) -> tuple[IndexSet, np.ndarray]:
    """sin x1 + a sin^2 x2 + b x3^4 sin x1 on (-pi, pi)^3, a = 7, b = 0.1, projected on degrees up to `degree`."""
    sine = projected(lambda y: np.sin(np.pi * y), degree)
    square = projected(lambda y: 7 * np.sin(np.pi * y) ** 2, degree)
    quartic = projected(lambda y: 0.1 * (np.pi * y) ** 4, 4)
    terms = tensor_product(3, [degree, degree, 4])
    one, two, three = terms.dense().T
    coef = np.where((two == 0), sine[one] * ((three == 0) + quartic[three]), 0.0)
    return terms, coef + np.where((one == 0) & (three == 0), square[two], 0.0)


def test_ishigami_matches_its_closed_form():
    """Mean, variance, first, total and the one interaction, all from integrals of powers and sines."""
    a, b, pi = 7.0, 0.1, np.pi
    by_1, by_2 = (1 + b * pi**4 / 5) ** 2 / 2, a**2 / 8
    by_13 = b**2 * pi**8 * (1 / 18 - 1 / 50)
    variance = by_1 + by_2 + by_13
    terms, coef = ishigami(24)
    found = indices_of(terms, coef)
    # the Taylor term of sin(pi y) beyond degree 24 is pi^25 / 25! = 1.7e-13; 200 nodes integrate the rest to rounding
    close = {"rtol": 0, "atol": 1e-10}
    np.testing.assert_allclose(moments(terms, coef), (a / 2, variance), **close)
    np.testing.assert_allclose(found.first, np.array([by_1, by_2, 0]) / variance, **close)
    np.testing.assert_allclose(found.total, np.array([by_1 + by_13, by_2, by_13]) / variance, **close)
    np.testing.assert_allclose(found.interaction([0, 2]), by_13 / variance, **close)
    # the figures that the literature quotes
    np.testing.assert_allclose(found.first, [0.313905, 0.442411, 0], rtol=0, atol=5e-7)
    np.testing.assert_allclose(found.total, [0.557589, 0.442411, 0.243684], rtol=0, atol=5e-7)


@pytest.mark.parametrize("a", [(0, 1), (1, 2, 5), (0, 9, 99)])
def test_g_function_approaches_its_closed_form(a):
    """prod (|4u - 2| + a_j) / (1 + a_j), S_j = V_j / V with V_j = 1 / (3 (1 + a_j)^2): kinks, so slowly."""
    by_one = 1 / (3 * (1 + np.array(a)) ** 2)
    variance = np.prod(1 + by_one) - 1
    degree = 20
    terms, coef = separable([projected(lambda y, a=a_j: (2 * np.abs(y) + a) / (1 + a), degree) for a_j in a])
    found = indices_of(terms, coef)
    # |y| has even coefficients of size sqrt(2k + 1) / k^2 up to a factor below 1 (parts, twice), so the energy beyond
    # degree n is below sum_{even k > n} 2 (2k + 1) / k^4 < 1.1 / n^2, times 4 for 2 |y|; in units of V_j = 1/3
    assert moments(terms, coef)[1] < variance
    np.testing.assert_allclose(found.first, by_one / variance, rtol=0, atol=3 * 4 * 1.1 / degree**2)
    total = by_one * np.prod(1 + by_one) / (1 + by_one) / variance
    np.testing.assert_allclose(found.total, total, rtol=0, atol=3 * 4 * 1.1 / degree**2)


def test_linear_function_has_no_interaction():
    """S_j = T_j = a_j^2 / sum a^2, and no pair occurs."""
    slopes = np.array([3.0, -4.0, 0.0, 12.0])
    found = indices_of(total_degree(4, 1), [7.0, *slopes])
    # squares, a sum and a quotient: a few roundings
    np.testing.assert_allclose(found.first, slopes**2 / 169, rtol=1e-15)
    np.testing.assert_array_equal(found.total, found.first)
    assert found.pairs.shape == (0, 2)
    assert found.pair.shape == found.pair_superset.shape == (0,)


def test_product_function_has_every_interaction():
    """prod (1 + a_j psi_1(y_j)): V_u = prod_{j in u} a_j^2 for every set u."""
    a = np.array([0.5, 1.0, 2.0])
    found = indices_of(*separable([np.array([1.0, slope]) for slope in a]))
    variance = np.prod(1 + a**2) - 1
    for size in (1, 2, 3):
        for group in combinations(range(3), size):
            np.testing.assert_allclose(found.interaction(group), np.prod(a[list(group)] ** 2) / variance, rtol=1e-14)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(found.pair * variance, [0.25, 1.0, 4.0], rtol=1e-14)
    np.testing.assert_allclose(found.pair_superset * variance, [1.25, 2.0, 5.0], rtol=1e-14)
    assert found.effects()[0][0] in [(2,), (1, 2)]  # 4 / V each


def random_polynomial(seed: int, dimension: int = 4, order: int = 3) -> tuple[IndexSet, np.ndarray]:
    terms = hyperbolic_cross(dimension, order + 2)
    return terms, np.random.default_rng(seed).standard_normal(len(terms))


@given(st.integers(0, 2**32 - 1))
def test_indices_are_those_of_the_conditional_means(seed):
    """Var E[f | x_u] / Var f by quadrature over the other variables, which knows nothing of coefficients."""
    dimension, degree = 3, 4
    terms = total_degree(dimension, degree)
    coef = np.random.default_rng(seed).standard_normal(len(terms))
    nodes, weights = Legendre().gauss(degree + 1)
    table = Legendre().table(nodes, degree)
    tensor = np.zeros([degree + 1] * dimension)
    tensor[tuple(terms.dense().T)] = coef
    values = np.einsum("abc,ai,bj,ck->ijk", tensor, table, table, table)
    found = indices_of(terms, coef)

    def variance_of_mean_given(group: tuple[int, ...]) -> float:
        mean = values
        for axis in range(dimension):
            if axis not in group:
                mean = np.expand_dims(np.tensordot(mean, weights, (axis, 0)), axis)
        for axis, square in ((axis, mean.shape[axis] > 1) for axis in range(dimension)):
            assert square == (axis in group)
        weight = np.ones(())
        for axis in range(dimension):
            weight = np.multiply.outer(weight, weights if axis in group else np.ones(1))
        average = (weight * mean).sum()
        return float((weight * (mean - average) ** 2).sum())

    variance = variance_of_mean_given((0, 1, 2))
    np.testing.assert_allclose(found.variance, variance, rtol=1e-12)
    for size in (1, 2):
        for group in combinations(range(dimension), size):
            expected = variance_of_mean_given(group) / variance
            # 125 nodes with weights that add up to 1: 1e-13 is a thousand roundings
            np.testing.assert_allclose(found.closed(group), expected, rtol=0, atol=1e-13)
            rest = [j for j in range(dimension) if j not in group]
            np.testing.assert_allclose(found.group_total(rest), 1 - expected, rtol=0, atol=1e-13)


@given(st.integers(0, 2**32 - 1))
def test_effects_add_up_to_one_and_bracket_it(seed):
    """All S_u sum to 1; sum S_j <= 1 <= sum T_j; S_j <= T_j; the whole group explains all."""
    found = indices_of(*random_polynomial(seed))
    close = pytest.approx(1.0, abs=1e-13)  # 30 terms
    assert sum(float(share) for _, share in found.effects()) == close
    assert found.closed(range(4)) == found.group_total(range(4)) == close
    assert found.first.sum() <= 1 + 1e-13
    assert found.total.sum() >= 1 - 1e-13
    assert (found.first <= found.total + 1e-15).all()
    by_size = [found.interaction(group) for size in (1, 2, 3, 4) for group in combinations(range(4), size)]
    assert sum(map(float, by_size)) == close


@given(st.permutations(range(4)), st.integers(0, 2**32 - 1))
def test_renaming_variables_renames_indices(order, seed):
    """Permutation equivariance, of singles and of pairs."""
    terms, coef = random_polynomial(seed)
    found = indices_of(terms, coef)
    moved = indices_of(IndexSet.from_dense(terms.dense()[:, order]), coef)  # variable k is now what order[k] was
    # the same terms in the same order, summed in another one where a sparse product groups them
    np.testing.assert_allclose(moved.first, found.first[list(order)], rtol=1e-14)
    np.testing.assert_allclose(moved.total, found.total[list(order)], rtol=1e-14)
    pairs = dict(zip(map(tuple, found.pairs.tolist()), found.pair_superset, strict=True))
    for pair, share in zip(moved.pairs.tolist(), moved.pair_superset, strict=True):
        np.testing.assert_allclose(share, pairs[tuple(sorted(order[j] for j in pair))], rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-200, 1e200, -1.0])
def test_indices_do_not_depend_on_the_unit_of_the_output(scale):
    """Not even where squares of the coefficients are no doubles any more."""
    terms, coef = random_polynomial(1)
    found, other = indices_of(terms, coef), indices_of(terms, scale * coef)
    np.testing.assert_allclose(other.total, found.total, rtol=1e-14)
    np.testing.assert_allclose(other.first, found.first, rtol=1e-14)


@pytest.mark.parametrize("coef", [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_a_constant_has_no_indices(coef):
    """Nothing varies, so no share of it can be told: nan, and a variance of 0."""
    found = indices_of(total_degree(2, 1), coef)
    assert found.variance == 0
    assert np.isnan(found.first).all()
    assert np.isnan(found.total).all()
    only_mean = indices_of(IndexSet.from_dense(np.zeros((1, 2), dtype=int)), [3.0])
    assert only_mean.first.shape == (2,)
    assert np.isnan(only_mean.first).all()


def test_an_index_set_without_a_mean_has_mean_zero():
    """The zero index need not be among the terms."""
    assert moments(IndexSet.from_dense([[1, 0], [0, 2]]), [3.0, 4.0]) == (0.0, 25.0)


def test_outputs_side_by_side_are_outputs_one_by_one():
    """(N, q) coefficients give a last axis of length q; the aggregate weighs each output by its variance."""
    terms, coef = random_polynomial(2)
    many = np.column_stack([coef, 10 * np.roll(coef, 3), np.zeros_like(coef)])
    found = indices_of(terms, many)
    assert found.first.shape == (4, 3)
    assert found.pair.shape == (len(found.pairs), 3)
    ones = [indices_of(terms, many[:, k]) for k in range(3)]
    for k in range(2):
        np.testing.assert_allclose(found.first[:, k], ones[k].first, rtol=1e-14)
        np.testing.assert_allclose(found.pair_superset[:, k], ones[k].pair_superset, rtol=1e-14)
        np.testing.assert_allclose(found.closed([0, 3])[k], ones[k].closed([0, 3]), rtol=1e-14)
    assert np.isnan(found.total[:, 2]).all()

    weights = np.array([one.variance for one in ones[:2]])
    expected = (ones[0].total * weights[0] + ones[1].total * weights[1]) / weights.sum()
    together = found.aggregated()
    assert together.total.shape == (4,)
    np.testing.assert_allclose(together.total, expected, rtol=1e-14)
    alike = found.aggregated([1 / weights[0], 1 / weights[1], 0.0])
    np.testing.assert_allclose(alike.total, (ones[0].total + ones[1].total) / 2, rtol=1e-14)


def test_variables_may_be_named():
    """By name or by number, and a wrong one is answered with the right ones."""
    found = indices_of(total_degree(2, 2), np.arange(1.0, 7.0), names=["load", "speed"])
    assert found.closed("load") == found.closed(["load"]) == found.closed([0]) == found.first[0]
    with pytest.raises(SettingError, match="load, speed"):
        found.closed(["lode"])
    with pytest.raises(SettingError, match="from 0 to 1"):
        found.interaction([2])


def test_foreign_coefficients_are_refused():
    """Of another length, or not finite."""
    with pytest.raises(InputError, match="do not belong together"):
        indices_of(total_degree(2, 1), [1.0, 2.0])
    with pytest.raises(InputError, match="not finite"):
        indices_of(total_degree(2, 1), [1.0, np.nan, 2.0])
    with pytest.raises(SettingError, match="weights of the outputs"):
        indices_of(total_degree(2, 1), np.ones((3, 2))).aggregated([1.0, -1.0])


@pytest.mark.parametrize(("dimension", "order"), [(2, 1356), (8, 46), (32, 10)])
def test_all_indices_of_ten_thousand_terms_take_less_than_50_milliseconds(dimension, order):
    """First, total, pairs and their supersets, from a set just made: nothing is remembered from before."""
    terms = hyperbolic_cross(dimension, order)
    coef = np.random.default_rng(0).standard_normal(len(terms))

    def seconds() -> float:
        fresh = IndexSet(terms.dimension, terms.indptr, terms.variable, terms.degree)
        start = time.perf_counter()
        found = indices_of(fresh, coef)
        assert found.first.sum() + found.pair.sum() <= 1 + 1e-12
        assert (found.total > 0).all()
        assert (found.pair_superset >= found.pair).all()
        return time.perf_counter() - start

    assert len(terms) > 8000
    assert min(seconds() for _ in range(7)) < 0.050
