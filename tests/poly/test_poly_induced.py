"""Draws from psi_k^2 d(measure), by counting them in cells whose probabilities are integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sm3.poly.basis.classical import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import Discrete, FromDensity
from sm3.poly.basis.induced import _cells

FAMILIES = [
    (Legendre(), stats.uniform(-1, 2)),
    (Chebyshev1(), stats.arcsine(-1, 2)),
    (Chebyshev2(), stats.beta(1.5, 1.5, -1, 2)),
    (Jacobi(-0.8, 2.0), stats.beta(3.0, 0.2, -1, 2)),
    (Hermite(), stats.norm()),
    (Laguerre(-0.5), stats.gamma(0.5)),
    (FromDensity(stats.weibull_min(1.5)), stats.weibull_min(1.5)),
    (FromDensity(stats.triang(0.3)), stats.triang(0.3)),
    (FromDensity(stats.t(20)), stats.t(20)),
]


def probabilities(basis, measure, degree, edges):
    """Integral of psi_k^2 over each cell between two edges, which are probabilities of the measure: y = quantile(u)."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    low, half = edges[:-1, None], 0.5 * np.diff(edges)[:, None]
    u = low + half * (nodes + 1)
    value = basis.table(measure.ppf(u).ravel(), degree)[degree].reshape(u.shape) ** 2
    return (half * value) @ weights


@pytest.mark.parametrize("degree", [1, 2, 9])
@pytest.mark.parametrize(("basis", "measure"), FAMILIES, ids=[str(basis) for basis, _ in FAMILIES])
def test_draws_have_the_probabilities_of_the_induced_measure(basis, measure, degree):
    """A chi-square test over 40 cells and the rest, of 40,000 draws; the seed is fixed, p < 1e-4 means a wrong law."""
    y = basis.draw_induced(np.full(40_000, degree), np.random.default_rng(degree))
    edges = np.linspace(0.02, 0.98, 41)
    expected = probabilities(basis, measure, degree, edges)
    expected = np.append(expected, 1 - expected.sum()) * len(y)
    counted = np.histogram(measure.cdf(y), edges)[0]
    counted = np.append(counted, len(y) - counted.sum())
    assert stats.chisquare(counted, expected, sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize("basis", [Hermite(), Laguerre(), Jacobi(-0.8, 2.0)], ids=str)
def test_far_moments_of_the_draws_are_right(basis):
    """E of psi_1^2 under psi_20^2 d(measure), which for Hermite lives beyond 6 standard deviations."""
    y = basis.draw_induced(np.full(40_000, 20), np.random.default_rng(3))
    nodes, weights = basis.gauss(25)
    weights = weights * basis.table(nodes, 20)[20] ** 2
    value = basis.table(nodes, 1)[1] ** 2
    mean, variance = weights @ value, weights @ value**2 - (weights @ value) ** 2
    # four standard errors of the mean of 40,000
    assert abs((basis.table(y, 1)[1] ** 2).mean() - mean) < 4 * np.sqrt(variance / len(y))


def test_every_draw_has_its_own_degree():
    """Mixed degrees, in any order; degree 0 is the measure itself."""
    rng = np.random.default_rng(0)
    degrees = rng.integers(0, 6, 30_000)
    for basis in (Legendre(), Hermite(), Discrete([0, 1, 2, 5, 6, 9])):
        y = basis.draw_induced(degrees, rng)
        nodes, weights = basis.gauss(6 if isinstance(basis, Discrete) else 12)
        for k in range(6):
            chosen = basis.table(y[degrees == k], 1)[1]
            mass = weights * basis.table(nodes, 5)[k] ** 2
            psi = basis.table(nodes, 1)[1]
            error = np.sqrt((mass @ psi**2 - (mass @ psi) ** 2) / len(chosen))
            assert abs(chosen.mean() - mass @ psi) < 4 * error + 1e-12


@pytest.mark.parametrize(("basis", "measure"), FAMILIES[3:], ids=[str(basis) for basis, _ in FAMILIES[3:]])
def test_the_envelope_is_above_the_square_everywhere(basis, measure):
    """Rejection is exact only under a true bound: 200 points in every cell of degree 7."""
    cells = _cells(basis, 7)
    u = cells.low[:, None] + (cells.high - cells.low)[:, None] * np.linspace(0, 1, 201)[1:-1]
    y = np.where(cells.upper[:, None], basis.upper_quantile(u), basis.quantile(u))
    finite = np.isfinite(y)
    square = np.where(finite, basis.table(np.where(finite, y, 0).ravel(), 7)[7].reshape(y.shape) ** 2, 0)
    # at a knot the square and its bound are the same number, computed from two roundings of the same point
    assert (square <= cells.bound[:, None] * (1 + 1e-9) + 1e-9).all()


def test_no_draws_of_no_degrees():
    """An empty request gives an empty array."""
    for basis in (Legendre(), Hermite(), Discrete([1, 2])):
        assert basis.draw_induced(np.empty(0, dtype=np.int64), np.random.default_rng(0)).shape == (0,)
