"""PolynomialRegressor: exact where the function is a polynomial, honest where it is not, at home in scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sm3.errors import InputError, SettingError
from sm3.poly import (
    Categorical,
    Discrete,
    ExtrapolationWarning,
    PolynomialRegressor,
    hyperbolic_cross,
    sobol_indices,
    total_degree,
)

QUICK = {"solver": "omp", "cv": None}  # where only the model counts


def uniform(m, d, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (m, d))


def ishigami(x):
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def smooth(x):
    return np.exp(x[:, 0] - 0.5 * x[:, 1]) + x[:, -1]


@pytest.mark.parametrize("solver", ["auto", "ls", "als", "omp", "srlasso"])
def test_a_polynomial_is_found_exactly(solver):
    """Values, mean, variance, derivatives: the model is the function. Three terms of 41 candidates."""
    x = uniform(80, 2)
    f = PolynomialRegressor(inputs=(-1, 1), solver=solver, max_basis=41).fit(
        x, 2 + 3 * x[:, 0] + x[:, 0] ** 2 * x[:, 1]
    )
    new = uniform(50, 2, seed=1)
    # rounding of 80 rows and a condition number below 10: 1e-14; two digits to spare
    assert f.predict(new) == pytest.approx(2 + 3 * new[:, 0] + new[:, 0] ** 2 * new[:, 1], abs=1e-12)
    assert f.mean_ == pytest.approx(2.0, abs=1e-12)
    assert f.variance_ == pytest.approx(9 / 3 + 1 / 5 * 1 / 3, rel=1e-11)  # E[x^2] = 1/3, E[x^4] = 1/5
    expected = np.column_stack([3 + 2 * new[:, 0] * new[:, 1], new[:, 0] ** 2])
    assert f.gradient(new) == pytest.approx(expected, abs=1e-11)


def test_every_kind_of_input_gives_the_exact_moments_of_a_polynomial():
    """f = x0 x1 + x2 + x3 + x4 of five distributions: mean and variance are known from scipy."""
    laws = [stats.uniform(1, 2), stats.norm(5, 2), stats.beta(2, 3), stats.gamma(2.5, scale=2), stats.binom(4, 0.3)]
    rng = np.random.default_rng(0)
    x = np.column_stack([law.rvs(size=150, random_state=rng) for law in laws])
    model = PolynomialRegressor(inputs=laws, **QUICK).fit(x, x[:, 0] * x[:, 1] + x[:, 2:].sum(axis=1))
    means, seconds = [law.mean() for law in laws], [law.var() + law.mean() ** 2 for law in laws]
    # exact recovery; Hermite and Laguerre columns of sample points have condition numbers up to 1e3
    assert model.mean_ == pytest.approx(means[0] * means[1] + sum(means[2:]), rel=1e-10)
    product = seconds[0] * seconds[1] - (means[0] * means[1]) ** 2
    assert model.variance_ == pytest.approx(product + sum(law.var() for law in laws[2:]), rel=1e-10)


@pytest.mark.parametrize("transformation", ["rosenblatt", "basis"])
def test_other_distributions_are_fitted_either_way(transformation):
    """A function that is linear in the variable each of the two ways works with."""
    law = stats.triang(0.3, loc=1, scale=2)
    x = law.rvs(size=(80, 1), random_state=0)
    y = law.cdf(x[:, 0]) if transformation == "rosenblatt" else x[:, 0]
    model = PolynomialRegressor(inputs=law, transformation=transformation, **QUICK).fit(x, y)
    assert len(model.index_set_) == 2
    assert model.predict(x) == pytest.approx(y, abs=1e-10)
    assert model.mean_ == pytest.approx(0.5 if transformation == "rosenblatt" else law.mean(), abs=1e-9)


def test_ishigami_from_300_points():
    """Largest error of all indices below 1e-3; exact values from Sobol' & Levitan 1999 for a = 7, b = 0.1."""
    x = np.random.default_rng(0).uniform(-np.pi, np.pi, (300, 3))
    model = PolynomialRegressor(inputs=(-np.pi, np.pi)).fit(x, ishigami(x))
    indices = sobol_indices(model)
    assert model.mean_ == pytest.approx(3.5, abs=1e-3)
    assert model.variance_ == pytest.approx(13.844588, rel=1e-3)
    assert indices.first == pytest.approx([0.313905, 0.442411, 0.0], abs=1e-3)
    assert indices.total == pytest.approx([0.557589, 0.442411, 0.243684], abs=1e-3)
    assert model.q2_ > 0.999


def g_function(x):
    a = np.array([1, 2, 5, 10, 20, 50, 100, 500])
    return np.prod((np.abs(4 * x - 2) + a) / (1 + a), axis=1)


