"""Somebody else's study: SQLite or journal, every way a trial can end, and every way a storage can be wrong."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sm3.errors import InputError
from sm3.tune.outcomes import load, read


def fill(study: optuna.Study) -> None:
    """A trial of each ending, and two that have not ended."""
    for number, ending in enumerate([1.5, math.inf, "pruned", "failed", -math.inf]):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        if ending == "pruned":
            trial.report(9.0, step=1)
            study.tell(trial, state=TrialState.PRUNED)
        elif ending == "failed":
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, ending)
        assert trial.number == number
    study.ask()
    study.enqueue_trial({"x": 0.5})


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_both_kinds_of_file_are_read(tmp_path, kind):
    """Told apart by content, whatever they are called."""
    path = tmp_path / "anything.dat"
    storage = RDBStorage(f"sqlite:///{path}") if kind == "sqlite" else JournalStorage(JournalFileBackend(str(path)))
    fill(optuna.create_study(study_name="mine", storage=storage, direction="maximize"))

    found = read(load(str(path)))
    assert (found.study, found.better, found.unended, found.space) == ("mine", "higher", 2, None)
    assert [outcome.ending for outcome in found.first] == ["finished", "inf", "pruned", "failed", "-inf"]
    assert [outcome.score for outcome in found.first] == [1.5, None, None, None, None]


def test_a_url_is_read(tmp_path):
    """As Optuna takes it."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    fill(optuna.create_study(study_name="mine", storage=url))

    assert len(read(load(url)).first) == 5


def test_several_studies_need_a_name(tmp_path):
    """The message lists them."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    for name in ("one", "two"):
        fill(optuna.create_study(study_name=name, storage=url))

    with pytest.raises(InputError, match="one, two"):
        load(str(tmp_path / "s.db"))
    with pytest.raises(InputError, match="no study 'three'"):
        load(str(tmp_path / "s.db"), "three")
    assert load(str(tmp_path / "s.db"), "two").study_name == "two"


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\0garbage", b"not a journal\n"])
def test_what_is_no_storage_is_named(tmp_path, content):
    """Missing, empty, damaged, something else."""
    path = tmp_path / "study.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="no study to rank"):
        load(str(path))


def test_several_objectives_are_refused():
    """A ranking is about one number."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=2)
    with pytest.raises(InputError, match="2 objectives"):
        read(study)


def test_a_study_without_ended_trials_is_refused():
    """There is nothing to rank."""
    study = optuna.create_study()
    study.ask()
    with pytest.raises(InputError, match="none of which has ended"):
        read(study)
