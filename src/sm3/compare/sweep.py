"""All runs of a comparison: every contestant with each of its learning rates, then the best rate from more seeds.

Contestants take turns, so that a machine that gets slower or busier meanwhile does so for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sm3.compare.contestants import Contestant
from sm3.compare.protocol import Protocol
from sm3.compare.store import Folder
from sm3.compare.task import Task
from sm3.compare.train import KIND, run_settings
from sm3.compare.workers import Crew, Here
from sm3.run_record import RunRecord


class Watch:
    """What happens meanwhile, for whoever shows it; this one shows nothing."""

    def expect(self, steps: int) -> None:
        """So many more steps are coming (or fewer, if negative)."""

    def begin(self, label: str) -> None:
        """This part begins."""

    def step(self, count: int) -> None:
        """So many steps are done."""

    def say(self, text: str) -> None:
        """A line worth reading."""


@dataclass(frozen=True)
class Outcome:
    """All runs of one contestant."""

    contestant: Contestant
    sweep: tuple[RunRecord, ...]  # one per learning rate tried, ascending
    lr: float | None  # the best of them; None if all diverged
    edge: str | None  # "lowest" or "highest" if the best is still the last one tried on that side
    full: tuple[RunRecord, ...]  # the runs with that rate, one per seed


@dataclass(frozen=True)
class Runs:
    """Makes runs, or finds them finished in the folder."""

    protocol: Protocol
    task: Task
    folder: Folder
    crew: Crew | Here
    watch: Watch
    threads: int

    def run(self, wanted: Sequence[tuple[Contestant, float, int]]) -> list[RunRecord]:
        """The record of each (contestant, lr, seed), in this order."""
        work = [(run_settings(c, lr, self.protocol, self.task, self.threads), seed) for c, lr, seed in wanted]
        missing = [item for item in work if self.folder.find(KIND, *item) is None]
        self.watch.expect(self.protocol.steps * (len(missing) - len(work)))
        self.crew.run(missing, self.watch.step, self._done)
        return [record for item in work if (record := self.folder.find(KIND, *item)) is not None]

    def _done(self, record: RunRecord) -> RunRecord:
        stopped = record.metrics["diverged_at"]
        if stopped is not None:
            self.watch.expect(stopped - self.protocol.steps)
        self.watch.say(_line(record))
        return self.folder.add(record)


def _line(record: RunRecord) -> str:
    loss, stopped = record.metrics["final_loss"], record.metrics["diverged_at"]
    result = f"diverged at step {stopped}" if loss is None else f"{loss:.3f} {record.metrics['unit']}"
    name, lr = record.settings["contestant"]["name"], record.settings["lr"]
    return f"{name:<15} lr {lr:<7g} seed {record.seed}   {result}   {record.metrics['seconds']:.1f} s"


def compare(contestants: Sequence[Contestant], runs: Runs) -> list[Outcome]:
    """All runs, in a fixed order: the rates, one more rate where the best is an edge, the other seeds."""
    seeds, steps = runs.protocol.seeds, runs.protocol.steps
    runs.watch.expect(steps * sum(len(c.rates) + len(seeds) - 1 for c in contestants))
    sweeps: dict[str, dict[float, RunRecord]] = {contestant.name: {} for contestant in contestants}

    def sweep(wanted: list[tuple[Contestant, float, int]]) -> None:
        for (contestant, rate, _), record in zip(wanted, runs.run(wanted), strict=True):
            sweeps[contestant.name][rate] = record

    turns = range(max(len(contestant.rates) for contestant in contestants))
    sweep([(c, c.rates[turn], seeds[0]) for turn in turns for c in contestants if turn < len(c.rates)])
    beyond = [(c, rate, seeds[0]) for c in contestants if (rate := rate_beyond_edge(sweeps[c.name])) is not None]
    runs.watch.expect(steps * len(beyond))
    sweep(beyond)
    best = {c.name: best_rate(sweeps[c.name]) for c in contestants}
    again = [(c, rate, seed) for seed in seeds[1:] for c in contestants if (rate := best[c.name]) is not None]
    runs.watch.expect(steps * (len(again) - len(contestants) * (len(seeds) - 1)))
    repeats: dict[str, list[RunRecord]] = {contestant.name: [] for contestant in contestants}
    for (contestant, _, _), record in zip(again, runs.run(again), strict=True):
        repeats[contestant.name].append(record)
    return [_outcome(contestant, sweeps[contestant.name], repeats[contestant.name]) for contestant in contestants]


def _outcome(contestant: Contestant, sweep: dict[float, RunRecord], repeats: list[RunRecord]) -> Outcome:
    rate = best_rate(sweep)
    first = [] if rate is None else [sweep[rate]]
    ordered = tuple(sweep[lr] for lr in sorted(sweep))
    return Outcome(contestant, ordered, rate, edge_of(sweep), (*first, *repeats))


def final_loss(record: RunRecord) -> float:
    """A diverged run has an infinitely large loss: it is counted, never dropped."""
    loss = record.metrics["final_loss"]
    return math.inf if loss is None else float(loss)


def best_rate(sweep: dict[float, RunRecord]) -> float | None:
    """The rate with the lowest final loss, the smaller of two equals; None if every run diverged."""
    best = min(sweep, key=lambda rate: (final_loss(sweep[rate]), rate))
    return best if math.isfinite(final_loss(sweep[best])) else None


def edge_of(sweep: dict[float, RunRecord]) -> str | None:
    """Which edge of the tried rates the best one is; one rate alone was the user's choice and has no edge."""
    best = min(sweep, key=lambda rate: (final_loss(sweep[rate]), rate))
    if len(sweep) == 1 or min(sweep) < best < max(sweep):
        return None
    return "lowest" if best == min(sweep) else "highest"


def rate_beyond_edge(sweep: dict[float, RunRecord]) -> float | None:
    """One more rate in the direction of the edge the best one lies on, by the grid's own factor."""
    edge, rates = edge_of(sweep), sorted(sweep)
    if edge is None:
        return None
    beyond = rates[0] * rates[0] / rates[1] if edge == "lowest" else rates[-1] * rates[-1] / rates[-2]
    return float(f"{beyond:.4g}")  # 0.00025, not 0.00024999999999999995
