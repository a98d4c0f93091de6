"""Choosing by held-out rows: the right solver for each function, and an error that choosing has not flattered."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.errors import SettingError
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.families import hyperbolic_cross, total_degree
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.choose import choose, k_fold
from sm3.poly.solvers.growing_fit import Rows
from sm3.poly.solvers.omp import omp

SOLVERS = ("ls", "als", "omp", "srlasso")


class Data:
    """A function on random points, its design on a cross, and how to choose on it."""

    def __init__(self, f, d, order, m, *, noise=0.0, seed=0, kind=hyperbolic_cross):
        rng = np.random.default_rng(seed)
        self.f, self.d, self.terms, self.bases = f, d, kind(d, order), [Legendre()] * d
        points = rng.uniform(-1, 1, (m, d))
        self.scale = np.full(m, m**-0.5)
        self.A = Design(self.bases, self.terms, points, row_scale=self.scale)
        values = f(points).reshape(m, -1)
        values = values + noise * np.std(values, axis=0) * rng.standard_normal(values.shape)
        self.y, self.u = values * self.scale[:, None], self.terms.weights(self.bases)
        self.folds = k_fold(m, 5, rng)

    def choose(self, **settings):
        return choose(self.A, self.y, self.u, self.terms, self.folds, row_scale=self.scale, **settings)

    def unexplained(self, solution):
        """Squared error over variance, on 3000 fresh points."""
        points = np.random.default_rng(77).uniform(-1, 1, (3000, self.d))
        exact = self.f(points).reshape(3000, -1)
        fitted = Design(self.bases, self.terms.take(solution.support), points).times(solution.coef)
        return np.square(exact - fitted).mean(axis=0) / exact.var(axis=0)


def exponential(y):
    return np.exp(-y.sum(axis=1) / 2)


def named(choice, solver):
    return next(candidate for candidate in choice.candidates if candidate["solver"] == solver)


def test_a_function_of_all_variables_alike_gets_whole_sets():
    """exp of a sum is what total degree is made for."""
    choice = Data(exponential, 4, 20, 150).choose()

    assert choice.solution.solver == "ls"
    assert named(choice, "ls")["chosen"]
    assert [candidate["solver"] for candidate in choice.candidates] == list(SOLVERS)


def test_a_function_of_one_variable_among_many_gets_a_set_that_grows():
    """1 / (10 - 9 y_1), the counter-example of arXiv 2208.09045: whole sets have no chance at this degree."""
    data = Data(lambda y: 1 / (10 - 9 * y[:, 0]), 6, 40, 150)
    choice = data.choose()

    assert choice.solution.solver in ("als", "omp")
    assert data.unexplained(choice.solution)[0] < 1e-8 < 1 - named(choice, "ls")["q2"][0]


def test_few_terms_of_high_degree_get_a_sparse_solver():
    """Terms scattered over the cross, not lower: greedy and convex search find them, growth does not."""
    rng = np.random.default_rng(1)
    terms = hyperbolic_cross(5, 30)
    support = np.concatenate([[0], rng.choice(np.flatnonzero(terms.weights([Legendre()] * 5) > 4), 6, replace=False)])

    def f(y):
        return Design([Legendre()] * 5, terms.take(support), y).times(np.ones(7))

    data = Data(f, 5, 30, 150)
    choice = data.choose()
    assert choice.solution.solver in ("omp", "srlasso")
    assert set(support) <= set(choice.solution.support)
    assert data.unexplained(choice.solution)[0] < 1e-20


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("solver", SOLVERS)
def test_reported_error_is_that_of_new_points(noise, solver):
    """Root of 1 - Q2 within a factor of two of the error on 3000 points, noise included, for each solver alone."""
    data = Data(lambda y: np.exp(y.sum(axis=1) / 3) * np.cos(y[:, 0] * y[:, 1]), 5, 15, 200, noise=noise)
    choice = data.choose(solvers=[solver])
    # The noise's variance is noise^2 of the function's; held-out values have both.
    expected = (data.unexplained(choice.solution)[0] + noise**2) / (1 + noise**2)

    assert 0.5 < np.sqrt((1 - choice.q2[0]) / expected) < 2
    assert choice.solution.solver == solver


def test_terms_are_not_fitted_to_noise():
    """10 % noise: chosen by held-out rows, matching pursuit keeps a part of the terms that leave-one-out keeps, and
    has a smaller error."""
    data = Data(exponential, 5, 30, 200, noise=0.1, seed=1)
    by_rows, by_loo = data.choose(solvers=["omp"]).solution, omp(data.A, data.y, data.u)

    assert len(by_rows.support) < 0.5 * len(by_loo.support)
    assert data.unexplained(by_rows) < 0.6 * data.unexplained(by_loo)


def test_nothing_is_found_in_noise():
    """Six targets without a function: Q2 is not above 0.1 for any, and in the mean not above zero, whatever solver.

    With 80 rows a Q2 of zero has a standard error of about 1 / sqrt(80)."""
    found = []
    for seed in range(6):
        data = Data(lambda y: np.zeros(len(y)), 4, 10, 80, seed=seed)
        data.y = np.random.default_rng(500 + seed).standard_normal((80, 1)) / 80**0.5
        found.append(data.choose().q2[0])
    assert max(found) < 0.1
    assert np.mean(found) < 0


@pytest.mark.parametrize("solver", ["ls", "als", "omp"])
def test_a_fold_is_predicted_by_a_fit_without_its_rows(solver):
    """Least squares on the other rows, on the support chosen, gives the coefficients of its model."""
    data = Data(exponential, 3, 15, 80, noise=0.05)
    for fold, solution in zip(data.folds, data.choose(solvers=[solver]).fold_solutions, strict=True):
        columns = data.A.columns(solution.support)[fold.fit]
        assert np.allclose(solution.coef, np.linalg.lstsq(columns, data.y[fold.fit], rcond=None)[0], atol=1e-11)


def test_errors_of_a_fold_have_no_part_in_choosing_for_it():
    """Two solvers, three folds: the one that wins over all loses on the first two, and is not what predicts the third.

    Errors by hand, on fits of which only the number matters."""
    from sm3.poly.solvers.candidates import Tried
    from sm3.poly.solvers.choose import _best, _Score

    def score(errors):
        tried = [Tried(["a"], np.array([1.0]), np.array([[error]]), lambda i: None) for error in [0.0, *errors]]
        return _Score(tried, np.ones((3, 1)), [Rows(np.arange(2), np.arange(2, 3))] * 3)

    scores = {"steady": score([1.0, 1.0, 9.0]), "lucky": score([2.0, 2.0, 0.0])}
    assert _best(scores, None)[0] == "lucky"
    assert [_best(scores, k)[0] for k in range(3)] == ["lucky", "lucky", "steady"]


def test_terms_of_a_fold_are_compared_per_row_where_they_are_chosen_one_by_one():
    """Ten terms go with eight of a fold that has 0.8 of the rows; whole sets of ten go with whole sets of ten."""
    from sm3.poly.solvers.candidates import Tried
    from sm3.poly.solvers.choose import _match

    def steps(family):
        return Tried([family] * 12, np.arange(12.0), np.zeros((12, 1)), lambda i: None)

    assert _match(steps("omp"), steps("omp"), 0.8)[[0, 1, 5, 10]].tolist() == [0, 0, 4, 8]
    assert _match(steps("degree"), steps("degree"), 0.8)[[0, 1, 5, 10]].tolist() == [0, 1, 5, 10]


def test_residuals_belong_to_the_solutions_of_the_folds():
    """y - prediction, and Q2 is made of them."""
    data = Data(exponential, 3, 15, 80)
    choice = data.choose()
    squares = 0.0
    for fold, solution, residual in zip(data.folds, choice.fold_solutions, choice.residual, strict=True):
        expected = data.y[fold.judge] - data.A.columns(solution.support)[fold.judge] @ solution.coef
        assert np.allclose(residual, expected, atol=1e-14)
        squares += np.square(residual).sum()
    values = data.y / data.scale[:, None]
    assert choice.q2[0] == pytest.approx(1 - squares / values.var(), rel=1e-10)


def test_outputs_are_judged_each_by_its_own_variance():
    """A large and a small output share the terms; a constant one has no Q2."""
    data = Data(lambda y: np.stack([1e6 * exponential(y), np.sin(y[:, 0]), np.full(len(y), 3.0)], axis=1), 3, 12, 100)
    choice = data.choose(solvers=["ls", "als", "omp"])

    assert choice.q2[:2].min() > 0.999
    assert np.isnan(choice.q2[2])
    assert choice.solution.coef.shape == (len(choice.solution.support), 3)


def test_penalty_is_the_one_given():
    """Then it is not chosen, and the certificate is that of the problem asked for."""
    data = Data(exponential, 3, 15, 80, noise=0.05)
    choice = data.choose(solvers=["srlasso"], lam=0.05)

    assert choice.solution.path[-1]["lam"] == 0.05
    assert choice.solution.gap < 1e-10


def test_solvers_that_would_take_too_long_are_left_out_and_named():
    """With a reason; where none is left that is an error, but one that was asked for alone is used."""
    data = Data(exponential, 3, 15, 80)
    choice = data.choose(budget=2e5)
    assert choice.solution.solver in ("ls", "als")
    assert "too many" in named(choice, "srlasso")["left_out"]
    assert "too slow" in named(choice, "omp")["left_out"]
    with pytest.raises(SettingError, match="no solver can be used"):
        data.choose(solvers=["omp", "srlasso"], budget=1e3)
    assert data.choose(solvers=["srlasso"], budget=1e3).solution.solver == "srlasso"


def test_a_smaller_budget_means_bulks_and_fewer_terms():
    """Matching pursuit then adds several functions a pass, and nothing has more terms than can be paid for."""
    data = Data(exponential, 4, 20, 100)
    plain, cheap = data.choose(solvers=["omp"]), data.choose(solvers=["omp"], budget=3e6)

    assert len(plain.solution.path) == 61  # 0 to 0.6 m terms, one by one
    assert len(cheap.solution.path) < 30
    assert cheap.solution.path[-1]["terms"] == int(np.sqrt(3e6 / (2 * 100 * 6)))


def test_an_index_set_that_is_not_lower_does_without_growth():
    """The others do not mind."""
    data = Data(exponential, 2, 6, 60, kind=total_degree)
    data.terms = IndexSet.from_dense(np.delete(data.terms.dense(), 1, axis=0))
    data.A = Design(data.bases, data.terms, data.A.points, row_scale=data.scale)
    data.u = data.terms.weights(data.bases)

    assert named(data.choose(), "als")["left_out"] == "the index set is not lower"


def test_folds_cover_every_row_once():
    """Sizes differ by one at most; no row fits and judges in the same fold."""
    folds = k_fold(11, 4, np.random.default_rng(0))

    assert sorted(np.concatenate([fold.judge for fold in folds])) == list(range(11))
    assert all(sorted(np.concatenate([fold.fit, fold.judge])) == list(range(11)) for fold in folds)
    assert sorted(len(fold.judge) for fold in folds) == [2, 3, 3, 3]


@pytest.mark.parametrize("settings", [{"solvers": ["lars"]}, {"solvers": []}])
def test_unknown_solvers_are_refused(settings):
    """With their names."""
    with pytest.raises(SettingError, match="srlasso"):
        Data(exponential, 2, 4, 20).choose(**settings)


def test_one_fold_is_refused():
    """There is nothing to choose by that has not been seen."""
    data = Data(exponential, 2, 4, 20)
    with pytest.raises(SettingError, match="two folds or more"):
        choose(data.A, data.y, data.u, data.terms, [Rows(np.arange(15), np.arange(15, 20))])
