"""The same gradients, stepped by one thread and by k threads, give the same bits."""

from __future__ import annotations

from sm3.compare.train import threads as with_threads
from sm3.verify.difference import Difference, difference, snapshot
from sm3.verify.outcome import Outcome, exact
from sm3.verify.record import Record


def promise(count: int) -> str:
    return f"1 == {count} threads"


def threads(record: Record, count: int) -> Outcome:
    """Both against the recorded run, which had as many threads as PyTorch takes by itself."""
    found = Difference()
    for number in (1, count):
        with with_threads(number):
            leaves = record.leaves()
            optimizer = record.variant.make(leaves.items())
            for step in range(record.steps):
                record.set_gradients(leaves, step)
                optimizer.step()
        found = found.and_(difference(snapshot(leaves, optimizer), record.end))
    compared = f"{found.tensors} tensors after {record.steps} steps of the same gradients"
    return exact(promise(count), record.variant.label, found, compared)
