"""The classical families of orthonormal polynomials, each on its canonical variable.

Maps from a user's variable are in inputs/; any other density and discrete measures in density.py; what all bases
share in one_variable.py. Source: Szegoe, Orthogonal Polynomials, 4th ed. 1975; DLMF chapter 18.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sm3.poly.basis import recurrence
from sm3.poly.basis.induced import draw_under_arcsine
from sm3.poly.basis.one_variable import Basis, refuse

Array = NDArray[np.float64]


class _OnInterval(Basis):
    """What the three families on [-1, 1] share whose polynomials stay below twice the arcsine density."""

    @property
    def bounds(self) -> tuple[float, float]:
        return (-1.0, 1.0)

    def survival(self, y: Array) -> Array:
        return self.cdf(-np.asarray(y))

    def upper_quantile(self, u: Array) -> Array:
        return -self.quantile(u)

    def draw_induced(self, degrees: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """One draw per degree, exact: rejection under twice the arcsine density, two tries a draw (induced.py)."""
        return draw_under_arcsine(self, np.asarray(degrees, dtype=np.int64), self._density_by_arcsine, rng)

    @abstractmethod
    def _density_by_arcsine(self, y: Array) -> Array:
        """Density of the measure over that of the arcsine law."""


@dataclass(frozen=True)
class Legendre(_OnInterval):
    """Uniform measure on [-1, 1]; psi_k = sqrt(2 k + 1) P_k, largest at the ends."""

    def recurrence(self, n: int) -> tuple[Array, Array]:
        k = np.arange(1, n, dtype=np.float64)
        return np.zeros(n), np.concatenate(([1.0], k * k / (4 * k * k - 1)))

    def sup_norms(self, degree: int) -> Array:
        self._accept(degree)
        return np.asarray(np.sqrt(2.0 * np.arange(degree + 1) + 1))

    def cdf(self, y: Array) -> Array:
        return np.clip(0.5 * (np.asarray(y) + 1), 0.0, 1.0)

    def quantile(self, u: Array) -> Array:
        return 2 * np.asarray(u) - 1

    def _density_by_arcsine(self, y: Array) -> Array:
        return 0.5 * np.pi * np.sqrt(1 - y * y)


@dataclass(frozen=True)
class Chebyshev1(_OnInterval):
    """Arcsine measure 1 / (pi sqrt(1 - y^2)) on [-1, 1]; psi_k = sqrt(2) cos(k arccos y) for k >= 1."""

    def recurrence(self, n: int) -> tuple[Array, Array]:
        return np.zeros(n), np.concatenate(([1.0, 0.5], np.full(max(n - 2, 0), 0.25)))[:n]

    def sup_norms(self, degree: int) -> Array:
        self._accept(degree)
        return np.concatenate(([1.0], np.full(degree, np.sqrt(2.0))))

    def cdf(self, y: Array) -> Array:
        return 1 - np.arccos(np.clip(y, -1.0, 1.0)) / np.pi

    def quantile(self, u: Array) -> Array:
        return -np.cos(np.pi * np.asarray(u))

    def _density_by_arcsine(self, y: Array) -> Array:
        return np.ones_like(y)


@dataclass(frozen=True)
class Chebyshev2(_OnInterval):
    """Semicircle measure (2 / pi) sqrt(1 - y^2) on [-1, 1]; psi_k = sin((k + 1) t) / sin t at y = cos t."""

    def recurrence(self, n: int) -> tuple[Array, Array]:
        return np.zeros(n), np.concatenate(([1.0], np.full(n - 1, 0.25)))[:n]

    def sup_norms(self, degree: int) -> Array:
        self._accept(degree)
        return np.arange(1.0, degree + 2)

    def cdf(self, y: Array) -> Array:
        return np.asarray(special.betainc(1.5, 1.5, 0.5 * (np.clip(y, -1.0, 1.0) + 1)))

    def quantile(self, u: Array) -> Array:
        return np.asarray(2 * special.betaincinv(1.5, 1.5, u) - 1)

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        # The shadow of a uniform point of the disc on a diameter.
        return np.asarray(np.sqrt(rng.random(m)) * np.cos(np.pi * rng.random(m)))

    def _density_by_arcsine(self, y: Array) -> Array:
        return 2 * (1 - y * y)


@dataclass(frozen=True)
class Jacobi(Basis):
    """Measure (1 - y)^a (1 + y)^b / constant on [-1, 1], a, b > -1: that of 2 B - 1 with B ~ Beta(b + 1, a + 1)."""

    a: float
    b: float

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not -1 < value < np.inf:
                raise refuse(
                    f"Jacobi: {name} is out of range.",
                    value,
                    "a finite number > -1",
                    "for a Beta(p, q) variable pass a=q - 1, b=p - 1",
                )

    @property
    def bounds(self) -> tuple[float, float]:
        return (-1.0, 1.0)

    def recurrence(self, n: int) -> tuple[Array, Array]:
        a, b = self.a, self.b
        k = np.arange(1, n, dtype=np.float64)
        s = 2 * k + a + b
        alpha = np.concatenate(([(b - a) / (a + b + 2)], (b - a) * (b + a) / (s * (s + 2))))
        beta = np.ones(n)
        # beta_1 apart: at a + b = -1 its general form is 0 / 0.
        beta[1:2] = 4 * (1 + a) * (1 + b) / ((2 + a + b) ** 2 * (3 + a + b))
        k, s = k[1:], s[1:]
        beta[2:] = 4 * k * (k + a) * (k + b) * (k + a + b) / (s * s * (s + 1) * (s - 1))
        return alpha, beta

    def sup_norms(self, degree: int) -> Array:
        self._accept(degree)
        if max(self.a, self.b) >= -0.5:  # Szegoe, theorem 7.32.1: the maximum is at an end
            return np.asarray(np.abs(self.table(self.bounds, degree)).max(axis=1))
        return super().sup_norms(degree)

    def extrema(self, degree: int) -> tuple[Array, Array]:
        # The derivative is the Jacobi polynomial of (a + 1, b + 1), one degree lower.
        return _zeros(self, degree), _zeros(Jacobi(self.a + 1, self.b + 1), degree - 1)

    def cdf(self, y: Array) -> Array:
        return np.asarray(special.betainc(self.b + 1, self.a + 1, 0.5 * (np.clip(y, -1.0, 1.0) + 1)))

    def survival(self, y: Array) -> Array:
        return np.asarray(special.betainc(self.a + 1, self.b + 1, 0.5 * (1 - np.clip(y, -1.0, 1.0))))

    def quantile(self, u: Array) -> Array:
        return np.asarray(2 * special.betaincinv(self.b + 1, self.a + 1, u) - 1)

    def upper_quantile(self, u: Array) -> Array:
        return np.asarray(1 - 2 * special.betaincinv(self.a + 1, self.b + 1, u))

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        return 2 * rng.beta(self.b + 1, self.a + 1, m) - 1


@dataclass(frozen=True)
class Hermite(Basis):
    """Standard normal measure; psi_k = He_k / sqrt(k!). Unbounded: sup norms are infinite."""

    @property
    def bounds(self) -> tuple[float, float]:
        return (-np.inf, np.inf)

    def recurrence(self, n: int) -> tuple[Array, Array]:
        beta = np.arange(n, dtype=np.float64)
        beta[:1] = 1.0
        return np.zeros(n), beta

    def extrema(self, degree: int) -> tuple[Array, Array]:
        return _zeros(self, degree), _zeros(self, degree - 1)  # psi_k' = sqrt(k) psi_{k-1}

    def cdf(self, y: Array) -> Array:
        return np.asarray(special.ndtr(y))

    def survival(self, y: Array) -> Array:
        return np.asarray(special.ndtr(-np.asarray(y)))

    def quantile(self, u: Array) -> Array:
        return np.asarray(special.ndtri(u))

    def upper_quantile(self, u: Array) -> Array:
        return np.asarray(-special.ndtri(u))

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        return rng.standard_normal(m)


@dataclass(frozen=True)
class Laguerre(Basis):
    """Gamma measure y^a exp(-y) / Gamma(a + 1) on [0, inf), a > -1; psi_k has a positive leading coefficient."""

    a: float = 0.0

    def __post_init__(self) -> None:
        if not -1 < self.a < np.inf:
            raise refuse(
                "Laguerre: a is out of range.",
                self.a,
                "a finite number > -1",
                "for a Gamma(shape) variable pass shape - 1",
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return (0.0, np.inf)

    def recurrence(self, n: int) -> tuple[Array, Array]:
        k = np.arange(n, dtype=np.float64)
        beta = k * (k + self.a)
        beta[:1] = 1.0
        return 2 * k + self.a + 1, beta

    def extrema(self, degree: int) -> tuple[Array, Array]:
        return _zeros(self, degree), _zeros(Laguerre(self.a + 1), degree - 1)

    def cdf(self, y: Array) -> Array:
        return np.asarray(special.gammainc(self.a + 1, np.maximum(y, 0.0)))

    def survival(self, y: Array) -> Array:
        return np.asarray(special.gammaincc(self.a + 1, np.maximum(y, 0.0)))

    def quantile(self, u: Array) -> Array:
        return np.asarray(special.gammaincinv(self.a + 1, u))

    def upper_quantile(self, u: Array) -> Array:
        return np.asarray(special.gammainccinv(self.a + 1, u))

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        return rng.gamma(self.a + 1, size=m)


def _zeros(basis: Basis, degree: int) -> Array:
    return recurrence.zeros(*basis.recurrence(degree)) if degree > 0 else np.empty(0)
