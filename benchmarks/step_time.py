"""Time of one optimizer step, ours against PyTorch's fused and foreach AdamW, interleaved in one run.

Every round times each contestant once, in random order, on the same gradients; what is compared is the median over
rounds of the ratio to fused AdamW *in the same round*, so that a machine whose speed drifts does not decide. A second
fused AdamW is the control: where its ratio is off by more than 3 % the machine was busy, and no number is quotable.

    python -m benchmarks.step_time [--rounds 15] [--threads 1] [--scale 8]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sm3 import SM3, SMMF, run_record
from sm3.plan.models import specs_of

# A control off by more than this is another job on the machine (chosen: twice what an idle machine shows).
CONTROL_TOLERANCE = 0.03

CONTESTANTS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "AdamW fused": lambda params: torch.optim.AdamW(params, lr=1e-6, fused=True),
    "AdamW fused, control": lambda params: torch.optim.AdamW(params, lr=1e-6, fused=True),
    "AdamW foreach": lambda params: torch.optim.AdamW(params, lr=1e-6, foreach=True),
    "Adafactor": lambda params: torch.optim.Adafactor(params, lr=1e-6),
    "SM3": lambda params: SM3(params, lr=1e-6),
    "SM3 without momentum": lambda params: SM3(params, lr=1e-6, momentum=0.0),
    "SMMF": lambda params: SMMF(params, lr=1e-6),
    "SMMF without first moment": lambda params: SMMF(params, lr=1e-6, beta=None),
}


def parameters(scale: int) -> list[Tensor]:
    """GPT-2 small's 148 tensors, the longest dimension of each matrix divided by `scale`."""
    shapes = [spec.shape for spec in specs_of("gpt2-small")]
    shrunk = [(max(shape[0] // scale, 1), *shape[1:]) if len(shape) == 2 else shape for shape in shapes]
    generator = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=generator).mul_(0.02).requires_grad_() for shape in shrunk]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).mul_(0.01)
    return params


def measure(params: list[Tensor], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each contestant, one number per round."""
    optimizers = {name: make(params) for name, make in CONTESTANTS.items()}
    for optimizer in optimizers.values():  # state exists and caches are warm
        optimizer.step()
        optimizer.step()
    order = list(optimizers)
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for number in range(rounds):
        shuffle(order)
        for name in order:
            start = time.perf_counter()
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scale", type=int, default=4, help="shrink GPT-2 small's matrices by this factor")
    parser.add_argument("--json", action="store_true", help="one run record instead of the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    params = parameters(options.scale)
    numel = sum(param.numel() for param in params)
    seconds = measure(params, options.rounds)
    base = seconds["AdamW fused"]
    rows = {}
    for name, times in seconds.items():
        ratios = sorted(own / reference for own, reference in zip(times, base, strict=True))
        rows[name] = {
            "median_ms": 1e3 * statistics.median(times),
            "min_ms": 1e3 * min(times),
            "max_ms": 1e3 * max(times),
            "ns_per_element": 1e9 * statistics.median(times) / numel,
            "ratio": statistics.median(ratios),
        }
    valid = abs(rows["AdamW fused, control"]["ratio"] - 1.0) <= CONTROL_TOLERANCE
    if options.json:
        record = run_record.RunRecord("step_time", 0, vars(options), {"valid": valid, "rows": rows})
        print(record.line())
        return
    machine = run_record.machine()
    print(f"{machine['processor']}, {options.threads} threads, torch {torch.__version__}, {numel:,} float32 parameters")
    print(f"{'optimizer':28}{'median ms':>10}{'min':>8}{'max':>8}{'ns/element':>12}{'to AdamW fused':>16}")
    for name, row in rows.items():
        figures = f"{row['median_ms']:10.1f}{row['min_ms']:8.1f}{row['max_ms']:8.1f}{row['ns_per_element']:12.2f}"
        print(f"{name:28}{figures}{row['ratio']:15.2f}x")
    print("VALID" if valid else "contended, not quotable: the control is off by more than 3 %")


if __name__ == "__main__":
    main()
