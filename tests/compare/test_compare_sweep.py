"""All runs: the best rate, the edge of the grid, what happens after a kill, and side by side as one after another."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from sm3.compare import sweep, workers
from sm3.compare.source import Source
from sm3.compare.store import Folder
from sm3.run_record import RunRecord


def record(loss):
    return RunRecord("compare-run", 0, {}, {"final_loss": None if math.isinf(loss) else loss})


def grid(**losses):
    """`grid(r1=3.0, r2=2.0)`: a sweep over the rates 1 and 2."""
    return {float(name[1:]): record(loss) for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("losses", "best", "edge", "beyond"),
    [
        ({"r1": 3.0, "r2": 2.0, "r4": 2.5}, 2.0, None, None),
        ({"r1": 2.0, "r2": 2.5, "r4": 3.0}, 1.0, "lowest", 0.5),
        ({"r1": 3.0, "r2": 2.5, "r4": 2.0}, 4.0, "highest", 8.0),
        ({"r1": 2.0, "r2": 2.0, "r4": 3.0}, 1.0, "lowest", 0.5),  # of two equals the smaller
        ({"r1": 2.0, "r2": math.inf, "r4": math.inf}, 1.0, "lowest", 0.5),
        ({"r1": math.inf, "r2": math.inf}, None, "lowest", 0.5),  # all diverged: look lower
        ({"r3": 2.0}, 3.0, None, None),  # one rate alone is the user's choice
    ],
)
def test_the_best_rate_and_the_edge_it_lies_on(losses, best, edge, beyond):
    """The lowest final loss; where it is the last of the grid, one more rate by the grid's own factor."""
    found = grid(**losses)
    assert (sweep.best_rate(found), sweep.edge_of(found), sweep.rate_beyond_edge(found)) == (best, edge, beyond)


def test_a_new_rate_is_a_number_people_write():
    """No 0.00024999999999999995 in a table."""
    assert sweep.rate_beyond_edge({5e-4: record(1.0), 1e-3: record(2.0)}) == 2.5e-4


def fields(contestants, *names):
    return tuple(replace(contestants[name], rates=contestants[name].rates[-2:]) for name in names)


def losses_of(outcomes):
    """Every loss of every run of a comparison."""
    return [
        [(r.settings["lr"], r.seed, r.metrics["training"], r.metrics["final_loss"]) for r in (*o.sweep, *o.full)]
        for o in outcomes
    ]


def test_each_contestant_gets_its_rates_one_more_at_an_edge_and_all_seeds(tmp_path, contestants, runs_in):
    """Two rates always have the best one at an edge, so there are three runs, and one more seed."""
    outcomes = sweep.compare(fields(contestants, "AdamW", "SMMF"), runs_in(Folder(tmp_path, {})))
    for outcome in outcomes:
        assert len(outcome.sweep) == 3
        assert [run.seed for run in outcome.full] == [0, 1]
        assert {run.settings["lr"] for run in outcome.full} == {outcome.lr}


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path, contestants, runs_in):
    """Stopped in the middle of a run, with half a line at the end of the file: in the end every loss is the same."""

    class Stop(sweep.Watch):
        steps = 0

        def step(self, count):
            self.steps += count
            if self.steps == 30:
                raise KeyboardInterrupt

    chosen = fields(contestants, "AdamW", "SM3")
    whole = sweep.compare(chosen, runs_in(Folder(tmp_path / "whole", {})))
    with pytest.raises(KeyboardInterrupt):
        sweep.compare(chosen, runs_in(Folder(tmp_path / "cut", {}), Stop()))
    lines = (tmp_path / "cut" / "runs.jsonl").read_text()
    assert lines.count("\n") == 2
    (tmp_path / "cut" / "runs.jsonl").write_text(lines + '{"kind": "compare-run", "se')
    resumed = sweep.compare(chosen, runs_in(Folder(tmp_path / "cut", {})))
    assert losses_of(resumed) == losses_of(whole)
    assert all(json.loads(line) for line in (tmp_path / "cut" / "runs.jsonl").read_text().splitlines())


def test_a_finished_comparison_trains_nothing(tmp_path, contestants, runs_in):
    """The second time everything is read from the folder."""

    class Never(workers.Here):
        def run(self, work, *_):
            assert not work
            return []

    chosen = fields(contestants, "AdamW")
    first = sweep.compare(chosen, runs_in(Folder(tmp_path, {})))
    again = sweep.compare(chosen, runs_in(Folder(tmp_path, {}), crew=Never(None)))
    assert losses_of(again) == losses_of(first)


def test_diverged_rates_are_kept_and_never_chosen(tmp_path, contestants, runs_in):
    """A rate that diverged is a row of the sweep; the best is among the others."""
    chosen = (replace(contestants["AdamW"], rates=(1e-3, 1e4)),)
    (outcome,) = sweep.compare(chosen, runs_in(Folder(tmp_path, {})))
    assert [run.metrics["final_loss"] is None for run in outcome.sweep] == [False, False, True]
    assert [run.settings["lr"] for run in outcome.sweep] == [1e-10, 1e-3, 1e4]
    assert outcome.lr == 1e-3


def test_when_every_rate_diverges_there_is_no_best_and_no_full_run(tmp_path, contestants, runs_in):
    """Also not after a look at a lower rate."""
    chosen = (replace(contestants["AdamW"], rates=(1e5, 2e5)),)
    (outcome,) = sweep.compare(chosen, runs_in(Folder(tmp_path, {})))
    assert (outcome.lr, outcome.full, len(outcome.sweep)) == (None, (), 3)


def test_side_by_side_gives_the_losses_of_one_after_another(tmp_path, contestants, runs_in, corpus, protocol):
    """Two processes, bitwise the same losses; and the steps reported are the steps made."""

    class Count(sweep.Watch):
        steps = 0

        def step(self, count):
            self.steps += count

    chosen, count = fields(contestants, "AdamW", "SMMF"), Count()
    alone = sweep.compare(chosen, runs_in(Folder(tmp_path / "alone", {})))
    with workers.Crew(Source(protocol, corpus), 2) as crew:
        together = sweep.compare(chosen, runs_in(Folder(tmp_path / "together", {}), count, crew))
    assert losses_of(together) == losses_of(alone)
    assert count.steps == 8 * 10  # of 12 steps each, reported by fives


def test_an_error_in_a_worker_arrives_as_itself(tmp_path, protocol, monkeypatch):
    """What the user did wrong is told in the same words as without workers."""
    from sm3.errors import InputError

    monkeypatch.chdir(tmp_path)
    with (
        workers.Crew(Source(protocol, model="no_such_module:job"), 2) as crew,
        pytest.raises(InputError, match="no_such_module"),
    ):
        crew.run([({}, 0)], lambda count: None, lambda record: record)


def test_a_worker_that_dies_is_said_so(protocol, corpus):
    """An end by the system's memory killer has no error of its own."""
    from sm3.errors import Sm3Error

    with workers.Crew(Source(protocol, corpus), 2) as crew:
        for worker in crew._workers:
            worker.kill()
            worker.wait()
        with pytest.raises((Sm3Error, BrokenPipeError)):
            crew.run([({}, 0)], lambda count: None, lambda record: record)
