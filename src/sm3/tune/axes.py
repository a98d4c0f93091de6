"""One hyper-parameter as an input of the polynomial: its coordinate, and the prior that Optuna's distribution states.

    float, uniform or log-uniform    x or log x, uniform on its range
    whole numbers, steps, choices    their points with their probabilities: degree points - 1 gives any function of them
    more than MOST_POINTS of them    as if they were continuous, over the range that rounding draws from

Choices have no order that counts: with all contrasts in the basis, any order spans the same functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.poly.basis.density import Discrete

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# n equidistant points differ from the continuum by 1 / n^2 in their second moment: 0.01 %. Chosen.
MOST_POINTS = 100
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """`input` is what `PolynomialRegressor(inputs=...)` takes; `coordinate` makes its column from the values."""

    name: str
    input: Any
    log: bool = False
    choices: tuple[Any, ...] = ()
    points: Vector | None = None  # the coordinates that occur, and
    probabilities: Vector | None = None  # their prior

    def coordinate(self, values: list[Any]) -> Vector:
        if self.choices:
            return np.array([self._position(value) for value in values], dtype=np.float64)
        column = np.array(values, dtype=np.float64)
        return np.asarray(np.log(column) if self.log else column, dtype=np.float64)

    def _position(self, value: Any) -> int:
        # 1, 1.0 and True are equal in Python; NaN is not equal to itself, and Optuna allows it as a choice
        same = [
            i for i, choice in enumerate(self.choices) if type(choice) is type(value) and repr(choice) == repr(value)
        ]
        return same[0] if same else self.choices.index(value)

    def distribution(self, coordinates: Vector) -> Vector:
        """P(prior <= coordinate), for a continuous axis."""
        low, high = self.input
        return np.asarray(np.clip((coordinates - low) / (high - low), 0.0, 1.0), dtype=np.float64)


def axis_of(name: str, distribution: BaseDistribution) -> Axis | None:
    """The axis of an Optuna distribution; None where it holds one value only, which nothing can depend on.

    >>> from optuna.distributions import FloatDistribution, IntDistribution
    >>> axis_of("lr", FloatDistribution(1e-4, 1.0, log=True)).input  # doctest: +ELLIPSIS
    (-9.21..., 0.0)
    >>> axis_of("layers", IntDistribution(1, 4)).probabilities
    array([0.25, 0.25, 0.25, 0.25])
    """
    if distribution.single():
        return None
    given: Any = distribution
    if hasattr(given, "choices"):
        points = np.arange(len(given.choices), dtype=np.float64)
        return _discrete(name, points, np.full(len(points), 1.0 / len(points)), choices=tuple(given.choices))
    if given.step is None:
        low, high = (math.log(end) if given.log else float(end) for end in (given.low, given.high))
        return Axis(name, (low, high), log=given.log)
    return _stepped(name, float(given.low), float(given.high), float(given.step), given.log)


def _stepped(name: str, low: float, high: float, step: float, log: bool) -> Axis:
    """A grid low, low + step, ..., each point standing for the interval of half a step around it, as Optuna draws."""
    edge_low, edge_high = low - 0.5 * step, high + 0.5 * step
    count = round((high - low) / step) + 1
    if count > MOST_POINTS:
        ends = (math.log(edge_low), math.log(edge_high)) if log else (edge_low, edge_high)
        return Axis(name, ends, log=log)
    points: Vector = low + step * np.arange(count, dtype=np.float64)
    if not log:
        return _discrete(name, points, np.full(count, 1.0 / count))
    lengths = np.log((points + 0.5 * step) / (points - 0.5 * step))
    return _discrete(name, np.log(points), lengths / lengths.sum(), log=True)


def _discrete(
    name: str, points: Vector, probabilities: Vector, *, log: bool = False, choices: tuple[Any, ...] = ()
) -> Axis:
    return Axis(name, Discrete(points, probabilities), log, choices, points, probabilities)
