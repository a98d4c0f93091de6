"""A ranking where there is something to rank, a refusal where there is not; two promises, over 20 seeds each."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from sm3.tune.branches import branches
from sm3.tune.curve import Ceiling, ceiling
from sm3.tune.rank import Ranking, rank
from sm3.tune.refusal import LEAST, Refusal
from sm3.tune.score import target

# The g-function of Saltelli & Sobol' 1995: hyper-parameter j matters less the larger a_j; kinks at 1/2, which no
# polynomial has.
A = np.array([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0])
SEEDS = 20


def g_function(x: np.ndarray, a: np.ndarray = A) -> np.ndarray:
    return np.prod((np.abs(4 * x - 2) + a) / (1 + a), axis=1)


def ranked(made_up, columns, scores, transform: str = "rank", distributions=None, **settings) -> Ranking:
    (branch,) = branches(made_up(columns, np.asarray(scores, dtype=float).tolist(), distributions))
    values = target(branch.outcomes, "lower", transform).values
    return rank(branch.axes, branch.columns(), values, **settings)


def planted(made_up, seed: int, trials: int, noise: float = 0.1, count: int = 8) -> Ranking:
    """The g-function with noise of this share of its standard deviation."""
    rng = np.random.default_rng(seed)
    columns = rng.random((trials, count))
    exact = g_function(columns, A[:count])
    return ranked(made_up, columns, exact + noise * exact.std() * rng.standard_normal(trials))


def noise_alone(made_up, seed: int, trials: int, count: int) -> Ranking:
    rng = np.random.default_rng(seed)
    return ranked(made_up, rng.random((trials, count)), rng.standard_normal(trials))


def order_is_right(found: Ranking, count: int) -> bool:
    return [effect.name for effect in found.effects[:count]] == [f"x{j}" for j in range(count)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pure_noise_is_refused_in_19_of_20_seeds(made_up):
    """200 trials, 8 hyper-parameters, scores that depend on none of them."""
    assert sum(not noise_alone(made_up, seed, 200, 8).ranked for seed in range(SEEDS)) >= 0.95 * SEEDS


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("noise", [0.1, 0.1**0.5])
def test_the_planted_order_is_found_in_19_of_20_seeds(made_up, noise):
    """200 trials of 8 hyper-parameters; noise of 10 % of the standard deviation, and of the variance."""
    assert sum(order_is_right(planted(made_up, seed, 200, noise), 3) for seed in range(SEEDS)) >= 0.95 * SEEDS


@pytest.mark.parametrize("seed", range(4))
def test_noise_from_few_trials_is_refused(made_up, seed):
    """The fewer the trials, the easier a large model is deceived."""
    found = noise_alone(made_up, seed, 30, 5)

    assert [refusal.reason for refusal in found.refusals] == ["q2"]
    assert found.effects == ()
    assert "30 trials do not suffice" in found.refusals[0].text


@pytest.mark.parametrize("seed", range(2))
def test_the_planted_order_is_found(made_up, seed):
    """Four hyper-parameters, 80 trials: the first is surely the first."""
    found = planted(made_up, seed, 80, count=4)

    assert found.ranked
    assert order_is_right(found, 3)
    assert found.effects[0].places == (1, 1)
    assert found.q2_interval[0] >= 0.5


def test_an_exact_polynomial_gives_its_indices(made_up):
    """3 x0 + x1 on the unit square: shares 9/10 and 1/10, no interaction, certain places."""
    columns = np.random.default_rng(0).random((60, 2))
    found = ranked(made_up, columns, 3 * columns[:, 0] + columns[:, 1], "none")

    assert found.q2 == pytest.approx(1.0, abs=1e-9)
    for effect, share in zip(found.effects, (0.9, 0.1), strict=True):
        assert (effect.first, effect.total) == (pytest.approx(share, abs=1e-9), pytest.approx(share, abs=1e-9))
        assert effect.total_interval[0] - 1e-9 <= share <= effect.total_interval[1] + 1e-9
    assert [effect.places for effect in found.effects] == [(1, 1), (2, 2)]


def test_hyper_parameters_that_are_not_told_apart_share_their_places(made_up):
    """4 x0 + x1 + x2, and x3 with nothing: the first and the last are sure, the two between are not."""
    columns = np.random.default_rng(0).random((80, 4))
    found = ranked(made_up, columns, 4 * columns[:, 0] + columns[:, 1] + columns[:, 2], "none")

    places = {effect.name: effect.places for effect in found.effects}
    assert places == {"x0": (1, 1), "x1": (2, 3), "x2": (2, 3), "x3": (4, 4)}


def test_interactions_are_in_the_total_and_not_in_what_one_does_alone(made_up):
    """(2 x0 - 1)(2 x1 - 1): nothing alone, everything together."""
    columns = np.random.default_rng(0).random((80, 3))
    found = ranked(made_up, columns, (2 * columns[:, 0] - 1) * (2 * columns[:, 1] - 1) + 0.01 * columns[:, 2], "none")

    by_name = {effect.name: effect for effect in found.effects}
    assert by_name["x0"].first == pytest.approx(0.0, abs=1e-9)
    assert by_name["x0"].total > 0.99
    assert by_name["x1"].total > 0.99


def test_the_order_of_the_trials_does_not_matter(made_up):
    """A study that ran side by side, and one that ran one by one, say the same."""
    rng = np.random.default_rng(0)
    columns = rng.random((60, 3))
    scores = columns[:, 0] ** 2 + 0.3 * columns[:, 1] + 0.02 * rng.standard_normal(60)
    order = rng.permutation(60)

    one, other = ranked(made_up, columns, scores), ranked(made_up, columns[order], scores[order])
    assert (one.q2, one.q2_interval, one.effects) == (other.q2, other.q2_interval, other.effects)


def test_names_of_choices_and_their_order_do_not_matter(made_up):
    """All contrasts of the choices are in the basis."""
    rng = np.random.default_rng(1)
    columns = np.column_stack([rng.integers(0, 4, 80).astype(float), rng.random(80)])
    scores = np.array([0.0, 3.0, 1.0, 2.0])[columns[:, 0].astype(int)] + 0.5 * columns[:, 1]
    from optuna.distributions import FloatDistribution

    shares = []
    for choices in ((0.0, 1.0, 2.0, 3.0), (2.0, 0.0, 3.0, 1.0)):
        space = [CategoricalDistribution(choices), FloatDistribution(0.0, 1.0)]
        shares.append([effect.total for effect in ranked(made_up, columns, scores, "none", space).effects])
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)


def test_equal_hyper_parameters_are_refused_as_equal(made_up):
    """Well predicted, and yet no order: their intervals share a number."""
    columns = np.random.default_rng(0).random((120, 4))
    found = ranked(made_up, columns, np.abs(columns - 0.4).sum(1), "none")

    assert found.q2_interval[0] > 0.5
    assert [refusal.reason for refusal in found.refusals] == ["overlap"]
    assert "none is surely above another" in found.refusals[0].text
    assert "may matter equally" in found.refusals[0].text


def test_one_hyper_parameter_has_nothing_to_overlap_with(made_up):
    """It is ranked first of one."""
    columns = np.random.default_rng(0).random((40, 1))
    found = ranked(made_up, columns, columns[:, 0] ** 2)

    assert found.ranked
    assert found.effects[0].places == (1, 1)


def test_following_the_number_that_a_refusal_names_leads_to_a_ranking(made_up):
    """It is an extrapolation, so perhaps not at once: within three times, and never with fewer trials."""
    rng = np.random.default_rng(2)
    columns = rng.random((1000, 6))
    exact = g_function(columns, A[:6])
    scores = exact + 0.3 * exact.std() * rng.standard_normal(1000)
    trials = [50]
    while not (found := ranked(made_up, columns[: trials[-1]], scores[: trials[-1]])).ranked:
        (refusal,) = found.refusals
        assert refusal.needed is not None
        assert f"Try about {refusal.needed}." in refusal.text
        trials.append(refusal.needed)

    assert trials == sorted(trials)
    assert 2 <= len(trials) <= 4


def test_what_is_known_to_be_noise_narrows_the_intervals_and_they_still_hold(made_up):
    """3 x0 + x1 with 20 % of noise: the function's shares are 9/10 and 1/10, whatever the noise."""
    rng = np.random.default_rng(0)
    columns = rng.random((80, 2))
    exact = 3 * columns[:, 0] + columns[:, 1]
    spread = 0.5 * exact.std()  # a fifth of the variance of both together
    first, second = (exact + spread * rng.standard_normal(80) for _ in range(2))
    known = ranked(made_up, columns, first, "none", ceiling=ceiling(first[:40], second[:40], first))
    unknown = ranked(made_up, columns, first, "none")

    for one, other, share in zip(known.effects, unknown.effects, (0.9, 0.1), strict=True):
        assert one.total_interval[0] == other.total_interval[0] <= share
        assert share <= one.total_interval[1] < other.total_interval[1]


