"""Runs side by side, each in a process of its own: two runs on one core each end sooner than one run on two cores.

Threads that share one small matrix mostly wait for each other, and on a busy machine they wait very long (measured: a
step of 13 ms took 1000 ms while another program used one of two cores; with one thread it took 23). One thread per run
also makes a loss independent of the number of cores.

A worker is a fresh interpreter that talks over its standard streams, so it needs nothing from the program that starts
it, and it ends when that program does, however that ends.
"""

from __future__ import annotations

import functools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, Self

from sm3.compare.source import Source
from sm3.compare.task import Task
from sm3.compare.train import train
from sm3.errors import Sm3Error, explain
from sm3.run_record import RunRecord

STEPS_PER_MESSAGE = 5

Work = tuple[Mapping[str, Any], int]  # settings and seed of a run


class Here:
    """No worker: the runs are made one after another in this process."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def run(
        self, work: Sequence[Work], on_step: Callable[[int], None], on_done: Callable[[RunRecord], RunRecord]
    ) -> list[RunRecord]:
        return [on_done(train(settings, seed, self._task, lambda: on_step(1))) for settings, seed in work]


class Crew:
    """`count` workers; leaving the block ends them."""

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        self._count = count
        self._workers: list[subprocess.Popen[bytes]] = []
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # one record at a time goes into the folder

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", "from sm3.compare.workers import serve; serve()"]
        for _ in range(self._count):
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._workers.append(worker)
            self._free.put(worker)
        for worker in self._workers:  # after all have been started: reading it takes each of them seconds
            _send(worker.stdin, self._source)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()

    def run(
        self, work: Sequence[Work], on_step: Callable[[int], None], on_done: Callable[[RunRecord], RunRecord]
    ) -> list[RunRecord]:
        """The records in the order of the work; `on_done` gets each as soon as it is there."""

        def one(item: Work) -> RunRecord:
            worker = self._free.get()
            _send(worker.stdin, item)
            while isinstance(message := _receive(worker), int):
                on_step(message)
            if isinstance(message, BaseException):
                raise message
            self._free.put(worker)  # not after an error: then nobody needs it any more
            with self._lock:
                return on_done(message)

        with ThreadPoolExecutor(self._count) as pool:
            futures = [pool.submit(one, item) for item in work]
            try:
                return [future.result() for future in futures]
            except BaseException:  # Ctrl-C too: the threads must not wait for workers that go on for minutes
                for future in futures:
                    future.cancel()
                for worker in self._workers:
                    worker.kill()
                raise


def _send(stream: IO[bytes] | None, message: object) -> None:
    assert stream is not None
    pickle.dump(message, stream)
    stream.flush()


def _receive(worker: subprocess.Popen[bytes]) -> Any:
    assert worker.stdout is not None
    try:
        return pickle.load(worker.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise Sm3Error(
            explain(
                "a training process ended before its run did.",
                got=f"exit code {worker.wait()} (negative: the signal that ended it, -9 often means out of memory)",
                accepted="a process that lives as long as the comparison",
                do="run the same command again with --workers 1; finished runs are kept",
            )
        ) from error


def serve() -> None:
    """The life of a worker: read the source, then a run after the other, until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a user's model prints must not get between the messages
    try:
        source: Source = pickle.load(sys.stdin.buffer)
        make_task = functools.cache(source.task)  # at the first run, where its errors are reported
        while True:
            settings, seed = pickle.load(sys.stdin.buffer)
            _send(replies, _train(settings, seed, make_task, replies))
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the parent is gone; a normal exit would try to flush into the closed pipe


def _train(
    settings: Mapping[str, Any], seed: int, make_task: Callable[[], Task], replies: IO[bytes]
) -> RunRecord | Exception:
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        if done % STEPS_PER_MESSAGE == 0:
            _send(replies, STEPS_PER_MESSAGE)

    try:
        return train(settings, seed, make_task(), on_step)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """The error as it can travel: some cannot be rebuilt elsewhere, and then their text has to do."""
    if not isinstance(error, Sm3Error):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
