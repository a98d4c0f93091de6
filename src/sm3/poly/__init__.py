"""A function of many variables from few samples: sparse polynomials, orthonormal for the distributions of the inputs.

In the order data passes:

    table, text_file   a CSV file, with the place of every mistake
    features           the columns: names, the argument `inputs`, labels as numbers
    inputs             a distribution -> polynomials and a map; distributions (of scipy.stats) and maps
    basis              Legendre, Chebyshev, Jacobi, Hermite, Laguerre; density: any other, and finitely many values;
                       one_variable, recurrence, discretise, stieltjes, induced: how they are computed
    index_set          hyperbolic cross, total degree, ...: multi_index (the class), index_shapes, prefix_tree, margin
    design             values of all basis functions at points: products, matrix_free
    rows               distinct rows with weights, and folds
    terms              which terms a fit may choose from
    solvers/           coefficients: least squares, greedy, square-root LASSO, adaptive; the best by folds
    fitting            scaling, choice of a solver, coefficients in the units of y; learned: what it found
    accuracy           Q2 on held-out rows, with its interval
    regressor          PolynomialRegressor, the scikit-learn estimator
    domain             rows outside the domain of the inputs
    gradient           derivatives
    updating           more rows for the same terms
    sampling           where to evaluate next; points: in the units of the inputs
    notes              what a reader of a fitted model should know
    persistence        models as files without executable content; model_state: what is in them
    sensitivity        variance and Sobol' indices; cross_fit, bootstrap, intervals: how far they can be trusted
    pictures, report   figures, and a page with all of it

Importing this package imports none of them; all computing is in float64, NumPy and SciPy only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sm3.poly.basis import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
    from sm3.poly.density import Discrete, FromDensity
    from sm3.poly.domain import ExtrapolationWarning
    from sm3.poly.index_set import (
        IndexSet,
        anchored,
        hyperbolic_cross,
        largest,
        q_norm,
        tensor_product,
        total_degree,
    )
    from sm3.poly.inputs import Categorical
    from sm3.poly.regressor import PolynomialRegressor
    from sm3.poly.sensitivity import SobolIndices, sobol_indices

_FILE_OF_NAME = {
    "Categorical": "inputs",
    "Chebyshev1": "basis",
    "Chebyshev2": "basis",
    "Discrete": "density",
    "ExtrapolationWarning": "domain",
    "FromDensity": "density",
    "Hermite": "basis",
    "IndexSet": "index_set",
    "Jacobi": "basis",
    "Laguerre": "basis",
    "Legendre": "basis",
    "PolynomialRegressor": "regressor",
    "SobolIndices": "sensitivity",
    "anchored": "index_set",
    "hyperbolic_cross": "index_set",
    "largest": "index_set",
    "q_norm": "index_set",
    "sobol_indices": "sensitivity",
    "tensor_product": "index_set",
    "total_degree": "index_set",
}

__all__ = [
    "Categorical",
    "Chebyshev1",
    "Chebyshev2",
    "Discrete",
    "ExtrapolationWarning",
    "FromDensity",
    "Hermite",
    "IndexSet",
    "Jacobi",
    "Laguerre",
    "Legendre",
    "PolynomialRegressor",
    "SobolIndices",
    "anchored",
    "hyperbolic_cross",
    "largest",
    "q_norm",
    "sobol_indices",
    "tensor_product",
    "total_degree",
]


def __getattr__(name: str) -> object:
    if name in _FILE_OF_NAME:
        return getattr(import_module(f"{__name__}.{_FILE_OF_NAME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
