"""Interleaved rounds on one thread: seconds of each contestant, its ratio to a base in the same round, and a control.

CPU time decides: it does not count the time in which another program had the core. A ratio is the median over rounds of
the ratio within a round, so that a machine whose speed drifts does not decide. Knows clocks, no polynomial. Apart from
benchmarks.measure because there everyone runs equally often: a fit of a peer may take a hundred times as long as ours.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

# By contestant, by clock ("cpu", "wall"): seconds, one number for each round it ran in; it runs in the first ones.
Seconds = dict[str, dict[str, list[float]]]


def interleaved(work: Mapping[str, Callable[[], Any]], rounds: Mapping[str, int]) -> Seconds:
    """Each contestant in its number of rounds, in random order within a round. Warm them up before."""
    shuffle = random.Random(0).shuffle
    seconds: Seconds = {name: {"cpu": [], "wall": []} for name in work}
    for number in range(max(rounds.values())):
        order = [name for name in work if number < rounds[name]]
        shuffle(order)
        for name in order:
            cpu, wall = time.process_time(), time.perf_counter()
            work[name]()
            seconds[name]["cpu"].append(time.process_time() - cpu)
            seconds[name]["wall"].append(time.perf_counter() - wall)
    return seconds


def ratio(seconds: Seconds, name: str, base: str) -> float:
    """How many times as long `name` takes as `base`: median over the rounds that both ran in, CPU time.

    >>> rounds = {"a": {"cpu": [6.0, 8.0], "wall": []}, "b": {"cpu": [2.0, 2.0, 9.0], "wall": []}}
    >>> ratio(rounds, "a", "b")
    3.5
    """
    both = zip(seconds[name]["cpu"], seconds[base]["cpu"], strict=False)
    return statistics.median(own / other for own, other in both)


def figures(seconds: Seconds, name: str) -> dict[str, float]:
    """Median and least CPU seconds, median wall seconds, number of rounds."""
    cpu, wall = seconds[name]["cpu"], seconds[name]["wall"]
    return {"cpu": statistics.median(cpu), "min": min(cpu), "wall": statistics.median(wall), "rounds": len(cpu)}
