"""PolynomialRegressor: a scikit-learn estimator for smooth functions of many inputs, from few samples.

The estimator checks its arguments and keeps the results; the work is elsewhere, in the order data passes: features and
inputs (what a column is), rows (distinct rows, folds), fitting (terms and coefficients), accuracy (Q2), domain (rows
outside), gradient, updating (more samples), points (where to sample), persistence (files).

Long because the documentation of the arguments and attributes is one text, and belongs to the class.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sm3.errors import InputError, SettingError, explain
from sm3.poly.basis.one_variable import Basis
from sm3.poly.design import sampling
from sm3.poly.design.matrix import Design
from sm3.poly.estimator import accuracy, fitting, persistence, points, updating
from sm3.poly.estimator.gradient import canonical_gradient
from sm3.poly.estimator.learned import FoldModel
from sm3.poly.estimator.notes import kappa, notes_of
from sm3.poly.estimator.rows import Fold, Rows, distinct_rows, random_folds, rows_and_splits, usual_number
from sm3.poly.estimator.terms import candidate_terms
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.domain import check_policy, inside, refuse_impossible
from sm3.poly.inputs.features import canonical, column_names, inputs_of, labelled_columns, physical, with_codes
from sm3.poly.inputs.one_input import Input
from sm3.poly.sensitivity.indices import moments

Array = NDArray[np.float64]
# Folds that decide where the user asks for no validation. Chosen: a fit is repeated less often. Nor, with "omp" alone,
# will leave-one-out do: measured (f1, d = 8, 1 % noise), its least corrected value has two to three times the error.
SELECTION_FOLDS = 3


class PolynomialRegressor(RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]
    """Sparse polynomial of many inputs, orthonormal with respect to their distributions.

    A few hundred rows are often enough for a smooth function of ten or more inputs, because terms are chosen by what
    the data say among thousands: products of low degree in few inputs first. From the coefficients follow mean,
    variance and Sobol' indices exactly (`sm3.poly.sobol_indices`). The fitted model says how far it can be trusted:
    `q2_` comes from rows that no part of the fit has seen.

    Parameters
    ----------
    inputs : None, "auto", list, dict, (lo, hi) or distribution, default=None
        The distribution of each feature, independent of the others: ``(lo, hi)`` (uniform), a frozen distribution of
        scipy.stats, ``Discrete(values, probabilities)``, ``Categorical(levels)`` (X may hold the labels), or "auto":
        uniform on the range of the training data. A list has one for each feature, a dict names some of them and
        leaves "auto" for the others. None is "auto" for all; Sobol' indices then refer to that box, and `notes_` says
        so. For features that depend on each other, give transformed ones that do not.
    transformation : {"rosenblatt", "basis"}, default="rosenblatt"
        For distributions without classical polynomials: map to a uniform variable by the distribution function, or
        compute the polynomials of the distribution itself. The map is safe for every distribution but may bend a
        smooth function at unbounded tails.
    solver : {"auto", "ls", "als", "omp", "srlasso"}, default="auto"
        How terms and coefficients are found. "ls": least squares on whole index sets of rising order. "als": least
        squares on a set that grows where the residual asks for it. "omp": greedy selection. "srlasso": weighted
        square-root LASSO. "auto": the one that predicts held-out rows best.
    index_set : str or IndexSet, default="hyperbolic_cross"
        Where terms are looked for: "hyperbolic_cross", "total_degree", "tensor_product", "q_norm", "anchored" (the
        first features matter most), or a set of your own.
    degree : int or None, default=None
        Order of the index set; None: the largest order within `max_basis`.
    max_basis : int or "auto", default="auto"
        Most candidate terms. "auto": 10 for each row, at most 10,000 (as many as in arXiv 2208.09045), fewer where a
        matrix of them would not fit into 1 GiB, and always all terms of degree one.
    lam : float or "theory", default="theory"
        Penalty of "srlasso", relative to the residual norm. "theory": the folds decide between seven values from 1 to 8
        times 1 / (5 sqrt(m)), the one of arXiv 2208.09045, and between the optimum and least squares on its support.
    support : {"joint", "per_output"}, default="joint"
        Whether several outputs share their terms.
    cv : "auto", int, splitter, list of (train, test) or None, default="auto"
        Folds that decide between solvers and their numbers of terms, and give `q2_`; rows with equal X stay together
        if any input is continuous. "auto": 20 folds up to 200 rows, fewer with more rows, 5 from 800 on, as models
        without a fifth of few rows would be much worse than the final one; 5 take a quarter of the time. None: three
        folds decide, and `q2_` is nan; but where nothing is to be decided ("ls" with an `index_set` or `degree` of your
        own) nothing is fitted twice, and `q2_` comes from leaving out each point in turn, which then is exact and costs
        half of the fit.
    extrapolate : {"warn", "raise", "clip", "nan"}, default="warn"
        What to do with rows outside the domain of the inputs, when predicting.
    random_state : int, RandomState or None, default=0
        Decides the folds and the bootstrap. The same number gives the same model, whatever the order of the rows.

    Attributes
    ----------
    coef_ : ndarray of shape (k,) or (k, q)
        Coefficients of the orthonormal terms.
    index_set_ : IndexSet
        The k terms: the degree of each input in each of them. The first is the constant.
    inputs_, bases_ : list
        Distribution with its map, and polynomials, of each feature.
    mean_, variance_ : float or ndarray of shape (q,)
        Of the polynomial over the distribution of the inputs.
    q2_ : float or ndarray of shape (q,)
        1 - mean squared error / variance on held-out rows; nan where nothing varies or nothing was held out. Folds
        whose model failed on its own rows, as this one did not, do not count; `notes_` says how many.
    q2_interval_ : ndarray of shape (2,) or (q, 2)
        95 % bootstrap interval of `q2_`.
    loo_ : float or None
        Leave-one-out mean squared error of the chosen terms, in units of the variance. For selection only: the terms
        were chosen with all rows, so it is too small.
    cond_ : float
        Condition number of the design matrix of the chosen terms.
    kappa_ : float
        Largest possible sum of squares of the terms; m >= kappa log k random rows make least squares stable with high
        probability (Cohen, Davenport & Leviatan 2013). `notes_` says when there are fewer. Infinite where an unbounded
        input takes part.
    gap_ : float or None
        Relative duality gap of "srlasso": how far at most the optimum is.
    solver_ : str
        The solver that was chosen.
    candidates_ : list of dict
        What was tried: solver, Q2 on held-out rows, number of terms.
    path_ : list of dict
        The steps of the solver.
    n_iter_ : int
        Their number.
    n_basis_ : int
        Number of candidate terms.
    notes_ : tuple of str
        What a reader of the model should know.
    rows_ : Rows
        The distinct training rows with their weights.
    fold_models_ : tuple of FoldModel
        The models of the validation with the rows they were judged on; empty unless the folds part the rows.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    sm3.poly.sobol_indices : Which inputs matter.

    Notes
    -----
    Two equal rows and one of weight 2 give the same model to the last bit, and so does any order of the rows.
    `partial_fit` is not offered, as the choice of terms needs all rows; `add_samples` is. Background: Adcock &
    Brugiapaglia, arXiv 2208.09045; Adcock, Brugiapaglia & Webster, Sparse Polynomial Approximation of High-Dimensional
    Functions, SIAM 2022.

    Examples
    --------
    The Ishigami function, known for its interactions, from 300 random points:

    >>> import numpy as np
    >>> from sm3.poly import PolynomialRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-np.pi, np.pi, (300, 3))
    >>> y = np.sin(X[:, 0]) + 7 * np.sin(X[:, 1]) ** 2 + 0.1 * X[:, 2] ** 4 * np.sin(X[:, 0])
    >>> model = PolynomialRegressor(inputs=(-np.pi, np.pi)).fit(X, y)
    >>> round(float(model.mean_), 3), round(float(model.variance_), 3)  # exact: 3.5 and 13.845
    (3.5, 13.845)
    >>> bool(model.q2_ > 0.9999)
    True
    """

    # learned by fit; described above
    coef_: Array
    index_set_: IndexSet
    inputs_: list[Input]
    bases_: list[Basis]
    mean_: float | Array
    variance_: float | Array
    q2_: float | Array
    q2_interval_: Array
    loo_: float | None
    cond_: float
    kappa_: float
    gap_: float | None
    solver_: str
    candidates_: list[dict[str, Any]]
    path_: list[dict[str, Any]]
    n_iter_: int
    n_basis_: int
    notes_: tuple[str, ...]
    rows_: Rows
    fold_models_: tuple[FoldModel, ...]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    target_names_: list[str]  # only of a model that was fitted from a table (tables/from_table.py)
    _single_output: bool
    _held_out: accuracy.HeldOut
    _folds: int  # how many there were
    _chosen_on: int  # rows when the terms were chosen
    _factors: list[updating.Factor] | None  # of the rows so far, once add_samples was called

    def __init__(
        self,
        inputs: Any = None,
        *,
        transformation: str = "rosenblatt",
        solver: str = "auto",
        index_set: Any = "hyperbolic_cross",
        degree: int | None = None,
        max_basis: int | str = "auto",
        lam: float | str = "theory",
        support: str = "joint",
        cv: Any = "auto",
        extrapolate: str = "warn",
        random_state: Any = 0,
    ) -> None:
        self.inputs = inputs
        self.transformation = transformation
        self.solver = solver
        self.index_set = index_set
        self.degree = degree
        self.max_basis = max_basis
        self.lam = lam
        self.support = support
        self.cv = cv
        self.extrapolate = extrapolate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> PolynomialRegressor:
        """Choose terms, fit their coefficients, and measure how well rows are predicted that were left out.

        Parameters
        ----------
        X : array or data frame of shape (n_samples, n_features)
            Labels may stand in the columns of categorical features.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), default=None
            Not negative. A row of weight 2 is the same as two rows. For points from `design` or `suggest` pass the
            weights that came with them.

        Returns
        -------
        self

        Raises
        ------
        InputError
            A row contradicts the distribution given for a feature, or no row has a weight.
        SettingError
            An argument has a value that is not accepted.
        """
        check_policy(self.extrapolate)
        x, values, weight = self._training_table(X, y, sample_weight, reset=True)
        rng = points.generator(self.random_state)
        rows, folds = rows_and_splits(x, values, weight, self.cv)
        inputs = inputs_of(self.inputs, self._names, rows.x, self.transformation)
        refuse_impossible(rows.x, inputs, self._names)
        return self._learn(rows, folds, inputs, rng)

    def predict(self, X: ArrayLike) -> Array:
        """Values of the polynomial, (n_samples,) or (n_samples, n_outputs), in the shape that y had.

        Rows outside the domain of an input are treated as `extrapolate` says; "warn" gives one `ExtrapolationWarning`
        a call. Raises `InputError` for such rows with "raise", and for an unknown label of a categorical feature.
        """
        x, missing = self._evaluated(X)
        with np.errstate(over="ignore", invalid="ignore"):  # far outside: a warning has said so
            values = Design(self.bases_, self.index_set_, canonical(self.inputs_, x), store=False).times(self._coef)
        values[missing] = np.nan
        return self._shaped(values)

    def gradient(self, X: ArrayLike) -> Array:
        """Derivatives with respect to the features, (n_samples, n_features) or (n_samples, n_features, n_outputs).

        Exact for the polynomial. Nan for categorical features, whose levels have no distance. Rows outside the domain
        as in `predict`.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).uniform(0, 2, (60, 2))
        >>> model = PolynomialRegressor(inputs=(0, 2)).fit(X, X[:, 0] ** 2 * X[:, 1])
        >>> model.gradient([[1.0, 2.0]]).round(6).tolist()
        [[4.0, 1.0]]
        """
        x, missing = self._evaluated(X)
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = canonical_gradient(self.bases_, self.index_set_, self._coef, canonical(self.inputs_, x))
            for j, one in enumerate(self.inputs_):
                slopes[:, j] *= one.map.slope(x[:, j])[:, None] if one.levels is None else np.nan
        slopes[missing] = np.nan
        return self._shaped(slopes)

    def main_effect(self, feature: int | str, grid: ArrayLike) -> Array:
        """Mean of the polynomial over all other inputs, at these values of one feature; `mean_` is its average.

        `grid` (n,) holds values of the feature, labels for a categorical one. Returns (n,) or (n, n_outputs). Values
        outside the domain as in `predict`. Raises `SettingError` for a feature that is not there.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).uniform(-1, 1, (60, 2))
        >>> model = PolynomialRegressor(inputs=(-1, 1)).fit(X, 5 + 2 * X[:, 0] + X[:, 0] * X[:, 1])
        >>> model.main_effect("x0", [-1.0, 0.0, 1.0]).round(6).tolist()
        [3.0, 5.0, 7.0]
        """
        check_is_fitted(self)
        j = self._position(feature)
        one, name = self.inputs_[j], self._names[j]
        labelled = {} if one.levels is None else {0: one.levels}
        values = np.ravel(np.asarray(grid, dtype=object if labelled else np.float64))
        column = np.asarray(with_codes(values[:, None], labelled, [name]), dtype=np.float64)
        x, missing = inside(column, [one], [name], self.extrapolate)
        terms, coef = _alone(self.index_set_, self._coef, j)
        effect = Design([one.basis], terms, canonical([one], x), store=False).times(coef)
        effect[missing] = np.nan
        return self._shaped(effect)

    def add_samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, reselect: bool = False
    ) -> PolynomialRegressor:
        """Take more rows into a fitted model: the terms stay, their coefficients follow by least squares on all rows.

        The triangular factor of the rows so far is updated by the new ones, so the cost does not grow with the old rows
        (the first call makes it). Before they are taken in, the new rows are predicted, and so they count as held out
        in `q2_`. `loo_`, `path_`, `candidates_` and `fold_models_` stay those of the last choice of terms; `notes_`
        says how many rows that had. With `reselect=True` terms are chosen anew from all rows; where `cv` was a splitter
        or a list, by as many random folds.

        Arguments and errors as `fit`; in addition `InputError` for rows outside the domain that was fitted. The model
        is unchanged when an error is raised.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).uniform(-1, 1, (80, 2))
        >>> y = np.exp(X[:, 0] - X[:, 1])
        >>> model = PolynomialRegressor(inputs=(-1, 1)).fit(X[:60], y[:60])
        >>> model.add_samples(X[60:], y[60:]).notes_[-1]
        'the terms were chosen on 60 of 80 rows: add_samples(..., reselect=True) chooses them anew.'
        """
        check_is_fitted(self)
        x, values, weight = self._training_table(X, y, sample_weight, reset=False)
        refuse_impossible(x, self.inputs_, self._names)
        new, _ = distinct_rows(x, values, weight)
        rows, rng = self.rows_.joined(new), points.generator(self.random_state)
        if reselect:
            return self._learn(rows, None, self.inputs_, rng)
        parts = [new] if self._factors else [self.rows_, new]
        factors = self._factors or updating.empty_factors(self._coef)
        for part in parts:
            y_part = canonical(self.inputs_, part.x)
            factors = updating.appended(factors, self.bases_, self.index_set_, y_part, part.y, part.weight)
        predicted = Design(self.bases_, self.index_set_, canonical(self.inputs_, new.x)).times(self._coef)
        held_out = self._held_out.joined(accuracy.HeldOut(new.weight, new.y, new.y - predicted))
        coef = updating.coefficients(factors, self._coef.shape)
        self._factors, self.rows_, self._held_out = factors, rows, held_out
        self.cond_ = max(factor.condition() for factor in factors)
        return self._conclude(coef, rng)

    def design(
        self, n: int, kind: str = "mc", *, random_state: Any = None, n_features: int | None = None
    ) -> tuple[NDArray[Any], Array]:
        """n points at which to evaluate a function, and their weights for `fit`.

        Parameters
        ----------
        n : int
        kind : {"mc", "lhs", "sobol", "christoffel"}, default="mc"
            Independent draws, Latin hypercube, scrambled Sobol' sequence, or draws with weights that suit the terms: of
            the fitted model, or before a fit of the largest index set with k log k <= n. With 8 smooth inputs or more,
            none of them dominant, "mc" is enough (arXiv 2208.09045).
        random_state : int, RandomState or None, default=None
            None gives other points each time.
        n_features : int, default=None
            Before a fit, if `inputs` is one distribution for all features.

        Returns
        -------
        X : ndarray of shape (n, n_features)
        sample_weight : ndarray of shape (n,)

        Examples
        --------
        >>> from sm3.poly import PolynomialRegressor
        >>> model = PolynomialRegressor(inputs={"speed": (0, 10), "load": (1, 2)})
        >>> X, weight = model.design(100, "lhs", random_state=0)
        >>> X.shape, bool(X[:, 0].max() > 9.9)
        ((100, 2), True)
        """
        rng = points.generator(random_state)
        if hasattr(self, "index_set_"):
            return points.sample(self.inputs_, n, kind, rng, self.index_set_)
        inputs = points.stated_inputs(self.inputs, self.transformation, n_features)
        return points.sample(inputs, n, kind, rng, points.terms_for(inputs, n, self.index_set, self.degree))

    def suggest(
        self, n: int, *, method: str = "christoffel", pool: ArrayLike | None = None, random_state: Any = None
    ) -> tuple[NDArray[Any], Array]:
        """n points worth evaluating next for the terms of the fitted model, and their weights for `add_samples`.

        `method`: "christoffel" draws independent points with weights; "greedy" takes those whose prediction the rows so
        far leave least certain, with weights 1. `pool` (p, n_features): choose among these; None: anywhere in the
        domain. Returns X (n, n_features) and sample_weight (n,).

        >>> import numpy as np
        >>> X = np.random.default_rng(0).uniform(0.2, 0.8, (30, 1))
        >>> model = PolynomialRegressor(inputs=(0, 1)).fit(X, X[:, 0] ** 3)
        >>> new, _ = model.suggest(2, method="greedy", random_state=0)
        >>> np.sort(new.ravel()).round(1).tolist()  # the ends, of which nothing was known
        [0.0, 1.0]
        """
        check_is_fitted(self)
        chosen = sampling.suggest(
            self.bases_,
            self.index_set_,
            n,
            points.generator(random_state),
            method=method,  # type: ignore[arg-type]
            existing=canonical(self.inputs_, self.rows_.x),
            pool=None if pool is None else canonical(self.inputs_, self._evaluated(pool)[0]),
        )
        return physical(self.inputs_, chosen.points), chosen.weights

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file without executable content; see `sm3.poly.estimator.persistence.save`."""
        check_is_fitted(self)
        persistence.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PolynomialRegressor:
        """A model from a file written by `save`; see `sm3.poly.estimator.persistence.load`."""
        return persistence.load(path)

    def _learn(
        self, rows: Rows, folds: list[Fold] | None, inputs: list[Input], rng: np.random.Generator
    ) -> PolynomialRegressor:
        """Everything that depends on the data, from distinct rows on; folds are made where there are none."""
        terms = candidate_terms(inputs, rows, self.index_set, self.degree, self.max_basis)
        settings = fitting.Settings.of(self.solver, self.lam, self.support, self.index_set, self.degree)
        continuous = any(one.values is None for one in inputs)
        by_leaving_out = self.cv is None and settings.fixed
        if folds is None and by_leaving_out:
            folds = []
        elif folds is None:
            folds = random_folds(rows, self._number_of_folds(len(rows)), rng, by_site=continuous)
        learned = fitting.learn(rows, folds, inputs, terms, settings, rows.site if continuous else None)
        if self.cv is None and not by_leaving_out:
            learned, folds = learned.unjudged(), []
        self.inputs_, self.bases_ = inputs, [one.basis for one in inputs]
        self.rows_, self.index_set_ = rows, learned.index_set
        self.n_basis_, self.solver_ = len(terms), learned.solver
        self.loo_, self.cond_, self.gap_ = learned.loo, learned.cond, learned.gap
        self.n_iter_, self.path_, self.candidates_ = learned.n_iter, learned.path, learned.candidates
        self.fold_models_, self._held_out = learned.fold_models, learned.held_out
        self._folds, self._chosen_on, self._factors = len(folds), len(rows), None
        return self._conclude(learned.coef, rng)

    def _number_of_folds(self, rows: int) -> int:
        if self.cv is None:
            return SELECTION_FOLDS
        if isinstance(self.cv, str):
            return usual_number(rows)
        # a splitter is about the rows of an earlier fit: as many random folds as it made
        return int(self.cv) if isinstance(self.cv, int | np.integer) else max(2, self._folds)

    def _conclude(self, coef: Array, rng: np.random.Generator) -> PolynomialRegressor:
        """What follows from coefficients (k, q) and held-out residuals."""
        self.coef_ = coef[:, 0] if self._single_output else coef
        mean, variance = moments(self.index_set_, self.coef_)
        self.mean_ = float(mean) if self._single_output else mean
        self.variance_ = float(variance) if self._single_output else variance
        judged, ends = accuracy.q2(self._held_out), accuracy.q2_interval(self._held_out, rng)
        self.q2_ = float(judged[0]) if self._single_output else judged
        self.q2_interval_ = ends[0] if self._single_output else ends
        self.kappa_ = kappa(self.index_set_, self.bases_)
        self.notes_ = notes_of(
            self.inputs_,
            self._names,
            rows=len(self.rows_),
            terms=len(self.index_set_),
            kappa=self.kappa_,
            cond=self.cond_,
            judged=bool(len(self._held_out)),
            failed=sum(not fold.counts for fold in self.fold_models_),
            chosen_on=self._chosen_on,
        )
        return self

    def _training_table(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Array, Array, Array | None]:
        """X (n, d), y (n, q) and weights (n,) as float64, checked as scikit-learn does."""
        table = self._numeric(X, fitted=not reset)
        x, values = validate_data(self, table, y, reset=reset, multi_output=True, y_numeric=True, dtype=np.float64)
        values = np.asarray(values, dtype=np.float64)
        outputs = values.reshape(len(x), -1)
        if reset:
            self._single_output = values.ndim == 1
        if not reset and outputs.shape[1] != self._coef.shape[1]:
            raise InputError(
                explain(
                    "y has another number of outputs than the model.",
                    got=f"{outputs.shape[1]}",
                    accepted=f"{self._coef.shape[1]}",
                    do="pass the outputs that the model was fitted with",
                )
            )
        if sample_weight is None:
            return x, outputs, None
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64)
        if (weight < 0).any():
            raise InputError(
                explain(
                    "a row has a negative weight.",
                    got=f"{weight.min():.6g}",
                    accepted="weights >= 0",
                    do="leave rows out by weight 0",
                )
            )
        return x, outputs, weight

    def _numeric(self, X: Any, *, fitted: bool) -> Any:
        """X with positions in place of the labels of categorical features."""
        if fitted:
            labelled = {j: one.levels for j, one in enumerate(self.inputs_) if one.levels is not None}
            return with_codes(X, labelled, self._names) if labelled else X
        labelled = labelled_columns(self.inputs, X)
        return with_codes(X, labelled, column_names(X)) if labelled else X

    def _evaluated(self, X: Any) -> tuple[Array, NDArray[np.bool_]]:
        """Rows to evaluate (n, d), and those that the answer nan is due for."""
        check_is_fitted(self)
        x = validate_data(self, self._numeric(X, fitted=True), reset=False, dtype=np.float64)
        check_policy(self.extrapolate)
        return inside(x, self.inputs_, self._names, self.extrapolate)

    @property
    def _names(self) -> list[str]:
        """Names of the features: those of the data frame, else x0, x1, ..."""
        given = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.n_features_in_)] if given is None else [str(name) for name in given]

    @property
    def _coef(self) -> Array:
        """(k, q)"""
        return np.asarray(self.coef_).reshape(len(self.index_set_), -1)

    def _shaped(self, values: Array) -> Array:
        """Without the last axis, that of the outputs, if y had none."""
        return values[..., 0] if self._single_output else values

    def _position(self, feature: int | str) -> int:
        names = self._names
        if isinstance(feature, str) and feature in names:
            return names.index(feature)
        if isinstance(feature, int | np.integer) and 0 <= feature < len(names):
            return int(feature)
        raise SettingError(
            explain(
                "there is no such feature.",
                got=repr(feature),
                accepted=", ".join(names[:20]) + f", or a number from 0 to {len(names) - 1}",
                do="name it as the model was fitted with it",
            )
        )


def _alone(index_set: IndexSet, coef: Array, variable: int) -> tuple[IndexSet, Array]:
    """The constant and the terms of one variable alone, as terms of that variable, with their coefficients."""
    few = np.flatnonzero(index_set.length <= 1)
    dense = index_set.take(few).dense()
    own = dense.sum(axis=1) == dense[:, variable]
    return IndexSet.from_dense(dense[own][:, [variable]]), coef[few[own]]
