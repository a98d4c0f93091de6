"""An Optuna distribution as an input of a polynomial: its coordinate and its prior are those Optuna draws from."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sm3.tune.axes import MOST_POINTS, axis_of

SPACES = {
    "float": FloatDistribution(-2.0, 3.0),
    "log": FloatDistribution(1e-5, 1e-1, log=True),
    "step": FloatDistribution(0.0, 1.0, step=0.25),
    "int": IntDistribution(2, 7),
    "int step": IntDistribution(0, 30, step=10),
    "int log": IntDistribution(1, 40, log=True),
    "many": IntDistribution(1, 1000),
    "many log": IntDistribution(1, 1000, log=True),
    "choice": CategoricalDistribution(("a", "b", None)),
    "bool": CategoricalDistribution((False, True)),
}
DRAWS = 2000


@pytest.fixture(scope="module")
def drawn() -> dict[str, list]:
    """What Optuna's own random sampler draws."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    trials = [study.ask(SPACES) for _ in range(DRAWS)]
    return {name: [trial.params[name] for trial in trials] for name in SPACES}


@pytest.mark.parametrize("name", SPACES)
def test_the_prior_is_what_optuna_draws_from(name, drawn):
    """The distribution of 2000 draws, as coordinates, lies within the Dvoretzky-Kiefer-Wolfowitz band of ours."""
    axis = axis_of(name, SPACES[name])
    coordinates = axis.coordinate(drawn[name])
    # P(sup |F_n - F| > eps) <= 2 exp(-2 n eps^2) = 1e-6
    band = math.sqrt(math.log(2e6) / (2 * DRAWS))
    if axis.points is not None:
        grid, ours = axis.points, np.cumsum(axis.probabilities)
        assert set(np.round(coordinates, 9)) <= set(np.round(axis.points, 9))
    else:
        grid = np.linspace(*axis.input, 101)
        ours = axis.distribution(grid)
        # a long range of whole numbers is taken as continuous: one step of the grid is the price
        band += 0 if name in ("float", "log") else 0.06
    found = (coordinates[:, None] <= grid + 1e-9).mean(0)

    assert np.abs(found - ours).max() < band


@pytest.mark.parametrize(
    "distribution", [FloatDistribution(1.0, 1.0), IntDistribution(3, 3), CategoricalDistribution(("only",))]
)
def test_a_single_value_is_no_axis(distribution):
    """Nothing can depend on it."""
    assert axis_of("x", distribution) is None


def test_choices_that_are_equal_in_python_stay_apart():
    """1, 1.0 and True are one key of a dict, and three choices of an optimizer."""
    axis = axis_of("x", CategoricalDistribution((1, 1.0, True, "1", None)))

    assert axis.coordinate([True, 1.0, 1, None, "1"]).tolist() == [2, 1, 0, 4, 3]


def test_long_grids_are_taken_as_continuous():
    """Their ends are those that rounding draws from."""
    assert axis_of("n", IntDistribution(1, MOST_POINTS)).points is not None
    assert axis_of("n", IntDistribution(1, MOST_POINTS + 1)).input == (0.5, MOST_POINTS + 1.5)
