"""A function of many variables from few samples: sparse polynomials, orthonormal for the distributions of the inputs.

In the order data passes:

    tables/        a CSV file and inputs.toml, with the place of every mistake
    inputs/        the columns, a distribution for each, and the map to the variable of its polynomials
    basis/         orthonormal polynomials of one variable
    index_sets/    which products of them there are
    design/        the values of all products at points; where points should be
    solvers/       coefficients: least squares, greedy, square-root LASSO, adaptive; the best by folds
    estimator/     PolynomialRegressor: rows, folds, terms, fit, Q2, more rows, files
    sensitivity/   variance and Sobol' indices, and how far they can be trusted
    report/        sentences, tables, figures, and a page with all of it

basis, index_sets, design and solvers know nothing of tables, inputs and estimators; each folder begins with its map.
Importing this package imports none of them; all computing is in float64, NumPy and SciPy only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sm3.poly.basis.classical import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
    from sm3.poly.basis.density import Discrete, FromDensity
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.index_sets.families import (
        anchored,
        hyperbolic_cross,
        largest,
        q_norm,
        tensor_product,
        total_degree,
    )
    from sm3.poly.index_sets.multi_index import IndexSet
    from sm3.poly.inputs.domain import ExtrapolationWarning
    from sm3.poly.inputs.one_input import Categorical
    from sm3.poly.sensitivity.indices import SobolIndices, sobol_indices

_FILE_OF_NAME = {
    "Categorical": "inputs.one_input",
    "Chebyshev1": "basis.classical",
    "Chebyshev2": "basis.classical",
    "Discrete": "basis.density",
    "ExtrapolationWarning": "inputs.domain",
    "FromDensity": "basis.density",
    "Hermite": "basis.classical",
    "IndexSet": "index_sets.multi_index",
    "Jacobi": "basis.classical",
    "Laguerre": "basis.classical",
    "Legendre": "basis.classical",
    "PolynomialRegressor": "estimator.regressor",
    "SobolIndices": "sensitivity.indices",
    "anchored": "index_sets.families",
    "hyperbolic_cross": "index_sets.families",
    "largest": "index_sets.families",
    "q_norm": "index_sets.families",
    "sobol_indices": "sensitivity.indices",
    "tensor_product": "index_sets.families",
    "total_degree": "index_sets.families",
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
