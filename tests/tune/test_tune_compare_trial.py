"""The function that ships: one short training, the same score for the same settings, clear words for wrong ones."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from sm3.errors import SettingError
from sm3.tune.compare_trial import held_out_loss

SMALL = {"model": "1x16", "steps": 10}


def test_a_training_gives_its_held_out_loss():
    """Below the 8 bits of a guess, twice the same, another one for another seed."""
    settings = {**SMALL, "lr": 8e-3, "beta": 0.9, "decay_rate": -0.8, "growth_rate": 0.999, "cautious": True}
    loss = held_out_loss(settings)

    assert 0 < loss < 8.5
    assert held_out_loss(settings) == loss
    assert held_out_loss({**settings, "seed": 1}) != loss


def test_both_optimizers_are_there():
    """SM3 has momentum where SMMF has beta."""
    assert math.isfinite(held_out_loss({**SMALL, "optimizer": "SM3", "lr": 0.03, "momentum": 0.9}))


def test_a_training_that_diverges_scores_infinity():
    """A bad end, and no exception."""
    assert held_out_loss({**SMALL, "lr": 1e4}) == math.inf


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({**SMALL}, "lr"),
        ({**SMALL, "lr": 1e-3, "optimizer": "Adam"}, "'SMMF' or 'SM3'"),
        ({"steps": 10, "lr": 1e-3, "model": "9x9"}, "1x16"),
        ({"steps": 0, "lr": 1e-3}, "steps"),
    ],
)
def test_settings_that_describe_no_training_are_named(settings, told):
    """Before anything is trained."""
    with pytest.raises(SettingError, match=told):
        held_out_loss(settings)


def test_a_setting_that_nobody_knows_is_not_swallowed():
    """A typing mistake in SPACE.toml would otherwise vary nothing, and be ranked last."""
    with pytest.raises(TypeError, match="bta"):
        held_out_loss({**SMALL, "lr": 1e-3, "bta": 0.9})