def test_a_function_with_kinks_is_fitted_as_well_as_it_says():
    """Sobol's g-function from 500 points: indices to 0.02, Q2 below 1, and the same on rows it has never seen."""
    x = np.random.default_rng(0).random((500, 8))
    model = PolynomialRegressor(inputs=(0, 1), solver="als").fit(x, g_function(x))
    indices = sobol_indices(model)
    # partial variances are (1/3) / (1 + a)^2
    parts = 1 / 3 / (1 + np.array([1, 2, 5, 10, 20, 50, 100, 500])) ** 2
    variance = np.prod(1 + parts) - 1
    assert indices.first == pytest.approx(parts / variance, abs=0.02)
    assert indices.total == pytest.approx(parts / (1 + parts) * (1 + variance) / variance, abs=0.02)
    new = np.random.default_rng(1).random((4000, 8))
    missed = np.mean((model.predict(new) - g_function(new)) ** 2) / variance
    assert model.q2_ < 0.999
    assert 0.5 < np.sqrt((1 - model.q2_) / missed) < 2


def test_q2_is_what_new_rows_show_also_with_noise():
    """Ratio of root mean squares within [0.5, 2], for a greedy choice among hundreds of terms."""
    rng = np.random.default_rng(0)
    x, new = uniform(100, 4), uniform(2000, 4, seed=5)
    y = smooth(x) + 0.1 * rng.normal(size=100)
    model = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, y)
    missed = np.mean((model.predict(new) - smooth(new) - 0.1 * rng.normal(size=2000)) ** 2) / np.var(smooth(new))
    assert 0.5 < np.sqrt((1 - model.q2_) / missed) < 2
    lo, hi = model.q2_interval_
    assert lo < model.q2_ < hi < 1


def test_pure_noise_is_not_explained():
    """Q2 near 0 or below, the interval too."""
    x, y = uniform(100, 5), np.random.default_rng(1).normal(size=100)
    model = PolynomialRegressor(inputs=(-1, 1)).fit(x, y)
    assert model.q2_ < 0.1
    assert model.q2_interval_[0] < 0


def test_weights_and_repeated_rows_are_the_same_model():
    """To the last bit, whatever the order of the rows; also those of weight 0."""
    x = uniform(60, 3)
    y = smooth(x) + 0.01 * np.random.default_rng(0).normal(size=60)
    weight = np.random.default_rng(1).integers(0, 4, 60)
    order = np.random.default_rng(2).permutation(60)
    weighted = PolynomialRegressor().fit(x[order], y[order], sample_weight=weight[order])
    repeated = PolynomialRegressor().fit(x.repeat(weight, axis=0), y.repeat(weight))
    assert (weighted.coef_ == repeated.coef_).all()
    assert weighted.q2_ == repeated.q2_
    assert (weighted.q2_interval_ == repeated.q2_interval_).all()
    assert weighted.predict(x[weight > 0]).tolist() == repeated.predict(x[weight > 0]).tolist()


def test_weights_are_weights_of_least_squares():
    """Against numpy on weighted rows of the chosen terms."""
    x = uniform(50, 1)
    weight = np.random.default_rng(0).random(50)
    y = np.exp(x[:, 0])
    model = PolynomialRegressor(inputs=(-1, 1), solver="ls", degree=3).fit(x, y, sample_weight=weight)
    root = np.sqrt(weight)
    expected = np.polynomial.legendre.legfit(x[:, 0], y, 3, w=root)
    assert model.coef_ * np.sqrt(2 * np.arange(4) + 1) == pytest.approx(expected, rel=1e-10)


def test_the_same_seed_gives_the_same_model_and_another_seed_other_folds():
    """`random_state` decides the folds."""
    x = uniform(60, 3)
    y = smooth(x) + 0.05 * np.random.default_rng(0).normal(size=60)
    first, again, other = (PolynomialRegressor(solver="ls", random_state=s).fit(x, y) for s in (3, 3, 4))
    assert first.q2_ == again.q2_
    assert first.q2_ != other.q2_


@pytest.mark.parametrize("value", [0.0, 0.1, -3e20])
def test_a_constant_is_a_constant(value):
    """Exactly, with nothing to explain: Q2 is nan, the variance 0."""
    x = uniform(20, 2)
    model = PolynomialRegressor().fit(x, np.full(20, value))
    assert (model.predict(x) == value).all()
    assert model.mean_ == value
    assert model.variance_ == 0.0
    assert np.isnan(model.q2_)
    assert (model.gradient(x) == 0).all()


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("solver", ["auto", "ls", "als", "omp", "srlasso"])
def test_a_handful_of_rows_is_no_error(m, solver):
    """What they allow is fitted; a single row gives its own value."""
    x = uniform(m, 3)
    model = PolynomialRegressor(solver=solver).fit(x, smooth(x))
    assert np.isfinite(model.predict(x)).all()
    assert model.predict(x[:1]) == pytest.approx(smooth(x[:1]), abs=1e-9) or m > 1


