"""The simulator against Chen et al. 2021: vortex order over the well's diameter, both phenotypes, both walls.

    python -m benchmarks.swarm.vortex_order [--wells 24] [--picture FILE.svg] [--json]

Published: swarming crosses 0.7 near 98 um, planktonic near 34 um; the contrast is clearest at 74 um. Halving the
time step
is measured at 74 um on ten times as many wells.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sm3.run_record import cores
from sm3.swarm.simulate.order import vortex_order
from sm3.swarm.simulate.zonal import TIME_STEP, Agents, simulate

DIAMETERS = (31, 38, 48, 58, 74, 90, 98, 112)
RADII = {"swarming": 20.0, "swimming": 15.0}
WALLS = {"specular": False, "sliding": True}


def orders(task: tuple[float, float, bool, float, int]) -> list[float]:
    """Vortex orders of `number` wells of 15 s: (diameter, alignment radius, sliding, dt, number)."""
    diameter, radius, sliding, dt, number = task
    agents = Agents(diameter, 0.05, 37.0, 0.3, radius, 0.0, sliding, 15.0)
    return [vortex_order(simulate(agents, seed, dt=dt), diameter) for seed in range(number)]


def main() -> None:
    """Print the table; draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, default=24)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    many = 10 * options.wells
    tasks: dict[tuple[str, ...], tuple[float, float, bool, float, int]] = {
        (str(diameter), label, wall): (float(diameter), radius, sliding, TIME_STEP, options.wells)
        for diameter in DIAMETERS
        for label, radius in RADII.items()
        for wall, sliding in WALLS.items()
    }
    for label, radius in RADII.items():
        tasks["74", label, "specular, dt"] = (74.0, radius, False, TIME_STEP, many)
        tasks["74", label, "specular, dt / 2"] = (74.0, radius, False, TIME_STEP / 2, many)
    with ProcessPoolExecutor(cores()) as pool:
        found = dict(zip(tasks, pool.map(orders, tasks.values()), strict=True))
    rows = [
        {
            "diameter_um": float(d),
            "label": label,
            "wall": wall,
            "wells": len(v),
            "mean": float(np.mean(v)),
            "deviation": float(np.std(v)),
        }
        for (d, label, wall), v in found.items()
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        print("diameter  phenotype  wall              wells  vortex order")
        for row in rows:
            print(
                f"{row['diameter_um']:6.0f}    {row['label']:9}  {row['wall']:16}  {row['wells']:5}  "
                f"{row['mean']:6.3f} +- {row['deviation']:.3f}"
            )
    if options.picture:
        _draw(rows, options.picture)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sm3", "font.size": 11}):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, colour in (("swarming", "#e66101"), ("swimming", "#1e78be")):
            for wall, style in (("specular", "-"), ("sliding", ":")):
                some = [row for row in rows if row["label"] == label and row["wall"] == wall]
                x, y, spread = (np.array([row[key] for row in some]) for key in ("diameter_um", "mean", "deviation"))
                axes.plot(x, y, style, color=colour, marker="o", ms=4, label=f"{label}, {wall} wall")
                axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.12, lw=0)
        axes.axhline(0.7, color="#8a8a8a", lw=0.8)
        for place, label, colour in ((98, "swarming", "#e66101"), (34, "swimming", "#1e78be")):
            axes.plot(
                [place], [0.7], marker="v", ms=9, color=colour, ls="none", label=f"published: {label} crosses 0.7"
            )
        axes.axvline(74, color="#8a8a8a", lw=0.8, ls="--")
        axes.set(xlabel="well diameter, um", ylabel="vortex order", ylim=(-0.25, 1.05))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left")
        figure.savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
