"""Any density as points and probabilities, good enough for polynomials of a given degree: adaptive Gauss panels.

The support is mapped to a line on which ends and tails are tame,
    [lo, hi]      y = lo + (hi - lo) / (1 + exp(-t))
    [lo, inf)     y = lo + scale exp(t),    (-inf, hi] its mirror image
    (-inf, inf)   y = median + scale sinh(t)
and panels are halved until the probability and psi_n^2 are integrated to rounding, psi_n being the polynomial of the
highest degree so far; then the degree is doubled. Kinks and jumps of the density end in tiny panels. What lies closer
to a finite end than the end's own rounding is one point, with the probability that the distribution function gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sm3.errors import SettingError, explain
from sm3.poly.basis import recurrence
from sm3.poly.basis.stieltjes import stieltjes

Array = NDArray[np.float64]
# Chosen: points of a panel; a panel and its halves agree to rounding where the integrand is smooth.
_NODES, _WEIGHTS = (np.asarray(part) for part in special.roots_legendre(16))
# Values at the nodes -> the interpolating polynomial at both ends; and the part of a half panel beyond the last node.
_TO_ENDS = np.linalg.solve(np.vander(_NODES).T, np.vander([-1.0, 1.0], 16).T).T
_LAST_GAP = float(1 - _NODES[-1])
# Integrals are 1 (of the density, and of psi_n^2 times it): a panel may be wrong by a rounding of that, and by the
# rounding of its own values, psi_n^2 of degree 64 being good to about 64 roundings.
_PANEL_ERROR, _VALUE_ERROR = 2e-16, 1e-14
# Chosen: panels this short (relative) are jumps; points beyond this number are a density we cannot integrate.
_SHORTEST, _MOST_POINTS = 1e-14, 300_000
# A point that adds less than this to all integrals is left out.
_NEGLIGIBLE = 1e-24
# Largest error of all panels together, and largest change of the coefficients in the last round, that is accepted.
_MASS_ERROR, _SETTLED = 1e-9, 1e-11
# exp and sinh of more than this overflow, or nearly.
_FAR = 690.0
# Chosen: starting panels end at these quantiles, so that a narrow peak is not stepped over.
_QUANTILES = np.concatenate((10.0 ** np.arange(-12, -1), np.linspace(0.05, 0.95, 19)))


@dataclass(frozen=True)
class Line:
    """The support of a distribution, mapped to t in [low, high]."""

    of_t: Callable[[Array], tuple[Array, Array]]  # t -> y, dy/dt
    to_t: Callable[[Array], Array]
    low: float
    high: float

    @classmethod
    def of(cls, distribution: Any) -> Line:
        """The line of a scipy.stats distribution, by its support, its median and its quartiles."""
        lo, hi = (float(end) for end in distribution.support())
        first, median, third = (float(distribution.ppf(u)) for u in (0.25, 0.5, 0.75))
        scale = third - first
        if np.isfinite(lo) and np.isfinite(hi):
            width = hi - lo

            def inside(t: Array) -> tuple[Array, Array]:
                near, far = special.expit(-np.abs(t)), special.expit(np.abs(t))
                return np.where(t < 0, lo + width * near, hi - width * near), width * near * far

            low, high = -_nearest(lo, width), _nearest(hi, width)
            return cls(inside, lambda y: special.logit((y - lo) / width), low, high)
        if np.isfinite(lo):
            high = min(_FAR, _FAR - np.log(scale))
            return cls(
                lambda t: (lo + scale * np.exp(t), scale * np.exp(t)),
                lambda y: np.log((y - lo) / scale),
                -_nearest(lo, scale),
                high,
            )
        if np.isfinite(hi):
            low = -min(_FAR, _FAR - np.log(scale))
            return cls(
                lambda t: (hi - scale * np.exp(-t), scale * np.exp(-t)),
                lambda y: -np.log((hi - y) / scale),
                low,
                _nearest(hi, scale),
            )
        far = min(_FAR, _FAR - np.log(scale))
        return cls(
            lambda t: (median + scale * np.sinh(t), scale * np.cosh(t)),
            lambda y: np.arcsinh((y - median) / scale),
            -far,
            far,
        )


def recurrence_of(distribution: Any, degree: int) -> tuple[Array, Array]:
    """alpha and beta (degree + 1,) of a continuous scipy.stats distribution whose moments of order 2 degree exist.

    alpha_degree, which no polynomial of `degree` needs, may ask for a moment that does not exist: do not rely on it.
    Raises `SettingError` where the integrals do not settle.
    """
    standard, loc, scale = _standard(distribution)
    line = Line.of(standard)
    alpha, beta = np.zeros(1), np.ones(1)
    reached, before = 0, (alpha, beta)
    for _ in range(12 + int(degree).bit_length()):
        points, probabilities = _discretised(standard, line, alpha, beta)
        settled = reached == degree
        reached = min(degree, max(1, 2 * reached))
        with np.errstate(all="ignore"):
            alpha, beta, _ = stieltjes(points, probabilities, reached + 1)
        if not (np.isfinite(alpha[:-1]).all() and np.isfinite(beta).all()):
            break
        if settled and _change(before, (alpha, beta)) < _SETTLED:
            return loc + scale * alpha, np.concatenate((beta[:1], scale**2 * beta[1:]))
        before = (alpha, beta)
    raise _unsettled(degree, "its recurrence coefficients do not settle")


def _standard(distribution: Any) -> tuple[Any, float, float]:
    """The distribution without shift and scale, where it is a frozen one: an end at zero can be approached closely."""
    if not hasattr(distribution, "dist"):
        return distribution, 0.0, 1.0
    shapes, loc, scale = distribution.dist._parse_args(*distribution.args, **distribution.kwds)
    return distribution.dist(*shapes), float(loc), float(scale)


def _discretised(distribution: Any, line: Line, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Points and probabilities (sum 1) that integrate 1 and the squares of psi_n and psi_{n/2}, n = len(alpha) - 1."""
    degree = len(alpha) - 1

    def integrands(t: Array) -> tuple[Array, Array, Array, Array]:
        y, slope = line.of_t(t.ravel())
        density = np.nan_to_num(distribution.pdf(y) * slope, nan=0.0)
        psi = recurrence.values(alpha, beta, y, np.empty((degree + 1, len(y))))
        squares = np.where(density > 0, np.square(psi[[0, degree // 2, degree]]) * density, 0.0)
        # How far along the line the rounding of y moves a node: much, near a finite end that is not zero.
        shift = np.where(density > 0, np.spacing(np.abs(y)) / slope, 0.0)
        return squares.reshape(3, *t.shape), y.reshape(t.shape), density.reshape(t.shape), shift.reshape(t.shape)

    with np.errstate(all="ignore"):
        points, weights = _panels(integrands, _start(distribution, line), degree)
        ends, _ = line.of_t(np.array([line.low, line.high]))
        atoms = np.array([float(distribution.cdf(ends[0])), float(distribution.sf(ends[1]))])
    points, weights = np.concatenate((points, ends)), np.concatenate((weights, atoms))
    points, place = np.unique(points[weights > 0], return_inverse=True)
    probabilities = np.bincount(place, weights[weights > 0])
    if abs(probabilities.sum() - 1) > _MASS_ERROR or len(points) <= degree + 1:
        raise _unsettled(degree, f"its density integrates to {probabilities.sum():.6g}, not 1")
    return points, probabilities / probabilities.sum()


def _panels(
    integrands: Callable[[Array], tuple[Array, Array, Array, Array]], edges: Array, degree: int
) -> tuple[Array, Array]:
    """Points and weights of all panels: those are halved whose integrals their halves do not confirm."""
    found: list[tuple[Array, Array]] = []
    total = 0
    left, right = edges[:-1], edges[1:]
    while len(left):
        middle, half = 0.5 * (left + right), 0.5 * (right - left)
        whole, _, first_density, _ = integrands(middle[:, None] + half[:, None] * _NODES)
        quarter = 0.5 * half[:, None, None]
        centres = np.stack((middle - 0.5 * half, middle + 0.5 * half), axis=1)[:, :, None]
        squares, y, density, shift = integrands(centres + quarter * _NODES)
        integral = 0.5 * half * (squares @ _WEIGHTS).sum(axis=2)
        error = np.abs(half * (whole @ _WEIGHTS) - integral)
        if not np.isfinite(error).all():
            raise _unsettled(degree, "its moments overflow")
        # A jump between the last node and the end is seen by neither sum, but by the values at the ends.
        _, _, at_ends, _ = integrands(np.stack((left, right), axis=1))
        unseen = np.abs(first_density @ _TO_ENDS.T - at_ends).max(axis=1) * half * _LAST_GAP
        accepted = _PANEL_ERROR + (_VALUE_ERROR + shift.max(axis=(1, 2))) * integral
        good = (error <= accepted).all(axis=0) & (unseen <= accepted[0])
        done = good | (half <= _SHORTEST * (1 + np.abs(middle)))
        weights = _WEIGHTS * quarter[done]
        kept = (squares[:, done] * weights).max(axis=0) > _NEGLIGIBLE
        found.append((y[done][kept], (density[done] * weights)[kept]))
        total += int(done.sum()) * 2 * len(_NODES)
        left, middle, right = left[~done], middle[~done], right[~done]
        if total + 2 * len(left) * len(_NODES) > _MOST_POINTS:
            raise _unsettled(degree, "its density is too rough to integrate")
        left, right = np.concatenate((left, middle)), np.concatenate((middle, right))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def _start(distribution: Any, line: Line) -> Array:
    """Edges of the first panels: quantiles, unit steps around them, and longer steps in the tails."""
    quantiles = line.to_t(np.concatenate((distribution.ppf(_QUANTILES), distribution.isf(_QUANTILES))))
    quantiles = np.clip(quantiles, line.low, line.high)  # one that is rounded to an end is infinitely far
    around = np.arange(quantiles.min() - 10.0, quantiles.max() + 10.0)
    edges = np.unique(np.concatenate((np.arange(line.low, line.high, 10.0), around, quantiles, [line.high])))
    return edges[(edges >= line.low) & (edges <= line.high)]


def _nearest(end: float, width: float) -> float:
    """How far along the line a finite end can be approached before a point is rounded to it."""
    return float(min(_FAR, np.log(width) - np.log(4 * np.spacing(abs(end))))) if end else _FAR


def _change(before: tuple[Array, Array], after: tuple[Array, Array]) -> float:
    """Largest change of a coefficient relative to the size of its row of the Jacobi matrix; alpha_degree left out."""
    if len(before[0]) != len(after[0]):
        return np.inf
    size = np.sqrt(after[1][1:])
    alpha = np.abs(before[0] - after[0])[:-1] / size
    beta = np.abs(before[1] - after[1])[1:] / after[1][1:]
    return float(max(alpha.max(initial=0.0), beta.max(initial=0.0)))


def _unsettled(degree: int, why: str) -> SettingError:
    return SettingError(
        explain(
            "no orthonormal polynomials could be made for this distribution.",
            got=f"degree {degree}: {why}",
            accepted="a continuous density of integral 1, with moments up to twice the degree that are finite doubles",
            do="lower the degree, or map the variable to a uniform one by its distribution function",
        )
    )
