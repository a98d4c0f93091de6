"""Bases of one variable against closed forms, their own theorems, and scipy's polynomials and quadratures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from sm3.errors import SettingError
from sm3.poly.basis.classical import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre

# A basis and its measure by scipy: half of all checks compare the two.
FAMILIES = [
    (Legendre(), stats.uniform(-1, 2)),
    (Chebyshev1(), stats.arcsine(-1, 2)),
    (Chebyshev2(), stats.beta(1.5, 1.5, -1, 2)),
    (Jacobi(0.5, -0.7), stats.beta(0.3, 1.5, -1, 2)),
    (Jacobi(-0.8, -0.6), stats.beta(0.4, 0.2, -1, 2)),
    (Jacobi(30.0, 2.5), stats.beta(3.5, 31.0, -1, 2)),
    (Hermite(), stats.norm()),
    (Laguerre(), stats.gamma(1.0)),
    (Laguerre(-0.6), stats.gamma(0.4)),
    (Laguerre(2.5), stats.gamma(3.5)),
]
IDS = [str(basis) for basis, _ in FAMILIES]
BASES = [basis for basis, _ in FAMILIES]


@pytest.mark.parametrize("basis", BASES, ids=IDS)
def test_polynomials_are_orthonormal_up_to_degree_60(basis):
    """By the Gauss rule of 61 points, which is exact for products of two of them."""
    nodes, weights = basis.gauss(61)
    psi = basis.table(nodes, 60)
    assert np.abs((psi * weights) @ psi.T - np.eye(61)).max() < 1e-12


@pytest.mark.parametrize(
    ("basis", "reference"),
    [
        (Legendre(), lambda k, y: np.sqrt(2 * k + 1) * special.eval_legendre(k, y)),
        (Chebyshev1(), lambda k, y: (1.0 if k == 0 else np.sqrt(2)) * special.eval_chebyt(k, y)),
        (Chebyshev2(), special.eval_chebyu),
        (Hermite(), lambda k, y: special.eval_hermitenorm(k, y) / np.sqrt(special.factorial(k))),
        (Laguerre(), lambda k, y: (-1) ** k * special.eval_laguerre(k, y)),
    ],
    ids=["Legendre", "Chebyshev1", "Chebyshev2", "Hermite", "Laguerre"],
)
def test_values_are_those_of_scipy(basis, reference):
    """Inside the support, at its ends and outside."""
    y = np.concatenate((np.linspace(-1, 1, 41), [-1.5, 3.0]))
    for k in (0, 1, 2, 7, 30):
        expected = reference(k, y)
        # both sides are recurrences of k steps; outside they grow together, so the comparison is relative to the size
        assert np.abs(basis.table(y, k)[k] - expected).max() < 1e-12 * np.abs(expected).max()


# E[B^k] of the variable B = (1 + y) / 2 of a bounded family, which is Beta(p, q), or of y itself: closed forms.
MOMENTS = [
    (basis, lambda k, p=p, q=q: special.poch(p, k) / special.poch(p + q, k))
    for basis, p, q in [
        (Legendre(), 1, 1),
        (Chebyshev1(), 0.5, 0.5),
        (Chebyshev2(), 1.5, 1.5),
        (Jacobi(0.5, -0.7), 0.3, 1.5),
        (Jacobi(-0.8, -0.6), 0.4, 0.2),
        (Jacobi(30.0, 2.5), 3.5, 31.0),
    ]
]
MOMENTS += [(Hermite(), lambda k: 0.0 if k % 2 else special.factorial2(k - 1) if k else 1.0)]
MOMENTS += [(Laguerre(a), lambda k, a=a: special.poch(a + 1, k)) for a in (0.0, -0.6, 2.5)]


@pytest.mark.parametrize(("basis", "moment"), MOMENTS, ids=[str(basis) for basis, _ in MOMENTS])
def test_gauss_rules_integrate_the_moments_of_the_measure(basis, moment):
    """Three points are exact up to degree 5."""
    nodes, weights = basis.gauss(3)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    variable = 0.5 * (1 + nodes) if np.isfinite(basis.bounds).all() else nodes
    for order in range(1, 6):
        assert weights @ variable**order == pytest.approx(moment(order), rel=1e-13, abs=1e-14)


def test_far_weights_of_hermite_keep_their_relative_accuracy():
    """The outermost of 200 weights is 1e-163: squared eigenvector components would give about 1e-33 there."""
    nodes, weights = Hermite().gauss(200)
    reference_nodes, reference = special.roots_hermitenorm(200)
    # weights fall like exp(-y^2 / 2): a node 20 off by one rounding, 4e-15, changes its weight by 8e-14
    assert np.abs(nodes - reference_nodes).max() < 1e-13
    assert np.abs(weights / (reference / reference.sum()) - 1).max() < 1e-10


def test_a_gauss_rule_of_many_points_drops_only_weights_below_the_smallest_double():
    """Hermite at 1200 points: psi overflows at the outermost nodes."""
    nodes, weights = Hermite().gauss(1200)
    assert np.isfinite(nodes).all()
    assert np.isfinite(weights).all()
    assert weights @ nodes**4 == pytest.approx(3, rel=1e-12)


@pytest.mark.parametrize("basis", BASES, ids=IDS)
def test_derivatives_integrate_back_to_differences(basis):
    """psi_k(b) - psi_k(a) is the integral of psi_k', by a Gauss-Legendre rule exact for degree 59."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    lo, hi = 0.1, 0.9
    slope = basis.derivatives(lo + 0.5 * (hi - lo) * (nodes + 1), 40)
    integral = 0.5 * (hi - lo) * slope @ weights
    rise = basis.table([hi], 40)[:, 0] - basis.table([lo], 40)[:, 0]
    assert np.abs(integral - rise).max() < 1e-11 * np.abs(slope).max()


