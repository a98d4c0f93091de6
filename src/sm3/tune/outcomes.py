"""The ended trials of an Optuna study, ours or somebody else's, as the ranking reads them. Nothing is left out.

A score that is not finite, a trial that failed, and a trial that was pruned are all bad ends, and keep their reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sm3.errors import InputError, explain
from sm3.extras import require
from sm3.tune.evaluate import FINISHED
from sm3.tune.space import Value

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

SPACE, ROW, REPEAT, ENDING = "sm3_space", "sm3_row", "sm3_repeat", "sm3_ending"  # our marks in a study
INTERRUPTED = "interrupted"  # by the user; such a trial of ours runs again, and so does one that has no ending: killed
_ENDINGS = {"COMPLETE": FINISHED, "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Outcome:
    """One trial that has ended."""

    number: int
    settings: Mapping[str, Value | None]
    distributions: Mapping[str, BaseDistribution]
    score: float | None  # None: it ended badly
    ending: str  # "finished", or how it ended badly
    row: int | None = None  # of our own design; a repeat has the row of its first run
    repeat: int = 0


@dataclass(frozen=True)
class Outcomes:
    """The trials of a study that have ended."""

    study: str
    better: str  # "lower" or "higher"
    first: tuple[Outcome, ...]
    repeats: tuple[Outcome, ...] = ()  # the same settings once more, with another seed
    unended: int = 0  # still waiting or running
    space: Mapping[str, Any] | None = None  # of our own: what the draws were
    marks: tuple[str, ...] = ()  # words that a guided sampler leaves in its trials

    @property
    def title(self) -> str:
        """What was tried: our function, or the name of somebody else's study."""
        return self.study if self.space is None else str(self.space["function"])


def open_storage(place: str) -> BaseStorage:
    """The storage behind a file (SQLite or Optuna's journal, told apart by content) or an SQLAlchemy URL."""
    storages = require("optuna.storages")
    path = Path(place)
    if "://" in place:
        storage: BaseStorage = storages.RDBStorage(place)
    elif _is_sqlite(path):
        storage = storages.RDBStorage(f"sqlite:///{path.absolute()}")
    else:
        storage = storages.JournalStorage(require("optuna.storages.journal").JournalFileBackend(str(path)))
    return storage


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def load(place: str, name: str | None = None) -> Study:
    """An existing study; its name may be left out where the storage holds one only.

    Raises `InputError` if there is no such file, storage or study.
    """
    if "://" not in place and not Path(place).is_file():
        raise _no_study(place, "no such file", "an SQLite file, a journal of Optuna, or a URL such as mysql://...")
    try:
        storage = open_storage(place)
        names = [study.study_name for study in storage.get_all_studies()]
    except Exception as error:  # SQLAlchemy, Alembic and the journal each have errors of their own
        raise _no_study(place, f"{type(error).__name__}: {error}"[:200], "a storage of Optuna") from error
    if name is None and len(names) != 1:
        raise _no_study(place, f"{len(names)} studies", f"--name with one of: {', '.join(names)}"[:300])
    if name is not None and name not in names:
        raise _no_study(place, f"no study {name!r}", f"one of: {', '.join(names)}"[:300])
    study: Study = require("optuna").load_study(study_name=name or names[0], storage=storage)
    return study


def read(study: Study) -> Outcomes:
    """The ended trials of a study. Raises `InputError` for several objectives, or where no trial has ended."""
    trials = study.get_trials(deepcopy=False)
    several = f"{len(study.directions)} objectives" if len(study.directions) > 1 else ""
    outcomes = [] if several else _last_of_each_row([one for one in map(_outcome, trials) if one is not None])
    if not outcomes:
        raise InputError(
            explain(
                f"the study {study.study_name!r} cannot be ranked.",
                got=several or f"{len(trials)} trials, none of which has ended",
                accepted="a study with one objective and with ended trials",
                do="copy the trials into a study with one of the objectives" if several else "let it run first",
            )
        )
    return Outcomes(
        study=study.study_name,
        better="lower" if study.direction.name == "MINIMIZE" else "higher",
        first=tuple(outcome for outcome in outcomes if not outcome.repeat),
        repeats=tuple(outcome for outcome in outcomes if outcome.repeat),
        unended=sum(not trial.state.is_finished() for trial in trials),
        space=study.user_attrs.get(SPACE),
        marks=tuple(sorted({key.partition(":")[0] for trial in trials for key in trial.system_attrs if ":" in key})),
    )


def _outcome(trial: FrozenTrial) -> Outcome | None:
    row, repeat = trial.user_attrs.get(ROW), trial.user_attrs.get(REPEAT, 0)
    how = trial.user_attrs.get(ENDING, _ENDINGS.get(trial.state.name) if row is None else INTERRUPTED)
    if how in (None, INTERRUPTED):
        return None
    score = trial.value if trial.state.name == "COMPLETE" else None
    if score is not None and not math.isfinite(score):
        score, how = None, str(score)
    return Outcome(trial.number, trial.params, trial.distributions, score, how, row, repeat)


def _last_of_each_row(outcomes: list[Outcome]) -> list[Outcome]:
    """A row of ours that ran again, because it had raised, counts as it ended last."""
    last = {(outcome.row, outcome.repeat): outcome for outcome in outcomes if outcome.row is not None}
    return [one for one in outcomes if one.row is None or last[one.row, one.repeat] is one]


def _no_study(place: str, got: str, accepted: str) -> InputError:
    do = "check the path, or run trials of your own: sm3 tune SPACE.toml"
    return InputError(explain(f"there is no study to rank in {place!r}.", got=got, accepted=accepted, do=do))
