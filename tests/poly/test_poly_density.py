"""Polynomials of any density against closed forms, and of finitely many values against linear algebra."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from sm3.errors import SettingError, SettingTypeError
from sm3.poly.basis.classical import Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import Discrete, FromDensity


@pytest.mark.parametrize(
    ("distribution", "basis", "loc", "scale", "accuracy"),
    [
        # 64 orthogonalisations of sums with rounding 1e-16 each
        (stats.uniform(3, 2), Legendre(), 4, 1, 1e-13),
        (stats.norm(1e4, 2), Hermite(), 1e4, 2, 1e-13),
        (stats.gamma(0.3), Laguerre(-0.7), 0, 1, 1e-13),
        (stats.gamma(3.5, loc=7, scale=0.1), Laguerre(2.5), 7, 0.1, 1e-13),
        (stats.beta(50, 3, loc=-2), Jacobi(2, 49), -1.5, 0.5, 1e-13),
        # infinite at the upper end 1, which is approached to 1e-16 only: promised to 1e-9
        (stats.beta(0.3, 0.4), Jacobi(-0.6, -0.7), 0.5, 0.5, 1e-9),
    ],
    ids=lambda value: value.dist.name if hasattr(value, "dist") else "",
)
def test_recurrences_of_classical_densities_are_their_closed_forms(distribution, basis, loc, scale, accuracy):
    """Up to degree 60, shifted and scaled; alpha_60 is not needed by any of them."""
    alpha, beta = FromDensity(distribution).recurrence(61)
    expected_alpha, expected_beta = basis.recurrence(61)
    assert np.abs(beta[1:] / (scale**2 * expected_beta[1:]) - 1).max() < accuracy
    size = scale * np.sqrt(expected_beta[1:].max())
    # the shift itself is a double: its rounding is all that 1e4 may cost
    assert np.abs(alpha - (loc + scale * expected_alpha))[:60].max() < accuracy * size + np.spacing(abs(loc))


KINKS = {
    "triang": (stats.triang(0.3), [0, 0.3, 1]),
    "laplace": (stats.laplace(), [-300, -60, 0, 60, 300]),
    "histogram": (stats.rv_histogram(([2, 5, 1], [0.0, 1.0, 1.5, 4.0]), density=False), [0, 1, 1.5, 4]),
    "truncnorm": (stats.truncnorm(-1, 2), [-1, 2]),
    "trapezoid": (stats.trapezoid(0.2, 0.7), [0, 0.2, 0.7, 1]),
    "weibull": (stats.weibull_min(1.5), [0, 1e-4, 0.01, 1, 5, 13, 40]),
    "gumbel": (stats.gumbel_r(), [-5, 0, 10, 50, 250]),
}


@pytest.mark.parametrize("name", KINKS)
def test_polynomials_of_kinked_and_skewed_densities_are_orthonormal(name):
    """Up to degree 12, by Gauss rules of 400 points between the kinks that do not know of ours."""
    distribution, edges = KINKS[name]
    nodes, weights = np.polynomial.legendre.leggauss(400)
    low, half = np.array(edges[:-1], dtype=float), 0.5 * np.diff(edges)
    y = (low[:, None] + half[:, None] * (nodes + 1)).ravel()
    mass = (half[:, None] * weights).ravel() * distribution.pdf(y)
    psi = FromDensity(distribution).table(y, 12)
    # weibull_min(1.5) starts as sqrt(y), whose integral over [0, 1e-4] a Gauss rule of 400 points has to 1e-13
    assert np.abs((psi * mass) @ psi.T - np.eye(13)).max() < 1e-11


def test_every_jump_of_a_histogram_is_found():
    """21 jumps; one falls between the last node of a panel and its end, where two Gauss sums agree and are wrong."""
    counts, edges = np.histogram(np.random.default_rng(0).normal(size=200), 20)
    nodes, weights = FromDensity(stats.rv_histogram((counts, edges))).gauss(5)
    probability = counts / counts.sum()
    for order in range(1, 10):
        moment = probability @ (np.diff(edges ** (order + 1)) / (order + 1) / np.diff(edges))
        assert weights @ nodes**order == pytest.approx(moment, rel=1e-11)


def test_gauss_rules_of_a_density_integrate_smooth_functions():
    """E cos(Y) of a Weibull variable, against adaptive quadrature."""
    nodes, weights = FromDensity(stats.weibull_min(2.0)).gauss(30)
    expected = integrate.quad(lambda y: np.cos(y) * stats.weibull_min.pdf(y, 2.0), 0, 12, epsabs=1e-13)[0]
    assert weights @ np.cos(nodes) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("distribution", "highest"),
    [
        (stats.t(5), 2),
        (stats.t(4), 1),  # the fourth moment is infinite, so psi_2 has no norm
        (stats.t(4.1, loc=100, scale=3), 2),
        (stats.pareto(7.5), 3),
        (stats.genpareto(0.2), 2),
        (stats.norm(), None),
        (stats.lognorm(1.0), None),
        (stats.lognorm(4.0), None),
        (stats.expon(), None),
        (stats.uniform(), None),
    ],
    ids=lambda value: f"{value.dist.name}{value.args}" if hasattr(value, "dist") else "",
)
def test_heavy_tails_have_as_many_polynomials_as_moments(distribution, highest):
    """Degree k needs a finite moment of order 2 k; light tails have them all."""
    assert FromDensity(distribution).max_degree == highest


def test_the_polynomials_that_exist_under_a_heavy_tail_are_right():
    """Student's t with 7 degrees of freedom: beta_1 = var = 7 / 5, beta_2 = E y^4 / var - var, in closed form."""
    basis = FromDensity(stats.t(7))
    alpha, beta = basis.recurrence(3)
    fourth = 3 * 49 / (5 * 3)
    assert np.abs(alpha[:2]).max() < 1e-12
    assert beta[1:] == pytest.approx([7 / 5, fourth / (7 / 5) - 7 / 5], rel=1e-9)
    with pytest.raises(SettingError, match="and <= 3"):
        basis.table([0.0], 4)


