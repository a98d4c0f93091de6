"""Seconds: simulation on all cores, prediction on one core after load, the whole command in a fresh process.

python -m benchmarks.swarm.speed [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sm3.run_record import cores, machine
from sm3.swarm.predict import SwarmClassifier
from sm3.swarm.serve import PAGE
from sm3.swarm.simulate.folder import simulate_folder

SAMPLE = PAGE / "samples" / "swarming-1.tif"


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median over `repeats` calls after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    classifier = SwarmClassifier(threads=1)
    command = [sys.executable, "-m", "sm3.cli", "swarm", "predict", str(SAMPLE)]
    with tempfile.TemporaryDirectory() as folder:
        list(simulate_folder(Path(folder) / "first", "sm3-like", 8, 0))  # compiles what is compiled once
        start = time.perf_counter()
        list(simulate_folder(Path(folder) / "wells", "sm3-like", 240, 1))
        wells = 240 / (time.perf_counter() - start)
    found = {
        "machine": machine(),
        "wells_per_second": round(wells, 1),
        "cores": cores(),
        "prediction_ms": round(1e3 * median_seconds(lambda: classifier.assess(SAMPLE), 60), 1),
        "command_s": round(median_seconds(lambda: subprocess.run(command, check=True, capture_output=True), 7), 2),
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"simulation  {found['wells_per_second']} wells a second on {found['cores']} cores")
    print(f"prediction  {found['prediction_ms']} ms an image on one core after load, reading included")
    print(f"command     {found['command_s']} s for one image, from start to end")


if __name__ == "__main__":
    main()