def test_more_features_than_rows_and_features_that_never_vary():
    """Linear terms of all features are always candidates; a fixed feature takes no part and is noted."""
    x = uniform(50, 300)
    x[:, 7] = 4.0
    model = PolynomialRegressor(**QUICK).fit(x, x[:, 200] - 2 * x[:, 3])
    assert sorted(set(model.index_set_.variable.tolist())) == [3, 200]
    assert "x7: a single value" in model.notes_[0]
    with pytest.warns(ExtrapolationWarning, match="x7 in 1 rows"):
        model.predict(np.where(np.arange(300) == 7, 5.0, x[:1]))


def test_a_column_of_few_values_has_few_degrees():
    """Three values carry no degree above two, so no two terms are the same on the rows."""
    x = np.column_stack([np.random.default_rng(0).integers(0, 3, 80), uniform(80, 1)[:, 0]])
    model = PolynomialRegressor(**QUICK).fit(x, (x[:, 0] == 1) * x[:, 1])
    assert model.index_set_.max_degrees()[0] == 2
    assert model.predict(x) == pytest.approx((x[:, 0] == 1) * x[:, 1], abs=1e-10)


def test_repeated_measurements_at_few_points():
    """Five points measured six times each: the means are fitted, the scatter is not."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.linspace(0, 1, 5), 6)[:, None]
    y = x[:, 0] + 0.1 * rng.normal(size=30)
    model = PolynomialRegressor().fit(x, y)
    assert np.max(model.index_set_.max_degrees()) <= 4
    assert np.abs(model.predict(x) - x[:, 0]).max() < 0.2


def test_several_outputs_share_their_terms_or_do_not():
    """Joint: one set of terms; per output: each as if it were alone."""
    x = uniform(60, 3)
    y = np.column_stack([smooth(x), 1e6 * x[:, 1] ** 3, np.full(60, 7.0)])
    joint = PolynomialRegressor(**QUICK).fit(x, y)
    assert joint.coef_.shape == (len(joint.index_set_), 3)
    assert joint.predict(x).shape == (60, 3)
    assert (joint.coef_[1:, 2] == 0).all()
    apart = PolynomialRegressor(support="per_output", solver="omp").fit(x, y)
    for k in range(3):
        alone = PolynomialRegressor(solver="omp").fit(x, y[:, k])
        # the same coefficients; terms of the other outputs are added as zeros, in another order of summation
        assert apart.predict(x)[:, k] == pytest.approx(alone.predict(x), rel=1e-12, abs=1e-9)
        assert apart.q2_[k] == pytest.approx(alone.q2_, rel=1e-12, nan_ok=True)
    assert apart.q2_interval_.shape == (3, 2)
    assert apart.gradient(x[:4]).shape == (4, 3, 3)
    assert apart.main_effect(1, [0.0, 0.5]).shape == (2, 3)


def test_outputs_of_very_different_size_weigh_alike():
    """A unit of measurement changes nothing but the unit."""
    x = uniform(60, 3)
    y = np.column_stack([smooth(x), x[:, 1] ** 3])
    plain = PolynomialRegressor(**QUICK).fit(x, y)
    scaled = PolynomialRegressor(**QUICK).fit(x, y * [2.0**40, 2.0**-40])
    assert scaled.predict(x) == pytest.approx(plain.predict(x) * [2.0**40, 2.0**-40], rel=1e-9)


def test_a_large_mean_does_not_hide_a_small_variation():
    """y = 1e8 + f: the rounding of y is 1e-8, and f is found to about that."""
    x = uniform(80, 2)
    model = PolynomialRegressor(inputs=(-1, 1), **QUICK).fit(x, 1e8 + x[:, 0] * x[:, 1])
    assert model.predict(x) - 1e8 == pytest.approx(x[:, 0] * x[:, 1], abs=1e-6)


def test_main_effects_average_to_the_mean_and_are_conditional_means():
    """Against an average over the other inputs."""
    x = uniform(80, 3)
    model = PolynomialRegressor(inputs=(-1, 1), **QUICK).fit(x, smooth(x) * (1 + x[:, 1]))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    effect = model.main_effect("x0", nodes)
    assert weights @ effect / 2 == pytest.approx(model.mean_, rel=1e-12)
    others = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    product = np.outer(weights, weights).ravel() / 4
    at = np.column_stack([np.full(len(others), nodes[3]), others])
    assert product @ model.predict(at) == pytest.approx(effect[3], rel=1e-12)
    with pytest.raises(SettingError, match="no such feature"):
        model.main_effect("x9", [0.0])


@pytest.mark.parametrize("law", [stats.lognorm(0.5), stats.gamma(3.0), stats.weibull_min(2.0), stats.norm(2, 3)])
def test_gradients_follow_the_map_of_the_input(law):
    """Central differences through logarithm, distribution function and scale."""
    x = law.rvs(size=(60, 2), random_state=0)
    model = PolynomialRegressor(inputs=law, degree=4, **QUICK).fit(x, np.log1p(np.abs(x).sum(axis=1)))
    at = law.ppf([[0.3, 0.5], [0.6, 0.4]])
    h = 1e-5
    for j in range(2):
        step = np.eye(2)[j] * h
        difference = (model.predict(at + step) - model.predict(at - step)) / (2 * h)
        # truncation h^2 = 1e-10 and rounding 1e-16 / 1e-5 = 1e-11, of terms about 10 times the sum
        assert model.gradient(at)[:, j] == pytest.approx(difference, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("policy", ["warn", "raise", "clip", "nan"])
def test_rows_outside_are_treated_as_asked(policy):
    """Prediction, gradient and main effect alike."""
    x = uniform(50, 2)
    model = PolynomialRegressor(inputs=(-1, 1), extrapolate=policy, **QUICK).fit(x, x[:, 0] + x[:, 1])
    row = [[3.0, 0.5]]
    if policy == "raise":
        for call in (lambda: model.predict(row), lambda: model.gradient(row), lambda: model.main_effect(0, [3.0])):
            with pytest.raises(InputError, match="x0"):
                call()
    elif policy == "warn":
        with pytest.warns(ExtrapolationWarning, match="1 of 1 rows") as caught:
            assert model.predict(row) == pytest.approx([3.5])
        assert caught[0].filename == __file__  # the user's line, not one of ours
    else:
        expected = 1.5 if policy == "clip" else np.nan
        assert model.predict(row) == pytest.approx([expected], nan_ok=True)
        assert np.isnan(model.gradient(row)).all() == (policy == "nan")
        assert model.main_effect(0, [3.0]) == pytest.approx([expected - 0.5], nan_ok=True)


def test_a_lognormal_input_has_no_value_below_its_origin():
    """Not a number with "warn", the value at the end of the domain with "clip"."""
    x = stats.lognorm(0.5).rvs(size=(50, 1), random_state=0)
    model = PolynomialRegressor(inputs=stats.lognorm(0.5), **QUICK).fit(x, np.log(x[:, 0]))
    with pytest.warns(ExtrapolationWarning):
        assert np.isnan(model.predict([[-1.0]])).all()
    assert np.isfinite(model.set_params(extrapolate="clip").predict([[-1.0]])).all()


def test_data_that_contradict_their_distribution_are_refused():
    """At fit there is no policy."""
    with pytest.raises(InputError, match="contradict the distribution given for 'x1'"):
        PolynomialRegressor(inputs=[(-1, 1), (0, 1)]).fit(uniform(20, 2), np.zeros(20))


def test_names_of_a_data_frame_are_kept_and_checked():
    """Distributions by name, messages by name, columns in another order refused."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(uniform(50, 2), columns=["load", "speed"])
    model = PolynomialRegressor(inputs={"speed": (-1, 1)}, **QUICK).fit(frame, frame["load"] * frame["speed"])
    assert model.feature_names_in_.tolist() == ["load", "speed"]
    assert [one.learned for one in model.inputs_] == [True, False]
    assert "load: no distribution was given" in model.notes_[0]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["speed", "load"]])
    with pytest.raises(SettingError, match="'sped'"):
        PolynomialRegressor(inputs={"sped": (-1, 1)}).fit(frame, frame["load"])


