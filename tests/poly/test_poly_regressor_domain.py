"""Rows outside the domain are counted and named, and answered as was asked; derivatives follow the function."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Hermite, Jacobi, Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.estimator.gradient import canonical_gradient
from sm3.poly.index_sets.families import total_degree
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.domain import ExtrapolationWarning, check_policy, inside, refuse_impossible
from sm3.poly.inputs.one_input import Categorical, box, categories, from_scipy, input_of

INPUTS = [box(0.0, 2.0), from_scipy(stats.norm(100, 5)), categories(Categorical(3))]
NAMES = ["speed", "load", "kind"]
GOOD = [1.0, 101.0, 2.0]


def test_rows_inside_pass_without_a_word():
    """Ends included, and a rounding of single precision beyond."""
    x = np.array([GOOD, [0.0, 75.0, 0.0], [np.float32(2.0) * (1 + 1e-7), 100.0, 1.0]])
    for policy in ("warn", "raise", "nan"):
        moved, missing = inside(x, INPUTS, NAMES, policy)
        assert moved is x
        assert not missing.any()


def test_one_warning_counts_rows_and_names_the_worst_feature_first():
    """How far out is told in widths of the domain."""
    x = np.array([GOOD, [7.0, 101.0, 2.0], [-1.0, 170.0, 2.0]])
    with pytest.warns(ExtrapolationWarning, match="2 of 3 rows") as caught:
        inside(x, INPUTS, NAMES, "warn")
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "speed in 2 rows, the farthest 7, 2.5 widths off [0, 2]" in text
    assert text.index("speed") < text.index("load")


def test_raise_is_an_error_with_the_same_words():
    """And a ValueError."""
    with pytest.raises(InputError, match="speed in 1 rows"):
        inside(np.array([[3.0, 100.0, 0.0]]), INPUTS, NAMES, "raise")


def test_clip_moves_to_the_nearest_point_and_leaves_the_table_alone():
    """The level nearest to a number between levels."""
    x = np.array([[3.0, 100.0, 1.4], GOOD])
    given = x.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved, missing = inside(x, INPUTS, NAMES, "clip")
    assert moved.tolist() == [[2.0, 100.0, 1.0], GOOD]
    assert (x == given).all()
    assert not missing.any()


def test_nan_marks_the_rows_outside_and_no_others():
    """Silently: it was asked for."""
    _, missing = inside(np.array([[3.0, 100.0, 1.0], GOOD]), INPUTS, NAMES, "nan")
    assert missing.tolist() == [True, False]


def test_a_feature_that_never_varied_is_outside_anywhere_else():
    """Nothing was learned about it."""
    fixed = [input_of("auto", "x", np.full(3, 4.0))]
    inside(np.array([[4.0]]), fixed, ["x"], "raise")
    with pytest.raises(InputError, match=r"0.25 widths off \[4, 4\]"):
        inside(np.array([[5.0]]), fixed, ["x"], "raise")


def test_an_unknown_policy_is_refused():
    """With the four that exist."""
    with pytest.raises(SettingError, match="'warn', 'raise', 'clip', 'nan'"):
        check_policy("ignore")


def test_training_rows_that_contradict_their_distribution_are_refused():
    """The feature, the first such row and its value are named."""
    with pytest.raises(InputError, match="'speed'") as caught:
        refuse_impossible(np.array([GOOD, [2.5, 100.0, 0.0]]), INPUTS, NAMES)
    assert "first row 1 with 2.5" in str(caught.value)
    with pytest.raises(InputError, match="'kind'"):
        refuse_impossible(np.array([[1.0, 100.0, 0.5]]), INPUTS, NAMES)
    # 20 standard deviations off is improbable, not impossible
    refuse_impossible(np.array([[1.0, 200.0, 0.0]]), INPUTS, NAMES)


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_the_gradient_is_the_derivative_of_the_values(monkeypatch, chunk):
    """Complex steps cannot be taken through the tables: central differences, for terms of 0 to 4 variables at once."""
    monkeypatch.setattr("sm3.poly.estimator.gradient._AT_ONCE", chunk)
    rng = np.random.default_rng(0)
    bases = [Legendre(), Hermite(), Jacobi(1.5, -0.3), Legendre()]
    terms = total_degree(4, 4)
    coef = rng.normal(size=(len(terms), 2))
    y = rng.uniform(-0.9, 0.9, (20, 4))
    gradient = canonical_gradient(bases, terms, coef, y)
    h = 1e-5
    for j in range(4):
        step = np.zeros(4)
        step[j] = h
        plus, minus = (Design(bases, terms, y + sign * step).times(coef) for sign in (1, -1))
        # truncation h^2 f''' / 6 is 1e-10 of f''', rounding 1e-16 / h of f: 1e-8 of values of this size (100)
        assert gradient[:, j] == pytest.approx((plus - minus) / (2 * h), rel=1e-6, abs=1e-6)


def test_the_gradient_of_a_constant_is_zero():
    """And of a model without any term."""
    zero = IndexSet.from_dense(np.zeros((1, 3), dtype=int))
    assert (canonical_gradient([Legendre()] * 3, zero, np.ones((1, 1)), np.zeros((5, 3))) == 0).all()
    assert canonical_gradient([Legendre()] * 3, zero.take(np.arange(0)), np.ones((0, 1)), np.zeros((5, 3))).shape == (
        5,
        3,
        1,
    )
