"""Draws with density psi_k(y)^2 relative to a basis's measure: what exact Christoffel sampling is mixed from.

Two ways, both by rejection, so that no table of a distribution function enters the result:
    arcsine   Legendre and both Chebyshev families: psi_k^2 d(measure) stays below twice the arcsine density, so every
              second try is kept. Legendre: Bernstein's inequality (1 - y^2)^(1/4) |P_k| <= sqrt(2 / (pi (k + 1/2))).
    cells     any other continuous measure: between its zeros and extrema |psi_k| is monotone, so on a cell it is at
              most its larger end, whatever the density does. A cell is drawn by (bound x mass), a point in it from
              the measure itself (by its quantiles), and kept with probability psi_k^2 / bound.
Idea of sampling a mixture of these: Cohen & Migliorati, SMAI J. Comput. Math. 3 (2017); Narayan, arXiv 1704.08465.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sm3.poly.basis import recurrence

if TYPE_CHECKING:
    from sm3.poly.basis.one_variable import Basis

Array = NDArray[np.float64]
# Chosen: cells per monotone piece; four keep about nine tries of ten.
_SPLIT = 4
# Mass that a tail may lose: below the rounding of the sum of all cells.
_LOST_MASS = 1e-18
# Chosen: cells of a tail grow by this factor, so that any tail ends after a few hundred.
_TAIL_GROWTH = 1.15


def draw_under_arcsine(
    basis: Basis,
    degrees: NDArray[np.int64],  # (m,)
    density_by_arcsine: Callable[[Array], Array],
    rng: np.random.Generator,
) -> Array:
    """One draw from psi_{degrees[i]}^2 d(measure) each, for the families that stay below twice the arcsine law."""
    alpha, beta = basis.recurrence(int(degrees.max(initial=0)) + 1)
    out = np.empty(len(degrees))
    open_ = np.arange(len(degrees))
    while len(open_):
        y = np.cos(np.pi * rng.random(len(open_)))
        density = recurrence.own_degree(alpha, beta, y, degrees[open_]) ** 2 * density_by_arcsine(y)
        kept = 2 * rng.random(len(open_)) < density
        out[open_[kept]] = y[kept]
        open_ = open_[~kept]
    return out


def draw_by_cells(basis: Basis, degrees: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """One draw from psi_{degrees[i]}^2 d(measure) each, for any basis with distribution function and quantiles."""
    out = np.empty(len(degrees))
    for k in np.unique(degrees):
        chosen = np.flatnonzero(degrees == k)
        out[chosen] = _cells(basis, int(k)).draw(len(chosen), rng) if k else basis.draw(len(chosen), rng)
    return out


@dataclass(frozen=True, eq=False)
class Cells:
    """An envelope of psi_k^2 d(measure): constant times the measure on each cell."""

    basis: Basis
    degree: int
    low: Array  # (cells,) mass of the measure outside the cell, at its near end: left of it, or right of it if `upper`
    high: Array  # (cells,) the same at its far end
    upper: NDArray[np.bool_]  # (cells,) the masses are those to the right of a point
    bound: Array  # (cells,) largest psi_k^2 on the cell

    def draw(self, m: int, rng: np.random.Generator) -> Array:
        mass = self.bound * np.abs(self.high - self.low)
        alpha, beta = self.basis.recurrence(self.degree + 1)
        cumulative = np.cumsum(mass)
        out = np.empty(m)
        done = 0
        while done < m:
            tries = (m - done) + (m - done) // 4 + 8  # about nine of ten are kept
            cell = np.searchsorted(cumulative, rng.random(tries) * cumulative[-1], side="right")
            cell = np.minimum(cell, len(mass) - 1)
            u = self.low[cell] + rng.random(tries) * (self.high[cell] - self.low[cell])
            upper = self.upper[cell]
            y = np.empty(tries)
            y[upper], y[~upper] = self.basis.upper_quantile(u[upper]), self.basis.quantile(u[~upper])
            psi = recurrence.own_degree(alpha, beta, y, np.full(tries, self.degree))
            kept = y[rng.random(tries) * self.bound[cell] < psi**2][: m - done]
            out[done : done + len(kept)] = kept
            done += len(kept)
        return out


@lru_cache(maxsize=512)
def _cells(basis: Basis, degree: int) -> Cells:
    zeros, peaks = basis.extrema(degree)
    knots = np.sort(np.concatenate((zeros, peaks)))
    inside = np.concatenate([np.linspace(a, b, _SPLIT, endpoint=False) for a, b in pairwise(knots)] + [knots[-1:]])
    scale = float(np.sqrt(basis.recurrence(2)[1][1]))  # the standard deviation
    step = (knots[-1] - knots[0]) / len(inside) if degree > 1 else scale / _SPLIT
    left, right = (_tail(basis, degree, end, step * sign) for end, sign in ((inside[0], -1), (inside[-1], 1)))
    edges = np.concatenate((left[::-1], inside, right))
    psi2 = basis.table(edges, degree)[degree] ** 2
    upper = basis.cdf(edges[:-1]) > 0.5
    low = np.where(upper, basis.survival(edges[1:]), basis.cdf(edges[:-1]))
    high = np.where(upper, basis.survival(edges[:-1]), basis.cdf(edges[1:]))
    return Cells(basis, degree, low, high, upper, np.maximum(psi2[:-1], psi2[1:]))


def _tail(basis: Basis, degree: int, start: float, step: float) -> Array:
    """Edges from the outermost zero outwards: to the end of the support, or to where nothing is left."""
    end = basis.bounds[1] if step > 0 else basis.bounds[0]
    if np.isfinite(end):
        return np.linspace(start, end, 2 * _SPLIT + 1)[1:]
    outside = basis.survival if step > 0 else basis.cdf
    edges = [start]
    while True:
        edges.append(edges[-1] + step)
        step *= _TAIL_GROWTH
        last = np.array(edges[-2:])
        if np.square(basis.table(last, degree)[degree]).max() * float(outside(last[:1])[0]) < _LOST_MASS:
            return np.array(edges[1:])
