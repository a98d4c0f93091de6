"""The judge of `update_rms`, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sm3.optim.reference import SM3, SMMF
from sm3.optim.reference.update_rms import UpdateRms


def test_a_scale_follows_the_update_one_step_behind():
    """Powers of two are whole numbers of quanta: 2, then 1/2, then nothing, then 1."""
    held = UpdateRms(1.0)
    scales = [held.scale_and_measure(np.array([length, -length])) for length in (2.0, 0.5, 0.0, 1.0, 1.0)]
    assert scales == [1.0, 0.5, 2.0, 2.0, 1.0]


def test_what_is_too_small_to_count_is_at_most_a_32nd_of_the_unit():
    """2^-10 against a unit of 1/4, then of 2^-4, the power of two below a tenth of the target: too coarse twice."""
    held = UpdateRms(1.0)
    lengths = []
    for _ in range(2):
        held.scale_and_measure(np.full(3, 2.0**-10))
        lengths.append(held.rms)
    assert lengths == [2.0**-7, 2.0**-9]


def test_the_mean_is_over_all_entries():
    """One entry of 1 among four: 1/2."""
    held = UpdateRms(1.0)
    held.scale_and_measure(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert held.rms == 0.5


def test_a_scale_stops_at_ten():
    """An update of a thousandth of the target, step after step."""
    held = UpdateRms(1.0)
    scales = [held.scale_and_measure(np.full(3, 2.0**-10)) for _ in range(3)]
    assert scales == [1.0, 10.0, 10.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_what_is_huge_or_not_a_number_counts_as_2_to_the_7_units(bad):
    """One such entry of four, unit 1: half of 128."""
    held = UpdateRms(0.2)
    held.scale_and_measure(np.ones(4))
    with np.errstate(over="ignore"):
        held.scale_and_measure(np.array([bad, 0.0, 0.0, 0.0]))
    assert held.rms == 64.0


def test_no_entries_measure_nothing():
    """An empty tensor."""
    held = UpdateRms(0.2)
    assert held.scale_and_measure(np.zeros((0, 3))) == 1.0
    assert held.rms == 0.0


@pytest.mark.parametrize(("judge", "rate"), [(SM3, "alpha"), (SMMF, "eta")])
def test_a_step_is_scaled_and_the_state_is_not(judge, rate):
    """Accumulators and factors know nothing of it: the second step is the plain one times target / rms."""
    held, plain = judge(**{rate: 1.0}, update_rms=0.2), judge(**{rate: 1.0})
    w = np.zeros((3, 4))
    gradients = [np.random.default_rng(seed).normal(size=(3, 4)) for seed in range(2)]
    assert np.array_equal(held.step(w, gradients[0]), plain.step(w, gradients[0]))
    scale = 0.2 / held.update_rms.rms
    np.testing.assert_allclose(held.step(w, gradients[1]), scale * plain.step(w, gradients[1]), rtol=1e-15)
