"""All measurements, one after another, each in a process of its own; prints them and writes the record.

    python -m benchmarks [--quick]      `make bench`

A whole run takes about a quarter of an hour on two quiet cores and needs 8 GB of memory. Close other programs first:
where AdamW differs from itself by more than 3 %, the table says so and is not quotable.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks import bounds, leak, lean, memory, native_step, peers, record, training_step
from benchmarks.command import ROOT, machine_text, own_process
from benchmarks.conditions import ASK_FOR_HUGE_PAGES, load_average, load_text
from benchmarks.measure import ROUNDS_TO_QUOTE
from benchmarks.shapes import ABOUT, HEADLINE
from sm3 import run_record
from sm3.compare.store import code_hash

QUICK_ROUNDS, QUICK_STEPS, QUICK_LEAN_STEPS = 3, 5000, 5
HUGE = {ASK_FOR_HUGE_PAGES: "1"}
TEXT: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "bounds": bounds.text,
    "native_step": native_step.text,
    "training_step": training_step.text,
    "peers": peers.text,
    "memory": memory.text,
    "leak": leak.text,
    "lean": lean.text,
}


@dataclass(frozen=True)
class Part:
    """One process."""

    module: str
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def parts(quick: bool) -> Iterator[Part]:
    """What a run consists of, in order."""
    rounds = ["--rounds", str(QUICK_ROUNDS if quick else ROUNDS_TO_QUOTE)]
    yield Part("bounds")
    for name in (HEADLINE, "small") if quick else ABOUT:
        for dtype in ("float32", "bfloat16"):
            yield Part("native_step", ["--set", name, "--dtype", dtype, *rounds])
    for name in () if quick else (HEADLINE, "8192x4096"):
        yield Part("native_step", ["--set", name, *rounds], HUGE)
    yield Part("training_step", [*rounds, "--threads", "1"] if quick else rounds)
    yield Part("peers", ["--rounds", "1"] if quick else [])
    yield Part("memory", ["--set", "8192x4112"] if quick else [])
    yield Part("leak", ["--steps", str(QUICK_STEPS)] if quick else [])
    yield Part("lean", ["--steps", str(QUICK_LEAN_STEPS)] if quick else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds and sets: to see that it works, not to quote")
    options = parser.parse_args()
    lines: list[str] = []
    runs = []
    load = [load_average()]
    _say(lines, [_title(options.quick), machine_text()])
    for part in parts(options.quick):
        try:
            run = own_process(part.module, part.arguments, part.environment)
        except subprocess.CalledProcessError as error:
            # What failed has said why on standard error: pip without a network, for instance. The rest still counts.
            _say(lines, ["", f"{part.module} {' '.join(part.arguments)}: NOT MEASURED, exit status {error.returncode}"])
            continue
        runs.append(run)
        _say(lines, TEXT[part.module](run["metrics"]))
    load.append(load_average())
    found = {
        "kind": "bench",
        "format": 1,
        "quick": options.quick,
        "machine": run_record.machine(),
        "versions": run_record.versions(),
        "code": code_hash(),
        "load_average": load,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": runs,
    }
    _say(lines, ["", f"load average at start and end: {load_text(load)}"])
    path = record.write(found, lines)
    said = "" if record.quotable(found) else "not quotable, so not among the records: "
    print(f"{said}{path.relative_to(ROOT)}, and .txt beside it")


def _title(quick: bool) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"# make bench{' ARGS=--quick' if quick else ''}, {day}, code {code_hash()}"


def _say(lines: list[str], more: list[str]) -> None:
    lines += more
    print("\n".join(more), flush=True)


if __name__ == "__main__":
    main()