@pytest.mark.parametrize("distribution", [stats.cauchy(), stats.t(2), stats.pareto(1.5), stats.levy()])
def test_a_distribution_without_variance_is_refused(distribution):
    """At construction, naming the way out."""
    with pytest.raises(SettingError, match=r"finite variance(.|\n)*map the variable to a uniform one"):
        FromDensity(distribution)


@pytest.mark.parametrize("distribution", [stats.poisson(3.0), stats.weibull_min, 3.0, None])
def test_what_is_no_frozen_continuous_distribution_is_refused(distribution):
    """A discrete one, a name that was not frozen, a number."""
    with pytest.raises(SettingTypeError, match="no continuous distribution"):
        FromDensity(distribution).recurrence(2)


def test_moments_beyond_the_range_of_doubles_are_explained():
    """Lognormal of sigma 1: the 120th moment is exp(7200)."""
    with pytest.raises(SettingError, match="map the variable to a uniform one"):
        FromDensity(stats.lognorm(1.0)).table([1.0], 60)
    assert np.isfinite(FromDensity(stats.lognorm(1.0)).table([1.0], 5)).all()


def test_a_density_whose_integral_is_not_one_is_explained():
    """A user's own class, with its density off by a factor."""

    class Wrong(stats.rv_continuous):
        def _pdf(self, x):
            return np.full_like(x, 0.7)

        def _cdf(self, x):
            return x

    with pytest.raises(SettingError, match=r"integrates to 0\.7, not 1"):
        FromDensity(Wrong(a=0, b=1)()).recurrence(3)


def test_a_basis_of_a_density_survives_pickling():
    """Bit for bit: the coefficients are computed anew from the same distribution."""
    basis = FromDensity(stats.triang(0.3))
    again = pickle.loads(pickle.dumps(basis))
    y = np.linspace(0, 1, 9)
    assert np.array_equal(again.table(y, 10), basis.table(y, 10))


def test_a_bounded_density_has_sup_norms_and_an_unbounded_one_has_none():
    """Uniform on [2, 6] has those of Legendre."""
    assert np.allclose(FromDensity(stats.uniform(2, 4)).sup_norms(8), Legendre().sup_norms(8), rtol=1e-12)
    assert np.isinf(FromDensity(stats.gumbel_r()).sup_norms(2)[1:]).all()


