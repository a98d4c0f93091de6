"""Matching pursuit: what it recovers, what it does not depend on, and that folds in step are folds alone."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.families import hyperbolic_cross
from sm3.poly.index_sets.margin import ReducedMargin
from sm3.poly.solvers.growing_fit import GrowingFit, Rows
from sm3.poly.solvers.linear_map import DenseMap
from sm3.poly.solvers.omp import omp, omp_on_rows, pursue


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def gaussian(rng, m=50, n=200, s=6, q=1):
    a = rng.standard_normal((m, n)) / m**0.5
    support = np.sort(rng.choice(n, s, replace=False))
    coef = rng.standard_normal((s, q)) + np.sign(rng.standard_normal((s, q)))
    return a, a[:, support] @ coef, support, coef


def random_lower_set(rng, terms, size):
    """Grown from the constant by one random index of the reduced margin at a time, inside `terms`."""
    margin = ReducedMargin(terms.dimension)
    while len(margin) < size:
        inside = [nu for nu in margin.candidates if terms.position(nu) >= 0]
        margin.add([inside[rng.integers(len(inside))]])
    return terms.find(margin.index_set())


@pytest.mark.parametrize("seed", range(4))
def test_random_lower_sets_come_back_exactly(seed):
    """Twenty terms of the cross of 8391 in 8 variables, m = 1.5 s log(N / s) = 182 samples: error below 1e-8."""
    rng = np.random.default_rng(seed)
    terms, bases = hyperbolic_cross(8, 46), [Legendre()] * 8
    support = random_lower_set(rng, terms, 20)
    m = int(np.ceil(1.5 * 20 * np.log(len(terms) / 20)))
    A = Design(bases, terms, rng.uniform(-1, 1, (m, 8)), row_scale=np.full(m, m**-0.5))
    coef = np.zeros((len(terms), 1))
    coef[support, 0] = rng.standard_normal(20)
    solution = omp(A, A.times(coef), terms.weights(bases))

    found = np.zeros_like(coef)
    found[solution.support] = solution.coef
    assert np.linalg.norm(found - coef) < 1e-8 * np.linalg.norm(coef)


@pytest.mark.parametrize("growth", [0.0, 0.3])
@pytest.mark.parametrize("q", [1, 3])
def test_sparse_vectors_come_back_with_their_support(rng, growth, q):
    """One at a time, and in bulks, which may take a few more; outputs share one support."""
    a, y, support, coef = gaussian(rng, q=q)
    solution = omp(DenseMap(a), y, np.ones(200), growth=growth)

    assert set(support) <= set(solution.support)
    at = np.searchsorted(solution.support, support)
    assert np.abs(solution.coef[at] - coef).max() < 1e-12
    assert np.abs(np.delete(solution.coef, at, axis=0)).max(initial=0) < 1e-12
    assert solution.residual.shape == (q,)
    assert solution.residual.max() < 1e-13
    if growth == 0:
        assert solution.support.tolist() == support.tolist()


def test_bulks_need_fewer_passes(rng):
    """Growth by a half: 30 terms in log(30) / log(1.5) + the first two ones by one, instead of 30 passes."""
    a, y = rng.standard_normal((60, 300)), rng.standard_normal((60, 1))
    one, bulk = (omp(DenseMap(a), y, np.ones(300), max_terms=30, growth=growth) for growth in (0.0, 0.5))

    assert one.n_iter == 30
    assert bulk.n_iter <= 12
    assert bulk.path[-1]["terms"] == 30


def test_result_does_not_depend_on_units_or_order(rng):
    """Scaled outputs, scaled weights, permuted columns: the same terms, coefficients to match."""
    a, y, _, _ = gaussian(rng, q=2)
    y = y + 0.1 * rng.standard_normal(y.shape)
    u = rng.uniform(1, 2, 200)
    plain = omp(DenseMap(a), y, u)
    scaled = omp(DenseMap(a), y * [1e6, 1e-6], 7 * u)
    order = rng.permutation(200)
    permuted = omp(DenseMap(a[:, order]), y, u[order])

    assert scaled.support.tolist() == plain.support.tolist()
    assert np.allclose(scaled.coef, plain.coef * [1e6, 1e-6], rtol=1e-9)
    back = np.argsort(order[permuted.support])
    assert order[permuted.support][back].tolist() == plain.support.tolist()
    assert np.allclose(permuted.coef[back], plain.coef, rtol=1e-9)


def test_weights_decide_between_equal_columns(rng):
    """Of a column and its repeat the lighter one is taken, and never both."""
    a = rng.standard_normal((30, 40))
    doubled, u = np.column_stack([a, a]), np.concatenate([np.full(40, 2.0), np.ones(40)])
    solution = omp(DenseMap(doubled), a[:, :3].sum(axis=1, keepdims=True), u)

    assert solution.support.tolist() == [40, 41, 42]


def test_folds_in_step_are_folds_alone(rng):
    """One product for all of them changes nothing but rounding."""
    a, y, _, _ = gaussian(rng, m=60)
    y = y + 0.05 * rng.standard_normal(y.shape)
    sets = [np.arange(60), np.arange(40), np.arange(10, 60, 2)]
    together = omp_on_rows(DenseMap(a), y, np.ones(200), sets)

    for rows, solution in zip(sets, together, strict=True):
        alone = omp(DenseMap(a[rows]), y[rows], np.ones(200))
        assert solution.support.tolist() == alone.support.tolist()
        assert np.allclose(solution.coef, alone.coef, atol=1e-12)
        assert solution.loo == pytest.approx(alone.loo, rel=1e-8)


def test_number_of_terms_is_that_of_least_leave_one_out(rng):
    """Of all passes; the solution is least squares on that many."""
    a, y, _, _ = gaussian(rng)
    y = y + 0.3 * rng.standard_normal(y.shape)
    solution = omp(DenseMap(a), y, np.ones(200), max_terms=20)

    losses = [record["loo"] for record in solution.path]
    assert len(losses) == 21  # with none at all
    assert solution.loo == min(losses)
    assert len(solution.support) == int(np.argmin(losses))
    expected = np.linalg.lstsq(a[:, solution.support], y, rcond=None)[0]
    assert np.allclose(solution.coef, expected, atol=1e-12)


@pytest.mark.parametrize("growth", [0.0, 0.5])
def test_errors_on_judging_rows_are_those_of_predictions(rng, growth):
    """After every pass, from the factorisation alone, against coefficients; also past its first capacity."""
    a, y, _, _ = gaussian(rng, m=60, q=2)
    y = y + 0.1 * rng.standard_normal(y.shape)
    fit, judge = np.arange(0, 45), np.arange(45, 60)
    pursuit = pursue(DenseMap(a), y, np.ones(200), [Rows(fit, judge)], growth=growth)[0].fit

    for step, errors in enumerate(pursuit.judged_errors()):
        solution = pursuit.solution(step, "omp", step)
        expected = np.square(y[judge] - a[np.ix_(judge, solution.support)] @ solution.coef).sum(axis=0)
        assert np.allclose(errors, expected, rtol=1e-9)


def test_judging_rows_follow_beyond_the_first_capacity(rng):
    """A fit made for one column takes twenty."""
    a, y = rng.standard_normal((40, 20)), rng.standard_normal((40, 1))
    fit = GrowingFit(DenseMap(a), y, Rows(np.arange(30), np.arange(30, 40)), capacity=1)
    for start in (0, 7, 8):
        fit.append(np.arange(start, {0: 7, 7: 8, 8: 20}[start]))

    expected = y[30:] - a[30:] @ np.linalg.lstsq(a[:30], y[:30], rcond=None)[0]
    assert fit.judged_errors()[-1] == pytest.approx(np.square(expected).sum(), rel=1e-10)


def test_pursuit_ends_where_nothing_is_left(rng):
    """At a residual of rounding, at the cap, at the last column, at the last sample."""
    a, y, _, _ = gaussian(rng)
    assert omp(DenseMap(a), y, np.ones(200)).n_iter == 6
    assert omp(DenseMap(a), y, np.ones(200), max_terms=2).n_iter == 2
    assert omp(DenseMap(a[:, :3]), y, np.ones(3)).n_iter == 3
    assert omp(DenseMap(a[:2]), y[:2], np.ones(200), max_terms=99).path[-1]["terms"] == 2


@pytest.mark.parametrize(
    ("a", "y"),
    [(np.ones((4, 3)), np.zeros((4, 1))), (np.zeros((4, 3)), np.ones((4, 2))), (np.ones((4, 0)), np.ones((4, 1)))],
)
def test_nothing_to_fit_or_to_fit_with_gives_no_terms(a, y):
    """y = 0, columns of zeros, no columns."""
    solution = omp(DenseMap(a), y, np.ones(a.shape[1]))

    assert len(solution.support) == 0
    assert solution.coef.shape == (0, y.shape[1])


def test_a_constant_function_needs_the_constant():
    """And leave-one-out keeps nothing else."""
    terms, bases = hyperbolic_cross(3, 5), [Legendre()] * 3
    A = Design(bases, terms, np.random.default_rng(0).uniform(-1, 1, (30, 3)), row_scale=np.full(30, 30**-0.5))
    solution = omp(A, np.full((30, 1), 4 / 30**0.5), terms.weights(bases))

    assert solution.support.tolist() == [0]
    assert solution.coef[0, 0] == pytest.approx(4, rel=1e-14)


@pytest.mark.parametrize("settings", [{"growth": -0.1}, {"max_terms": -1}])
def test_settings_out_of_range_are_refused(settings):
    """With what is accepted."""
    with pytest.raises(SettingError, match="max_terms >= 0 and growth >= 0"):
        omp(DenseMap(np.eye(2)), np.ones((2, 1)), np.ones(2), **settings)


def test_values_that_are_not_finite_are_refused():
    """NaN would be the best correlation of all."""
    with pytest.raises(InputError, match="not all finite"):
        omp(DenseMap(np.eye(2)), np.full((2, 1), np.nan), np.ones(2))
