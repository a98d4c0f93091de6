"""The models of a fit's validation, each with the rows it has not seen: for bounds, pictures, the learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sm3.poly.design.matrix import Design
from sm3.poly.inputs.features import canonical
from sm3.poly.sensitivity.cross_fit import Fold

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor


def unseen_folds(model: PolynomialRegressor) -> list[Fold]:
    """Empty where nothing was held out, or where rows came in later: their numbers are then not those of the folds."""
    if sum(len(fold.rows) for fold in model.fold_models_) != len(model.rows_):
        return []
    points = canonical(model.inputs_, model.rows_.x)
    return [
        Fold(
            fold.rows,
            Design(model.bases_, fold.index_set, points[fold.rows]),
            fold.coef.reshape(len(fold.index_set), -1),
        )
        for fold in model.fold_models_
    ]