@pytest.mark.parametrize(
    "basis",
    [Discrete(range(60)), Discrete([3.0, -1.0, 1e3]), Discrete([0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4]), Discrete([5.0])],
    ids=str,
)
def test_every_function_on_the_values_is_a_polynomial(basis):
    """K polynomials, orthonormal for the probabilities, so they span all K values: 60 of degree 59 too."""
    values, probabilities = np.array(basis.values), np.array(basis.probabilities)
    psi = basis.table(values, basis.max_degree)
    assert np.abs((psi * probabilities) @ psi.T - np.eye(len(values))).max() < 1e-12
    nodes, weights = basis.gauss(len(values))
    assert np.array_equal(nodes, values)
    assert np.array_equal(weights, probabilities)


def test_polynomials_on_equally_spaced_values_are_those_of_gram():
    """t_2 on five points is (2, -1, -2, -1, 2) / sqrt(14), times sqrt(5) for a mean square of one."""
    psi = Discrete([10, 11, 12, 13, 14]).table([10, 11, 12, 13, 14], 2)
    assert np.allclose(psi[2], np.array([2, -1, -2, -1, 2]) * np.sqrt(5 / 14), rtol=1e-13)


def test_few_polynomials_on_many_values():
    """100,000 integers, of which a fit uses a few degrees: like Legendre on the same interval."""
    basis = Discrete(np.arange(100_000))
    y = np.arange(0, 100_000, 9_999)
    legendre = Legendre().table((2 * y + 1) / 1e5 - 1, 6)
    # 1 / K^2 apart, times the growth of a polynomial of degree 6
    assert np.abs(basis.table(y, 6) - legendre).max() < 1e-6
    assert basis.sup_norms(6) == pytest.approx(np.abs(basis.table([0], 6)[:, 0]))


def test_between_the_values_the_polynomials_interpolate():
    """Degree 3 on 8 values is a cubic: the table at other points is that of the interpolating polynomial."""
    basis = Discrete(range(8))
    between = np.array([0.5, 3.3, 7.9, np.nan])
    cubic = np.polyfit(np.arange(8), basis.table(np.arange(8), 3)[3], 3)
    assert np.allclose(basis.table(between, 3)[3, :3], np.polyval(cubic, between[:3]), rtol=1e-12, atol=1e-12)
    assert np.isnan(basis.table(between, 3)[3, 3])
    slope = basis.derivatives(between, 3)[3, :3]
    assert np.allclose(slope, np.polyval(np.polyder(cubic), between[:3]), rtol=1e-12, atol=1e-12)


def test_discrete_draws_and_quantiles_have_the_probabilities():
    """Counts of 20,000 draws within five standard deviations; quantiles at the steps of the distribution function."""
    basis = Discrete([2, 3, 7], [1, 2, 5])
    for y in (
        basis.draw(20_000, np.random.default_rng(0)),
        basis.upper_quantile(np.random.default_rng(1).random(20_000)),
    ):
        counts = np.array([(y == value).sum() for value in (2, 3, 7)])
        p = np.array([1, 2, 5]) / 8
        assert (np.abs(counts - 20_000 * p) < 5 * np.sqrt(20_000 * p * (1 - p))).all()
    assert basis.quantile(np.array([1e-9, 0.125, 0.126, 0.375, 0.376, 1.0])).tolist() == [2, 2, 3, 3, 7, 7]
    assert basis.cdf(np.array([1.9, 2, 6.9, 7])).tolist() == [0, 0.125, 0.375, 1]


def test_values_are_sorted_with_their_probabilities():
    """The order in which they are given does not matter."""
    assert Discrete([7, 2], [0.25, 0.75]) == Discrete([2, 7], [3, 1])
    assert Discrete([7, 2], [0.25, 0.75]).probabilities == (0.75, 0.25)


@pytest.mark.parametrize(
    ("values", "probabilities", "message"),
    [
        ([], None, "no discrete measure"),
        ([1, 1], None, "distinct"),
        ([1, np.nan], None, "finite"),
        ([1, 2], [1], "2 positive numbers"),
        ([1, 2], [1, 0], "cannot occur"),
        ([1, 2], [1, np.inf], "2 positive numbers"),
    ],
)
def test_measures_that_are_none_are_refused(values, probabilities, message):
    """With what is accepted."""
    with pytest.raises(SettingError, match=message):
        Discrete(values, probabilities)
    with pytest.raises(SettingError, match="degree 3"):
        Discrete([1, 2, 3]).table([1], 3)
