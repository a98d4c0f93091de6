"""The whole comparison, from what the user asked for to the three outputs. The command only parses and prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sm3 import run_record
from sm3.compare import data, page, pictures, report, store, sweep, timing, train, verdict
from sm3.compare.contestants import Contestant, kernels_of_ours
from sm3.compare.protocol import Protocol
from sm3.compare.source import Source
from sm3.compare.store import Folder
from sm3.compare.sweep import Outcome, Watch
from sm3.compare.task import Task
from sm3.compare.verdict import Row
from sm3.compare.workers import Crew, Here
from sm3.errors import SettingError, explain
from sm3.run_record import RunRecord

MOST_WORKERS = 4  # chosen: each needs 350 MB, most of it PyTorch's own


@dataclass(frozen=True)
class Job:
    """What the user asked for."""

    protocol: Protocol
    contestants: tuple[Contestant, ...]
    text: Path | None = None  # None: Python's own standard library
    model: str | None = None  # module:function of the user; None: the byte-level GPT
    output: Path | None = None  # None: runs/compare-<hash of the settings>
    threads: int | None = None  # of one run; None: 1, for a user's model as many as there are cores
    workers: int | None = None  # runs side by side; None: one per core, at most four; for a user's model 1
    fresh: bool = False
    options: Sequence[str] = field(default=())  # of the command line, to say how to repeat


@dataclass(frozen=True)
class Prepared:
    """A job whose text or model has been read and found good, and whose folder is open."""

    job: Job
    source: Source
    task: Task
    threads: int
    workers: int
    settings: dict[str, Any]  # decides every loss, and which folder the runs belong to
    folder: Folder


@dataclass(frozen=True)
class Result:
    """What came out, before anything is drawn."""

    prepared: Prepared
    landmarks: dict[str, dict[str, float]]
    outcomes: list[Outcome]
    timing: RunRecord
    table: list[Row]
    sentences: list[str]

    @property
    def job(self) -> Job:
        return self.prepared.job

    @property
    def task(self) -> Task:
        return self.prepared.task

    @property
    def settings(self) -> dict[str, Any]:
        return self.prepared.settings

    @property
    def records(self) -> list[RunRecord]:
        """Every training run of the table, once."""
        runs = [record for outcome in self.outcomes for record in (*outcome.sweep, *outcome.full)]
        return list({id(record): record for record in runs}.values())

    @property
    def parameters(self) -> int:
        return int(self.records[0].metrics["parameters"])

    @property
    def command(self) -> str:
        return shlex.join(["sm3", "compare", *self.job.options])


def prepare(job: Job) -> Prepared:
    """Read the text or the user's model, and open the output folder; every mistake of the user shows here."""
    cores = run_record.cores()
    threads = _count("threads", job.threads, cores if job.model else 1)
    workers = _count("workers", job.workers, 1 if job.model else min(cores, MOST_WORKERS))
    corpus = None
    if job.model is None:
        corpus = data.user_text(job.text) if job.text is not None else data.standard_library()
    source = Source(job.protocol, corpus, job.model)
    with train.threads(threads):
        task = source.task()
    settings = {
        "protocol": job.protocol.as_data(),
        "contestants": [contestant.as_data() | {"rates": list(contestant.rates)} for contestant in job.contestants],
        "task": dict(task.settings),
        "threads": threads,
        "versions": run_record.versions(),
        "code": store.code_hash(),
        "kernels": kernels_of_ours(),
    }
    output = job.output or Path("runs") / f"compare-{store.settings_hash(settings)}"
    return Prepared(job, source, task, threads, workers, settings, Folder(output, settings, fresh=job.fresh))


def run(prepared: Prepared, watch: Watch) -> Result:
    """All runs and the timing, or what of them is not finished yet."""
    job, task, folder = prepared.job, prepared.task, prepared.folder
    watch.begin("training")
    with _crew(prepared) as crew:
        runs = sweep.Runs(job.protocol, task, folder, crew, watch, prepared.threads)
        outcomes = sweep.compare(job.contestants, runs)
    timed = timing.time_large(job.contestants, folder, watch, prepared.threads)
    table = verdict.rows(outcomes, timed)
    watch.begin("landmarks and pictures")
    result = Result(prepared, prepared.source.landmarks(), outcomes, timed, table, [])
    said = verdict.sentences(table, task.unit, result.parameters, job.protocol.steps)
    result.sentences.extend([*said, *verdict.disturbances(result.records, timed, result.settings["kernels"])])
    return result


def _crew(prepared: Prepared) -> AbstractContextManager[Crew | Here]:
    """Workers, unless one is enough or there is nothing left to train."""
    finished = sum(record.kind == train.KIND for record in prepared.folder.records)
    job = prepared.job
    least = sum(len(c.rates) + len(job.protocol.seeds) - 1 for c in job.contestants)
    workers = min(prepared.workers, least - finished)
    return Crew(prepared.source, workers) if workers > 1 else nullcontext(Here(prepared.task))


def write(result: Result) -> tuple[Path, Path]:
    """Write the page and the data, each whole or not at all; their paths."""
    drawn = pictures.pictures(result.outcomes, result.table, result.task.unit, result.landmarks)
    return (
        result.prepared.folder.write(store.PAGE, page.page(result, drawn)),
        result.prepared.folder.write(store.DATA, json.dumps(report.as_data(result), allow_nan=False, indent=1) + "\n"),
    )


def _count(name: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= 1024:
        raise SettingError(
            explain(
                f"{name} is not accepted.",
                got=f"{name}={value}",
                accepted="an integer from 1 to 1024",
                do=f"pass --{name} {default}, or leave it out",
            )
        )
    return value
