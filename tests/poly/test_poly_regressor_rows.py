"""Rows and folds do not depend on how a table was written; held-out accuracy says what it says it does."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from sm3.errors import InputError, SettingError
from sm3.poly.accuracy import HeldOut, best, nothing, q2, q2_interval
from sm3.poly.rows import distinct_rows, split


def table(m=30, d=3, q=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((m, d)), rng.random((m, q))


def test_weights_repeats_and_orders_give_the_same_rows():
    """Bit for bit: everything after this sees one form."""
    x, y = table()
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(x)).astype(float)
    order = rng.permutation(len(x))
    weighted = distinct_rows(x[order], y[order], weight[order])
    repeats = weight.astype(int)
    repeated = distinct_rows(x.repeat(repeats, axis=0), y.repeat(repeats, axis=0))
    assert (weighted.x == repeated.x).all()
    assert (weighted.y == repeated.y).all()
    assert (weighted.weight == repeated.weight).all()


def test_origin_leads_from_given_rows_to_theirs():
    """And to -1 for those of weight 0."""
    x, y = table(m=5)
    x[3], y[3] = x[1], y[1]
    rows = distinct_rows(x, y, np.array([1.0, 2.0, 0.0, 3.0, 1.0]))
    assert len(rows) == 3
    assert rows.origin[2] == -1
    for given in (0, 1, 3, 4):
        assert (rows.x[rows.origin[given]] == x[given]).all()
    assert rows.weight[rows.origin[1]] == 5.0


def test_two_values_at_one_point_stay_two_rows_and_one_site():
    """Repeated measurements are information about noise, and belong into one fold."""
    rows = distinct_rows(np.array([[1.0], [1.0], [2.0]]), np.array([[0.0], [5.0], [1.0]]))
    assert len(rows) == 3
    assert rows.site.tolist() == [0, 0, 1]
    for fold in split(rows, 2, np.random.default_rng(0)):
        assert fold.train[0] == fold.train[1]


def test_no_weight_at_all_is_refused():
    """There is nothing to fit."""
    with pytest.raises(InputError, match="weight"):
        distinct_rows(*table(m=3), np.zeros(3))


def test_folds_part_the_rows():
    """Each row is judged once, and never by a model that saw it."""
    x, y = table(m=31)
    rows = distinct_rows(x, y)
    folds = split(rows, 4, np.random.default_rng(0))
    assert len(folds) == 4
    assert (np.sum([fold.test for fold in folds], axis=0) == rows.weight).all()
    for fold in folds:
        assert ((fold.train > 0) ^ (fold.test > 0)).all()
        assert (fold.test > 0).sum() in (7, 8)


def test_folds_are_fewer_where_points_are_few():
    """Two points give two folds, one gives none."""
    rows = distinct_rows(*table(m=2))
    assert len(split(rows, 5, np.random.default_rng(0))) == 2
    assert split(distinct_rows(*table(m=1)), 5, np.random.default_rng(0)) == []
    assert split(rows, None, np.random.default_rng(0)) == []


def test_a_splitter_refers_to_the_rows_as_given():
    """Weights of merged and left out rows follow."""
    x, y = table(m=6)
    x[5], y[5] = x[0], y[0]
    weight = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 2.0])
    rows = distinct_rows(x, y, weight)
    first, _, _ = split(rows, KFold(3), np.random.default_rng(0), (x, y, weight))
    merged = rows.origin[0]
    assert first.test[merged] == 1.0  # row 0 judges with its own weight
    assert first.train[merged] == 2.0  # row 5, its twin, is among the training rows of this fold
    assert first.test[rows.origin[1]] == 1.0


@pytest.mark.parametrize("cv", [1, 0, -3, "five", 2.5, [(0, 1, 2)], True])
def test_a_cv_that_gives_no_folds_is_refused(cv):
    """With the accepted values in the message."""
    x, y = table(m=6)
    with pytest.raises(SettingError, match="cv has a value"):
        split(distinct_rows(x, y), cv, np.random.default_rng(0), (x, y, None))


def held(residual, y, weight=None):
    residual, y = np.asarray(residual, dtype=float), np.asarray(y, dtype=float)
    weights = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    return HeldOut(np.arange(len(y)), weights, y.reshape(len(y), -1), residual.reshape(len(y), -1))


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
    assert np.isnan(q2(nothing(2))).all()
    assert q2_interval(nothing(2), np.random.default_rng(0)).shape == (2, 2)


def test_the_bootstrap_interval_covers_the_true_value():
    """In 88 % of 100 data sets or more: nominal 95 %, standard error 2 %, percentile intervals are a little short."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        y, error = rng.normal(0, 1, 80), rng.normal(0, 0.5, 80)
        lo, hi = q2_interval(held(error, y), rng)[0]
        covered += lo <= 0.75 <= hi  # 1 - 0.25 / 1
    assert covered >= 88


def test_choosing_among_candidates_does_not_flatter():
    """Twenty candidates of pure luck: their least error is too small, the one reported is not."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=50)
    folds = np.arange(50) % 5
    flattered, honest = [], []
    for _ in range(60):
        scores = [held(y - rng.normal(0, 0.7, 50), y) for _ in range(20)]
        chosen, judged = best(scores, folds)
        flattered.append(q2(scores[chosen])[0])
        honest.append(q2(judged)[0])
    truth = 1 - (np.var(y) + 0.49) / np.var(y)  # the mean Q2 of such a candidate: about -0.5
    assert np.mean(flattered) > truth + 0.2
    assert np.mean(honest) == pytest.approx(truth, abs=0.1)  # standard error of 60 means of 50 rows: 0.03


def test_the_best_candidate_is_chosen_where_one_is():
    """And its own residuals are kept."""
    y = np.random.default_rng(0).normal(size=20)
    chosen, judged = best([held(y, y), held(0.1 * y, y), held(0.5 * y, y)], np.arange(20) % 4)
    assert chosen == 1
    assert (judged.residual == 0.1 * y[:, None]).all()
