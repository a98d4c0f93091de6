"""The rules of the usual index sets: how far an index may still grow, and what growing costs. No index is made here.

A node is an index to which only variables after its last active one may be appended, each once. Its state is a row of
numbers: what has been spent, and at the end the last variable. All arithmetic is on whole levels of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# A degree that misses its budget by rounding only is inside. Budgets are sums and products of a few real prices, and
# the roots of a q-norm multiply a rounding by 1/q; integers, where all prices are 1, are never this close.
_SLACK = 1e-10


class Shape(Protocol):
    """What the generator asks of a lower set; n nodes at a time."""

    @property
    def caps(self) -> Array:
        """(d,) the largest degree of each variable, whatever the budget."""

    def start(self) -> Array:
        """(1, s) the state of the zero index, whose last variable is -1."""

    def alive(self, state: Array) -> NDArray[np.bool_]:
        """(n,) False where certainly no pair can be appended."""

    def room(self, state: Array) -> Array:
        """(n, d) the largest whole degree of each variable that may be appended; right for variables after the last."""

    def spend(self, state: Array, variable: Ints, degree: Ints) -> Array:
        """(n, s) the states after one pair was appended to each node."""


@dataclass(frozen=True)
class Additive:
    """sum (a_j nu_j)^q <= order^q. State: the sum so far."""

    order: float
    prices: Array  # (d,)
    caps: Array
    q: float

    def start(self) -> Array:
        return np.array([[0.0, -1.0]])

    def alive(self, state: Array) -> NDArray[np.bool_]:
        return self._whole(state[:, 0], self.prices.min()) >= 1

    def room(self, state: Array) -> Array:
        return self._whole(state[:, :1], self.prices)

    def spend(self, state: Array, variable: Ints, degree: Ints) -> Array:
        return np.column_stack((state[:, 0] + (self.prices[variable] * degree) ** self.q, variable))

    def _whole(self, spent: Array, price: Array) -> Array:
        left = np.maximum(self.order**self.q - spent, 0.0) ** (1 / self.q)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(price > 0, np.floor(left / price * (1 + _SLACK) + _SLACK), np.inf)


@dataclass(frozen=True)
class Multiplicative:
    """prod (a_j nu_j + 1) <= order + 1. State: the product so far."""

    order: float
    prices: Array  # (d,)
    caps: Array

    def start(self) -> Array:
        return np.array([[1.0, -1.0]])

    def alive(self, state: Array) -> NDArray[np.bool_]:
        return self._whole(state[:, 0], self.prices.min()) >= 1

    def room(self, state: Array) -> Array:
        return self._whole(state[:, :1], self.prices)

    def spend(self, state: Array, variable: Ints, degree: Ints) -> Array:
        return np.column_stack((state[:, 0] * (self.prices[variable] * degree + 1), variable))

    def _whole(self, spent: Array, price: Array) -> Array:
        left = (self.order + 1) / spent - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(price > 0, np.floor(left / price * (1 + _SLACK) + _SLACK), np.inf)


@dataclass(frozen=True)
class Box:
    """nu_j <= caps_j. State: nothing but the last variable."""

    caps: Array

    def start(self) -> Array:
        return np.array([[-1.0]])

    def alive(self, state: Array) -> NDArray[np.bool_]:
        return np.asarray(state[:, 0] < np.flatnonzero(self.caps).max(initial=-1))

    def room(self, state: Array) -> Array:
        return np.tile(self.caps, (len(state), 1))

    def spend(self, state: Array, variable: Ints, degree: Ints) -> Array:
        del state, degree  # a box has no budget
        return variable[:, None].astype(np.float64)


@dataclass(frozen=True)
class Anchored:
    """prod (nu_k + 1) + (variables before the last active one that are not active) <= order. State: both terms."""

    order: int
    caps: Array

    def start(self) -> Array:
        return np.array([[1.0, 0.0, -1.0]])

    def alive(self, state: Array) -> NDArray[np.bool_]:
        return np.asarray((self.order - state[:, 1]) / state[:, 0] >= 2)

    def room(self, state: Array) -> Array:
        skipped = np.arange(len(self.caps)) - state[:, 2:] - 1
        return np.floor((self.order - state[:, 1:2] - skipped) / state[:, :1] * (1 + _SLACK)) - 1

    def spend(self, state: Array, variable: Ints, degree: Ints) -> Array:
        skipped = state[:, 1] + variable - state[:, 2] - 1
        return np.column_stack((state[:, 0] * (degree + 1), skipped, variable))
