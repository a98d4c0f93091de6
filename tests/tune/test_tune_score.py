"""Scores as a target: smaller is better, bad ends are last, nothing is left out."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.errors import SettingError
from sm3.tune.score import target


def of(made_up, scores, *arguments, **settings):
    return target(made_up(np.zeros((len(scores), 1)), scores), *arguments, **settings)


def test_ranks_do_not_depend_on_the_shape_of_the_scores(made_up):
    """Any increasing function of the scores gives the same target."""
    scores = [3.0, -1.0, 0.5, 10.0]

    plain = of(made_up, scores, "lower")
    assert plain.values.tolist() == [0.625, 0.125, 0.375, 0.875]
    assert of(made_up, np.exp(scores).tolist(), "lower").values.tolist() == plain.values.tolist()


@pytest.mark.parametrize("transform", ["rank", "none"])
def test_higher_is_better_is_lower_is_better_of_the_negative(made_up, transform):
    """Smaller targets are better ones, whatever the direction."""
    scores = [3.0, -1.0, None, 10.0]
    negative = [None if score is None else -score for score in scores]

    up = of(made_up, scores, "higher", transform)
    assert up.values.tolist() == of(made_up, negative, "lower", transform).values.tolist()
    assert np.argmin(up.values) == 3


def test_bad_ends_share_the_last_place_with_the_worst_score(made_up):
    """They are counted, with their reasons, and stay in."""
    found = of(made_up, [1.0, None, 2.0, None], "lower")

    assert found.values.tolist() == [0.125, 0.625, 0.625, 0.625]
    assert found.bad.tolist() == [False, True, False, True]
    assert found.endings == {"nan": 2}


@pytest.mark.parametrize(
    ("better", "cap", "expected"), [("lower", 5.0, [1, 5, 5, 5]), ("higher", 2.0, [-2, -2, -4, -9])]
)
def test_scores_beyond_the_cap_count_as_the_cap(made_up, better, cap, expected):
    """Bad ends too."""
    scores = [1.0, None, 4.0, 9.0] if better == "higher" else [1.0, None, 7.0, 9.0]

    assert of(made_up, scores, better, "none", cap=cap).values.tolist() == expected


def test_the_logarithm_keeps_the_direction(made_up):
    """Of 1, 10, 100: 100 is worst for a loss, best for a gain."""
    assert of(made_up, [1.0, 10.0, 100.0], "lower", "log").values.tolist() == np.log([1, 10, 100]).tolist()
    assert np.argmin(of(made_up, [1.0, 10.0, 100.0], "higher", "log").values) == 2


def test_all_bad_is_constant(made_up):
    """There is nothing to rank, and no number out of nowhere."""
    assert np.ptp(of(made_up, [None, None, None], "lower").values) == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"transform": "log"}, "score -1"), ({"transform": "sqrt"}, "'rank' or 'log'"), ({"cap": np.inf}, "finite")],
)
def test_what_cannot_be_is_refused(made_up, settings, told):
    """With what to do instead."""
    with pytest.raises(SettingError, match=told):
        of(made_up, [-1.0, 2.0], "lower", **settings)
