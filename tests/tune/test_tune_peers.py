"""Optuna's figures on the trials of a branch: the same as Optuna's own on the same study."""

from __future__ import annotations

import warnings

import optuna
import pytest

from sm3.tune.branches import branches
from sm3.tune.outcomes import read
from sm3.tune.peers import importances


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_shares_are_those_optuna_gives_to_the_study(direction):
    """PED-ANOVA depends on the direction; both must arrive."""
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0, 1) ** 2 + 0.1 * t.suggest_float("y", 0, 1), n_trials=60)
    outcomes = read(study)
    (branch,) = branches(outcomes.first)
    found = importances(branch, outcomes.better)

    for peer, evaluator in (
        ("fANOVA", optuna.importance.FanovaImportanceEvaluator(seed=0)),
        ("PED-ANOVA", optuna.importance.PedAnovaImportanceEvaluator()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = optuna.importance.get_param_importances(study, evaluator=evaluator, params=["x", "y"])
        assert found[peer] == pytest.approx(theirs, rel=1e-12)
    assert sum(found["fANOVA"].values()) == pytest.approx(1.0)


def test_too_few_finished_trials_give_no_figures():
    """A tenth of twelve trials is one."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=12)
    outcomes = read(study)

    assert importances(branches(outcomes.first)[0], "lower") == {}


def test_the_study_of_the_user_is_not_touched():
    """The branch is copied."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=30)
    before = [trial.number for trial in study.trials]
    importances(branches(read(study).first)[0], "lower")

    assert [trial.number for trial in study.trials] == before
