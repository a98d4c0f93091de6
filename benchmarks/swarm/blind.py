"""The frozen model on four blind sets of 500 + 500 wells that trained, validated and calibrated nothing.

    python -m benchmarks.swarm.blind --out DIR [--floor WELLS] [--card] [--json]

The sets are simulated into DIR from seed 100 where they are missing. `--floor` trains the classical floor on WELLS
and shows
it beside. `--card` writes counts and intervals into the card of the package's model, which the page shows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from sm3.swarm.dataset import read_wells
from sm3.swarm.evaluate import evaluate
from sm3.swarm.model_file import DEFAULT
from sm3.swarm.report import table
from sm3.swarm.simulate.folder import simulate_folder

SETS = ("sm3-like", "db10-like", "h6-like", "sm3-unseen-optics")
WELLS, SEED = 1000, 100


def main() -> None:
    """Simulate, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name in SETS:
        list(simulate_folder(options.out / f"blind-{name}", name, WELLS, SEED))
    sets = {name: read_wells(options.out / f"blind-{name}") for name in SETS}
    floor = None if options.floor is None else read_wells(options.floor)
    with tempfile.TemporaryDirectory() as store:
        results = evaluate(options.model, sets, floor_wells=floor, store=Path(store))
    if options.card:
        path = options.model / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["blind"] = {
            name: {key: found[key] for key in ("sensitivity", "specificity", "auc", "calibration_error", "not_called")}
            for name, found in results.items()
        }
        path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