def test_labels_are_fitted_and_predicted():
    """Any function of a label; an unknown one is an error, and has no slope."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"steel": rng.choice(["a", "b", "c"], 90), "load": rng.random(90)})
    factor = frame["steel"].map({"a": 1.0, "b": 5.0, "c": 2.0})
    model = PolynomialRegressor(inputs={"steel": Categorical(["a", "b", "c"]), "load": (0, 1)}, **QUICK)
    model.fit(frame, factor * frame["load"])
    assert model.predict(frame) == pytest.approx((factor * frame["load"]).to_numpy(), abs=1e-10)
    assert model.main_effect("steel", ["a", "b", "c"]) == pytest.approx([0.5, 2.5, 1.0], abs=1e-10)
    slopes = model.gradient(frame)
    assert np.isnan(slopes[:, 0]).all()
    assert slopes[:, 1] == pytest.approx(factor.to_numpy(), abs=1e-9)
    with pytest.raises(InputError, match="'d'"):
        model.predict(pandas.DataFrame({"steel": ["d"], "load": [0.5]}))
    points, _ = model.design(5, random_state=0)
    assert set(points[:, 0]) <= {"a", "b", "c"}


def test_added_samples_are_least_squares_on_all_rows():
    """The same coefficients as fitting these terms to everything; in two steps as in one; rows and Q2 follow."""
    x = uniform(120, 3)
    y = np.column_stack([smooth(x), smooth(x) ** 2]) + 0.01 * np.random.default_rng(0).normal(size=(120, 2))
    weight = np.random.default_rng(1).random(120) + 0.5
    start = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x[:60], y[:60], sample_weight=weight[:60])
    steps, once = pickle.loads(pickle.dumps(start)), pickle.loads(pickle.dumps(start))
    predicted = start.predict(x[60:])
    steps.add_samples(x[60:61], y[60:61], sample_weight=weight[60:61])
    steps.add_samples(x[61:], y[61:], sample_weight=weight[61:])
    once.add_samples(x[60:], y[60:], sample_weight=weight[60:])
    given = PolynomialRegressor(inputs=(-1, 1), solver="ls", index_set=start.index_set_, cv=None)
    whole = given.fit(x, y, sample_weight=weight)
    # rounding times the condition number, below 20
    assert once.coef_ == pytest.approx(whole.coef_, abs=1e-12)
    assert steps.coef_ == pytest.approx(once.coef_, abs=1e-12)
    assert once.cond_ == pytest.approx(whole.cond_, rel=0.05)  # both are estimates, within a few percent
    assert len(once.rows_) == 120
    # every new row counts in Q2 by the prediction made before it was seen
    held = once._held_out.residual[60:]
    assert np.sort(held, axis=0) == pytest.approx(np.sort(y[60:] - predicted, axis=0), abs=1e-12)
    assert not np.allclose(once.q2_, start.q2_)
    assert "the terms were chosen on 60 of 120 rows" in once.notes_[-1]


def test_added_samples_of_separate_supports_stay_separate():
    """Each output has the least-squares coefficients of its own terms."""
    x = uniform(100, 2)
    y = np.column_stack([np.exp(x[:, 0]), np.cos(2 * x[:, 1])])
    model = PolynomialRegressor(inputs=(-1, 1), support="per_output", solver="omp").fit(x[:60], y[:60])
    alone = [PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x[:60], y[:60, k]) for k in range(2)]
    model.add_samples(x[60:], y[60:])
    for k in range(2):
        assert model.predict(x)[:, k] == pytest.approx(alone[k].add_samples(x[60:], y[60:, k]).predict(x), abs=1e-10)


def test_reselecting_is_a_fit_on_all_rows():
    """To the last bit, where the distributions are given."""
    x = uniform(90, 2)
    model = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x[:50], smooth(x[:50]))
    whole = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, smooth(x))
    assert (model.add_samples(x[50:], smooth(x[50:]), reselect=True).coef_ == whole.coef_).all()
    assert model.notes_ == whole.notes_


def test_a_refused_sample_leaves_the_model_as_it_was():
    """Outside the domain, or with another number of outputs."""
    x = uniform(50, 2)
    model = PolynomialRegressor(**QUICK).fit(x, smooth(x))
    before = pickle.dumps(model)
    with pytest.raises(InputError, match="x0"):
        model.add_samples([[9.0, 0.0]], [1.0])
    with pytest.raises(InputError, match="number of outputs"):
        model.add_samples(x[:2], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        model.add_samples(x[:1], [np.nan])
    assert pickle.dumps(model) == before


def test_designs_have_the_distribution_of_the_inputs():
    """Means to four standard errors; weights of a Christoffel design make up for its density."""
    laws = {"a": stats.norm(10, 2), "b": (0, 1), "c": stats.expon(scale=3)}
    model = PolynomialRegressor(inputs=laws, degree=3)
    for kind in ("mc", "lhs", "sobol", "christoffel"):
        x, weight = model.design(4096, kind, random_state=0)
        spread = np.sqrt(np.mean(weight**2) / 4096)
        mean = weight @ x / 4096
        assert np.abs(mean - [10, 0.5, 3]).tolist() < (4 * spread * np.array([10, 1, 6])).tolist()
        assert kind == "christoffel" or (weight == 1).all()


def test_a_christoffel_design_makes_high_degrees_stable():
    """Degree 100 of one variable from 500 rows: condition number below 6, where independent rows give thousands."""
    model = PolynomialRegressor(inputs=[(0, 1)], solver="ls", degree=100, cv=None)
    found = {}
    for kind in ("mc", "christoffel"):
        x, weight = model.design(500, kind, random_state=0)
        found[kind] = clone(model).fit(x, np.exp(x[:, 0]), sample_weight=weight).cond_
    assert found["christoffel"] < 6
    assert found["mc"] > 100


def test_a_design_needs_distributions():
    """Before a fit there is no range of data."""
    with pytest.raises(SettingError, match="nothing to draw from"):
        PolynomialRegressor().design(10)
    with pytest.raises(SettingError, match="nothing to draw from"):
        PolynomialRegressor(inputs=[(0, 1), "auto"]).design(10)
    with pytest.raises(SettingError, match="kind of design"):
        PolynomialRegressor(inputs=(0, 1)).design(10, "grid", n_features=2)
    assert PolynomialRegressor(inputs=(0, 1)).design(10, n_features=2)[0].shape == (10, 2)


def test_suggested_points_lie_in_the_domain_and_pools_are_respected():
    """Weights come with draws; greedy points from a pool are points of the pool."""
    x = uniform(40, 2)
    model = PolynomialRegressor(inputs=(-1, 1), **QUICK).fit(x, smooth(x))
    points, weight = model.suggest(20, random_state=0)
    assert np.abs(points).max() <= 1
    assert (weight > 0).all()
    pool = uniform(100, 2, seed=9)
    chosen, _ = model.suggest(5, method="greedy", pool=pool)
    assert all((pool == point).all(axis=1).any() for point in chosen)
    with pytest.raises(SettingError, match="method"):
        model.suggest(5, method="best")


def test_index_sets_and_limits_are_taken():
    """A kind, a degree, a number, a set."""
    x = uniform(60, 3)
    y = smooth(x)
    assert PolynomialRegressor(index_set="total_degree", degree=2, **QUICK).fit(x, y).n_basis_ == 10
    assert PolynomialRegressor(max_basis=50, **QUICK).fit(x, y).n_basis_ <= 50
    given = total_degree(3, 1)
    model = PolynomialRegressor(index_set=given, solver="ls", cv=None).fit(x, y)
    assert model.index_set_.dense().tolist() == given.dense().tolist()
    # a set without the constant gets it
    without = PolynomialRegressor(index_set=given.take([1, 2]), solver="ls", cv=None).fit(x, y)
    assert without.index_set_.dense().tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_least_squares_on_named_terms_needs_as_many_rows():
    """The user named them all; with "omp" they are candidates only."""
    x = uniform(20, 3)
    with pytest.raises(SettingError, match="fewer samples than basis functions"):
        PolynomialRegressor(degree=6, index_set="total_degree", solver="ls").fit(x, smooth(x))
    assert PolynomialRegressor(degree=6, index_set="total_degree", **QUICK).fit(x, smooth(x)).n_basis_ == 84


def test_a_matrix_too_large_to_keep_is_not_kept(monkeypatch):
    """The candidates are fewer, or the products are made without it: the same terms are found."""
    x = uniform(60, 3)
    stored = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, smooth(x))
    monkeypatch.setattr("sm3.poly.design.matrix.STORED_BYTES", 1000)
    free = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, smooth(x))
    assert free.n_basis_ == stored.n_basis_
    assert free.predict(x) == pytest.approx(stored.predict(x), abs=1e-10)
    monkeypatch.setattr("sm3.poly.estimator.terms.STORED_BYTES", 8 * 60 * 300)
    assert PolynomialRegressor(inputs=(-1, 1), **QUICK).fit(x, smooth(x)).n_basis_ <= 300


BAD = {
    "solver": "lasso",
    "support": "shared",
    "lam": -1.0,
    "index_set": "cross",
    "degree": -1,
    "max_basis": 0,
    "cv": 1,
    "extrapolate": "ignore",
    "transformation": "uniform",
    "inputs": 3,
    "random_state": "seed",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_argument_is_named_with_what_is_accepted(name):
    """At fit, as scikit-learn wants it."""
    with pytest.raises((SettingError, TypeError), match=name) as caught:
        PolynomialRegressor(**{name: BAD[name]}).fit(uniform(20, 2), uniform(20, 1)[:, 0])
    assert "accepted" in str(caught.value)


def test_an_index_set_of_other_variables_is_refused():
    """Not a broadcast error."""
    with pytest.raises(SettingError, match="different numbers of variables"):
        PolynomialRegressor(index_set=hyperbolic_cross(2, 3)).fit(uniform(20, 3), np.arange(20.0))


def test_bad_tables_are_refused():
    """Not finite, sparse, complex, of three dimensions, without rows, negative weights."""
    sparse = pytest.importorskip("scipy.sparse")
    x, y = uniform(10, 2), np.arange(10.0)
    model = PolynomialRegressor()
    for bad_x, bad_y in (
        (np.where(x > 0.5, np.nan, x), y),
        (np.where(x > 0.5, np.inf, x), y),
        (x, np.where(y > 3, np.nan, y)),
        (x * 1j, y),
        (x[:0], y[:0]),
        (x[None], y),
        (x, y[:5]),
        (x, np.array(["a"] * 10)),
    ):
        with pytest.raises(ValueError, match=r"."):
            model.fit(bad_x, bad_y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(sparse.csr_array(x), y)
    with pytest.raises(InputError, match="negative weight"):
        model.fit(x, y, sample_weight=-np.ones(10))
    with pytest.raises(NotFittedError):
        PolynomialRegressor().predict(x)


def test_single_precision_is_computed_in_double():
    """And its rounding does not put rows outside."""
    x = uniform(60, 2).astype(np.float32)
    model = PolynomialRegressor(inputs=(-1, 1), **QUICK).fit(x, smooth(x))
    assert model.predict(x).dtype == np.float64
    double = uniform(60, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PolynomialRegressor(**QUICK).fit(double, smooth(double)).predict(double.astype(np.float32))


def test_it_works_where_scikit_learn_estimators_work():
    """Pipeline, grid search, transformed target, clone, pickle, joblib, a splitter for cv."""
    x = uniform(60, 2)
    y = np.exp(smooth(x))
    model = PolynomialRegressor(solver="omp", cv=KFold(3), max_basis=60)
    pipe = make_pipeline(MinMaxScaler(), TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp))
    assert pipe.fit(x, y).score(x, y) > 0.999
    search = GridSearchCV(PolynomialRegressor(solver="omp", extrapolate="clip"), {"max_basis": [1, 60]}, cv=3)
    assert search.fit(x, y).best_params_ == {"max_basis": 60}
    fitted = model.fit(x, y)
    assert len(fitted.fold_models_) == 3
    assert not hasattr(clone(fitted), "coef_")
    assert pickle.loads(pickle.dumps(fitted)).predict(x).tolist() == fitted.predict(x).tolist()
    one, two = joblib.Parallel(n_jobs=1)(joblib.delayed(clone(model).fit)(x, y) for _ in range(2))
    assert one.coef_.tolist() == two.coef_.tolist()


def test_models_of_the_folds_have_not_seen_their_rows():
    """Each row is judged once; changing the rows of a fold changes all models but its own."""
    x = uniform(40, 2)
    y = smooth(x) + 0.1 * np.random.default_rng(0).normal(size=40)
    model = PolynomialRegressor(inputs=(-1, 1), solver="ls").fit(x, y)
    judged = np.concatenate([fold.rows for fold in model.fold_models_])
    assert np.sort(judged).tolist() == list(range(40))
    first = model.fold_models_[0]
    changed = model.rows_.y[:, 0].copy()
    changed[first.rows] += 1e-3 * np.arange(len(first.rows))
    other = PolynomialRegressor(inputs=(-1, 1), solver="ls").fit(model.rows_.x, changed)
    rows_of = [fold.rows.tolist() for fold in other.fold_models_]
    assert rows_of == [fold.rows.tolist() for fold in model.fold_models_]  # the order of x decides, not y
    same = [a.coef.tolist() == b.coef.tolist() for a, b in zip(model.fold_models_, other.fold_models_, strict=True)]
    assert same[1:] == [False] * 19


def test_no_validation_leaves_q2_open_and_says_so():
    """`cv=None`."""
    x = uniform(40, 2)
    model = PolynomialRegressor(solver="omp", cv=None).fit(x, smooth(x))
    assert np.isnan(model.q2_)
    assert model.fold_models_ == ()
    assert any("nothing was held out" in note for note in model.notes_)


def test_folds_that_visibly_failed_do_not_speak_for_the_model():
    """f2 of arXiv 2208.09045, d = 16, 200 rows: some of 20 folds miss terms and know it: Q2 is of the others."""
    rng = np.random.default_rng(3)
    x, new = rng.uniform(-1, 1, (200, 16)), rng.uniform(-1, 1, (4000, 16))

    def f2(x):
        s = np.sin(16 / 15 * x - 0.7)
        return (0.3 + s + s * s).sum(axis=1)

    model = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, f2(x))
    failed = [fold for fold in model.fold_models_ if not fold.counts]
    assert 0 < len(failed) < 10
    assert any(f"{len(failed)} of the models of the validation" in note for note in model.notes_)
    error = np.sqrt(np.mean((model.predict(new) - f2(new)) ** 2))
    assert 0.5 < np.sqrt((1 - model.q2_) * np.var(f2(new))) / error < 2
    assert len(model._held_out) == 200 - sum(len(fold.rows) for fold in failed)


def test_a_row_that_no_model_predicts_always_counts():
    """One value far off: the fold without it fits its own rows better than the model does, and its error is in Q2."""
    x = uniform(150, 3)
    y = smooth(x)
    y[70] += 100 * y.std()
    model = PolynomialRegressor(inputs=(-1, 1), solver="omp").fit(x, y)
    assert all(fold.counts for fold in model.fold_models_)
    assert len(model._held_out) == 150
    assert model.q2_ < 0.1


def test_few_rows_are_split_into_more_folds():
    """20 up to 200 rows, 10 at 400, 5 from 800 on; a number of one's own is taken."""
    for m, folds in ((100, 20), (400, 10), (900, 5)):
        x = uniform(m, 2)
        assert len(PolynomialRegressor(solver="ls").fit(x, smooth(x)).fold_models_) == folds
    assert len(PolynomialRegressor(solver="ls", cv=4).fit(x, smooth(x)).fold_models_) == 4


