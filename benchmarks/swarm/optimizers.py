"""The same wells, the same network, three optimizers: SMMF, SM3 and AdamW, each at its own learning rate, several
seeds.

    python -m benchmarks.swarm.optimizers --data DIR [--seeds 3] [--epochs 6] [--sweep-epochs 3] [--json]

DIR is a set of `sm3 swarm simulate`. Learning rates are swept on one seed; the best one by the loss on validation
chips then
trains every seed. Chips of the test trained nothing and chose nothing. Bytes of state are what the optimizer holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from sm3.swarm.dataset import read_wells, split_by_chip
from sm3.swarm.learn.prepare import Views, prepare
from sm3.swarm.learn.train import OPTIMIZERS, TrainSettings, train_member
from sm3.swarm.network.classifier import Member
from sm3.swarm.network.view import View

RATES = {
    "smmf": (5e-3, 1e-2, 2e-2, 4e-2),
    "sm3": (0.05, 0.1, 0.2, 0.4),
    "adamw": (1e-3, 2e-3, 4e-3, 8e-3),
}


def figures(member: Member, views: Views) -> tuple[float, float]:
    """Cross-entropy and share of right answers on views as they are, one copy each."""
    eyes, logits = View(), []
    with torch.no_grad():
        for start in range(0, len(views), 100):
            part = views.of(range(start, min(start + 100, len(views))))
            seen, _ = eyes.normalise(part.cut.float()[:, None], eyes.mask(part.radius_um))
            logits.append(member(seen)[0])
    told = torch.cat(logits)
    loss = functional.binary_cross_entropy_with_logits(told, views.positive)
    return float(loss), float(((told > 0).float() == views.positive).float().mean())


def state_bytes(name: str) -> int:
    """Bytes of optimizer state after one step on the default network."""
    member = Member()
    optimizer = OPTIMIZERS[name][0](member.parameters(), lr=1e-3)
    member(torch.zeros(2, 1, 128, 128))[0].sum().backward()
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def main() -> None:
    """Sweep, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--sweep-epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        parts = split_by_chip(read_wells(options.data), (0.7, 0.1, 0.2), 0)
        train, valid, test = (prepare(part, Path(folder)) for part in parts)
        for name, rates in RATES.items():
            rows.append(_one(name, rates, train, valid, test, options, Path(folder)))
            if not options.json:
                print(_line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps(rows))


def _one(
    name: str, rates: tuple[float, ...], train: Views, valid: Views, test: Views, options: Any, folder: Path
) -> dict[str, Any]:
    swept = {}
    for rate in rates:
        store = folder / f"{name}-{rate}"
        store.mkdir()
        settings = TrainSettings(optimizer=name, lr=rate, epochs=options.sweep_epochs)
        swept[rate] = figures(train_member(train, settings, 0, store), valid)[0]
        print(f"{name} lr {rate:g}: validation loss {swept[rate]:.4f}", file=sys.stderr, flush=True)
    best = min(swept, key=swept.__getitem__)
    runs = []
    for seed in range(1, options.seeds + 1):
        store = folder / f"{name}-{best}-{seed}"
        store.mkdir()
        settings = TrainSettings(optimizer=name, lr=best, epochs=options.epochs)
        runs.append(figures(train_member(train, settings, seed, store), test))
    return {"optimizer": name, "lr": best, "swept": swept, "state_bytes": state_bytes(name), "wells": len(test),
            "loss": [loss for loss, _ in runs], "right": [right for _, right in runs]}  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    loss, right = row["loss"], row["right"]
    return (
        f"{row['optimizer']:6} lr {row['lr']:<6g} state {row['state_bytes']:7,} B  "
        f"test loss {statistics.mean(loss):.4f} ({min(loss):.4f} to {max(loss):.4f})  "
        f"right {100 * statistics.mean(right):.2f} % ({100 * min(right):.2f} to {100 * max(right):.2f}) "
        f"of {row['wells']}"
    )


if __name__ == "__main__":
    main()
