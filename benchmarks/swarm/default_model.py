"""The model of the package, from nothing: three sets of wells, then one training.

    python -m benchmarks.swarm.default_model --out DIR [--install]

Half an hour on two cores, simulation included. `--install` copies the four files into src/sm3/swarm/default. Wells
are the
same bytes wherever the same NumPy, SciPy and numba run; weights are the same bits on one kind of processor.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from sm3.swarm.dataset import read_wells
from sm3.swarm.learn.fit import fit
from sm3.swarm.model_file import DEFAULT, FILES
from sm3.swarm.simulate.folder import simulate_folder

# folder: (set, wells, seed); blind sets have seed 100, the page's samples 7
SETS = {"wide": ("wide", 5000, 1), "sm3": ("sm3-like", 1600, 2), "rigs": ("wide", 800, 3)}
NAME = "sm3-swarm"


def main() -> None:
    """Simulate what is missing, train, and print the card with seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    seconds = {}
    for folder, (set_name, number, seed) in SETS.items():
        start = time.perf_counter()
        list(simulate_folder(options.out / folder, set_name, number, seed))
        seconds[folder] = round(time.perf_counter() - start, 1)
    start = time.perf_counter()
    calibration = [well for folder in ("sm3", "rigs") for well in read_wells(options.out / folder)]
    model = fit(read_wells(options.out / "wide"), options.out / "model", calibration=calibration, name=NAME)
    seconds["training"] = round(time.perf_counter() - start, 1)
    if options.install:
        DEFAULT.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copyfile(model.folder / name, DEFAULT / name)
    print(json.dumps({"id": model.id, "seconds": seconds, **model.card}))


if __name__ == "__main__":
    main()