def test_named_terms_are_judged_by_leaving_out_each_point():
    """`cv=None`: no other fit, and the Q2 of as many folds as there are points, repeated measurements together."""
    rng = np.random.default_rng(0)
    x = np.repeat(uniform(40, 2), rng.integers(1, 4, 40), axis=0)
    y = np.column_stack([smooth(x), 1e6 * x[:, 1] ** 3]) + 0.1 * rng.normal(size=(len(x), 2))
    weight = rng.random(len(x)) + 0.5
    site = np.unique(x, axis=0, return_inverse=True)[1].ravel()
    folds = [(np.flatnonzero(site != k), np.flatnonzero(site == k)) for k in range(40)]
    settings = {"inputs": (-1, 1), "solver": "ls", "index_set": "total_degree", "degree": 3}
    alone = PolynomialRegressor(**settings, cv=None).fit(x, y, sample_weight=weight)
    by_folds = PolynomialRegressor(**settings, cv=folds).fit(x, y, sample_weight=weight)
    # leverages are good to rounding times the condition number, below 10
    assert alone.q2_ == pytest.approx(by_folds.q2_, rel=1e-10)
    assert (alone.q2_interval_[:, 0] < alone.q2_).all()
    assert (alone.q2_ < alone.q2_interval_[:, 1]).all()
    assert alone.fold_models_ == ()
    assert not any("held out" in note for note in alone.notes_)
    assert (alone.coef_ == by_folds.coef_).all()
    apart = PolynomialRegressor(**settings, cv=None, support="per_output").fit(x, y, sample_weight=weight)
    assert apart.q2_ == pytest.approx(alone.q2_, rel=1e-12)


