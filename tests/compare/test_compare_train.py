"""One run: the same beginning for everyone, the same end every time, and divergence as a result."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from sm3.compare import train
from sm3.compare.contestants import CONTESTANTS
from sm3.compare.protocol import schedule
from sm3.compare.task import Start, Task, byte_task
from sm3.errors import InputError, SettingError
from sm3.run_record import RunRecord


def run(contestant, task, protocol, lr=None, seed=0):
    settings = train.run_settings(contestant, lr or contestant.rates[1], protocol, task, threads=1)
    return train.train(settings, seed, task)


def numbers(record):
    """What must repeat bit for bit: every loss, with its step."""
    metrics = record.metrics
    held_out = [(step, loss) for step, _, loss in metrics["held_out"]]
    return [tuple(x) for x in metrics["training"]], held_out, metrics["final_loss"], metrics["diverged_at"]


def test_every_contestant_begins_with_the_same_weights_and_batches(task):
    """The beginning of a run depends on the seed and on nothing else, whatever happened before."""
    first = task.start(3)
    batches = list(itertools.islice(first.batches, 5))
    torch.randn(17)  # whatever the run before has drawn
    again = task.start(3)
    for mine, theirs in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(batches, again.batches, strict=False):
        assert torch.equal(mine, theirs)
    other = task.start(4)
    assert not torch.equal(next(other.batches), batches[0])


def test_the_first_recorded_loss_is_bitwise_the_same_for_all(task, protocol):
    """It is from before the first update, so no optimizer can have changed it."""
    losses = {run(contestant, task, protocol).metrics["training"][0] for contestant in CONTESTANTS}
    assert len(losses) == 1


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda c: c.name)
def test_a_run_repeats_bit_for_bit_from_its_json(contestant, task, protocol, corpus):
    """Through a line of JSON and with a task made anew: the same losses."""
    record = run(contestant, task, protocol)
    read = RunRecord(**json.loads(record.line()))
    assert numbers(train.repeat(read, byte_task(corpus, protocol))) == numbers(record)


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda c: c.name)
def test_planned_state_is_measured_state(contestant, task, protocol):
    """For ours and for PyTorch's own."""
    metrics = run(contestant, task, protocol).metrics
    assert metrics["planned_state_bytes"] == metrics["state_bytes"] > 0


def test_repeating_with_another_text_is_refused(task, protocol, corpus, contestants):
    """A record names its text by hash."""
    record = run(contestants["AdamW"], task, protocol)
    other = byte_task(type(corpus)("words", corpus.train[1:], corpus.held_out, "for tests"), protocol)
    with pytest.raises(SettingError, match="not the task of the record"):
        train.repeat(record, other)


def test_held_out_losses_come_where_asked_and_at_the_end(task, protocol, contestants):
    """Three measurements in twelve steps; the last one is the final loss."""
    metrics = run(contestants["AdamW"], task, protocol).metrics
    assert [step for step, _, _ in metrics["held_out"]] == [4, 8, 12]
    assert metrics["held_out"][-1][2] == metrics["final_loss"]
    assert [step for step, _ in metrics["training"]] == [1, 5, 9, 12]
    assert metrics["final_loss"] < metrics["training"][0][1]


def test_a_learning_rate_that_is_far_too_high_is_a_diverged_row(task, protocol, contestants):
    """The run ends where its loss left the bound, says at which step, and is no error."""
    record = run(contestants["AdamW"], task, protocol, lr=1e4)
    assert record.metrics["final_loss"] is None
    assert 1 < record.metrics["diverged_at"] <= 12
    assert record.metrics["training"][-1][0] == record.metrics["diverged_at"]
    assert '"final_loss": null' in record.line()


def test_a_loss_that_becomes_nan_is_diverged_at_that_step(protocol, contestants):
    """Not finite is diverged, whatever the bound."""

    def start(seed: int) -> Start:
        model = torch.nn.Linear(1, 1)
        batches = iter([1.0] * 4 + [math.nan] * 9)
        return Start(model, batches, (1.0,), lambda m, x: m(torch.tensor([x])).square().sum(), "loss")

    record = run(contestants["AdamW"], Task(start, "loss", math.inf, {"kind": "test"}), protocol)
    assert record.metrics["diverged_at"] == 5


def test_batches_that_end_too_early_are_the_users_error(protocol, contestants):
    """Says how many there were and how many are needed."""

    def start(seed: int) -> Start:
        model = torch.nn.Linear(1, 1)
        return Start(model, iter([1.0] * 4), (1.0,), lambda m, x: m(torch.tensor([x])).square().sum(), "loss")

    with pytest.raises(InputError, match=r"got +4 batches"):
        run(contestants["AdamW"], Task(start, "loss", math.inf, {"kind": "test"}), protocol)


def test_the_schedule_rises_quadratically_and_falls_straight_to_zero():
    """One full rate at the end of the warm-up, never exactly zero."""
    factors = [schedule(step, 100) for step in range(100)]
    assert factors[:10] == [((step + 1) / 10) ** 2 for step in range(10)]
    assert factors[10] == 1.0
    drops = [one - other for one, other in itertools.pairwise(factors[10:])]
    assert max(drops) - min(drops) < 1e-12
    assert factors[-1] == pytest.approx(1 / 90)


def test_the_held_out_windows_do_not_overlap_and_are_text(task, corpus):
    """The bytes the loss is measured on stand in the held-out text, in order."""
    windows = torch.cat(task.start(0).held_out).to(torch.uint8)
    position = 0
    for window in windows:
        position = corpus.held_out.index(bytes(window.tolist()), position) + len(window)


def test_the_number_of_threads_is_restored(task, protocol, contestants):
    """A run asks for its own threads and leaves everyone else's alone."""
    before = torch.get_num_threads()
    settings = train.run_settings(contestants["AdamW"], 1e-3, protocol, task, threads=before + 1)
    train.train(settings, 0, task)
    assert torch.get_num_threads() == before
