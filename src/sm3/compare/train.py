"""One run: a pure function of (contestant, lr, seed, steps, task). It never fails because an optimizer does badly.

The same arguments give bitwise the same losses on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from sm3.compare.contestants import Contestant
from sm3.compare.memory import peak_memory, planned_state_bytes, state_nbytes
from sm3.compare.protocol import Protocol, schedule
from sm3.compare.task import Start, Task, mean_loss
from sm3.errors import InputError, SettingError, explain
from sm3.run_record import RunRecord

KIND = "compare-run"
WARM_UP_TIMES = 5  # steps left out of the medians of time: the first allocate state and fill caches


class Trace:
    """What one run leaves behind while it goes on."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.training: list[tuple[int, float]] = []  # (step, loss of its batch)
        self.held_out: list[tuple[int, float, float]] = []  # (step, seconds of training so far, loss)
        self.step_seconds: list[float] = []  # forward, backward and optimizer
        self.optimizer_seconds: list[float] = []
        self.diverged_at: int | None = None

    def is_bad(self, loss: float) -> bool:
        return not math.isfinite(loss) or loss > self.bound

    def metrics(self) -> dict[str, Any]:
        finished = self.diverged_at is None
        return {
            "final_loss": self.held_out[-1][2] if finished else None,
            "diverged_at": self.diverged_at,
            "training": self.training,
            "held_out": self.held_out,
            "seconds": math.fsum(self.step_seconds),
            "step_ms": _median_ms(self.step_seconds),
            "optimizer_ms": _median_ms(self.optimizer_seconds),
            "gradient_ms": _median_ms([a - b for a, b in zip(self.step_seconds, self.optimizer_seconds, strict=True)]),
        }


def _median_ms(seconds: list[float]) -> float | None:
    settled = seconds[WARM_UP_TIMES:]
    return 1e3 * statistics.median(settled) if settled else None


def run_settings(contestant: Contestant, lr: float, protocol: Protocol, task: Task, threads: int) -> dict[str, Any]:
    """What, with the seed, decides a run; `repeat` makes the run again from nothing else and the task."""
    return {
        "contestant": contestant.as_data(),
        "lr": lr,
        "steps": protocol.steps,
        "checks": protocol.checks,
        "log_every": protocol.log_every,
        "task": dict(task.settings),
        "threads": threads,
    }


def train(
    settings: Mapping[str, Any],  # from `run_settings`
    seed: int,
    task: Task,
    on_step: Callable[[], None] = lambda: None,
) -> RunRecord:
    """Train once and say how it went. A run whose loss is not finite or above `task.bound` ends there, as diverged."""
    contestant = Contestant(**settings["contestant"], rates=())
    trace = Trace(task.bound)
    with threads(settings["threads"]), peak_memory() as memory:
        start = task.start(seed)
        optimizer = contestant.make([p for p in start.model.parameters() if p.requires_grad], settings["lr"])
        _train_loop(settings, start, optimizer, trace, on_step)
    metrics = trace.metrics() | {
        "unit": task.unit,
        "parameters": sum(p.numel() for p in start.model.parameters()),
        "state_bytes": state_nbytes(optimizer),
        "planned_state_bytes": planned_state_bytes(start.model, contestant),
        "peak_bytes": memory.peak,
    }
    return RunRecord(KIND, seed, dict(settings), metrics)


def _train_loop(
    settings: Mapping[str, Any], start: Start, optimizer: Optimizer, trace: Trace, on_step: Callable[[], None]
) -> None:
    steps, checks = settings["steps"], settings["checks"]
    check_after = {round((number + 1) * steps / checks) for number in range(checks)}
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] * schedule(step, steps)
        loss = _step(start, optimizer, trace, _next_batch(start.batches, step, steps))
        if trace.is_bad(loss):
            trace.diverged_at = step + 1
        elif step + 1 in check_after:
            held_out = mean_loss(start)
            trace.held_out.append((step + 1, math.fsum(trace.step_seconds), held_out))
            if trace.is_bad(held_out):
                trace.diverged_at = step + 1
        if step % settings["log_every"] == 0 or step + 1 == steps or trace.diverged_at:
            trace.training.append((step + 1, loss))
        on_step()
        if trace.diverged_at:
            return


def _step(start: Start, optimizer: Optimizer, trace: Trace, batch: Any) -> float:
    """One step; the loss it returns is from before the update."""
    began = _now(optimizer)
    loss = start.loss(start.model, batch)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients_done = _now(optimizer)
    optimizer.step()
    ended = _now(optimizer)
    trace.optimizer_seconds.append(ended - gradients_done)
    trace.step_seconds.append(ended - began)
    return float(loss.detach())


def _now(optimizer: Optimizer) -> float:
    """The clock, after everything sent to a GPU has been done."""
    if optimizer.param_groups[0]["params"][0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def _next_batch(batches: Iterator[Any], step: int, steps: int) -> Any:
    try:
        return next(batches)
    except StopIteration:
        raise InputError(
            explain(
                "the batches of the model ended before the run did.",
                got=f"{step} batches",
                accepted=f"{steps}, one per step",
                do="return an endless iterator (a generator with `while True`), or ask for fewer --steps",
            )
        ) from None


def repeat(record: RunRecord, task: Task) -> RunRecord:
    """The run of a record once more; same machine and threads: bitwise the same losses.

    Raises `SettingError` if the task is not the recorded one, for example because the text has changed.
    """
    if dict(task.settings) != record.settings["task"]:
        raise SettingError(
            explain(
                "this is not the task of the record.",
                got=str(dict(task.settings)),
                accepted=str(record.settings["task"]),
                do="use the same text (its hash is in the record) and the same model",
            )
        )
    return train(record.settings, record.seed, task)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch within the block. They share the sums, so their number decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
