"""Adaptive least squares that draws its own samples: step by step more functions, and as many samples as they need.

    S = {0}; repeat: m = max(n + 1, ceil(n log n)) points; least squares on S; add the bulk of the reduced margin

`fresh=True` draws new points for every step, which makes the steps independent: the algorithm of Adcock &
Brugiapaglia, arXiv 2208.09045, here to reproduce it. `fresh=False` keeps every point ever drawn and gives it the weight
of the mixture of the densities drawn from so far, so that a step costs only the points it adds (Migliorati, arXiv
1807.00402). Where the samples are there already, adaptive.py grows the set on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.poly.basis.one_variable import Basis
from sm3.poly.design.matrix import Design
from sm3.poly.design.sampling import Sample, christoffel, from_pool, mixture_weights, monte_carlo
from sm3.poly.index_sets.margin import ReducedMargin
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.adaptive import BULK, samples_needed
from sm3.poly.solvers.least_squares import least_squares
from sm3.poly.solvers.solution import Solution

Array = NDArray[np.float64]
Measure = Literal["monte_carlo", "christoffel"]


@dataclass(frozen=True)
class Step:
    """One fit: what the set was, the points it was fitted on, and the coefficients."""

    index_set: IndexSet  # n functions, in the order in which they entered
    sample: Sample  # m points, canonical, with their weights
    values: Array  # (m, q) of the function
    solution: Solution  # coef (n, q); cond is that of the weighted design
    evaluations: int  # of the function, in all steps so far


def adaptive_steps(
    function: Callable[[Array], Array],
    bases: Sequence[Basis],
    rng: np.random.Generator,
    *,
    max_samples: int,
    measure: Measure = "monte_carlo",
    pool: Array | None = None,
    fresh: bool = True,
    samples: Callable[[int], int] = samples_needed,
    bulk: float = BULK,
    oldest_every: int | None = None,
) -> Iterator[Step]:
    """The steps one after the other, until the next would need more than max_samples points.

    function: canonical points (m, d) to values (m,) or (m, q), finite. measure: where points are drawn from, the
    variables' own measure or the Christoffel density of the present set. pool: (K, d) points to draw from instead, with
    replacement, by leverage for "christoffel" (as the paper does, K = 100,000); needs fresh=True. samples: number of
    points for n functions. bulk: share of the margin's energy that joins at a step. oldest_every: steps between two
    additions of the oldest index of the margin, against coefficients that are zero; the paper has none.
    Raises `SettingError` for settings out of range, `InputError` where the function's values cannot be used.

    >>> from sm3.poly.basis.classical import Legendre
    >>> def f(y):
    ...     return np.exp(-y.sum(axis=1) / 4)
    >>> steps = list(adaptive_steps(f, [Legendre()] * 2, np.random.default_rng(0), max_samples=200))
    >>> len(steps[-1].sample.points) <= 200, bool(steps[-1].solution.residual[0] < 1e-9)
    (True, True)
    """
    if not 0 < bulk <= 1 or measure not in ("monte_carlo", "christoffel") or (pool is not None and not fresh):
        raise SettingError(
            explain(
                "a setting of adaptive sampling is not accepted.",
                got=f"bulk={bulk}, measure={measure!r}, fresh={fresh}, {'no' if pool is None else 'a'} pool",
                accepted="0 < bulk <= 1, measure 'monte_carlo' or 'christoffel', a pool only with fresh=True",
                do="leave pool out to keep the points of earlier steps",
            )
        )
    margin = ReducedMargin(len(bases), max_degree=[basis.max_degree for basis in bases])
    margin.add([()])
    drawn = _Drawn(function, bases, rng, measure, pool)
    count = 0
    while samples(len(margin)) <= max_samples:
        index_set = margin.index_set()
        sample, values = drawn.points_for(index_set, samples(len(margin)), fresh=fresh)
        scale = sample.row_scale()
        design = Design(bases, index_set, sample.points, row_scale=scale)
        right = values * scale[:, None]
        # Nothing is left out, however ill-conditioned: that points of the measure are so in one variable is a finding.
        solution = least_squares(design, right, loo=False, tolerance=0.0)
        yield Step(index_set, sample, values, solution, drawn.evaluations)
        candidates = margin.candidate_set()
        if not len(candidates):
            return
        residual = right - design.times(solution.coef)
        seen = Design(bases, candidates, sample.points, row_scale=scale).transposed_times(residual)
        energy = np.square(seen).sum(axis=1)
        falling = np.argsort(-energy, kind="stable")
        chosen = falling[: int(np.searchsorted(np.cumsum(energy[falling]), bulk * energy.sum())) + 1].tolist()
        count += 1
        if oldest_every and count % oldest_every == 0 and 0 not in chosen:
            chosen.append(0)
        names = margin.candidates
        margin.add([names[i] for i in chosen])


class _Drawn:
    """Points and values: new ones for every step, or those of all steps with the weights of their mixture."""

    def __init__(
        self,
        function: Callable[[Array], Array],
        bases: Sequence[Basis],
        rng: np.random.Generator,
        measure: Measure,
        pool: Array | None,
    ) -> None:
        self.function, self.bases, self.rng, self.measure, self.pool = function, bases, rng, measure, pool
        self.evaluations = 0
        self.parts: list[tuple[IndexSet | None, int]] = []
        self.points = np.empty((0, len(bases)))
        self.values: Array | None = None

    def points_for(self, index_set: IndexSet, m: int, *, fresh: bool) -> tuple[Sample, Array]:
        """m points for least squares on the set, and the function there."""
        if fresh:
            sample = self._draw(index_set, m)
            return sample, self._evaluate(sample.points)
        new = self._draw(index_set, max(m - len(self.points), 0)).points
        self.parts.append((None if self.measure == "monte_carlo" else index_set, len(new)))
        if len(new):
            values = self._evaluate(new)
            self.values = values if self.values is None else np.concatenate([self.values, values])
            self.points = np.concatenate([self.points, new])
        weights = mixture_weights(self.bases, self.parts, self.points)
        return Sample(self.points, weights), np.asarray(self.values)

    def _draw(self, index_set: IndexSet, m: int) -> Sample:
        if self.pool is not None and self.measure == "christoffel":
            return from_pool(self.bases, index_set, self.pool, m, self.rng)
        if self.pool is not None:
            rows = self.rng.integers(len(self.pool), size=m)
            return Sample(self.pool[rows], np.ones(m), rows)
        if self.measure == "christoffel":
            return christoffel(self.bases, index_set, m, self.rng)
        return monte_carlo(self.bases, m, self.rng)

    def _evaluate(self, points: Array) -> Array:
        values = np.asarray(self.function(points), dtype=np.float64)
        self.evaluations += len(points)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or len(values) != len(points) or not np.isfinite(values).all():
            raise InputError(
                explain(
                    "the function's values cannot be used.",
                    got=f"shape {values.shape} for {len(points)} points"
                    + ("" if np.isfinite(values).all() else ", not all finite"),
                    accepted="finite numbers of shape (m,) or (m, q) for points (m, d)",
                    do="make the function take a whole array of points, one per row",
                )
            )
        return values