def test_noise_that_no_number_of_trials_would_cure_is_named(made_up):
    """Repeats have shown that two runs of the same settings differ as much as any two."""
    rng = np.random.default_rng(0)
    found = ranked(made_up, rng.random((40, 3)), rng.random(40), ceiling=Ceiling(0.1, (-0.2, 0.4), 20))

    assert "90 % of the variance" in found.refusals[0].text
    assert "average several seeds" in found.refusals[0].text
    assert found.refusals[0].needed is None


@pytest.mark.parametrize(
    ("trials", "count", "scores", "told"),
    [(LEAST - 1, 2, None, f"at least {LEAST}"), (30, 2, 1.0, "same score"), (30, 0, None, "more than one value")],
)
def test_what_cannot_be_fitted_is_refused_at_once(made_up, trials, count, scores, told):
    """Too few trials, one score for all, nothing that varies."""
    rng = np.random.default_rng(0)
    values = rng.random(trials) if scores is None else np.full(trials, scores)
    found = rank(
        branches(made_up(rng.random((trials, max(count, 1))), values.tolist()))[0].axes[:count],
        rng.random((trials, count)),
        values,
    )

    assert told in found.refusals[0].text
    assert np.isnan(found.q2)


def test_a_refusal_known_before_is_kept_and_nothing_is_fitted(made_up):
    """Trials of a guided search."""
    found = noise_alone(made_up, 0, 40, 2)
    refused = ranked(
        made_up, np.random.default_rng(0).random((40, 2)), np.arange(40.0), refusals=[Refusal("sampled", "guided")]
    )

    assert found.model is not None
    assert (refused.model, [refusal.text for refusal in refused.refusals]) == (None, ["guided"])
