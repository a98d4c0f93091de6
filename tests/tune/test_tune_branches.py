"""Trials by the hyper-parameters they have."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sm3.errors import InputError
from sm3.tune.branches import MOST_BRANCHES, branches
from sm3.tune.outcomes import read


def conditional(count: int = 120, seed: int = 0):
    """A study in which `momentum` is there for sgd, `beta` for adam and lion."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    def objective(trial):
        kind = trial.suggest_categorical("kind", ("adam", "lion", "sgd"))
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        return lr + (trial.suggest_float("momentum", 0, 1) if kind == "sgd" else trial.suggest_float("beta", 0, 1))

    study.optimize(objective, n_trials=count)
    return read(study).first


def test_one_set_of_hyper_parameters_is_one_branch_without_a_label(made_up):
    """The usual case."""
    (branch,) = branches(made_up(np.random.default_rng(0).random((9, 2)), [0.0] * 9))

    assert (branch.label, [axis.name for axis in branch.axes], branch.columns().shape) == ("", ["x0", "x1"], (9, 2))


def test_a_conditional_space_falls_into_its_branches():
    """The larger first; a choice keeps the values that lead there, and is no axis where one is left."""
    large, small = branches(conditional())

    assert (large.label, small.label) == ("kind = adam or lion", "kind = sgd")
    assert [axis.name for axis in large.axes] == ["beta", "kind", "lr"]
    assert [axis.name for axis in small.axes] == ["lr", "momentum"]
    kind = large.axes[1]
    assert kind.points.tolist() == [0, 1]
    assert kind.probabilities.tolist() == [0.5, 0.5]
    assert len(large.outcomes) + len(small.outcomes) == 120


def test_trials_that_broke_off_between_two_draws_are_a_branch_of_their_own():
    """They are not lost: their number is told."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(30):
        trial = study.ask()
        trial.suggest_float("a", 0, 1)
        if number % 10 == 0:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, trial.suggest_float("b", 0, 1))
    whole, broken = branches(read(study).first)

    assert (len(whole.outcomes), len(broken.outcomes)) == (27, 3)
    assert (whole.label, broken.label) == ("with a, b", "with a")


def test_ranges_that_were_changed_during_the_study_are_told_apart(made_up):
    """Indices refer to a range; there are two."""
    draws = np.random.default_rng(0).random((20, 1))
    wide, narrow = [FloatDistribution(0.0, 1.0)], [FloatDistribution(0.0, 0.5)]
    found = branches(made_up(draws, [0.0] * 20, wide) + made_up(draws[:5] / 2, [0.0] * 5, narrow))

    assert [branch.label for branch in found] == ["x0 from 0 to 1", "x0 from 0 to 0.5"]


def test_a_constant_is_told_and_is_no_axis(made_up):
    """A range with one value."""
    columns = np.column_stack([np.random.default_rng(0).random(5), np.full(5, 3.0)])
    (branch,) = branches(made_up(columns, [0.0] * 5, [FloatDistribution(0.0, 1.0), IntDistribution(3, 3)]))

    assert branch.constant == ("x1",)
    assert [axis.name for axis in branch.axes] == ["x0"]


def test_ranges_that_move_from_trial_to_trial_are_refused(made_up):
    """`suggest_float("b", 0, a)` has another range in each trial."""
    outcomes = [
        made_up(np.array([[0.0]]), [0.0], [FloatDistribution(0.0, 1.0 + number)])[0]
        for number in range(MOST_BRANCHES + 1)
    ]
    with pytest.raises(InputError, match="depends on no other"):
        branches(outcomes)


def test_without_hyper_parameters_there_is_no_axis():
    """A study of trials that drew nothing."""
    study = optuna.create_study()
    study.optimize(lambda trial: 1.0, n_trials=3)
    (branch,) = branches(read(study).first)

    assert branch.axes == ()
    assert branch.columns().shape == (3, 0)


def test_a_choice_in_a_branch_keeps_its_own_chances():
    """Three of five choices lead there: a third each."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial):
        k = trial.suggest_categorical("k", ("a", "b", "c", "d", "e"))
        return trial.suggest_float("x", 0, 1) if k in "ace" else 0.0

    study.optimize(objective, n_trials=100)
    large, _ = branches(read(study).first)

    assert large.axes[0].probabilities.tolist() == pytest.approx([1 / 3] * 3)
    assert large.axes[0].coordinate(["a", "c", "e"]).tolist() == [0, 2, 4]
    assert CategoricalDistribution(("a", "b")).choices == ("a", "b")
