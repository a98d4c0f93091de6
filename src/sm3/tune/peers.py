"""fANOVA and PED-ANOVA of Optuna on the same trials, to be shown beside ours. They answer other questions:

    fANOVA      Hutter, Hoos & Leyton-Brown 2014: parts of the variance of a random forest, first order only. It has no
                interval, and no word about how well the forest predicts.
    PED-ANOVA   Watanabe, Bansal & Hutter 2023: how much the density of the best tenth differs from that of all. Not a
                part of the variance: what it takes to be among the best, not what moves the score.
Both leave trials that ended badly out, as Optuna does. Shares of each column add up to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sm3.extras import require
from sm3.tune.branches import Branch

if TYPE_CHECKING:
    from optuna import Study

FANOVA, PED_ANOVA = NAMES = ("fANOVA", "PED-ANOVA")
LEAST = 20  # finished trials: a tenth of fewer is one trial


def importances(branch: Branch, better: str, seed: int = 0) -> dict[str, dict[str, float]]:
    """Peer -> hyper-parameter -> share; empty where too few trials have finished."""
    study = _study(branch, better)
    if len(study.trials) < LEAST or not branch.axes:
        return {}
    package: Any = require("optuna.importance")
    evaluators = {
        FANOVA: package.FanovaImportanceEvaluator(seed=seed),
        PED_ANOVA: package.PedAnovaImportanceEvaluator(),
    }
    names = [axis.name for axis in branch.axes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about their own settings, which are not the user's
        found = {
            peer: package.get_param_importances(study, evaluator=evaluator, params=names)
            for peer, evaluator in evaluators.items()
        }
    return {peer: _plain(shares) for peer, shares in found.items()}


def _plain(shares: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(share) for name, share in shares.items()}


def _study(branch: Branch, better: str) -> Study:
    """The finished trials of the branch as a study of their own, in memory."""
    optuna = require("optuna")
    study: Study = optuna.create_study(
        storage=require("optuna.storages").InMemoryStorage(),
        direction="minimize" if better == "lower" else "maximize",
    )
    study.add_trials(
        optuna.trial.create_trial(
            value=outcome.score, params=dict(outcome.settings), distributions=dict(outcome.distributions)
        )
        for outcome in branch.outcomes
        if outcome.score is not None
    )
    return study
