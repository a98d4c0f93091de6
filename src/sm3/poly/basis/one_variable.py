"""What every basis of one variable offers: its measure, its orthonormal polynomials (psi_0 = 1) and its Gauss rules.

A family says its recurrence and its distribution; all else follows, and a family overrides what it knows in closed
form. The families are in classical.py, any other density and discrete measures in density.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.basis import recurrence
from sm3.poly.basis.induced import draw_by_cells

Array = NDArray[np.float64]


class Basis(ABC):
    """psi_0 = 1, psi_1, psi_2, ... with E[psi_j(Y) psi_k(Y)] = 1 if j = k else 0 for Y drawn from the basis's measure.

    >>> from sm3.poly.basis.classical import Legendre
    >>> Legendre().table([1.0], degree=2).ravel()  # sqrt(2 k + 1) at the right end
    array([1.        , 1.73205081, 2.23606798])
    """

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Support of the measure; an end may be infinite."""

    @property
    def max_degree(self) -> int | None:
        """Highest degree that exists, or None: there is one of every degree."""
        return None

    @abstractmethod
    def recurrence(self, n: int) -> tuple[Array, Array]:
        """alpha_0 .. alpha_{n-1} and beta_0 = 1, beta_1 .. beta_{n-1} of the monic polynomials, each (n,)."""

    @abstractmethod
    def cdf(self, y: Array) -> Array:
        """P(Y <= y)."""

    @abstractmethod
    def survival(self, y: Array) -> Array:
        """P(Y > y), accurate where it is small."""

    @abstractmethod
    def quantile(self, u: Array) -> Array:
        """The inverse of `cdf`: maps uniform numbers of (0, 1) to the measure."""

    @abstractmethod
    def upper_quantile(self, u: Array) -> Array:
        """The inverse of `survival`."""

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        """m independent draws from the measure, shape (m,)."""
        # Not 0, whose quantile may be infinite: 2^-54 lies halfway to the next number that can be drawn.
        return self.quantile(np.maximum(rng.random(m), 2.0**-54))

    def table(self, y: ArrayLike, degree: int, out: Array | None = None) -> Array:
        """psi_0 .. psi_degree at the points y (m,), shape (degree + 1, m), each degree contiguous.

        Points outside the support are evaluated too, and NaN gives NaN. `out` is filled and returned where given.
        Raises `SettingError` for a negative degree, or one above `max_degree`.
        """
        points = np.asarray(y, dtype=np.float64)
        self._accept(degree)
        alpha, beta = self.recurrence(degree + 1)
        return recurrence.values(alpha, beta, points, np.empty((degree + 1, len(points))) if out is None else out)

    def derivatives(self, y: ArrayLike, degree: int) -> Array:
        """d psi_k / dy for k = 0 .. degree, shape (degree + 1, m). Errors as `table`.

        >>> from sm3.poly.basis.classical import Legendre
        >>> Legendre().derivatives([0.5], degree=2).ravel() / np.sqrt([1, 3, 5])  # of 1, y, (3 y^2 - 1) / 2
        array([0. , 1. , 1.5])
        """
        points = np.asarray(y, dtype=np.float64)
        psi = self.table(points, degree)
        return recurrence.derivatives(*self.recurrence(degree + 1), points, psi)

    def sup_norms(self, degree: int) -> Array:
        """max |psi_k| over the support, k = 0 .. degree; infinite for k >= 1 where the support is unbounded."""
        self._accept(degree)
        if not np.isfinite(self.bounds).all():
            return np.concatenate(([1.0], np.full(degree, np.inf)))
        return recurrence.sup_norms(*self.recurrence(degree + 1), self.bounds, degree)

    def gauss(self, n: int) -> tuple[Array, Array]:
        """Nodes and weights (n,) of the Gauss rule: exact for polynomials of degree 2 n - 1; the weights sum to 1.

        >>> from sm3.poly.basis.classical import Hermite
        >>> nodes, weights = Hermite().gauss(3)
        >>> round(float(weights @ nodes**4), 12)  # the fourth moment of a standard normal variable
        3.0
        """
        if n < 1:
            raise refuse("a Gauss rule needs a point.", f"n={n}", "n >= 1", "ask for one point or more")
        self._accept(n)
        return recurrence.gauss_rule(*self.recurrence(n + 1))

    def draw_induced(self, degrees: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """One draw per degree: y_i with density psi_{degrees[i]}(y)^2 relative to the measure, shape of `degrees`.

        By rejection from cells between the zeros and extrema, exact up to a tail of mass 1e-17 (induced.py).
        """
        degrees = np.asarray(degrees, dtype=np.int64)
        self._accept(int(degrees.max(initial=0)))
        return draw_by_cells(self, degrees, rng)

    def extrema(self, degree: int) -> tuple[Array, Array]:
        """Zeros (degree,) of psi_degree and the points (degree - 1,) between them where its slope is zero."""
        return recurrence.extrema(*self.recurrence(degree + 1))

    def _accept(self, degree: int) -> None:
        """Refuse a degree that is negative or above `max_degree`."""
        if degree < 0 or (self.max_degree is not None and degree > self.max_degree):
            raise refuse(
                f"{self} has no polynomial of this degree.",
                f"degree {degree}",
                "an integer >= 0" + ("" if self.max_degree is None else f" and <= {self.max_degree}"),
                "lower the order of the index set, or its largest degree in this variable",
            )


def refuse(happened: str, got: object, accepted: str, do: str) -> SettingError:
    """The error of a setting, in the four parts of all messages."""
    return SettingError(explain(happened, got=got, accepted=accepted, do=do))
