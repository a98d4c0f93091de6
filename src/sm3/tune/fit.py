"""The polynomial of some trials: the estimator of `sm3.poly` with the priors of the hyper-parameters as its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sm3.poly.estimator.regressor import PolynomialRegressor
from sm3.tune.axes import Axis

Vector = NDArray[np.float64]
FOLDS = 5  # of the outer validation; the estimator's own default


def regressor(axes: Sequence[Axis], seed: int) -> PolynomialRegressor:
    """The estimator, not yet fitted: it tries its solvers, and judges them and itself by held-out trials."""
    return PolynomialRegressor(inputs=[axis.input for axis in axes], cv=FOLDS, random_state=seed)


def held_out_q2(
    axes: Sequence[Axis],
    columns: Vector,
    values: Vector,
    used: NDArray[np.int64],  # trials that are fitted
    judged: NDArray[np.int64],  # trials that are predicted
    solver: str,
) -> float:
    """1 - mean squared error / variance, on trials the fit has not seen; 0 where they do not vary."""
    variance = float(np.var(values[judged]))
    if variance == 0.0:
        return 0.0
    estimator = PolynomialRegressor(inputs=[axis.input for axis in axes], solver=solver, cv=None)
    model = estimator.fit(columns[used], values[used])
    return 1.0 - float(np.mean(np.square(values[judged] - model.predict(columns[judged])))) / variance
