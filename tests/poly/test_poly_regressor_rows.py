"""Rows and folds do not depend on how a table was written; held-out accuracy says what it says it does."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from sm3.errors import InputError, SettingError
from sm3.poly import PolynomialRegressor
from sm3.poly.estimator.accuracy import HeldOut, q2, q2_interval
from sm3.poly.estimator.rows import distinct_rows, random_folds, rows_and_splits


def table(m=30, d=3, q=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((m, d)), rng.random((m, q))


def test_weights_repeats_and_orders_give_the_same_rows():
    """Bit for bit: everything after this sees one form."""
    x, y = table()
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(x)).astype(float)
    order = rng.permutation(len(x))
    weighted, _ = distinct_rows(x[order], y[order], weight[order])
    repeats = weight.astype(int)
    repeated, _ = distinct_rows(x.repeat(repeats, axis=0), y.repeat(repeats, axis=0))
    for part in ("x", "y", "weight"):
        assert (getattr(weighted, part) == getattr(repeated, part)).all()


def test_each_distinct_row_says_which_given_row_became_it():
    """Weights of merged rows are added; a row of weight 0 is gone."""
    x, y = table(m=5)
    x[3], y[3] = x[1], y[1]
    rows, given = distinct_rows(x, y, np.array([1.0, 2.0, 0.0, 3.0, 1.0]))
    assert len(rows) == 3
    assert 2 not in given
    assert (x[given] == rows.x).all()
    assert sorted(rows.weight.tolist()) == [1.0, 1.0, 5.0]


def test_two_values_at_one_point_stay_two_rows_and_one_site():
    """Repeated measurements are information about noise, and belong into one fold."""
    rows, _ = distinct_rows(np.array([[1.0], [1.0], [2.0]]), np.array([[0.0], [5.0], [1.0]]))
    assert len(rows) == 3
    assert rows.site.tolist() == [0, 0, 1]
    folds = random_folds(rows, 2, np.random.default_rng(0))
    assert sorted(tuple(fold.test.tolist()) for fold in folds) == [(0, 1), (2,)]
    assert len(random_folds(rows, 3, np.random.default_rng(0), by_site=False)) == 3


def test_no_weight_at_all_is_refused():
    """There is nothing to fit."""
    with pytest.raises(InputError, match="weight"):
        distinct_rows(*table(m=3), np.zeros(3))


def test_joined_rows_merge_what_is_equal():
    """As if they had come in one table."""
    x, y = table(m=9)
    one, other = distinct_rows(x[:6], y[:6])[0], distinct_rows(x[3:], y[3:])[0]
    both, _ = distinct_rows(x, y, np.array([1.0] * 3 + [2.0] * 3 + [1.0] * 3))
    assert (one.joined(other).x == both.x).all()
    assert (one.joined(other).weight == both.weight).all()


def test_folds_part_the_rows():
    """Each row is judged once, and never by a model that saw it."""
    rows, _ = distinct_rows(*table(m=31))
    folds = random_folds(rows, 4, np.random.default_rng(0))
    assert len(folds) == 4
    assert np.sort(np.concatenate([fold.test for fold in folds])).tolist() == list(range(31))
    for fold in folds:
        assert np.sort(np.concatenate([fold.train, fold.test])).tolist() == list(range(31))
        assert len(fold.test) in (7, 8)


def test_folds_are_fewer_where_points_are_few():
    """Two points give two folds, one gives none."""
    rng = np.random.default_rng(0)
    assert [len(random_folds(distinct_rows(*table(m=m))[0], 5, rng)) for m in (1, 2, 3, 9)] == [0, 2, 3, 5]


def test_a_splitter_refers_to_the_rows_as_given():
    """Rows merge within a part of a split, never across: row 5 trains where its twin, row 0, is judged."""
    x, y = table(m=6)
    x[5], y[5] = x[0], y[0]
    weight = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 2.0])
    rows, folds = rows_and_splits(x, y, weight, KFold(3))
    assert len(rows) == 5
    assert (rows.x[folds[0].test] == x[[0, 1]][np.lexsort(x[[0, 1]].T[::-1])]).all()
    twin = [i for i in folds[0].train if (rows.x[i] == x[0]).all()]
    assert rows.weight[twin].tolist() == [2.0]


def test_weights_and_repeats_agree_under_given_splits_too():
    """The same rows and the same folds."""
    x, y = table(m=8)
    weight = np.array([0, 1, 2, 3, 1, 1, 1, 1])
    number = np.arange(8).repeat(weight)
    ends = [np.flatnonzero(number < 4), np.flatnonzero(number >= 4)]
    weighted = rows_and_splits(x, y, weight.astype(float), [(np.arange(4), np.arange(4, 8))])
    repeated = rows_and_splits(x[number], y[number], None, [tuple(ends)])
    assert (weighted[0].weight == repeated[0].weight).all()
    assert (weighted[1][0].train == repeated[1][0].train).all()
    assert (weighted[1][0].test == repeated[1][0].test).all()


@pytest.mark.parametrize("cv", [1, 0, -3, "five", 2.5, [(0, 1, 2)], [([0], [99])], True])
def test_a_cv_that_gives_no_folds_is_refused(cv):
    """With the accepted values in the message."""
    with pytest.raises(SettingError, match="cv has a value"):
        PolynomialRegressor(cv=cv).fit(*table(m=6))


def held(residual, y, weight=None):
    residual, y = np.asarray(residual, dtype=float), np.asarray(y, dtype=float)
    weights = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    return HeldOut(weights, y.reshape(len(y), -1), residual.reshape(len(y), -1))


def test_q2_of_the_mean_is_zero_and_of_no_error_one():
    """The two ends of the scale; worse than the mean is below zero."""
    y = np.array([1.0, 2.0, 6.0])
    assert q2(held(y - 3.0, y))[0] == pytest.approx(0.0, abs=1e-15)
    assert q2(held(0 * y, y))[0] == 1.0
    assert q2(held(2 * (y - 3.0), y))[0] == pytest.approx(-3.0, abs=1e-14)


def test_q2_is_scikit_learns_r2_of_held_out_predictions():
    """With weights."""
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    y, error, weight = rng.normal(5, 2, 40), rng.normal(0, 1, 40), rng.random(40)
    assert q2(held(error, y, weight))[0] == pytest.approx(r2_score(y, y - error, sample_weight=weight), rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_an_output_that_does_not_vary_has_no_q2(value):
    """Nor an interval: there is no variance to explain. 0.1: its mean is not exact."""
    one = held(np.zeros(7), np.full(7, value))
    assert np.isnan(q2(one)).all()
    assert np.isnan(q2_interval(one, np.random.default_rng(0))).all()
    nothing = HeldOut(np.empty(0), np.empty((0, 2)), np.empty((0, 2)))
    assert np.isnan(q2(nothing)).all()
    assert q2_interval(nothing, np.random.default_rng(0)).shape == (2, 2)


def test_the_bootstrap_interval_covers_the_true_value():
    """In 88 % of 100 data sets or more: nominal 95 %, standard error 2 %, percentile intervals are a little short."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        y, error = rng.normal(0, 1, 80), rng.normal(0, 0.5, 80)
        lo, hi = q2_interval(held(error, y), rng)[0]
        covered += lo <= 0.75 <= hi  # 1 - 0.25 / 1
    assert covered >= 88
