"""Bootstrap intervals for Sobol' indices: what another sample of the same size could have given for the polynomial.

Replicates are made by random weights 1 + v of the rows, v of mean 0 and variance 1 (Mammen's two values: weights 0.38
and 2.62). They have the first three moments of drawing rows with replacement, but no row vanishes, so a model with many
terms stays solvable, and no row stands in a training and a validation fold at once.

    fixed terms   the terms stay. To first order in v the coefficients of a replicate are c + A^+ (v e / sqrt(1 - h)),
                  e the residuals and h the leverages: one QR serves all replicates. It asks: are the coefficients sure?
    refit         the whole fit with each set of weights, the choice of the terms included.

Terms that were chosen on the same rows look surer than they are with the first, and neither sees the part 1 - Q2 that
the polynomial does not have; cross_fit.py does. The square of an uncertain coefficient is too large on average, in the
fit as in each replicate, so intervals are reflected about the fit, [2 S - upper, 2 S - lower], which takes that off.
Sources: Mammen 1993 (the two values), MacKinnon & White 1985 (leverage correction HC2), Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from sm3.errors import InputError, explain
from sm3.poly.sensitivity.indices import indices_of
from sm3.poly.sensitivity.intervals import LEVEL, SobolIntervals, Wanted, checked_level, row_weights

if TYPE_CHECKING:
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Fit = Callable[[Array], "tuple[IndexSet, Array]"]  # weights of the rows (m,) -> terms and their coefficients

# The ends of a 95 % interval are then the 25th and the 975th of them (Efron & Tibshirani 1993, section 13.3).
REPLICATES = 1000
# Chosen: a refit is a whole fit each time, and an end of an interval is then off by a tenth of its width or less.
REFITS = 100
# Chosen: numbers held at once, 40 MB.
_AT_ONCE = 5_000_000


def mammen(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Independent v, (1 - sqrt 5)/2 or (1 + sqrt 5)/2, with mean 0 and second and third moment 1.

    >>> drawn = mammen((100_000,), np.random.default_rng(0))
    >>> [round(abs(float((drawn**power).mean())), 1) for power in (1, 2, 3)]
    [0.0, 1.0, 1.0]
    """
    root = np.sqrt(5.0)
    smaller = rng.random(size) < (root + 1) / (2 * root)
    return np.asarray(np.where(smaller, (1 - root) / 2, (1 + root) / 2))


def fixed_term_intervals(
    index_set: IndexSet,
    design: Array,  # (m, N), the values of the terms at the rows
    y: ArrayLike,  # (m,) or (m, q)
    rng: np.random.Generator,
    *,
    weight: ArrayLike | None = None,
    level: float = LEVEL,
    replicates: int = REPLICATES,
) -> SobolIntervals:
    """Intervals for the least-squares fit of these terms. A row whose weight is 0 has no part in it.

    Raises `InputError` where the rows do not overdetermine the terms: nothing tells then how wrong a coefficient is.
    """
    level, weights = checked_level(level), row_weights(weight, len(design))
    used = weights > 0
    rows = np.asarray(y, dtype=np.float64).reshape(len(design), -1)
    scale = np.sqrt(weights[used])[:, None]
    factor, triangle = np.linalg.qr(design[used] * scale)
    slack = 1.0 - np.square(factor).sum(1)
    # a row of leverage 1 is met exactly whatever is measured there; a few hundred roundings tell that
    if len(factor) <= len(index_set) or slack.min(initial=1.0) < 1e-12 or np.linalg.cond(triangle) > 1e12:
        raise _undetermined(len(factor), len(index_set))
    target = rows[used] * scale
    coef = solve_triangular(triangle, factor.T @ target)
    errors = (target - factor @ (triangle @ coef)) / np.sqrt(slack)[:, None]
    found = indices_of(index_set, coef)
    wanted = Wanted.of(found)
    ends = [
        reflected(
            wanted.values(found)[:, k],
            _replicates(index_set, wanted, factor, triangle, coef[:, k], errors[:, k], replicates, rng),
            level,
        )
        for k in range(rows.shape[1])
    ]
    return wanted.intervals("fixed terms", level, np.stack(ends, axis=-1), many=np.ndim(y) == 2)


def refit_intervals(
    fit: Fit,
    m: int,
    rng: np.random.Generator,
    *,
    weight: ArrayLike | None = None,
    level: float = LEVEL,
    replicates: int = REFITS,
) -> SobolIntervals:
    """Intervals from whole fits: `fit` is called with weights (m,) of the rows, first with those given."""
    level, weights = checked_level(level), row_weights(weight, m)
    index_set, coef = fit(weights)
    found = indices_of(index_set, coef)
    wanted = Wanted.of(found)
    drawn = [
        wanted.values(indices_of(*fit(weights * (1.0 + mammen((m,), rng))))).reshape(wanted.size, -1)
        for _ in range(replicates)
    ]
    several = np.stack(drawn, axis=-1)
    centre = wanted.values(found).reshape(wanted.size, -1)
    ends = [reflected(centre[:, k], several[:, k], level) for k in range(centre.shape[1])]
    return wanted.intervals("refit", level, np.stack(ends, axis=-1), many=np.ndim(coef) == 2)


def reflected(centre: Array, drawn: Array, level: float) -> Array:
    """Ends (2, u) about centre (u,) from replicates (u, B), reflected; nan where a replicate is."""
    tails = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
    return 2.0 * centre - np.quantile(drawn, tails, axis=1)[::-1]


def _replicates(
    index_set: IndexSet,
    wanted: Wanted,
    factor: Array,  # (m, N) orthonormal
    triangle: Array,  # (N, N)
    coef: Array,  # (N,)
    errors: Array,  # (m,)
    replicates: int,
    rng: np.random.Generator,
) -> Array:
    """The wanted indices of the replicates, (u, B)."""
    drawn = []
    step = max(1, _AT_ONCE // len(factor))
    for start in range(0, replicates, step):
        noise = mammen((len(errors), min(step, replicates - start)), rng) * errors[:, None]
        moved = solve_triangular(triangle, factor.T @ noise)
        drawn.append(wanted.values(indices_of(index_set, coef[:, None] + moved)))
    return np.concatenate(drawn, axis=1)


def _undetermined(m: int, terms: int) -> InputError:
    return InputError(
        explain(
            "these rows do not tell how sure the coefficients are.",
            got=f"{m} rows, {terms} terms",
            accepted="more rows than terms, none of which only a single row determines",
            do="use more rows or fewer terms, or refit=True",
        )
    )
