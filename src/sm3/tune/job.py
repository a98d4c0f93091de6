"""From a space or a study to a result: run what is missing, rank each branch. The command only parses and prints."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sm3.errors import SettingError, explain
from sm3.tune import bad_ends, curve, peers, sampled, score, trials
from sm3.tune.branches import Branch, branches
from sm3.tune.outcomes import Outcome, Outcomes, load, read
from sm3.tune.rank import Ranking, rank
from sm3.tune.refusal import Refusal
from sm3.tune.score import Target
from sm3.tune.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA, PAGE = "tune.json", "tune.html"


@dataclass(frozen=True)
class Job:
    """What the user asked for: a space to be run and ranked, or a study to be ranked."""

    space: Space | None = None
    study: str | None = None  # file or URL
    name: str | None = None  # of the study, where the storage holds several
    output: Path | None = None
    transform: str = "rank"
    cap: float | None = None
    failed: str = "worst"  # or "out": failed and pruned trials of somebody else's study are not ranked
    workers: int = 1
    fresh: bool = False
    retry: bool = False  # run trials again that raised
    options: Sequence[str] = field(default=())  # of the command line, to say how to repeat

    @property
    def command(self) -> str:
        return shlex.join(["sm3", "tune", *self.options])

    @property
    def folder(self) -> Path:
        """Where the outputs go; every space has a folder of its own."""
        if self.output is not None:
            return self.output
        key = json.dumps(self.space.as_data() if self.space else [self.study, self.name], sort_keys=True)
        return Path("runs") / f"tune-{hashlib.blake2b(key.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the trials of one branch say."""

    branch: Branch
    target: Target
    ranking: Ranking
    signs: tuple[bad_ends.Sign, ...] = ()  # where bad ends lie
    bad_ranking: Ranking | None = None  # of the question whether a trial ends badly
    peers: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """What came out, before anything is drawn."""

    job: Job
    outcomes: Outcomes
    left_out: int  # trials that the user asked to leave out
    verdicts: tuple[Verdict, ...]


def run(job: Job, watch: trials.Watch) -> Outcomes:
    """The ended trials: of the study, or of the space after running what is missing."""
    score.check(job.transform, job.cap)
    if job.space is None:
        assert job.study is not None
        return read(load(job.study, job.name))
    _open_folder(job)
    with trials.alone(job.folder):
        if job.fresh:
            _discard(job.folder)
        study = trials.open_study(job.space, job.folder)
        trials.run(study, job.space, watch, job.workers, retry=job.retry)
    return read(study)


def judge(job: Job, outcomes: Outcomes) -> Result:
    """Rank every branch, or say why not."""
    first, left_out = outcomes.first, 0
    if job.failed == "out":
        first = tuple(outcome for outcome in first if outcome.score is not None)
        left_out = len(outcomes.first) - len(first)
    verdicts = tuple(verdict(job, outcomes, branch) for branch in branches(first))
    return Result(job, outcomes, left_out, verdicts)


def verdict(job: Job, outcomes: Outcomes, branch: Branch) -> Verdict:
    """What one branch says. Its bad ends are a question of their own."""
    ours = outcomes.space is not None
    seed = int(outcomes.space["seed"]) if outcomes.space is not None else 0
    target = score.target(branch.outcomes, outcomes.better, job.transform, job.cap)
    columns = branch.columns()
    refusals = [] if ours else _not_sampled(outcomes, branch, columns, target)
    noise = _ceiling(job, outcomes, branch)
    ranking = rank(branch.axes, columns, target.values, seed=seed, refusals=refusals, ceiling=noise)
    bad = target.bad.astype(np.float64)
    enough = not refusals and bad_ends.LEAST_BOTH <= bad.sum() <= len(bad) - bad_ends.LEAST_BOTH
    return Verdict(
        branch,
        target,
        ranking,
        tuple(bad_ends.signs(branch, target)),
        rank(branch.axes, columns, bad, seed=seed) if enough else None,
        peers.importances(branch, outcomes.better, seed),
    )


def _not_sampled(outcomes: Outcomes, branch: Branch, columns: NDArray[np.float64], target: Target) -> list[Refusal]:
    """Our own draws are what they are; somebody else's are tested."""
    marks = sampled.guided(outcomes.marks)
    found = sampled.deviations(branch.axes, columns, target.values)
    if not marks and not found:
        return []
    texts = [f"the trials carry the marks of a guided sampler ({', '.join(marks)})"] if marks else []
    texts += [f"{one.text} (p = {one.p:.1g})" for one in found[:3]]
    text = "The trials were not drawn independently from their ranges: " + "; ".join(texts) + ". "
    text += "Indices refer to the ranges, and such trials say little about most of them. Run trials of their own for "
    return [Refusal("sampled", text + "the ranking: Optuna's RandomSampler, or sm3 tune SPACE.toml.")]


def _ceiling(job: Job, outcomes: Outcomes, branch: Branch) -> curve.Ceiling | None:
    """What noise leaves, from runs with the same settings. Ranks are taken among all runs, so that pairs compare."""
    rows = {outcome.row: number for number, outcome in enumerate(branch.outcomes)}
    again: list[Outcome] = [outcome for outcome in outcomes.repeats if outcome.row in rows]
    if not again:
        return None
    values = score.target([*branch.outcomes, *again], outcomes.better, job.transform, job.cap).values
    first = values[[rows[outcome.row] for outcome in again]]
    return curve.ceiling(first, values[len(branch.outcomes) :], values[: len(branch.outcomes)])


def _open_folder(job: Job) -> None:
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(job.folder, error) from error


def _discard(folder: Path) -> None:
    """Our files by name; whatever else is there stays."""
    for name in (trials.STUDY, DATA, PAGE):
        (folder / name).unlink(missing_ok=True)


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file whole or not at all: under another name first, then renamed."""
    target = folder / name
    draft = target.with_name(f".{name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        with suppress(OSError):  # gone already, or never there
            draft.unlink()
    return target


def unwritable(folder: Path, error: OSError) -> SettingError:
    return SettingError(
        explain(
            f"the output folder {str(folder)!r} cannot be written.",
            got=f"{type(error).__name__}: {error.strerror}",
            accepted="a folder this user may write to, or a path where one can be made",
            do="pass another --output",
        )
    )
