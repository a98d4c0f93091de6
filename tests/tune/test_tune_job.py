"""From a study to verdicts: each branch on its own, bad ends as a question of their own, guided searches refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import optuna
import pytest

from sm3.errors import SettingError
from sm3.tune import job as jobs
from sm3.tune import page, report
from sm3.tune.job import Job, Result
from sm3.tune.outcomes import read
from sm3.tune.space import parse
from sm3.tune.trials import Watch


def judged(objective, count: int, sampler=None, **settings) -> Result:
    """The verdicts on an Optuna study in memory."""
    study = optuna.create_study(study_name="mine", sampler=sampler or optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=count, catch=(ArithmeticError,))
    return jobs.judge(Job(study="memory", **settings), read(study))


def valley(trial) -> float:
    """The learning rate matters, dropout a little; above 0.3 it diverges."""
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    if lr > 0.3:
        raise ArithmeticError("diverged")
    return (math.log10(lr) + 2) ** 2 + dropout


@pytest.fixture(scope="module")
def result() -> Result:
    return judged(valley, 80)


def test_the_learning_rate_comes_first_and_bad_ends_are_told(result):
    """With a place, a count and a reason."""
    (verdict,) = result.verdicts
    text = " ".join(report.sentences(result, verdict))

    assert [effect.name for effect in verdict.ranking.effects] == ["lr", "dropout"]
    assert verdict.ranking.effects[0].places == (1, 1)
    bad = sum(outcome.score is None for outcome in result.outcomes.first)
    assert bad > 3
    assert f"{bad} of 80 trials ended badly ({bad} failed)" in text
    assert "Bad ends have lr higher" in text
    assert "lr matters most" in report.headline(result)


def test_what_decides_whether_a_trial_ends_badly_is_a_ranking_of_its_own():
    """A polynomial through zeros and ones, where there are ten of each and it predicts them."""

    def objective(trial):
        lr, other = trial.suggest_float("lr", 0.0, 1.0), trial.suggest_float("other", 0.0, 1.0)
        return math.inf if lr > 0.5 else other

    found = judged(objective, 80)
    (verdict,) = found.verdicts

    assert verdict.bad_ranking is not None
    assert verdict.bad_ranking.effects[0].name == "lr"
    assert "Whether a trial ends badly" in " ".join(report.sentences(found, verdict))


def test_failed_trials_can_be_left_out_and_their_number_is_told():
    """A study whose machines failed, not its settings."""
    found = judged(valley, 80, failed="out")
    (verdict,) = found.verdicts
    bad = found.left_out

    assert bad > 3
    assert len(verdict.branch.outcomes) == 80 - bad
    assert f"Left out, as asked: {bad} failed or pruned trials." in report.sentences(found, verdict)


def test_a_guided_search_is_refused_and_optunas_own_figures_are_shown_as_what_they_are(capsys):
    """TPE trials: no index, no place, and no page that looks like a ranking."""
    found = judged(
        lambda t: (t.suggest_float("x", 0, 1) - 0.3) ** 2 + t.suggest_float("y", 0, 1),
        60,
        optuna.samplers.TPESampler(seed=0),
    )
    (verdict,) = found.verdicts
    report.show(found)
    shown = capsys.readouterr().out

    assert [refusal.reason for refusal in verdict.ranking.refusals] == ["sampled"]
    assert verdict.ranking.effects == ()
    assert "guided sampler (tpe)" in " ".join(report.sentences(found, verdict))
    assert "No ranking." in shown
    assert "without an interval" in shown
    assert "% of variance" not in shown


def test_a_conditional_space_is_judged_branch_by_branch(capsys):
    """Indices are defined where the same hyper-parameters exist."""

    def objective(trial):
        kind = trial.suggest_categorical("kind", ("adam", "sgd"))
        lr = trial.suggest_float("lr", 0.0, 1.0)
        if kind == "sgd":
            return lr**2 + 0.01 * trial.suggest_float("momentum", 0.0, 1.0)
        return 0.01 * lr + trial.suggest_float("beta", 0.0, 1.0) ** 2

    found = judged(objective, 90)
    by_label = {verdict.branch.label: verdict for verdict in found.verdicts}
    report.show(found)

    assert set(by_label) == {"kind = adam", "kind = sgd"}
    assert by_label["kind = sgd"].ranking.effects[0].name == "lr"
    assert by_label["kind = adam"].ranking.effects[0].name == "beta"
    assert "kind = sgd: lr matters most" in capsys.readouterr().out


def test_a_range_cut_by_a_condition_is_refused_in_its_branch():
    """`if lr > 0.5` leaves half of the range: no box, no indices."""

    def objective(trial):
        lr = trial.suggest_float("lr", 0.0, 1.0)
        return lr + (trial.suggest_float("warmup", 0.0, 1.0) if lr > 0.5 else 0.0)

    found = judged(objective, 100)

    assert all(verdict.ranking.refusals[0].reason == "sampled" for verdict in found.verdicts)
    assert all("lr is not spread over its range" in verdict.ranking.refusals[0].text for verdict in found.verdicts)


def test_the_data_are_plain_json_whatever_happened(result):
    """No NaN in it; a refusal has no effects."""
    data = json.loads(json.dumps(report.as_data(result), allow_nan=False))
    refused = report.as_data(judged(valley, 10))

    (branch,) = data["branches"]
    assert (data["kind"], data["trials"], branch["ranked"]) == ("tune", 80, True)
    assert branch["effects"][0]["name"] == "lr"
    assert set(branch["peers"]) == {"fANOVA", "PED-ANOVA"}
    json.dumps(refused, allow_nan=False)
    assert refused["branches"][0]["q2"] is None
    assert refused["branches"][0]["effects"] == []
    assert refused["branches"][0]["refusals"][0]["needed"] == 20


def test_the_page_needs_nothing_else_and_escapes_everything():
    """No script, no request, no text of the user as markup; ids are unique over all figures."""

    def objective(trial):
        first = trial.suggest_float("<b>lr</b>", 0.0, 1.0)
        return first + 0.1 * trial.suggest_categorical("k", (0, 1))

    text = page.page(judged(objective, 40))
    ids = re.findall(r'\bid="([^"]+)"', text)

    assert "<b>lr</b>" not in text
    assert "&lt;b&gt;lr&lt;/b&gt;" in text
    assert not re.search(r"<script|https?://|src=|@import", text)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 3


def test_the_page_of_a_refusal_has_no_ranking_in_it():
    """Only the curve, where there is one, and the reason."""
    import numpy as np

    rng = np.random.default_rng(0)
    text = page.page(judged(lambda t: t.suggest_float("x", 0, 1) * 0 + float(rng.random()), 40))

    assert "<table" not in text
    assert "40 trials do not suffice" in text
    assert text.count("<svg") == 1


SPACE = """
function = "{function}"
trials = 40
repeats = 12
[parameters]
x = {{ kind = "float", low = 0.0, high = 1.0 }}
k = {{ kind = "categorical", choices = ["a", "b"] }}
"""


@pytest.fixture
def noisy(job, tmp_path) -> Job:
    name = job("""
        noise = np.random.default_rng(settings["seed"]).standard_normal()
        return settings["x"] + 0.2 * (settings["k"] == "b") + 0.1 * noise
    """)
    return Job(space=parse(SPACE.format(function=name)), output=tmp_path / "out", options=["space.toml"])


def test_repeats_measure_the_noise_and_are_not_fitted(noisy):
    """Standard deviation 0.1 beside 0.31 of the signal: about a tenth of the variance of the scores."""
    outcomes = jobs.run(noisy, Watch())
    found = jobs.judge(noisy, outcomes)
    (verdict,) = found.verdicts

    assert verdict.ranking.trials == 40
    assert verdict.ranking.ceiling.pairs == 12
    assert verdict.ranking.ceiling.interval[0] < 0.91 < verdict.ranking.ceiling.interval[1]
    assert "Noise of single runs leaves" in " ".join(report.sentences(found, verdict))


def test_the_files_are_written_whole(noisy):
    """The page, and the data that the command prints with --json."""
    files = page.write(jobs.judge(noisy, jobs.run(noisy, Watch())))

    assert files["page"].read_text().startswith("<!doctype html>")
    assert json.loads(files["data"].read_text())["repeats"] == 12
    assert not list(files["page"].parent.glob(".tune*"))


def test_fresh_discards_our_files_and_nothing_else(noisy):
    """A user's file in the folder survives, trials begin again."""
    from dataclasses import replace

    jobs.run(noisy, Watch())
    (noisy.folder / "notes.txt").write_text("mine")
    again = jobs.run(replace(noisy, fresh=True), Watch())

    assert (noisy.folder / "notes.txt").read_text() == "mine"
    assert min(outcome.number for outcome in again.first) == 0


def test_every_space_has_a_folder_of_its_own():
    """And the same space the same one, however many trials are asked for."""
    text = SPACE.format(function="m:f")
    folder = Job(space=parse(text)).folder

    assert folder.parts[0] == "runs"
    assert Job(space=parse(text.replace("trials = 40", "trials = 80"))).folder == folder
    assert Job(space=parse(text.replace("high = 1.0", "high = 2.0"))).folder != folder
    assert Job(study="a.db").folder != Job(study="b.db").folder


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file stands in its place."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(SettingError, match="taken"):
        jobs.run(Job(space=parse(SPACE.format(function="m:f")), output=tmp_path / "taken"), Watch())
    with pytest.raises(SettingError, match="taken"):
        jobs.write(Path(tmp_path / "taken"), "x.txt", "text")
