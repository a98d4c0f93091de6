"""Bases of measures that are no classical family: any continuous scipy.stats distribution, and finitely many values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, SettingTypeError, explain
from sm3.poly.basis.discretise import recurrence_of
from sm3.poly.basis.one_variable import Basis, refuse
from sm3.poly.basis.stieltjes import stieltjes

Array = NDArray[np.float64]
_METHODS = ("pdf", "logpdf", "cdf", "sf", "ppf", "isf", "support", "rvs")
# Distances, in interquartile ranges, between which a tail must keep its slope to be a power of y.
_FAR_OUT = np.array([1e6, 1e9, 1e12])
# Two slopes that differ by less are one. A lognormal tail's differ by 6 % at sigma = 10, and by more below.
_SAME_SLOPE = 0.01


@dataclass(frozen=True)
class FromDensity(Basis):
    """Orthonormal polynomials of a continuous scipy.stats distribution, on its own variable.

    distribution: frozen, such as `scipy.stats.weibull_min(1.5)`, or any object with its methods pdf, logpdf, cdf, sf,
    ppf, isf, support and rvs. Where a tail falls like y^-(p + 1), as Student's does, only degrees k with 2 k < p exist:
    `max_degree` says so. Coefficients are good to 1e-13; to 1e-9 where the density is infinite at the upper end of the
    support. Raises `SettingError` where not even the variance is finite, and where the integrals of a degree do not
    settle; `SettingTypeError` for what is no continuous distribution.

    >>> from scipy import stats
    >>> FromDensity(stats.uniform(0, 1)).table([1.0], degree=2).round(6).ravel().tolist()
    [1.0, 1.732051, 2.236068]
    >>> FromDensity(stats.t(5)).max_degree
    2
    """

    distribution: Any

    def __post_init__(self) -> None:
        missing = [name for name in _METHODS if not callable(getattr(self.distribution, name, None))]
        # A class of scipy.stats that was not frozen has all methods, and wants its shapes in each of them.
        if missing or getattr(self.distribution, "shapes", None):
            raise SettingTypeError(
                explain(
                    "this is no continuous distribution.",
                    got=f"{self.distribution!r} without " + (", ".join(missing) or self.distribution.shapes),
                    accepted="a frozen continuous distribution of scipy.stats",
                    do="freeze it, e.g. scipy.stats.weibull_min(1.5); for finitely many values use Discrete",
                )
            )
        if self.max_degree == 0:
            raise SettingError(
                explain(
                    "this distribution has no finite variance, so it has no orthonormal polynomials.",
                    got=f"{_name(self.distribution)}, tail index {_tail_index(self.distribution):.3g}",
                    accepted="tails that fall faster than y^-3: finite second moments",
                    do="map the variable to a uniform one by its distribution function",
                )
            )

    def __repr__(self) -> str:
        return f"FromDensity({_name(self.distribution)})"

    @property
    def bounds(self) -> tuple[float, float]:
        lo, hi = self.distribution.support()
        return (float(lo), float(hi))

    @property
    def max_degree(self) -> int | None:
        index = _tail_index(self.distribution)
        # 2 k < index, with the index known to a few digits: an index of 4 leaves k = 1.
        return None if np.isinf(index) else max(0, int(np.ceil(index / 2 - 1e-6)) - 1)

    def recurrence(self, n: int) -> tuple[Array, Array]:
        alpha, beta = _recurrence(self, n - 1)
        return alpha[:n], beta[:n]

    def cdf(self, y: Array) -> Array:
        return np.asarray(self.distribution.cdf(y), dtype=np.float64)

    def survival(self, y: Array) -> Array:
        return np.asarray(self.distribution.sf(y), dtype=np.float64)

    def quantile(self, u: Array) -> Array:
        return np.asarray(self.distribution.ppf(u), dtype=np.float64)

    def upper_quantile(self, u: Array) -> Array:
        return np.asarray(self.distribution.isf(u), dtype=np.float64)

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        return np.asarray(self.distribution.rvs(size=m, random_state=rng), dtype=np.float64)


@dataclass(frozen=True, init=False)
class Discrete(Basis):
    """Orthonormal polynomials on finitely many values: integers (Gram polynomials), or the contrasts of a category.

    values: K distinct finite numbers; kept in ascending order. probabilities: their positive probabilities, scaled to
    sum 1, default all equal. There are degrees 0 .. K - 1, and a function on the values is a polynomial exactly.
    Between the values the polynomials are evaluated by their recurrence, reliable only well below degree 2 sqrt(K).

    >>> Discrete([0, 1, 2]).table([0, 1, 2], degree=1).round(3).tolist()
    [[1.0, 1.0, 1.0], [-1.225, 0.0, 1.225]]
    """

    values: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __init__(self, values: ArrayLike, probabilities: ArrayLike | None = None) -> None:
        points = np.asarray(values, dtype=np.float64).reshape(-1)
        mass = (
            np.ones(len(points)) if probabilities is None else np.asarray(probabilities, dtype=np.float64).reshape(-1)
        )
        if not len(points) or not np.isfinite(points).all() or len(np.unique(points)) < len(points):
            raise refuse(
                "these values are no discrete measure.",
                points,
                "one or more distinct finite numbers",
                "list each value once",
            )
        if mass.shape != points.shape or not (np.isfinite(mass).all() and (mass > 0).all()):
            raise refuse(
                "these probabilities are not accepted.",
                mass,
                f"{len(points)} positive numbers",
                "leave out values that cannot occur",
            )
        order = np.argsort(points)
        object.__setattr__(self, "values", tuple(points[order].tolist()))
        object.__setattr__(self, "probabilities", tuple((mass[order] / mass.sum()).tolist()))

    def __repr__(self) -> str:
        equal = max(self.probabilities) - min(self.probabilities) < 1e-12
        kind = "equally probable values" if equal else "values"
        return f"Discrete({len(self.values)} {kind}, {self.values[0]} .. {self.values[-1]})"

    @cached_property
    def _points(self) -> Array:
        return np.asarray(self.values)

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.values[0], self.values[-1])

    @property
    def max_degree(self) -> int:
        return len(self.values) - 1

    def recurrence(self, n: int) -> tuple[Array, Array]:
        self._accept(n - 1)
        alpha, beta, _ = _on_values(self, n)
        return alpha[:n], beta[:n]

    def table(self, y: ArrayLike, degree: int, out: Array | None = None) -> Array:
        points = np.asarray(y, dtype=np.float64)
        out = super().table(points, degree, out)
        # On the values the recurrence loses digits at degrees beyond 2 sqrt(K); the rows it was made from do not.
        place = np.minimum(np.searchsorted(self._points, points), len(self.values) - 1)
        known = self._points[place] == points
        out[:, known] = _on_values(self, degree + 1)[2][: degree + 1, place[known]]
        return out

    def sup_norms(self, degree: int) -> Array:
        """max |psi_k| over the values, k = 0 .. degree."""
        self._accept(degree)
        return np.asarray(np.abs(_on_values(self, degree + 1)[2][: degree + 1]).max(axis=1))

    def gauss(self, n: int) -> tuple[Array, Array]:
        """Nodes and weights of the n-point rule, n <= K; with n = K the values themselves."""
        if n == len(self.values):
            return self._points.copy(), np.asarray(self.probabilities)
        return super().gauss(n)

    def cdf(self, y: Array) -> Array:
        return np.concatenate(([0.0], np.cumsum(self.probabilities)))[np.searchsorted(self._points, y, side="right")]

    def survival(self, y: Array) -> Array:
        return 1 - self.cdf(y)

    def quantile(self, u: Array) -> Array:
        place = np.searchsorted(np.cumsum(self.probabilities), u, side="left")
        return np.asarray(self._points[np.minimum(place, len(self.values) - 1)])

    def upper_quantile(self, u: Array) -> Array:
        return self.quantile(1 - np.asarray(u))

    def draw_induced(self, degrees: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """One draw per degree with probabilities p psi_{degrees[i]}^2, exact."""
        degrees = np.asarray(degrees, dtype=np.int64)
        highest = int(degrees.max(initial=0))
        self._accept(highest)
        rows = _on_values(self, highest + 1)[2]
        out = np.empty(len(degrees))
        for k in np.unique(degrees):
            chosen = degrees == k
            mass = np.asarray(self.probabilities) * rows[k] ** 2
            out[chosen] = rng.choice(self._points, size=int(chosen.sum()), p=mass / mass.sum())
        return out


@lru_cache(maxsize=128)
def _recurrence(basis: FromDensity, degree: int) -> tuple[Array, Array]:
    """Coefficients up to a degree: those of the next power of two where they exist, so that few are ever computed."""
    ahead = max(8, 1 << max(degree - 1, 0).bit_length())
    if basis.max_degree is not None:
        ahead = min(ahead, basis.max_degree)
    if ahead == degree:
        return recurrence_of(basis.distribution, degree)
    if ahead < degree:  # one coefficient more than the last polynomial needs, which only a Gauss rule would ask for
        basis._accept(degree)
    try:
        return _recurrence(basis, ahead)
    except SettingError:
        return recurrence_of(basis.distribution, degree)


@lru_cache(maxsize=256)
def _tail_index(distribution: Any) -> float:
    """The least p with a tail like y^-(p + 1): moments of order below p exist. Infinite for all lighter tails."""
    lo, hi = distribution.support()
    first, median, third = distribution.ppf([0.25, 0.5, 0.75])
    index = np.inf
    for end, sign in ((lo, -1), (hi, 1)):
        if np.isinf(end):
            with np.errstate(all="ignore"):
                log_density = distribution.logpdf(median + sign * (third - first) * _FAR_OUT)
                slopes = np.diff(log_density) / np.diff(np.log(_FAR_OUT))
            if np.isfinite(slopes).all() and abs(slopes[1] - slopes[0]) < _SAME_SLOPE * abs(slopes[1]):
                index = min(index, -float(slopes[1]) - 1)
    return index


def _name(distribution: Any) -> str:
    """A distribution as its user wrote it, where scipy.stats tells: weibull_min(1.5)."""
    if not hasattr(distribution, "dist"):
        return repr(distribution)
    settings = [repr(value) for value in distribution.args]
    settings += [f"{name}={value!r}" for name, value in distribution.kwds.items()]
    return f"{distribution.dist.name}({', '.join(settings)})"


@lru_cache(maxsize=128)
def _on_values(basis: Discrete, n: int) -> tuple[Array, Array, Array]:
    """alpha, beta and psi_0 .. psi_{n'-1} (n', K) with n' >= n the next power of two, as far as there are values."""
    count = min(len(basis.values), 1 << (n - 1).bit_length())
    if count > n:
        return _on_values(basis, count)
    return stieltjes(basis._points, np.asarray(basis.probabilities), n)