@pytest.mark.parametrize("basis", [b for b in BASES if np.isfinite(b.bounds).all()], ids=str)
def test_sup_norms_are_reached_and_never_exceeded(basis):
    """On 20,001 points that include both ends and are densest there."""
    y = -np.cos(np.linspace(0, np.pi, 20001))
    largest = np.abs(basis.table(y, 30)).max(axis=1)
    sup = basis.sup_norms(30)
    # between two of the points, pi / 20000 apart in angle, cos(30 t) falls by less than (30 pi / 20000)^2 / 8 = 3e-6
    assert (largest <= sup * (1 + 1e-12)).all()
    assert (largest >= sup * (1 - 3e-6)).all()


def test_sup_norms_are_the_intrinsic_weights_of_the_literature():
    """sqrt(2 k + 1), sqrt(2), k + 1; infinite on unbounded supports, but for the constant."""
    k = np.arange(6)
    assert np.allclose(Legendre().sup_norms(5), np.sqrt(2 * k + 1), rtol=1e-15)
    assert np.allclose(Chebyshev1().sup_norms(5), [1] + [np.sqrt(2)] * 5, rtol=1e-15)
    assert np.array_equal(Chebyshev2().sup_norms(5), k + 1.0)
    assert np.array_equal(Hermite().sup_norms(2), [1, np.inf, np.inf])
    assert np.array_equal(Laguerre().sup_norms(0), [1])


def test_jacobi_holds_its_special_cases():
    """(0, 0) is Legendre, (-1/2, -1/2) and (1/2, 1/2) are Chebyshev: the coefficients, also where a + b = -1 or 0."""
    for special_case, family in (
        (Jacobi(0, 0), Legendre()),
        (Jacobi(-0.5, -0.5), Chebyshev1()),
        (Jacobi(0.5, 0.5), Chebyshev2()),
    ):
        for ours, theirs in zip(special_case.recurrence(40), family.recurrence(40), strict=True):
            assert np.allclose(ours, theirs, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(("basis", "measure"), FAMILIES, ids=IDS)
def test_distribution_functions_are_those_of_the_measure(basis, measure):
    """cdf and survival against scipy, and quantiles as their inverses."""
    # Not nearer to the ends: where the density is infinite there, one rounding of y is a probability of 1e-4.
    u = np.array([0.01, 0.2, 0.5, 0.8])
    y = measure.ppf(u)
    assert np.allclose(basis.cdf(y), u, rtol=1e-9)
    assert np.allclose(basis.survival(y), 1 - u, rtol=1e-9)
    assert np.allclose(basis.cdf(basis.quantile(u)), u, rtol=1e-9)
    assert np.allclose(basis.survival(basis.upper_quantile(1 - u)), 1 - u, rtol=1e-9)


@pytest.mark.parametrize("basis", [Hermite(), Laguerre(), Laguerre(2.5)], ids=str)
def test_far_tails_keep_their_digits(basis):
    """A probability of 1e-60 beyond a point, and the point back from it."""
    far = basis.upper_quantile(np.array([1e-60]))
    assert basis.survival(far)[0] == pytest.approx(1e-60, rel=1e-10)
    assert Hermite().cdf(Hermite().quantile(np.array([1e-60])))[0] == pytest.approx(1e-60, rel=1e-10)


@pytest.mark.parametrize(("basis", "measure"), FAMILIES, ids=IDS)
def test_draws_follow_the_measure(basis, measure):
    """Kolmogorov's test of 4000 draws; p below 1e-4 by chance once in 10,000 seeds, and this seed is fixed."""
    y = basis.draw(4000, np.random.default_rng(7))
    assert stats.kstest(y, measure.cdf).pvalue > 1e-4


@pytest.mark.parametrize("basis", BASES, ids=IDS)
def test_empty_nan_and_single_points(basis):
    """No point gives no column; NaN gives NaN above degree 0; degree 0 is one."""
    assert basis.table([], 3).shape == (4, 0)
    assert basis.table([0.5], 0).tolist() == [[1.0]]
    psi = basis.table([np.nan, 0.5], 3)
    assert np.isnan(psi[1:, 0]).all()
    assert np.isfinite(psi[:, 1]).all()
    assert basis.draw(0, np.random.default_rng(0)).shape == (0,)


def test_a_table_fills_the_array_it_is_given():
    """And returns it."""
    out = np.empty((4, 5))
    assert Legendre().table(np.linspace(-1, 1, 5), 3, out) is out
    assert np.array_equal(out, Legendre().table(np.linspace(-1, 1, 5), 3))


@pytest.mark.parametrize("call", [lambda: Jacobi(-1.0, 0), lambda: Jacobi(0, np.nan), lambda: Laguerre(-1.5)])
def test_exponents_that_have_no_measure_are_refused(call):
    """(1 - y)^-1 has no integral."""
    with pytest.raises(SettingError, match="a finite number > -1"):
        call()


def test_impossible_degrees_and_rules_are_refused():
    """Negative degrees, and Gauss rules without a point."""
    with pytest.raises(SettingError, match="degree -1"):
        Legendre().table([0.0], -1)
    with pytest.raises(SettingError, match="n >= 1"):
        Hermite().gauss(0)
