"""The settings of row i are decided by sampler, seed and i alone."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.tune.draws import settings, uniform
from sm3.tune.space import parse

TEXT = """
function = "m:f"
sampler = "{sampler}"
seed = {seed}
[parameters]
a = {{ kind = "float", low = 0.0, high = 1.0 }}
b = {{ kind = "categorical", choices = ["x", "y", "z"] }}
c = {{ kind = "int", low = 1, high = 8, when = {{ b = ["x", "y"] }} }}
"""


def space(sampler: str, seed: int = 0):
    return parse(TEXT.format(sampler=sampler, seed=seed))


@pytest.mark.parametrize("sampler", ["random", "sobol"])
@pytest.mark.parametrize("count", [1, 2, 3, 17, 64])
def test_a_longer_search_begins_with_the_rows_of_a_shorter_one(sampler, count):
    """So that trials can be added later, and a stopped study goes on."""
    assert settings(space(sampler), 100)[:count] == settings(space(sampler), count)


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_another_seed_gives_other_rows(sampler):
    """Seed 0 is a seed like any other."""
    assert settings(space(sampler, 0), 8) == settings(space(sampler, 0), 8)
    assert settings(space(sampler, 0), 8) != settings(space(sampler, 1), 8)


def test_a_sobol_sequence_is_more_even_than_independent_draws():
    """Its first 2^k points have one coordinate in each interval of length 2^-k: the defining property."""
    points = uniform(space("sobol"), 3, 64)

    for column in points.T:
        assert sorted(np.floor(64 * column)) == list(range(64))
    independent = uniform(space("random"), 3, 64)
    assert sorted(np.floor(64 * independent[:, 0])) != list(range(64))


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_draws_lie_in_the_half_open_interval(sampler):
    """1.0 would be one choice too many."""
    points = uniform(space(sampler), 5, 1000)

    assert points.shape == (1000, 5)
    assert points.min() >= 0
    assert points.max() < 1