def test_a_fit_through_all_points_has_no_q2():
    """As many named terms as rows: without a row nothing is determined."""
    x = uniform(10, 2)
    model = PolynomialRegressor(solver="ls", index_set="total_degree", degree=3, cv=None).fit(x, smooth(x))
    assert np.isnan(model.q2_)
    assert any("nothing was held out" in note for note in model.notes_)


def test_notes_say_what_theory_asks_for():
    """kappa = sum of squared sup norms; 13 for three Legendre terms, infinite for an unbounded input."""
    x = uniform(200, 2)
    model = PolynomialRegressor(inputs=(-1, 1), index_set="total_degree", degree=1, solver="ls").fit(x, x[:, 0])
    assert model.kappa_ == pytest.approx(7.0)  # 1 + 3 + 3
    assert not any("kappa" in note for note in model.notes_)
    few = PolynomialRegressor(inputs=(-1, 1), index_set="total_degree", degree=5, solver="ls").fit(x, x[:, 0])
    assert any("fewer than kappa log k" in note for note in few.notes_)
    normal = PolynomialRegressor(inputs=stats.norm(), **QUICK).fit(x, x[:, 0])
    assert np.isinf(normal.kappa_)


def test_discrete_inputs_are_fitted_exactly():
    """Mean and variance by the probabilities, not by the frequencies in the data."""
    values, p = np.arange(8.0), np.array([8, 7, 6, 5, 4, 3, 2, 1]) / 36
    x = np.column_stack([np.repeat(values, 8), np.tile(values, 8)])
    model = PolynomialRegressor(inputs=Discrete(values, p), **QUICK).fit(x, x[:, 0] ** 2 + x[:, 1])
    moments = [p @ values**k for k in range(5)]
    assert model.mean_ == pytest.approx(moments[2] + moments[1], rel=1e-12)
    expected = moments[4] - moments[2] ** 2 + moments[2] - moments[1] ** 2
    assert model.variance_ == pytest.approx(expected, rel=1e-11)


