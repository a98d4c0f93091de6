"""What every solver returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """Coefficients on a support, and what is known about them.

    Rows of the design matrix and of y carry the factor row_scale = sqrt(weight / m), so that sums over rows are
    (weighted) means over samples.
    """

    support: Ints  # (k,) positions in the index set, ascending
    coef: Array  # (k, q) coefficients of these basis functions, one column per output
    residual: Array  # (q,) ||A x - y|| / ||y|| per output; 0 where y is 0
    loo: float | None  # leave-one-out mean squared error, summed over outputs; of a fixed support: for selection only
    cond: float  # ratio of the extreme singular values of the supported columns, a few percent low; 1 if none
    gap: (
        float | None
    )  # certified: objective <= (1 + gap) * the least possible; None where nothing is minimised over all
    n_iter: int  # passes, steps or iterations, as the solver counts them
    solver: str
    path: list[dict[str, float]] = field(default_factory=list)  # what was tried on the way, one entry per step
    left_out: Array | None = None  # (m, q) y - the fit without that point, in the scale of the rows; inf: undetermined


def relative_residual(residual: Array, y: Array) -> Array:
    """Norms of the columns of `residual` (m, q) over those of y (m, q); 0 where y is 0."""
    of_y = np.linalg.norm(y, axis=0)
    return np.asarray(np.linalg.norm(residual, axis=0) / np.where(of_y > 0, of_y, 1.0))
