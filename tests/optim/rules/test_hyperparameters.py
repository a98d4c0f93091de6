"""Ranges as data: what they accept, what they say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.errors import SettingError
from sm3.optim.rules import RULES
from sm3.optim.rules.hyperparameters import Choice, Flag, Integer, Real
from sm3.optim.rules.schedule import WarmupCooldown

EVERY = [
    pytest.param(hyper, id=f"{name}-{hyper.name}") for name, rule in RULES.items() for hyper in rule.HYPERPARAMETERS
]


@pytest.mark.parametrize("hyper", EVERY)
def test_the_default_is_accepted_and_every_bad_value_is_not(hyper):
    """And the message shows the value, the range and a way out."""
    assert hyper.check(hyper.default) == hyper.default
    for value in hyper.bad_values():
        with pytest.raises(SettingError) as caught:
            hyper.check(value)
        assert hyper.accepted() in str(caught.value)
        assert f"{hyper.name}={value!r}" in str(caught.value)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_real_accepts_exactly_its_interval(value):
    """Open and closed ends."""
    hyper = Real("x", 0.5, low=0.0, high=1.0, low_open=True, high_open=False)
    if 0.0 < value <= 1.0:
        assert hyper.check(value) == value
    else:
        with pytest.raises(SettingError):
            hyper.check(value)


def test_ranges_read_as_a_person_would_write_them():
    """The text of the message and of the docs."""
    assert Real("x", 0.1, low=0.0).accepted() == "a finite number >= 0"
    assert Real("x", 0.1, low=0.0, low_open=True).accepted() == "a finite number > 0"
    assert Real("x", 0.1, low=0.0, high=1.0, high_open=True).accepted() == "a number in [0, 1)"
    assert Real("x", 0.1, low=0.0, none="off").accepted() == "a finite number >= 0, or None (off)"
    assert Choice("x", "a", ("a", "b")).accepted() == "'a' or 'b'"
    assert Flag("x", True).accepted() == "True or False"
    assert Integer("x", 1, low=0, high=9).accepted() == "an integer from 0 to 9"


@pytest.mark.parametrize("total", [1, 2, 3, 10, 100, 1001])
@pytest.mark.parametrize(("warmup", "cooldown"), [(0.0, 0.0), (0.05, 0.1), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_the_recipe_rises_stays_and_falls(total, warmup, cooldown):
    """Factors lie in (0, 1], rise quadratically, end just above 0, and are 0 after the run."""
    factor = WarmupCooldown(total, warmup, cooldown)
    values = [factor(taken) for taken in range(total)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert factor(total) == factor(total + 50) == 0.0
    rising, falling = round(warmup * total), round(cooldown * total)
    assert values[:rising] == sorted(values[:rising])
    assert values[total - falling :] == sorted(values[total - falling :], reverse=True)
    assert all(value == 1.0 for value in values[max(rising - 1, 0) : total - falling])
    if rising >= 2:
        assert math.isclose(values[0], rising**-2.0)


@pytest.mark.parametrize(
    ("total", "warmup", "cooldown"), [(0, 0.1, 0.1), (10, -0.1, 0.1), (10, 0.6, 0.6), (1.5, 0, 0), (10, math.nan, 0)]
)
def test_a_recipe_that_makes_no_sense_is_refused(total, warmup, cooldown):
    """Lengths, fractions, overlap."""
    with pytest.raises(SettingError):
        WarmupCooldown(total, warmup, cooldown)
