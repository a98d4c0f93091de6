"""Where a switch between AdamW and SMMF puts the step counter: the equations, and the way back."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from sm3.optim.rules import SMMFRule
from sm3.optim.rules.conversion import (
    LARGEST_COUNTER,
    adamw_counter,
    bias_correction,
    corrected_decay,
    smmf_counter,
)

BETA2S = [0.0, 0.5, 0.95, 0.99, 0.999]
TAKEN = [1, 2, 10, 300, 100_000]


@pytest.mark.parametrize(("beta", "taken"), list(itertools.product([0.0, 0.9, 0.95, 0.999], [1, 2, 7, 500])))
def test_a_corrected_mean_is_an_exponential_mean_with_the_corrected_decay(beta, taken):
    """Equation (1), on random gradients: AdamW's quotient after one more step equals a m^ + (1 - a) g."""
    random.seed(taken)
    mean = 0.0
    for _ in range(taken):
        mean = beta * mean + (1 - beta) * random.gauss(1, 1)
    gradient = random.gauss(1, 1)
    following = (beta * mean + (1 - beta) * gradient) / bias_correction(beta, taken + 1)
    decay = corrected_decay(beta, taken)
    expected = decay * mean / bias_correction(beta, taken) + (1 - decay) * gradient
    # Some ten roundings of numbers near 1; 1 - b^T of T = 1 and b = 0.999 is itself exact to 1e-13 relative only.
    assert following == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("beta2", "taken", "decay_rate"), list(itertools.product(BETA2S, TAKEN, [-0.5, -0.8, -1.0])))
def test_without_fading_the_second_moments_decay_alike(beta2, taken, decay_rate):
    """Up to what one more or less on the counter changes."""
    rule = SMMFRule(growth_rate=1.0, decay_rate=decay_rate)
    step = smmf_counter(rule, (0.9, beta2), taken) + 1
    ours, theirs = rule.moment_decays(step)[1], corrected_decay(beta2, taken)
    neighbours = [rule.moment_decays(other)[1] for other in (step - 1, step + 1) if other >= 1]
    # The nearest of all counters: no neighbour is nearer. Rounding of decays near 1: 1e-15.
    assert all(abs(ours - theirs) <= abs(other - theirs) + 1e-15 for other in neighbours)
    assert abs(ours - theirs) <= max(abs(ours - other) for other in neighbours)


@pytest.mark.parametrize(
    ("beta2", "taken", "growth_rate", "decay_rate"),
    list(itertools.product([0.95, 0.999], [3, 1000], [0.99, 0.999], [-0.5, -0.8])),
)
def test_a_fading_first_moment_takes_the_counter_of_least_cost(beta2, taken, growth_rate, decay_rate):
    """Equation (2) written out again, least over every counter up to 20,000; 1 - t^-0.5 = 0.95 is at 400."""
    rule, betas = SMMFRule(growth_rate=growth_rate, decay_rate=decay_rate), (0.9, beta2)

    def cost(counter: int) -> float:
        first, second = rule.moment_decays(counter + 1)
        a, c = (corrected_decay(beta, taken) for beta in betas)
        return (a - first) ** 2 * 1.9 / 0.1 + (c - second) ** 2 / 2

    found = smmf_counter(rule, betas, taken)
    assert found <= 20_000
    assert cost(found) == pytest.approx(min(map(cost, range(20_001))), rel=1e-12)


def test_without_a_first_moment_only_the_second_counts():
    """growth_rate means nothing there."""
    fading, kept = SMMFRule(beta=None, growth_rate=0.9), SMMFRule(growth_rate=1.0)
    assert smmf_counter(fading, (0.9, 0.99), 500) == smmf_counter(kept, (0.9, 0.99), 500)


def test_a_counter_beyond_float64_stops_at_the_largest():
    """A decay_rate near 0 asks for more steps than there are."""
    assert smmf_counter(SMMFRule(growth_rate=1.0, decay_rate=-0.05), (0.9, 0.999), 10**6) > 0.999 * LARGEST_COUNTER
    assert smmf_counter(SMMFRule(growth_rate=0.999, decay_rate=-1e-9), (0.9, 0.999), 10**6) < LARGEST_COUNTER


@pytest.mark.parametrize(("beta2", "taken"), list(itertools.product([0.95, 0.999], [1, 5, 40, 200])))
def test_there_and_back_gives_the_same_steps(beta2, taken):
    """While AdamW's corrections still differ from 1 by more than a step of the counter.

    t moves by dt/dT = t / |gamma| * d log(1 - b^(T+1)) / dT for one more step T; where that is below 1, T is lost in
    the rounding of t: then only the decays must agree.
    """
    rule = SMMFRule(growth_rate=1.0)
    counter = smmf_counter(rule, (0.9, beta2), taken)
    back = adamw_counter(rule, beta2, counter)
    log_slope = -math.log(beta2) * beta2 ** (taken + 1) / bias_correction(beta2, taken + 1)
    if (counter + 1) / 0.5 * log_slope > 2:
        assert back == taken
    # Half a step of the counter moves t^-0.5 by t^-1.5 / 4, and half a step of T as much where T is not lost.
    there, again = (corrected_decay(beta2, steps) for steps in (taken, back))
    assert there == pytest.approx(again, abs=0.5 * (counter + 1) ** -1.5)


def test_a_memory_longer_than_beta2_allows_takes_settled_corrections():
    """AdamW then decays by beta2, the longest it can; and beta2 = 0 has no memory at all."""
    rule = SMMFRule(growth_rate=1.0)
    settled = adamw_counter(rule, 0.999, 10**9)
    assert bias_correction(0.999, settled) == 1.0
    assert adamw_counter(rule, 0.0, 500) == 1
