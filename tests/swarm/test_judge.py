"""Intervals against the literature, decisions against their rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sm3.swarm import intervals
from sm3.swarm.judge import CANNOT_TELL, SWARMING, SWIMMING, judge, probability_of, refusal

CARD = {
    "calibration": {
        "slope": 2.0,
        "offset": 0.0,
        "threshold": 0.5,
        "quantiles": {SWARMING: 0.1, SWIMMING: 0.1},
    },
    "limits": {
        "diameter_um": [55.0, 95.0],
        "rim": 0.8,
        "contrast": [0.01, 0.4],
        "sharpness": [0.1, 0.4],
        "unevenness": 0.5,
        "clipped": 0.05,
        "distance": 1.0,
        "colour": 0.15,
    },
}
GOOD = {
    "diameter_um": 74.0,
    "rim": 0.99,
    "contrast": 0.05,
    "sharpness": 0.2,
    "unevenness": 0.05,
    "clipped": 0.0,
    "distance": 0.4,
    "colour": 0.0,
}


def test_decisions():
    """Sure logits give labels; those between do not, nor those where both labels stay."""
    assert judge([2.0] * 8, GOOD, CARD).decision == SWARMING
    assert judge([-2.0] * 8, GOOD, CARD).decision == SWIMMING
    between = judge([0.1] * 8, GOOD, CARD)
    assert between.decision == CANNOT_TELL
    assert "look at the film" in between.reason
    wide = {**CARD, "calibration": {**CARD["calibration"], "quantiles": {SWARMING: 1.0, SWIMMING: 1.0}}}
    both = judge([2.0] * 8, GOOD, wide)
    assert both.labels == (SWARMING, SWIMMING)
    assert both.decision == CANNOT_TELL


def test_the_range_holds_the_probability():
    """The range is over members and copies, the probability from their mean logit."""
    told = judge([-1.0, 0.0, 4.0], GOOD, CARD)
    assert told.probability == pytest.approx(probability_of(1.0, CARD["calibration"]))
    assert told.low == probability_of(-1.0, CARD["calibration"]) < told.probability < told.high


@pytest.mark.parametrize(
    ("measure", "value", "word"),
    [
        ("colour", 0.5, "colour"),
        ("clipped", 0.2, "exposure"),
        ("contrast", 0.001, "blank"),
        ("contrast", 0.9, "too much contrast"),
        ("rim", 0.2, "no round rim"),
        ("diameter_um", 40.0, "40 um"),
        ("diameter_um", 140.0, "140 um"),
        ("sharpness", 0.01, "focus"),
        ("sharpness", 0.9, "noise"),
        ("unevenness", 2.0, "uneven"),
        ("distance", 3.0, "unlike"),
    ],
)
def test_every_limit_refuses_and_says_why(measure, value, word):
    """Also where the number is none: a NaN compares with nothing and must not slip through."""
    assert refusal(GOOD, CARD["limits"]) == ""
    assert word in refusal({**GOOD, measure: value}, CARD["limits"])
    assert refusal({**GOOD, measure: math.nan}, CARD["limits"]) != ""
    assert judge([9.0], {**GOOD, measure: value}, CARD).decision == CANNOT_TELL


@pytest.mark.parametrize(
    ("found", "total", "low", "high"),
    [(500, 500, 0.9926, 1.0), (495, 500, 0.9768, 0.9967), (488, 500, 0.9585, 0.9875), (38, 39, 0.865, 0.999)],
)
def test_exact_intervals(found, total, low, high):
    """Clopper and Pearson's, also where everything or nothing was found."""
    assert intervals.clopper_pearson(found, total) == pytest.approx((low, high), abs=1e-3)
    mirrored = intervals.clopper_pearson(total - found, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-3)


def test_exact_intervals_cover():
    """At least 95 % of binomial draws, for awkward shares, too."""
    for share in (0.02, 0.5, 0.97):
        weight = stats.binom.pmf(np.arange(41), 40, share)
        holds = [low <= share <= high for low, high in (intervals.clopper_pearson(n, 40) for n in range(41))]
        assert weight[np.array(holds)].sum() >= 0.95


def test_area_error_and_score_of_known_answers():
    """A perfect, a useless and a badly calibrated classifier."""
    truth = np.repeat([0.0, 1.0], 300)
    assert intervals.area_under_curve(truth, truth) == 1.0
    assert intervals.area_under_curve(np.zeros(600), truth) == 0.5
    assert intervals.area_under_curve(-truth, truth) == 0.0
    assert intervals.calibration_error(np.full(600, 0.5), truth[np.random.default_rng(0).permutation(600)]) < 0.1
    assert intervals.calibration_error(np.full(600, 0.9), truth) == pytest.approx(0.4, abs=0.01)
    assert intervals.brier(truth, truth) == 0
    low, high = intervals.area_interval(np.random.default_rng(0).normal(size=600), truth)
    assert low < 0.5 < high
