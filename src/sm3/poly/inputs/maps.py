"""The map between one physical input x and the variable y of its orthonormal polynomials: y = forward(x).

Each map is strictly increasing, so that probabilities are carried over unchanged; `slope` is dy/dx, for gradients.
No distribution is recognised here: that is distributions.py. Source of the iso-probabilistic map: Rosenblatt 1952.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Map(Protocol):
    """x <-> y for one feature, on vectors of any shape."""

    def forward(self, x: Vector) -> Vector:
        """y of x."""

    def inverse(self, y: Vector) -> Vector:
        """x of y."""

    def slope(self, x: Vector) -> Vector:
        """dy/dx at x."""


@dataclass(frozen=True)
class Affine:
    """y = (x - shift) / scale. A scale of 0 stands for a feature that never varies: y = 0 wherever x is.

    >>> Affine(shift=10.0, scale=2.0).forward(np.array([8.0, 12.0])).tolist()
    [-1.0, 1.0]
    """

    shift: float
    scale: float

    def forward(self, x: Vector) -> Vector:
        return (x - self.shift) / self.scale if self.scale else np.zeros_like(x)

    def inverse(self, y: Vector) -> Vector:
        return self.shift + self.scale * y

    def slope(self, x: Vector) -> Vector:
        return np.full_like(x, 1.0 / self.scale if self.scale else 0.0)


@dataclass(frozen=True)
class LogAffine:
    """y = (log(x - origin) - shift) / scale; not a number at and below the origin, where the logarithm has no value."""

    origin: float
    shift: float
    scale: float

    def forward(self, x: Vector) -> Vector:
        return (np.log(self._above(x)) - self.shift) / self.scale

    def inverse(self, y: Vector) -> Vector:
        return self.origin + np.exp(self.shift + self.scale * y)

    def slope(self, x: Vector) -> Vector:
        return 1.0 / (self._above(x) * self.scale)

    def _above(self, x: Vector) -> Vector:
        return np.where(x > self.origin, x - self.origin, np.nan)


@dataclass(frozen=True)
class Probability:
    """y = 2 F(x) - 1, uniform on [-1, 1] whatever the distribution is; constant outside its support.

    Each half is measured from its own tail: 1 - 2 sf(x) keeps digits in the upper tail that 2 F(x) - 1 rounds away
    when it is inverted.
    """

    distribution: Any  # scipy.stats frozen, continuous

    def forward(self, x: Vector) -> Vector:
        below = self.distribution.cdf(x)
        return np.asarray(np.where(below < 0.5, 2.0 * below - 1.0, 1.0 - 2.0 * self.distribution.sf(x)))

    def inverse(self, y: Vector) -> Vector:
        # both branches are evaluated everywhere: each must stay within [0, 1]
        lower = self.distribution.ppf(np.clip(0.5 * (1.0 + y), 0.0, 0.5))
        upper = self.distribution.isf(np.clip(0.5 * (1.0 - y), 0.0, 0.5))
        return np.asarray(np.where(y < 0.0, lower, upper))

    def slope(self, x: Vector) -> Vector:
        return np.asarray(2.0 * self.distribution.pdf(x), dtype=np.float64)
