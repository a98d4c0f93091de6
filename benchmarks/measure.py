"""Interleaved rounds, and what is computed from them. Knows clocks and numbers, no optimizer.

Each round runs every contestant once, in random order. What is compared is the median over rounds of the ratio to the
base *in the same round*, so that a machine whose speed drifts does not decide. The base runs twice per round under two
names; where the second is off by more than 3 % another program was on the machine, and no number is quotable.

CPU time of the process decides on one thread: it does not count preemption. On several threads it counts waiting, so
wall time decides. Python's garbage collector runs as it does in training.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.command import progress

WARM_UP = 2  # the first allocates state
ROUNDS_TO_QUOTE = 15
# A control off by more than this is another program on the machine (chosen: twice what an idle machine shows).
CONTROL_TOLERANCE = 0.03

# By contestant, by clock: seconds, one number a round. "before_cpu", "before_wall": what was done before the step.
Seconds = dict[str, dict[str, list[float]]]


def clock_for(threads: int) -> str:
    """The clock that decides."""
    return "cpu" if threads == 1 else "wall"


def interleaved(
    steps: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    repeats: int = 1,  # of a step too short for the clock
    before: Callable[[], Any] | None = None,  # done before every step, timed apart
) -> Seconds:
    """Seconds per step of each contestant in each round."""
    order = list(steps)
    shuffle = random.Random(0).shuffle
    clocks = ["cpu", "wall", *(["before_cpu", "before_wall"] if before else [])]
    seconds: Seconds = {name: {clock: [] for clock in clocks} for name in order}
    for number in range(WARM_UP + rounds):
        progress(f"round {number + 1 - WARM_UP} of {rounds}" if number >= WARM_UP else "warm-up")
        shuffle(order)
        for name in order:
            taken = _once(steps[name], repeats, before)
            if number >= WARM_UP:
                for clock, value in taken.items():
                    seconds[name][clock].append(round(value, 9))  # the clocks' own resolution
    progress("")
    return seconds


def _once(step: Callable[[], Any], repeats: int, before: Callable[[], Any] | None) -> dict[str, float]:
    taken = {}
    if before is not None:
        cpu, wall = time.process_time(), time.perf_counter()
        before()
        taken["before_cpu"], taken["before_wall"] = time.process_time() - cpu, time.perf_counter() - wall
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        step()
    taken["cpu"] = (time.process_time() - cpu) / repeats
    taken["wall"] = (time.perf_counter() - wall) / repeats
    return taken


def figures(seconds: Seconds, base: str, clock: str) -> dict[str, dict[str, float]]:
    """Of each contestant: seconds (median, min, p90), the other clock's median, and the paired ratio with its spread.

    >>> rounds = {"a": {"cpu": [2.0, 4.0], "wall": [2.0, 4.0]}, "b": {"cpu": [1.0, 2.0], "wall": [3.0, 3.0]}}
    >>> figures(rounds, "a", "cpu")["b"]["ratio"]
    0.5
    """
    other = "wall" if clock == "cpu" else "cpu"
    rows = {}
    for name, taken in seconds.items():
        own = taken[clock]
        ratios = [mine / its for mine, its in zip(own, seconds[base][clock], strict=True)]
        rows[name] = {
            "median": statistics.median(own),
            "min": min(own),
            "p90": quantile(own, 0.9),
            f"{other}_median": statistics.median(taken[other]),
            "ratio": statistics.median(ratios),
            "ratio_p10": quantile(ratios, 0.1),
            "ratio_p90": quantile(ratios, 0.9),
        }
    return rows


def quantile(values: Sequence[float], share: float) -> float:
    """By linear interpolation between the two nearest values, ends included.

    >>> quantile([1.0, 2.0, 3.0], 0.9)
    2.8
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def valid(control: float, rounds: int, needed: int = ROUNDS_TO_QUOTE) -> bool:
    """Whether figures with this control and number of rounds may be quoted."""
    return abs(control - 1.0) <= CONTROL_TOLERANCE and rounds >= needed


def verdict(control: float, rounds: int, needed: int = ROUNDS_TO_QUOTE) -> str:
    """VALID, or what is wrong."""
    said = f"AdamW against AdamW {control:.3f}"
    if abs(control - 1.0) > CONTROL_TOLERANCE:
        return f"contended, not quotable: {said}, more than {CONTROL_TOLERANCE:.0%} from 1"
    if rounds < needed:
        return f"few rounds, not quotable: {rounds} of {needed}; {said}"
    return f"VALID: {said}, {rounds} rounds"
