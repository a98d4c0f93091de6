"""A distribution of one input becomes the right polynomials and a map that carries probability over unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import Discrete, FromDensity
from sm3.poly.inputs.features import canonical, column_names, inputs_of, physical, specifications, with_codes
from sm3.poly.inputs.one_input import Categorical, box, categories, from_scipy, input_of, points

# distribution -> polynomials of the table in inputs/one_input.py
CLASSICAL = {
    "uniform": (stats.uniform(-3, 5), Legendre()),
    "arcsine": (stats.arcsine(1, 4), Chebyshev1()),
    "semicircular": (stats.semicircular(2, 3), Chebyshev2()),
    "beta": (stats.beta(2, 5, loc=-1, scale=3), Jacobi(4.0, 1.0)),
    "beta at -1/2": (stats.beta(0.5, 0.5), Jacobi(-0.5, -0.5)),
    "norm": (stats.norm(5, 2), Hermite()),
    "norm by keywords": (stats.norm(scale=2, loc=5), Hermite()),
    "lognorm": (stats.lognorm(0.4, loc=1, scale=3), Hermite()),
    "gamma": (stats.gamma(2.5, loc=-2, scale=0.5), Laguerre(1.5)),
    "erlang": (stats.erlang(3, scale=2), Laguerre(2.0)),
    "expon": (stats.expon(1, 2), Laguerre(0.0)),
    "chi2": (stats.chi2(5), Laguerre(1.5)),
}
OTHERS = {
    "triang": stats.triang(0.3, loc=1, scale=2),
    "truncnorm": stats.truncnorm(-1, np.inf, loc=3, scale=2),
    "weibull_min": stats.weibull_min(1.7, scale=4),
    "t": stats.t(5, loc=1),
    "gumbel_r": stats.gumbel_r(2, 3),
    "loguniform": stats.loguniform(1e-5, 1e-1),
}
CONTINUOUS = {**{name: law for name, (law, _) in CLASSICAL.items()}, **OTHERS}


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_classical_distribution_has_its_classical_polynomials(name):
    """The rows of the table, with their parameters."""
    law, basis = CLASSICAL[name]
    assert from_scipy(law).basis == basis


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_map_carries_the_distribution_to_the_measure_of_the_basis(name):
    """P(X <= x) = P(Y <= y(x)) at quantiles from 1e-6 to 1 - 1e-6: the definition of the map."""
    law = CONTINUOUS[name]
    made = from_scipy(law)
    p = np.array([1e-6, 0.01, 0.2, 0.5, 0.9, 0.999, 1 - 1e-6])
    # quantiles of scipy are good to about 1e-10 of a probability where they are found numerically
    assert made.basis.cdf(made.map.forward(law.ppf(p))) == pytest.approx(p, rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("transform", ["rosenblatt", "basis"])
def test_the_map_and_its_inverse_cancel(name, transform):
    """x -> y -> x over the whole domain of the input, ends included."""
    made = from_scipy(CONTINUOUS[name], transform)
    lo, hi = made.domain
    x = np.linspace(lo, hi, 41)
    x = x[np.isfinite(made.map.forward(x))]
    # y = 1 - 2 p loses the digits of p below 1e-16, and with them those of x: 1e-16 / (p / x pdf) at p = TAIL = 1e-9
    assert made.map.inverse(made.map.forward(x)) == pytest.approx(x, rel=1e-5, abs=1e-5 * (hi - lo))
    middle = CONTINUOUS[name].ppf([0.05, 0.3, 0.5, 0.8, 0.95])
    assert made.map.inverse(made.map.forward(middle)) == pytest.approx(middle, rel=1e-9, abs=1e-9 * (hi - lo))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_slope_is_the_derivative_of_the_map(name):
    """Central differences at quartiles."""
    made = from_scipy(CONTINUOUS[name])
    x = CONTINUOUS[name].ppf([0.25, 0.5, 0.75])
    h = 1e-5 * (x[2] - x[0])
    difference = (made.map.forward(x + h) - made.map.forward(x - h)) / (2 * h)
    # truncation h^2 = 1e-10 relative, rounding 1e-16 / 1e-5 = 1e-11 relative; densities with a kink at the point: 1e-5
    assert made.map.slope(x) == pytest.approx(difference, rel=2e-5)


@pytest.mark.parametrize("name", ["norm", "lognorm", "gamma", "beta", "triang", "weibull_min", "gumbel_r"])
@pytest.mark.parametrize("transform", ["rosenblatt", "basis"])
def test_gauss_rules_through_the_map_give_the_mean_of_the_distribution(name, transform):
    """E[X] by a rule of the basis, x = x(y): wrong parameters of a Jacobi or Laguerre basis would show here."""
    law = CONTINUOUS[name]
    made = from_scipy(law, transform)
    y, w = made.basis.gauss(40)
    # exact for affine maps and for the density's own polynomials; exp(y) and quantile functions converge geometrically
    # or, with an unbounded tail, like 1 / n^2
    smooth = transform == "basis" or name in CLASSICAL
    assert w @ made.map.inverse(y) == pytest.approx(law.mean(), rel=1e-7 if smooth else 5e-3)


def test_transform_basis_uses_polynomials_of_the_distribution_itself():
    """And leaves the classical ones as they are."""
    assert isinstance(from_scipy(OTHERS["triang"], "basis").basis, FromDensity)
    assert from_scipy(stats.norm(), "basis").basis == Hermite()


def test_the_upper_tail_keeps_its_digits():
    """1 - 1e-13 has two digits as 2 F(x) - 1 but the inverse still finds x to 1e-3: it looks from the upper side."""
    law = stats.t(5)
    made = from_scipy(law)
    x = law.isf(1e-13)
    assert float(made.map.inverse(made.map.forward(np.array([x])))[0]) == pytest.approx(x, rel=1e-3)


def test_domain_of_an_unbounded_input_ends_where_a_billionth_is_left():
    """Six standard deviations of a normal one; a log-normal one stops above its origin."""
    lo, hi = from_scipy(stats.norm(10, 1)).domain
    assert (lo, hi) == pytest.approx((10 - 5.998, 10 + 5.998), abs=1e-3)
    assert from_scipy(stats.lognorm(1.0, loc=2)).domain[0] > 2
    assert from_scipy(stats.gamma(2.0)).domain[0] == 0.0


def test_a_lognormal_value_at_its_origin_is_impossible():
    """The logarithm has no value there."""
    made = from_scipy(stats.lognorm(1.0, loc=2))
    assert made.possible(np.array([2.0, 1.0, 2.1])).tolist() == [False, False, True]
    assert np.isnan(made.map.forward(np.array([2.0, 1.0]))).all()


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0), (-1e308, 1.7e308)])
def test_an_empty_or_infinite_range_is_refused(bounds):
    """With the range in the message."""
    with pytest.raises(SettingError, match="range of an input"):
        input_of(bounds, "speed")


@pytest.mark.parametrize("law", [stats.norm(0, -1), stats.beta(-1, 2), stats.norm([0, 1], 1), stats.gamma(np.nan)])
def test_invalid_parameters_of_a_distribution_are_refused(law):
    """scipy freezes them without a word."""
    with pytest.raises(SettingError, match="parameters of a distribution"):
        from_scipy(law)


def test_something_that_is_no_distribution_is_refused_with_the_name_of_the_feature():
    """An unfrozen distribution, a number, another text."""
    for wrong in (stats.norm, 3.0, "uniform", (0, 1, 2), None, (True, "a")):
        with pytest.raises(TypeError, match="'speed'"):
            input_of(wrong, "speed", np.zeros(3))


def test_a_column_without_variation_has_a_fixed_input():
    """Its variable is 0 everywhere and its slope is 0."""
    made = input_of("auto", "x", np.full(4, 7.0))
    assert made.fixed
    assert made.map.forward(np.array([7.0, 8.0])).tolist() == [0.0, 0.0]
    assert made.map.inverse(np.zeros(2)).tolist() == [7.0, 7.0]
    assert made.map.slope(np.array([7.0])).tolist() == [0.0]


def test_auto_is_the_range_of_the_data_and_says_so():
    """A model remembers that its distribution was not given."""
    made = input_of("auto", "x", np.array([3.0, -1.0, 2.0]))
    assert made.domain == (-1.0, 3.0)
    assert made.learned
    assert not box(0, 1).learned


def test_a_discrete_distribution_lives_on_its_points():
    """Those of positive probability, renormalised where a tail is cut; the nearest of them where a value is between."""
    made = from_scipy(stats.binom(3, 0.5))
    assert made.values.tolist() == [0, 1, 2, 3]
    assert made.basis.max_degree == 3
    assert made.nearest(np.array([-5.0, 0.4, 0.6, 2.5, 9.0])).tolist() == [0, 0, 1, 2, 3]
    assert made.possible(np.array([1.0, 1.5])).tolist() == [True, False]
    poisson = from_scipy(stats.poisson(4.0))
    weights = np.asarray(poisson.record["probabilities"])
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert float(weights @ poisson.values) == pytest.approx(4.0, rel=1e-7)


def test_a_discrete_distribution_with_too_many_points_is_refused():
    """A smooth one of the same mean and variance does better."""
    with pytest.raises(SettingError, match="too many values"):
        from_scipy(stats.randint(0, 10_000))


def test_a_single_value_is_a_discrete_input_too():
    """Degenerate, not an error."""
    made = points([4.0])
    assert made.fixed
    assert made.nearest(np.array([1.0, 9.0])).tolist() == [4.0, 4.0]


def test_categories_are_their_positions():
    """With labels of any kind that can be compared."""
    made = categories(Categorical(["sgd", "adam", None], probabilities=[0.5, 0.25, 0.25]))
    assert made.levels == ("sgd", "adam", None)
    assert made.basis.max_degree == 2
    assert np.asarray(made.record["probabilities"]).tolist() == [0.5, 0.25, 0.25]
    for wrong in ([], 0, ["a", "a"]):
        with pytest.raises(SettingError, match="levels"):
            Categorical(wrong)


def test_specifications_are_read_from_every_form_of_the_argument():
    """None, one for all, a list, a mapping with gaps."""
    law = stats.norm()
    assert specifications(None, ["a", "b"]) == ["auto", "auto"]
    assert specifications((0, 1), ["a", "b"]) == [(0, 1), (0, 1)]
    assert specifications(law, ["a", "b"]) == [law, law]
    assert specifications([(0, 1), law], ["a", "b"]) == [(0, 1), law]
    assert specifications([(0, 1), (2, 3)], ["a", "b"]) == [(0, 1), (2, 3)]
    assert specifications({"b": law}, ["a", "b"]) == ["auto", law]


def test_a_misspelt_feature_and_a_wrong_number_are_refused():
    """Nothing is taken silently."""
    with pytest.raises(SettingError, match="'c'"):
        specifications({"c": (0, 1)}, ["a", "b"])
    with pytest.raises(SettingError, match="1 inputs, 2 features"):
        specifications([(0, 1)], ["a", "b"])
    with pytest.raises(TypeError, match="unknown kind"):
        specifications(3, ["a"])
    with pytest.raises(SettingError, match="transformation"):
        inputs_of(None, ["a"], np.zeros((2, 1)), "uniform")


def test_tables_go_to_canonical_variables_and_back():
    """Mixed inputs, labels included."""
    inputs = [box(0, 4), from_scipy(stats.norm(1, 2)), categories(Categorical(["u", "v"]))]
    x = np.array([[0.0, 1.0, 1.0], [4.0, 3.0, 0.0]])
    y = canonical(inputs, x)
    assert y.tolist() == [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    assert physical(inputs, y).tolist() == [[0.0, 1.0, "v"], [4.0, 3.0, "u"]]
    assert physical(inputs[:2], y[:, :2]).dtype == np.float64


def test_labels_become_numbers_in_frames_and_arrays():
    """The user's table is not touched; an unknown label is named."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"kind": ["v", "u"], "size": [1.0, 2.0]})
    coded = with_codes(frame, {0: ("u", "v")}, column_names(frame))
    assert coded["kind"].tolist() == [1.0, 0.0]
    assert frame["kind"].tolist() == ["v", "u"]
    with pytest.raises(InputError, match="'w'"):
        with_codes([["w", 1.0]], {0: ("u", "v")}, ["kind", "size"])


def test_discrete_inputs_with_values_and_probabilities():
    """The basis of the library is itself a specification."""
    made = input_of(Discrete([1.0, 2.0, 4.0], [0.5, 0.25, 0.25]), "x")
    assert made.values.tolist() == [1.0, 2.0, 4.0]
    y, w = made.basis.gauss(3)
    assert float(w @ y) == pytest.approx(2.0, abs=1e-14)
