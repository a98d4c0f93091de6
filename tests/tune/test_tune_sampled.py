"""Independent draws and Sobol' sequences pass; grids, guided searches and ranges that were cut do not."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GridSampler, QMCSampler, RandomSampler, TPESampler

from sm3.tune.branches import branches
from sm3.tune.outcomes import read
from sm3.tune.sampled import deviations, guided
from sm3.tune.score import target

SPACE = {f"x{j}": FloatDistribution(0.0, 1.0) for j in range(3)}
SPACE |= {"n": IntDistribution(1, 6), "c": CategoricalDistribution(("a", "b", "c"))}


def found(sampler, count: int):
    """Deviations and marks of a study with this sampler."""
    study = optuna.create_study(sampler=sampler)

    def objective(trial):
        draws = [trial.suggest_float(f"x{j}", 0.0, 1.0) for j in range(3)]
        n, c = trial.suggest_int("n", 1, 6), trial.suggest_categorical("c", ("a", "b", "c"))
        return sum((x - 0.3) ** 2 for x in draws) + 0.1 * n + (c == "a")

    study.optimize(objective, n_trials=count)
    outcomes = read(study)
    (branch,) = branches(outcomes.first)
    values = target(branch.outcomes, "lower").values
    return deviations(branch.axes, branch.columns(), values), guided(outcomes.marks)


@pytest.mark.parametrize("seed", range(10))
def test_independent_draws_pass(seed):
    """At a level of one study in a thousand, ten of ten do."""
    assert found(RandomSampler(seed=seed), 60) == ([], [])


def test_a_sobol_sequence_of_optuna_passes():
    """More even than chance, which is no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        sampler = QMCSampler(seed=1, scramble=True)
    assert found(sampler, 64) == ([], [])


@pytest.mark.parametrize("seed", range(3))
def test_a_guided_search_is_found_by_its_trials_and_by_its_marks(seed):
    """TPE, 100 trials: the tests do not need the marks, which other versions of Optuna do not leave."""
    signs, marks = found(TPESampler(seed=seed), 100)

    assert signs
    assert marks == ["tpe"]


def test_a_grid_is_not_taken_for_draws():
    """Three values of a continuous range say nothing about what lies between."""
    grid = {f"x{j}": [0.0, 0.5, 1.0] for j in range(3)} | {"n": [1, 6], "c": ["a", "b", "c"]}
    signs, _ = found(GridSampler(grid, seed=0), 100)

    assert any("not spread over its range" in sign.text for sign in signs)


def uniform(count: int, dimension: int, seed: int = 0):
    return np.random.default_rng(seed).random((count, dimension))


def judged(made_up, columns, scores, distributions=None):
    (branch,) = branches(made_up(columns, list(scores), distributions))
    return [sign.text for sign in deviations(branch.axes, branch.columns(), np.asarray(scores, dtype=float))]


def test_a_range_that_was_cut_is_found(made_up):
    """What `if lr > 0.5` does to the branch behind it."""
    columns = uniform(100, 2)
    columns[:, 0] = 0.5 + 0.5 * columns[:, 0]

    assert judged(made_up, columns, uniform(100, 1, 1)[:, 0]) == ["x0 is not spread over its range"]


def test_hyper_parameters_that_move_together_are_found(made_up):
    """A joint distribution with uniform margins."""
    columns = uniform(100, 2)
    columns[:, 1] = columns[:, 0]

    assert judged(made_up, columns, uniform(100, 1, 1)[:, 0]) == ["x0 and x1 move together"]


def test_scores_that_improve_with_time_are_found(made_up):
    """Margins alone would not show it."""
    columns = uniform(100, 2)

    assert judged(made_up, columns, np.linspace(1, 0, 100)) == ["the score depends on when a trial ran"]


def test_a_choice_that_is_preferred_is_found(made_up):
    """60 of 100 where a quarter is expected: an exact binomial test."""
    columns = np.array([[0.0]] * 60 + [[1.0]] * 14 + [[2.0]] * 13 + [[3.0]] * 13)
    rng = np.random.default_rng(0)
    rng.shuffle(columns)

    distribution = [CategoricalDistribution((0.0, 1.0, 2.0, 3.0))]
    assert judged(made_up, columns, rng.random(100), distribution) == ["x0 is not spread over its range"]


def test_marks_of_unguided_samplers_are_none():
    """Sobol' sequences and enqueued trials leave words too."""
    assert guided(["qmc", "fixed_params"]) == []
    assert guided(["cma", "NSGAIISampler", "gp"]) == ["cma", "NSGAIISampler", "gp"]
