"""What is known about one input -> its orthonormal polynomials and the map between its values and theirs.

    distribution                       map x -> y                 polynomials
    (lo, hi), uniform                  affine to [-1, 1]          Legendre
    arcsine, semicircular              affine to [-1, 1]          Chebyshev, first and second kind
    beta(p, q)                         affine to [-1, 1]          Jacobi(q - 1, p - 1)
    norm                               standardised               Hermite
    lognorm                            logarithm, standardised    Hermite
    gamma(a), erlang, expon, chi2      x / scale                  Laguerre(a - 1)
    any other of scipy.stats           y = 2 F(x) - 1             Legendre               transform="rosenblatt"
                                       none                       its own, numerically   transform="basis"
    Discrete(values, probabilities)    none                       on these points
    Categorical(levels)                the level's position       on 0, 1, ..., levels - 1
    finite or fast-falling discrete    none                       on its points

Inputs are independent: a joint distribution with dependence must be mapped to independent inputs by the user first.
How the list of a model's inputs is read from its argument is in features.py. Source: Xiu & Karniadakis 2002, table 4.1,
for the pairs of distribution and polynomials; the map of the others is that of Rosenblatt 1952.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats.distributions import rv_frozen

from sm3.errors import SettingError, SettingTypeError, explain
from sm3.poly.basis.classical import Legendre
from sm3.poly.basis.density import Discrete
from sm3.poly.basis.one_variable import Basis
from sm3.poly.inputs.distributions import frozen_of, invalid, parameters, polynomials_of, record_of
from sm3.poly.inputs.maps import Affine, LogAffine, Map, Vector

# An unbounded input ends, for the question "is this an extrapolation?", where this much of its probability is left in a
# tail: 6 standard deviations of a normal one. Chosen: farther out no sample of a usual size has ever been.
TAIL = 1e-9
# A discrete distribution with more points than this is smooth for every purpose here. Chosen.
MOST_POINTS = 4096
ACCEPTED = (
    '(lo, hi), a frozen distribution such as scipy.stats.norm(0, 1), "auto", Discrete(values, probabilities), '
    "Categorical(levels)"
)


@dataclass(frozen=True)
class Categorical:
    """A feature with unordered levels: labels, or a number of levels 0, 1, ...; equally likely unless said otherwise.

    >>> Categorical(["adam", "sgd"]).levels
    ('adam', 'sgd')
    >>> Categorical(3).levels
    (0, 1, 2)
    """

    levels: Sequence[object] | int
    probabilities: Sequence[float] | None = None

    def __post_init__(self) -> None:
        levels = tuple(range(self.levels)) if isinstance(self.levels, int) else tuple(self.levels)
        if not levels or len(set(levels)) < len(levels):
            raise SettingError(
                explain(
                    "a categorical input needs levels, each named once.",
                    got=repr(self.levels),
                    accepted="a number of levels, or a list of different labels",
                    do='pass for example Categorical(["adam", "sgd"])',
                )
            )
        object.__setattr__(self, "levels", levels)


@dataclass(frozen=True, eq=False)
class Input:
    """One input of a fitted model. `record` says how it was made, in a form that can be written to a file."""

    basis: Basis
    map: Map
    support: tuple[float, float]  # where the distribution lives
    domain: tuple[float, float]  # where a prediction is not an extrapolation: finite
    record: Mapping[str, Any]
    values: Vector | None = None  # of a discrete input: the only points of its domain
    levels: tuple[object, ...] | None = None  # of a categorical input: the labels of its values

    @property
    def learned(self) -> bool:
        """Whether the distribution was not given but taken from the range of the data."""
        return bool(self.record.get("learned", False))

    @property
    def fixed(self) -> bool:
        """Whether the input has a single value, so that nothing can depend on it."""
        return self.domain[0] == self.domain[1]

    def nearest(self, x: Vector) -> Vector:
        """The point of the domain nearest to each x; x itself inside."""
        if self.values is None:
            return np.clip(x, *self.domain)
        order = np.searchsorted(self.values, x).clip(1, max(len(self.values) - 1, 1))
        if len(self.values) == 1:
            return np.full_like(x, self.values[0])
        left, right = self.values[order - 1], self.values[order]
        return np.asarray(np.where(x - left <= right - x, left, right))

    @property
    def tolerance(self) -> float:
        """How far a value may lie outside and still count as rounding: float32 of the largest value in the domain."""
        # an ulp of float32, so that a table saved in single precision is still inside
        return float(np.finfo(np.float32).eps) * max(abs(self.domain[0]), abs(self.domain[1]))

    def possible(self, x: Vector) -> NDArray[np.bool_]:
        """Whether the distribution can produce each x at all."""
        if self.values is not None:
            return np.abs(x - self.nearest(x)) <= self.tolerance
        lo, hi = self.support
        return (x >= lo - self.tolerance) & (x <= hi + self.tolerance) & np.isfinite(self.map.forward(x))


def box(lo: float, hi: float, *, learned: bool = False) -> Input:
    """Uniform on [lo, hi]. `learned=True`: the range of the data, where lo == hi marks a feature that never varies.

    >>> box(0.0, 4.0).map.forward(np.array([0.0, 1.0, 4.0])).tolist()
    [-1.0, -0.5, 1.0]
    """
    lo, hi = float(lo), float(hi)
    wrong = not (np.isfinite(lo) and np.isfinite(hi)) or (lo > hi if learned else lo >= hi)
    if wrong or not np.isfinite(hi - lo):
        raise SettingError(
            explain(
                "a range of an input is empty or not finite.",
                got=f"({lo}, {hi})",
                accepted="(lo, hi), both finite, lo < hi",
                do="pass the smallest and the largest value that the input can take",
            )
        )
    record = {"kind": "uniform", "bounds": [lo, hi], "learned": learned}
    return Input(Legendre(), Affine(lo + 0.5 * (hi - lo), 0.5 * (hi - lo)), (lo, hi), (lo, hi), record)


def points(values: Discrete | Sequence[float] | Vector, probabilities: Sequence[float] | Vector | None = None) -> Input:
    """Finitely many values with their probabilities (None: equally likely)."""
    basis = values if isinstance(values, Discrete) else Discrete(values, probabilities)
    # Scaling to sum 1 once more can move a last digit: repeated until it does not, so that a file gives the same model.
    for _ in range(20):
        again = Discrete(basis.values, basis.probabilities)
        if again == basis:
            break
        basis = again
    nodes = np.asarray(basis.values, dtype=np.float64)
    weights = np.asarray(basis.probabilities, dtype=np.float64)
    ends = (float(nodes[0]), float(nodes[-1]))
    record = {"kind": "discrete", "values": nodes.tolist(), "probabilities": weights.tolist()}
    return Input(basis, Affine(0.0, 1.0), ends, ends, record, values=nodes)


def categories(spec: Categorical) -> Input:
    """Levels as their positions 0, 1, ...; any function of them is a polynomial of degree levels - 1 or less."""
    assert not isinstance(spec.levels, int)  # made a tuple by Categorical
    levels = tuple(spec.levels)
    base = points(np.arange(len(levels), dtype=np.float64), spec.probabilities)
    record = {**base.record, "kind": "categorical", "levels": list(levels)}
    return Input(base.basis, base.map, base.support, base.domain, record, values=base.values, levels=levels)


def from_scipy(frozen: Any, transform: str = "rosenblatt") -> Input:
    """A frozen distribution of scipy.stats, with the polynomials and the map of the table in this file's header.

    Raises `SettingError` when its parameters are not single numbers or not valid, or when it is discrete with more
    points than can be told apart.

    >>> from scipy import stats
    >>> made = from_scipy(stats.lognorm(s=0.5, scale=2.0))
    >>> made.basis, made.map.forward(np.array([2.0])).tolist()
    (Hermite(), [0.0])
    """
    named = parameters(frozen)
    lo, hi = (float(end) for end in frozen.support())
    if not lo <= hi:  # scipy says nan for parameters that it does not accept
        raise invalid(frozen, named)
    if not hasattr(frozen, "pdf"):
        return _discrete(frozen, lo, hi)
    basis, map_ = polynomials_of(frozen, transform)
    logarithmic = isinstance(map_, LogAffine)
    first = float(frozen.ppf(TAIL)) if logarithmic or not np.isfinite(lo) else lo
    last = hi if np.isfinite(hi) else float(frozen.isf(TAIL))
    if not (np.isfinite(first) and np.isfinite(last) and first < last):
        raise invalid(frozen, named)
    record = {"kind": "scipy", **record_of(frozen), "transform": transform}
    return Input(basis, map_, (lo, hi), (first, last), record)


def _discrete(frozen: Any, lo: float, hi: float) -> Input:
    first = lo if np.isfinite(lo) else float(frozen.ppf(TAIL))
    last = hi if np.isfinite(hi) else float(frozen.isf(TAIL))
    if last - first >= MOST_POINTS:
        raise SettingError(
            explain(
                f"{frozen.dist.name} has too many values to be taken as discrete.",
                got=f"{last - first + 1:.0f} values",
                accepted=f"at most {MOST_POINTS}",
                do="give a continuous distribution of the same mean and variance, for example scipy.stats.norm",
            )
        )
    values = np.arange(first, last + 1.0)
    probabilities = np.asarray(frozen.pmf(values), dtype=np.float64)
    held = probabilities > 0
    return points(values[held], probabilities[held] / probabilities[held].sum())


def input_of(spec: Any, name: str, column: Vector | None = None, transform: str = "rosenblatt") -> Input:
    """The input that a specification describes; `column` (m,) are its values, which "auto" needs.

    Raises `SettingTypeError` for a specification of another kind, naming the feature.
    """
    if isinstance(spec, str) and spec == "auto" and column is not None:
        return box(float(column.min()), float(column.max()), learned=True)
    if isinstance(spec, Discrete):
        return points(spec)
    if isinstance(spec, Categorical):
        return categories(spec)
    if isinstance(spec, rv_frozen):
        return from_scipy(spec, transform)
    if isinstance(spec, tuple | list) and [isinstance(end, int | float | np.number) for end in spec] == [True, True]:
        return box(*spec)
    raise SettingTypeError(
        explain(
            f"the input {name!r} is described by something unknown.",
            got=f"{spec!r}"[:200],
            accepted=ACCEPTED,
            do=f'pass for example inputs={{"{name}": (0.0, 1.0)}}; a distribution must be frozen with its parameters',
        )
    )


def specification(record: Mapping[str, Any]) -> Any:
    """What a user would have written for an input, from its record: the inverse of `input_of`."""
    match record["kind"]:
        case "uniform":
            return "auto" if record["learned"] else tuple(record["bounds"])
        case "scipy":
            return frozen_of(record)
        case "discrete":
            return Discrete(record["values"], record["probabilities"])
        case "categorical":
            return Categorical(record["levels"], record["probabilities"])
    raise SettingError(
        explain(
            "an input of a model is of an unknown kind.",
            got=repr(record["kind"])[:80],
            accepted="uniform, scipy, discrete, categorical",
            do="read the model with the version of sm3 that wrote it",
        )
    )


def input_from(record: Mapping[str, Any]) -> Input:
    """The same input again, to the last bit, from its record.

    >>> input_from(box(0.1, 0.7).record).map == box(0.1, 0.7).map
    True
    """
    if record["kind"] == "uniform":
        return box(*record["bounds"], learned=bool(record["learned"]))
    return input_of(specification(record), "input", transform=record.get("transform", "rosenblatt"))
