"""How many trials would do, and what noise leaves."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.tune.curve import FARTHEST, Point, ceiling, needed, round_up


def curve(function, sizes=(20, 40, 80)):
    return [Point(n, function(n), 0.0, 0.0) for n in sizes]


def test_a_power_law_is_extrapolated_to_where_it_reaches_the_limit():
    """1 - Q2 = 8 / sqrt(n) is 1/2 at n = 256, which is 0.8 of 320."""
    number = needed(curve(lambda n: 1 - 8 / n**0.5, (80, 160, 240)), 300, 0.0, 0.5)

    assert number in (320, 330)  # rounded up to two digits


def test_a_wide_interval_takes_more_trials():
    """Its half width falls as a root."""
    points = curve(lambda n: 1 - 8 / n**0.5, (80, 160, 240))

    assert needed(points, 300, 0.05, 0.5) > needed(points, 300, 0.0, 0.5)


def test_noise_that_stays_takes_more_trials_or_forbids_it():
    """The part that is noise does not fall."""
    free = needed(curve(lambda n: 1 - 8 / n**0.5, (80, 160, 240)), 300, 0.0, 0.5)
    noisy = curve(lambda n: 1 - 0.3 - 8 / n**0.5, (200, 400, 800))

    assert needed(noisy, 1000, 0.0, 0.5, noise=0.3) > free
    assert needed(curve(lambda n: 0.3 - 1 / n, (20, 40, 80)), 100, 0.0, 0.5, noise=0.6) is None


@pytest.mark.parametrize(
    "function",
    [lambda n: -1 / n, lambda n: -0.5 + n / 1000, lambda n: 0.2, lambda n: 0.3 - n / 1000, lambda n: 0.05 + n / 1e5],
)
def test_a_curve_that_does_not_rise_names_no_number(function):
    """No better than the mean, flat, falling, or so slow that the answer would be beyond 50 times the trials."""
    assert needed(curve(function), 100, 0.05, 0.5) is None


def test_no_number_is_farther_than_it_can_be_seen():
    """And none is smaller than what there is."""
    for exponent in (0.2, 0.3, 0.5, 1.0):
        number = needed(curve(lambda n, e=exponent: 1 - 0.7 * (20 / n) ** e), 100, 0.1, 0.5)
        assert number is None or 100 <= number <= round_up(100 * FARTHEST)


def test_the_ceiling_is_one_without_noise_and_falls_with_it():
    """Pairs that agree; pairs that differ as any two trials do."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(4000)
    exact = ceiling(values[:500], values[:500], values)
    none = ceiling(values[:500], values[500:1000], values)

    assert exact.q2 == 1.0
    # half the squared difference of independent values has mean 1 and standard error sqrt(2 / 500) = 0.063
    assert none.q2 == pytest.approx(0.0, abs=4 * 0.063)
    assert none.interval[0] < none.q2 < none.interval[1]


def test_the_interval_of_the_ceiling_covers():
    """Noise of 0.5 of the variance, 10 pairs: 95 % of the intervals hold 0.5."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        signal = rng.standard_normal(10)
        first, second = (signal + rng.standard_normal(10) for _ in range(2))
        found = ceiling(first, second, np.array([-(2**0.5), 2**0.5]))  # the variance, 2, is taken as known
        held += found.interval[0] <= 0.5 <= found.interval[1]
    # binomial: 380 +- 4.4, four standard deviations
    assert abs(held - 380) < 18


def test_few_pairs_say_nothing_about_noise():
    """Four are not enough, and a target that does not vary has no noise share."""
    assert ceiling(np.zeros(4), np.ones(4), np.arange(5.0)) is None
    assert ceiling(np.zeros(9), np.ones(9), np.ones(5)) is None
