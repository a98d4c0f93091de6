"""The sample wells of the page, from their seeds: python -m benchmarks.swarm.samples"""

from __future__ import annotations

import json
from pathlib import Path

import sm3.swarm
from sm3.swarm.ome_tiff import write_ome_tiff
from sm3.swarm.simulate.wells import make_well, pair_sidecars

SEED = 7  # met by no training and no blind test
FOLDER = Path(sm3.swarm.__file__).parent / "page" / "samples"


def main() -> None:
    """Two wells of each class, from two sets."""
    listed = []
    for number, set_name in enumerate(("sm3-like", "h6-like"), start=1):
        for label, sidecar in pair_sidecars(set_name, SEED, 0).items():
            file = f"{label}-{number}.tif"
            write_ome_tiff(FOLDER / file, make_well(sidecar).pixels, sidecar["um_per_px"])
            listed.append({"name": f"{label} {number}, simulated", "file": file, "set": set_name, "seed": SEED})
    (FOLDER / "samples.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
