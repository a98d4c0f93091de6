"""Who fits: name -> a fit of one sample, and how to predict from it. Peers are imported when they are asked for.

A fit starts from arrays in the form that the package takes and the distribution of the inputs, and ends with
coefficients: making the basis and its values at the samples is part of it for everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from sm3.poly import Legendre, PolynomialRegressor, total_degree
from sm3.poly.design.matrix import Design
from sm3.poly.solvers.least_squares import least_squares
from sm3.poly.solvers.omp import omp

Array = NDArray[np.float64]
Predict = Callable[[Array], Array]
Fit = Callable[[], Any]

OURS, CONTROL, SOLVER = "sm3 estimator", "sm3 estimator, control", "sm3 solver alone"
DEFAULTS = "sm3 estimator, solver=auto, cv=5"
OPENTURNS, CHAOSPY, PIPELINE = "OpenTURNS", "chaospy", "scikit-learn pipeline"


@dataclass(frozen=True)
class Contestant:
    """`fit` is what is timed; `predict(what fit returned, x)` is not."""

    fit: Fit
    predict: Callable[[Any, Array], Array]


def ours(x: Array, y: Array, degree: int, *, sparse: bool) -> dict[str, Contestant]:
    """The estimator, twice, and the solver it calls, with the values of the basis functions.

    Without validation (cv=None), which peers have not. Least squares gives the leave-one-out error besides, in the
    estimator; the sparse estimator still chooses its number of terms by three folds, the solver by leave-one-out.
    """
    solver = "omp" if sparse else "ls"
    estimator = Contestant(
        lambda: _estimator(degree, solver=solver, cv=None).fit(x, y), lambda fit, at: fit.predict(at)
    )
    found = {OURS: estimator, CONTROL: estimator, SOLVER: _solver(x, y, degree, sparse=sparse)}
    if sparse:
        found[DEFAULTS] = Contestant(
            lambda: _estimator(degree, solver="auto", cv=5).fit(x, y), lambda fit, at: fit.predict(at)
        )
    return found


def _estimator(degree: int, *, solver: str, cv: int | None) -> PolynomialRegressor:
    return PolynomialRegressor((-1.0, 1.0), solver=solver, index_set="total_degree", degree=degree, cv=cv)


def _solver(x: Array, y: Array, degree: int, *, sparse: bool) -> Contestant:
    d = x.shape[1]
    scale = np.full(len(x), len(x) ** -0.5)
    bases = [Legendre()] * d

    def fit() -> Any:
        terms = total_degree(d, degree)
        A, b = Design(bases, terms, x, row_scale=scale), (y * scale)[:, None]
        found = omp(A, b, terms.weights(bases)) if sparse else least_squares(A, b, loo=False)
        return terms.take(found.support), found.coef[:, 0]

    return Contestant(fit, lambda model, at: Design(bases, model[0], at).times(model[1]))


def openturns(x: Array, y: Array, degree: int, *, sparse: bool) -> Contestant:
    """Functional chaos of all terms by `LeastSquaresStrategy`, or by LARS with the corrected leave-one-out error."""
    import openturns as ot

    ot.TBB.Disable()  # one thread, as everyone
    inputs, outputs = ot.Sample(x), ot.Sample(y[:, None])
    d = x.shape[1]
    distribution = ot.JointDistribution([ot.Uniform(-1.0, 1.0)] * d)
    order = ot.LinearEnumerateFunction(d)

    def fit() -> Any:
        basis = ot.OrthogonalProductPolynomialFactory([ot.LegendreFactory()] * d, order)
        terms = ot.FixedStrategy(basis, order.getStrataCumulatedCardinal(degree))
        lars = ot.LeastSquaresMetaModelSelectionFactory(ot.LARS(), ot.CorrectedLeaveOneOut())
        how = ot.LeastSquaresStrategy(lars) if sparse else ot.LeastSquaresStrategy()
        algorithm = ot.FunctionalChaosAlgorithm(inputs, outputs, distribution, terms, how)
        algorithm.run()
        return algorithm.getResult()

    return Contestant(fit, lambda result, at: np.asarray(result.getMetaModel()(ot.Sample(at)))[:, 0])


def chaospy(x: Array, y: Array, degree: int) -> Contestant:
    """`generate_expansion` and `fit_regression`."""
    import chaospy as cp

    distribution = cp.Iid(cp.Uniform(-1, 1), x.shape[1])
    columns = np.ascontiguousarray(x.T)

    def fit() -> Any:
        return cp.fit_regression(cp.generate_expansion(degree, distribution, normed=True), columns, y)

    return Contestant(fit, lambda polynomial, at: np.asarray(polynomial(*at.T)))


def pipeline(x: Array, y: Array, degree: int) -> Contestant:
    """Monomials and ordinary least squares."""
    steps = PolynomialFeatures(degree, include_bias=False), LinearRegression()
    return Contestant(lambda: make_pipeline(*steps).fit(x, y), lambda fit, at: np.asarray(fit.predict(at)))


def peers(x: Array, y: Array, degree: int, *, sparse: bool) -> Mapping[str, Callable[[], Contestant]]:
    """Name -> how to make it; the packages are imported only then."""
    if sparse:
        return {OPENTURNS: lambda: openturns(x, y, degree, sparse=True)}
    return {
        OPENTURNS: lambda: openturns(x, y, degree, sparse=False),
        CHAOSPY: lambda: chaospy(x, y, degree),
        PIPELINE: lambda: pipeline(x, y, degree),
    }
