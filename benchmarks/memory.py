"""What the first two steps need above weights and gradients: state, which stays, and temporaries, which do not.

    python -m benchmarks.memory [--set gpt2-small] [--json]

Each optimizer runs in a process of its own, so that none finds memory another one left. The peak is the system's own
high-water mark of resident memory, set back once weights, gradients and code are there.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adafactor, Optimizer

from benchmarks.command import own_process, progress, run
from benchmarks.contestants import CONTROL, LR, Make, contestants
from benchmarks.shapes import HEADLINE, parameters, shapes_of
from sm3.plan.measure import peak_memory, state_nbytes

MAKERS: dict[str, Make] = {name: make for name, make in contestants().items() if name != CONTROL}
MAKERS["Adafactor, torch"] = lambda params: Adafactor(params, lr=LR)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All optimizers, one process each; with --one that one, here."""
    if options.one is not None:
        return _one(options.one, options.set)
    rows = {}
    for name in MAKERS:
        progress(name)
        rows[name] = own_process("memory", ["--one", name, "--set", options.set])["metrics"]
    progress("")
    return {"set": options.set, "numel": rows[next(iter(rows))]["numel"], "order": list(rows), "rows": rows}


def _one(name: str, shapes: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    make = MAKERS[name]
    _two_steps(make, parameters([(64, 64)], torch.float32))  # loads code and constants, before they are counted
    params = parameters(shapes_of(shapes), torch.float32)
    with peak_memory() as memory:
        optimizer = _two_steps(make, params)
    on_top = memory.peak - memory.before if memory.peak is not None and memory.before is not None else None
    return {
        "numel": sum(param.numel() for param in params),
        "state_bytes": state_nbytes(optimizer),
        "peak_bytes": on_top if memory.exact else None,  # a mark that cannot be set back tells another story
    }


def _two_steps(make: Make, params: list[Tensor]) -> Optimizer:
    optimizer = make(params)
    optimizer.step()
    optimizer.step()
    return optimizer


def text(metrics: dict[str, Any]) -> list[str]:
    """The table, in MiB, and bytes per parameter."""
    numel = metrics["numel"]
    lines = [
        "",
        f"memory of two steps on {metrics['set']}, float32, above weights and gradients ({numel:,} elements), MiB",
        "",
        f"  {'':26}{'state':>9}{'peak':>9}{'temporary':>11}{'peak B/param':>14}",
    ]
    for name in metrics["order"]:
        row = metrics["rows"][name]
        state, peak = row["state_bytes"], row["peak_bytes"]
        if peak is None:
            lines.append(f"  {name:26}{state / 2**20:9.2f}{'not known: this system cannot set the mark back':>48}")
            continue
        # The mark moves by whole pages, and Python's own objects are in it: below 1 MiB it says nothing.
        lines.append(
            f"  {name:26}{state / 2**20:9.2f}{peak / 2**20:9.1f}{(peak - state) / 2**20:11.1f}{peak / numel:14.4f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default=HEADLINE, help="as in native_step")
    parser.add_argument("--one", choices=list(MAKERS), help="this optimizer alone, in this process")
    run("memory", parser, measure, text)


if __name__ == "__main__":
    main()
