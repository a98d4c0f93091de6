"""A byte-level GPT of 100 M parameters in bfloat16 through `sm3.lean`: bytes as planned, and the same bits as without.

    python -m benchmarks.lean [--steps 200] [--json]

The bytes that count for "does it fit" are weights, optimizer state and the gradients alive at one time; all three are
counted on the live tensors, the gradients each time one arrives. The second run steps after backward as usual; its
parameters and state must be those of the first, bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path
from typing import Any

import torch

import sm3
from benchmarks.command import own_process, progress, run
from sm3.compare.model import ByteGPT, Size, bits_per_byte
from sm3.optim.torch.loop import RuleOptimizer
from sm3.plan.measure import state_nbytes

SIZE = Size(layers=14, width=768, heads=12, context=16)  # 99.3 M parameters; short, so that 200 steps take minutes
LR = 1e-4  # chosen: without a warm-up, the loss falls from the first steps on
STEPS = 200


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both runs, one process each; with --one that one, here."""
    if options.one is not None:
        return _one(options.steps, released=options.one == "released")
    found = {}
    for name in ("released", "ordinary"):
        progress(name)
        found[name] = own_process("lean", ["--one", name, "--steps", str(options.steps)])["metrics"]
    progress("")
    return {"steps": options.steps, **found}


def _one(steps: int, *, released: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    model = ByteGPT(SIZE)
    params = [param for param in model.parameters() if param.requires_grad]
    peak = 0

    def note(_: torch.Tensor) -> None:
        nonlocal peak
        peak = max(peak, sum(param.grad.nbytes for param in params if param.grad is not None))

    for param in params:  # before `lean`, so that a gradient is counted before it is freed
        param.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
    lean = sm3.lean(model, lr=LR)
    if not released:
        lean.remove()
    began, losses = time.perf_counter(), []
    for step in range(steps):
        loss = bits_per_byte(model, _batch(step))
        loss.backward()  # type: ignore[no-untyped-call]
        lean.optimizer.step()
        lean.optimizer.zero_grad()
        losses.append(float(loss.detach()))
    weights = sum(param.nbytes for param in model.parameters())
    return {
        "numel": sum(param.numel() for param in model.parameters()),
        "weights_bytes": weights,
        "state_bytes": state_nbytes(lean.optimizer),
        "gradient_bytes": peak,
        "training_bytes": weights + state_nbytes(lean.optimizer) + peak,
        "planned_bytes": lean.training_bytes(),
        "digest": _digest(lean.optimizer),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "seconds_per_step": (time.perf_counter() - began) / steps,
    }


def _batch(step: int) -> torch.Tensor:  # (1, context + 1) int64
    """A passage of argparse's source, another one at each step."""
    text = Path(argparse.__file__).read_bytes()
    start = (step * 9973) % (len(text) - SIZE.context - 1)
    return torch.tensor(list(text[start : start + SIZE.context + 1])).view(1, -1)


def _digest(optimizer: RuleOptimizer) -> str:
    """Of every parameter and every state tensor, names and bits."""
    digest = hashlib.blake2b(digest_size=16)
    for group in optimizer.param_groups:
        for param in group["params"]:
            for tensor in (param.detach(), *optimizer.state[param].values()):
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def text(metrics: dict[str, Any]) -> list[str]:
    """Bytes per parameter against the plan, and whether the two runs are the same."""
    released, ordinary = metrics["released"], metrics["ordinary"]
    numel = released["numel"]
    equal = released["digest"] == ordinary["digest"]
    as_planned = released["training_bytes"] == released["planned_bytes"]
    lines = [
        "",
        f"lean: byte-level GPT, {numel:,} parameters in bfloat16, SMMF, {metrics['steps']} steps",
        "",
        f"  {'bytes per parameter':24}{'weights':>10}{'state':>10}{'gradients':>12}{'together':>11}",
    ]
    for name, row in (("released in backward", released), ("stepped after backward", ordinary)):
        parts = [row[key] / numel for key in ("weights_bytes", "state_bytes", "gradient_bytes", "training_bytes")]
        lines.append(f"  {name:24}{parts[0]:10.4f}{parts[1]:10.4f}{parts[2]:12.4f}{parts[3]:11.4f}")
    verdict = "equal to the byte" if as_planned else f"NOT EQUAL: planned {released['planned_bytes']:,}"
    lines.append(f"  planned for the first: {released['planned_bytes']:,}; measured: {verdict}")
    lines.append(f"  parameters and state after {metrics['steps']} steps: {'equal bits' if equal else 'NOT EQUAL'}")
    losses = f"{released['first_loss']:.2f} to {released['last_loss']:.2f} bits per byte"
    lines.append(f"  loss {losses}, {released['seconds_per_step']:.2f} s a step")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--one", choices=["released", "ordinary"], help="this run alone, in this process")
    run("lean", parser, measure, text)


if __name__ == "__main__":
    main()
