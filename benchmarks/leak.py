"""10,000 training steps of a small model, and the slope of resident memory: a leak of one object a step would show.

    python -m benchmarks.leak [--steps 10000] [--json]

Each optimizer runs in a process of its own; AdamW is the control, for PyTorch and the C library have habits as well.
The first 3,000 steps are left out: for about 2,000 allocators and caches still fill, AdamW's too (measured), then
resident memory stands still. The slope is that of a least-squares line through the rest.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.command import own_process, progress, run
from benchmarks.contestants import BASE, OURS, contestants
from sm3.errors import SettingError, explain
from sm3.plan.measure import resident_bytes

NAMES = [BASE, *OURS]
STEPS = 10_000
MARKS = 100  # how often memory is read
SETTLED = 3000  # steps: only what comes after is judged
LEAST = 5000  # steps, for a slope over 2,000 of them (chosen)
# The smallest Python object is 16 bytes; a step that leaves one behind is at or above this (chosen: half of it).
FLAT_BELOW = 8.0  # bytes per step


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All optimizers, one process each; with --one that one, here."""
    if options.steps < LEAST:
        raise SettingError(
            explain(
                "too few steps to tell a leak.",
                got=f"--steps {options.steps}",
                accepted=f"{LEAST} and more: the first {SETTLED} are not judged",
                do=f"leave it out for {STEPS}",
            )
        )
    if options.one is not None:
        return _one(options.one, options.steps)
    rows = {}
    for name in NAMES:
        progress(name)
        rows[name] = own_process("leak", ["--one", name, "--steps", str(options.steps)])["metrics"]
    progress("")
    return {"steps": options.steps, "order": NAMES, "rows": rows}


def _one(name: str, steps: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32))
    optimizer = contestants()[name](list(model.parameters()))
    inputs = torch.randn(16, 32)
    every = max(steps // MARKS, 1)
    marks, bytes_at = [], []
    for step in range(1, steps + 1):
        optimizer.zero_grad()  # the gradients of the next backward are new tensors
        (model(inputs) - inputs).square().mean().backward()
        optimizer.step()
        if step % every == 0 and step > SETTLED:
            now = resident_bytes()
            if now is None:
                return {"bytes_per_step": None, "grown": None}
            marks.append(step)
            bytes_at.append(now)
    slope = np.polyfit(marks, bytes_at, 1)[0]
    return {"bytes_per_step": float(slope), "grown": bytes_at[-1] - bytes_at[0], "resident": bytes_at[-1]}


def text(metrics: dict[str, Any]) -> list[str]:
    """One line per optimizer."""
    lines = [
        "",
        f"leak: {metrics['steps']:,} training steps of a small model, resident memory after step {SETTLED:,}",
        "",
    ]
    for name in metrics["order"]:
        row = metrics["rows"][name]
        if row["bytes_per_step"] is None:
            lines.append(f"  {name:26} not known: this system does not tell resident memory")
            continue
        slope, grown = row["bytes_per_step"], row["grown"] / 1024
        said = "flat" if abs(slope) < FLAT_BELOW else f"NOT FLAT: {FLAT_BELOW:g} bytes a step or more"
        lines.append(f"  {name:26}{slope:8.2f} bytes a step, {grown:.0f} KiB in all: {said}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--one", choices=NAMES, help="this optimizer alone, in this process")
    run("leak", parser, measure, text)


if __name__ == "__main__":
    main()