def test_rows_of_discrete_inputs_are_held_out_one_by_one():
    """Three levels, each measured often: every level is in every training set, and Q2 is what noise leaves."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (90, 1))
    y = np.array([0.0, 5.0, 1.0])[x[:, 0]] + 0.1 * rng.normal(size=90)
    model = PolynomialRegressor(inputs=Categorical(3), solver="ls").fit(x, y)
    assert model.q2_ > 0.99
    assert len(model.index_set_) == 3


def test_importing_and_fitting_bring_in_neither_pytorch_nor_matplotlib():
    """They belong to other parts."""
    code = """
import sys, numpy as np
import sm3.poly
assert not {"torch", "matplotlib", "sklearn", "scipy", "rich", "typer"} & set(sys.modules), "import sm3.poly"
from sm3.poly import PolynomialRegressor
x = np.random.default_rng(0).random((30, 2))
PolynomialRegressor().fit(x, x[:, 0]).predict(x)
assert not {"torch", "matplotlib"} & set(sys.modules), "fit"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_sorted_and_exist():
    """`__all__` is complete, and dir() shows it."""
    import sm3.poly

    assert sm3.poly.__all__ == sorted(sm3.poly.__all__)
    for name in sm3.poly.__all__:
        assert getattr(sm3.poly, name) is not None
        assert name in dir(sm3.poly)
    with pytest.raises(AttributeError, match="no attribute 'Polynomial'"):
        sm3.poly.Polynomial  # noqa: B018
