"""The same fit once more with other weights of the rows: for a bootstrap, and for an error over the number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sm3.poly.inputs.one_input import Input, specification

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor

Array = NDArray[np.float64]


class Refit:
    """Weights (m,) of the distinct rows of a model -> a model fitted with them, terms chosen anew.

    The solver is the one that was chosen, there are as many folds as there were, and the distributions of the inputs
    stay, also where they were taken from the range of the data: indices and errors then speak about the same domain.
    """

    def __init__(self, model: PolynomialRegressor) -> None:
        # a splitter speaks about rows by their number, and with other weights there are other rows
        folds = model.cv if model.cv is None or isinstance(model.cv, int) else max(2, len(model.fold_models_))
        settings = {"solver": model.solver_, "cv": folds, "extrapolate": "clip"}
        self._model = clone(model).set_params(inputs=[_stated(one) for one in model.inputs_], **settings)
        rows = model.rows_
        self._x: NDArray[Any] = rows.x
        for j, one in enumerate(model.inputs_):
            if one.levels is not None:
                labels = np.empty(len(one.levels), dtype=object)
                labels[:] = one.levels
                self._x = self._x.astype(object)
                self._x[:, j] = labels[rows.x[:, j].astype(np.int64)]
        self._y = rows.y[:, 0] if np.ndim(model.coef_) == 1 else rows.y

    def __call__(self, weight: Array) -> PolynomialRegressor:
        fitted: PolynomialRegressor = clone(self._model).fit(self._x, self._y, sample_weight=weight)
        return fitted


def _stated(one: Input) -> Any:
    if one.learned and not one.fixed:
        return one.domain
    return specification(one.record)
