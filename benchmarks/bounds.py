"""What a step must move, in bytes, and how fast this machine moves bytes.

    python -m benchmarks.bounds [--threads 1,2]

An optimizer reads a parameter and its gradient, reads its state, writes parameter and state. Nothing that computes the
same can move less, so bytes over bandwidth is a lower bound of the time, and "share of bound" how near a step comes.

The bound is three arrays read and two of them written in place, by the C++ probe (kernels/cpu/probe.h): stores go to
lines just read, as an optimizer's do. The other two are for orientation; the triad writes lines it never read, which
costs a read nobody counts, and understates what an optimizer can have.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.command import cores, run, thread_counts, threads_option
from benchmarks.conditions import conditions
from sm3.optim.kernels.cpu import library

# 128 MiB each: several times the last-level cache of a processor of today (chosen).
ELEMENTS = 1 << 25
REPEATS = 7
# Weights and gradients below this may stay in a cache, for which main memory is no bound (chosen).
STREAMS_FROM_BYTES = 64 << 20

BOUND = "3r2w in place"
BYTES = {BOUND: 20, "2r1w in place": 12, "triad": 12}  # counted per element of float32


def bytes_per_element(
    number: int,  # bytes of one number of the parameter and of its gradient
    state: float,  # bytes of state per element
) -> float:
    """Bytes to move per element: parameter read and written, gradient read, all state read and written.

    >>> bytes_per_element(4, 8.0)  # AdamW: two float32 moments
    28.0
    """
    return 3 * number + 2 * state


def bandwidth(threads: int) -> dict[str, float]:
    """Bytes per second of each pattern: the best of several, by CPU time on one thread and wall time on more."""
    # Each starts at another place in its page: at equal places loads wait for stores that only look like theirs.
    first, second, third = (torch.ones(ELEMENTS + 1024)[336 * i : 336 * i + ELEMENTS] for i in range(3))
    addresses = first.data_ptr(), second.data_ptr(), third.data_ptr()
    patterns: dict[str, Callable[[], Any]] = {
        BOUND: lambda: library.probe(*addresses, ELEMENTS, threads),
        "2r1w in place": lambda: second.add_(third),
        "triad": lambda: torch.add(second, third, alpha=0.5, out=first),
    }
    clock = time.process_time if threads == 1 else time.perf_counter
    found = {}
    for name, move in patterns.items():
        seconds = []
        for _ in range(REPEATS):
            start = clock()
            move()
            seconds.append(clock() - start)
        found[name] = BYTES[name] * ELEMENTS / min(seconds)
    return found


def faster(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """The best of two probes, pattern by pattern: another program can only slow them down."""
    return {name: max(one[name], other[name]) for name in one}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """GB/s by number of threads and pattern."""
    found = {}
    for threads in thread_counts(options.threads):
        torch.set_num_threads(threads)
        found[str(threads)] = {name: rate / 1e9 for name, rate in bandwidth(threads).items()}
    return {"gb_per_s": found, "conditions": conditions()}


def text(metrics: dict[str, Any]) -> list[str]:
    """One line per number of threads."""
    lines = ["bandwidth, GB/s, best of 7, arrays of 128 MiB"]
    for threads, rates in metrics["gb_per_s"].items():
        lines.append(f"  {threads} of {cores()} cores: " + rates_text(rates))
    return lines


def rates_text(gb_per_s: dict[str, float]) -> str:
    """All patterns in one line."""
    return ", ".join(f"{name} {gb_per_s[name]:.1f}" for name in BYTES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    threads_option(parser)
    run("bounds", parser, measure, text)


if __name__ == "__main__":
    main()
