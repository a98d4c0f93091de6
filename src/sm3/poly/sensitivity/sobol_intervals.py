"""Intervals for the Sobol' indices of a fitted model, from what the model keeps: its rows and the models of its folds.

"cross-fit"   where the indices of the function lie; costs nothing more to fit      (default; cross_fit.py)
"fixed"       bootstrap with the terms as they are: are the coefficients sure?      (bootstrap.py)
"refit"       bootstrap of the whole fit, choice of terms included: a fit each time (bootstrap.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.poly.design.matrix import Design
from sm3.poly.estimator.points import generator
from sm3.poly.estimator.refit import Refit
from sm3.poly.inputs.features import canonical
from sm3.poly.sensitivity.bootstrap import REFITS, REPLICATES, fixed_term_intervals, refit_intervals
from sm3.poly.sensitivity.cross_fit import cross_fit_intervals
from sm3.poly.sensitivity.indices import sobol_indices
from sm3.poly.sensitivity.intervals import LEVEL, SobolIntervals, checked_level
from sm3.poly.sensitivity.unseen import unseen_folds

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
METHODS = ("cross-fit", "fixed", "refit")


def sobol_intervals(
    model: PolynomialRegressor,
    *,
    method: str = "cross-fit",
    level: float = LEVEL,
    replicates: int | None = None,
    random_state: Any = 0,
) -> SobolIntervals:
    """How far the rows of a fitted model determine its Sobol' indices.

    Parameters
    ----------
    model
        A fitted `PolynomialRegressor`. Its rows are taken as a sample of the inputs' distribution, with their weights.
    method : {"cross-fit", "fixed", "refit"}
        "cross-fit": bounds for the indices of the *function*, 1 - Q2 wide and more; they hold for a polynomial that
        overfits or misses part of the function. "fixed" and "refit": how much the indices of the *polynomial* would
        change with other rows; where Q2 is far from 1 they can be narrow and wrong.
    level
        Probability that an interval is meant to cover, 0.95.
    replicates
        Of the bootstrap; None: 1000, with "refit" 100.
    random_state : int, Generator or RandomState
        Of the bootstrap.

    Raises
    ------
    InputError
        "cross-fit" for a model without folds, or with rows added since; "fixed" for a model with as many terms as rows.
    SettingError
        An unknown method, or a level that is no probability.

    Examples
    --------
    >>> from sm3.poly import PolynomialRegressor
    >>> X = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    >>> model = PolynomialRegressor(inputs=(-1, 1)).fit(X, X[:, 0] + np.abs(X[:, 1]))  # S = 4/5, 1/5
    >>> lower, upper = sobol_intervals(model).first
    >>> bool(lower[0] < 0.8 < upper[0]), bool(lower[1] < 0.2 < upper[1])
    (True, True)
    """
    checked_level(level)
    if method == "cross-fit":
        return _cross_fit(model, level)
    rng, rows = generator(random_state), model.rows_
    y = rows.y[:, 0] if np.ndim(model.coef_) == 1 else rows.y
    if method == "fixed":
        design = Design(model.bases_, model.index_set_, canonical(model.inputs_, rows.x)).matrix()
        count = REPLICATES if replicates is None else replicates
        return fixed_term_intervals(
            model.index_set_, design, y, rng, weight=rows.weight, level=level, replicates=_enough(count)
        )
    if method == "refit":
        count = REFITS if replicates is None else replicates
        again = Refit(model)

        def fit(weight: Array) -> tuple[IndexSet, Array]:
            fitted = again(weight)
            return fitted.index_set_, fitted.coef_

        return refit_intervals(fit, len(rows), rng, weight=rows.weight, level=level, replicates=_enough(count))
    raise SettingError(
        explain(
            "this kind of interval is not known.",
            got=repr(method),
            accepted=", ".join(map(repr, METHODS)),
            do='leave it at "cross-fit", which holds for the function itself',
        )
    )


def _cross_fit(model: PolynomialRegressor, level: float) -> SobolIntervals:
    folds, rows = unseen_folds(model), model.rows_
    if not folds:
        later = bool(model.fold_models_)
        raise InputError(
            explain(
                "bounds for the function need rows that were set aside, and this model has none.",
                got=f"{len(rows)} rows, of which some came after the fit" if later else f"cv={model.cv!r}",
                accepted="a model fitted with cv a number of folds, such as 5",
                do="use add_samples(..., reselect=True)"
                if later
                else 'fit with cv=5, or ask for method="fixed", which speaks about the polynomial only',
            )
        )
    y = rows.y if np.ndim(model.coef_) == 2 else rows.y[:, 0]
    return cross_fit_intervals(sobol_indices(model), folds, y, weight=rows.weight, level=level)


def _enough(replicates: int) -> int:
    if replicates < 2:
        raise SettingError(
            explain(
                "replicates is out of range.",
                got=replicates,
                accepted="an integer >= 2; hundreds give an interval",
                do="leave it out",
            )
        )
    return replicates
