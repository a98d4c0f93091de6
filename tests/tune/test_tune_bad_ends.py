"""Trials that ended badly: counted with their reasons, and told apart by hyper-parameters where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sm3.tune.bad_ends import sentence, signs, told
from sm3.tune.branches import branches
from sm3.tune.score import target

SPACE = [FloatDistribution(1e-4, 1.0, log=True), FloatDistribution(0.0, 1.0), CategoricalDistribution((0.0, 1.0, 2.0))]


def trials(made_up, ends_badly, count: int = 100, seed: int = 0):
    """A branch and its target; `ends_badly(lr, x, k)` says which trials have no score."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([10 ** (-4 * rng.random(count)), rng.random(count), rng.integers(0, 3, count)])
    scores = [None if ends_badly(*row) else float(rng.random()) for row in columns.tolist()]
    outcomes = made_up(columns, scores, SPACE, ["lr", "x", "k"])
    (branch,) = branches(outcomes)
    return branch, target(branch.outcomes, "lower")


def test_a_limit_on_a_range_is_found(made_up):
    """A learning rate above 0.1 diverges: a quarter of the trials."""
    branch, scored = trials(made_up, lambda lr, x, k: lr > 0.1)
    found = signs(branch, scored)

    assert [sign.name for sign in found] == ["lr"]
    assert "lr higher" in told(found, scored)
    assert sentence(scored).startswith(f"{scored.bad.sum()} of 100 trials ended badly ({scored.bad.sum()} nan)")


def test_a_choice_that_fails_is_found(made_up):
    """With its share of bad ends and that of the others."""
    branch, scored = trials(made_up, lambda lr, x, k: k == 2)
    found = signs(branch, scored)

    assert [sign.name for sign in found] == ["k"]
    assert "k = 2.0: 100 % end badly, of the others 0 %" in told(found, scored)


@pytest.mark.parametrize("seed", range(5))
def test_bad_ends_by_chance_have_no_reason(made_up, seed):
    """At 1 % over all hyper-parameters, five of five seeds find none."""
    rng = np.random.default_rng(100 + seed)
    branch, scored = trials(made_up, lambda lr, x, k: rng.random() < 0.2, seed=seed)

    assert signs(branch, scored) == []
    assert "cannot be told" in told([], scored)


def test_two_bad_ends_are_too_few_to_tell(made_up):
    """And none at all is no sentence."""
    count = iter(range(100))
    branch, scored = trials(made_up, lambda lr, x, k: next(count) < 2)

    assert signs(branch, scored) == []
    branch, scored = trials(made_up, lambda lr, x, k: False)
    assert (sentence(scored), told(signs(branch, scored), scored)) == ("", "")


def test_all_bad_is_counted_and_not_explained(made_up):
    """There are no others to differ from."""
    branch, scored = trials(made_up, lambda lr, x, k: True)

    assert signs(branch, scored) == []
    assert sentence(scored).startswith("100 of 100")
