"""One step of the C++ kernels against PyTorch's own optimizers, on one thread, with the bandwidth bound and a control.

    python -m benchmarks.native_step [--rounds 9] [--set gpt2,odd,small] [--dtype float32,bfloat16] [--json]

Each round times every contestant once, in random order, on the same gradients; what is compared is the median over
rounds of the ratio to fused AdamW *in the same round*. A second fused AdamW is the control: where its ratio is off by
more than 3 % another job was on the machine, and no number is quotable. CPU time of the process decides (it does not
count preemption); wall time is shown beside it.

    gpt2    GPT-2 small's 148 tensors, 124.4 M elements: the headline
    odd     one matrix of 8192 x 4112: a power of two would put all rows on the same cache sets, and flatter us
    small   100 matrices of 64 x 64 and 100 vectors of 64: overhead per tensor; the whole `optimizer.step()`
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sm3 import SM3, SMMF, run_record
from sm3.optim.kernels.cpu import library
from sm3.plan.models import specs_of

CONTROL_TOLERANCE = 0.03
SETS = {
    "gpt2": lambda: [tuple(spec.shape) for spec in specs_of("gpt2-small")],
    "odd": lambda: [(8192, 4112)],
    "small": lambda: [(64, 64)] * 100 + [(64,)] * 100,
}
PROBE_ELEMENTS = 1 << 25

Contestant = tuple[Callable[[list[Tensor]], torch.optim.Optimizer], Callable[[int], float]]


def contestants(dtype: torch.dtype) -> dict[str, Contestant]:
    """Name -> how to make it, and bytes it must move per element, given the bytes of a number of the parameter."""
    rounding = "nearest" if dtype == torch.float32 else "stochastic"
    accumulator = 4
    # Parameter read and written, gradient read, and the state that is as large as the parameter, read and written.
    adamw: Contestant = (lambda p: torch.optim.AdamW(p, lr=1e-6, fused=True), lambda b: 7 * b)
    return {
        "AdamW fused": adamw,
        "AdamW fused, control": adamw,
        "AdamW foreach": (lambda p: torch.optim.AdamW(p, lr=1e-6, foreach=True), lambda b: 7 * b),
        "SGD + momentum fused": (lambda p: torch.optim.SGD(p, lr=1e-6, momentum=0.9, fused=True), lambda b: 5 * b),
        "SM3": (lambda p: SM3(p, lr=1e-6, rounding=rounding), lambda b: 3 * b + 2 * accumulator),
        "SM3 without momentum": (lambda p: SM3(p, lr=1e-6, momentum=0.0, rounding=rounding), lambda b: 3 * b),
        "SMMF": (lambda p: SMMF(p, lr=1e-6, rounding=rounding), lambda b: 3 * b + 0.25),
    }


def parameters(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    """Weights and gradients as a model has them."""
    generator = torch.Generator().manual_seed(0)
    params = []
    for shape in shapes:
        param = torch.randn(shape, generator=generator).mul_(0.02).to(dtype).requires_grad_()
        param.grad = torch.randn(shape, generator=generator).mul_(0.01).to(dtype)
        params.append(param)
    return params


def bandwidth(threads: int) -> float:
    """Bytes per second of three arrays read and two written in place; the best of several."""
    # Each starts at another place in its page: at equal places loads wait for stores that only look like theirs.
    arrays = [torch.ones(PROBE_ELEMENTS + 1024)[336 * i :] for i in range(3)]
    addresses = [array.data_ptr() for array in arrays]
    seconds = []
    for _ in range(7):
        start = time.process_time() if threads == 1 else time.perf_counter()
        library.probe(*addresses, PROBE_ELEMENTS, threads)
        seconds.append((time.process_time() if threads == 1 else time.perf_counter()) - start)
    return 20 * PROBE_ELEMENTS / min(seconds)


def measure(params: list[Tensor], dtype: torch.dtype, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds, wall seconds) per step of each contestant, one pair per round."""
    optimizers = {name: make(params) for name, (make, _) in contestants(dtype).items()}
    # Steps too short for the clock are repeated.
    repeats = 1 if sum(param.numel() for param in params) > 1 << 22 else 20
    for optimizer in optimizers.values():
        optimizer.step()
        optimizer.step()
    order = list(optimizers)
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in order}
    for number in range(rounds):
        shuffle(order)
        for name in order:
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(repeats):
                optimizers[name].step()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            seconds[name].append((cpu / repeats, wall / repeats))
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def table(name: str, dtype: torch.dtype, rounds: int, bound: float) -> dict[str, object]:
    """The figures of one set of shapes and one dtype."""
    params = parameters(SETS[name](), dtype)
    numel = sum(param.numel() for param in params)
    seconds = measure(params, dtype, rounds)
    base = [cpu for cpu, _ in seconds["AdamW fused"]]
    rows = {}
    for contestant, pairs in seconds.items():
        cpu = [pair[0] for pair in pairs]
        moved = contestants(dtype)[contestant][1](params[0].element_size())
        rows[contestant] = {
            "cpu_ms": 1e3 * statistics.median(cpu),
            "cpu_ms_min": 1e3 * min(cpu),
            "wall_ms": 1e3 * statistics.median(pair[1] for pair in pairs),
            "ns_per_element": 1e9 * statistics.median(cpu) / numel,
            "bytes_per_element": moved,
            "share_of_bound": moved * numel / statistics.median(cpu) / bound,
            "ratio": statistics.median(own / other for own, other in zip(cpu, base, strict=True)),
        }
    valid = abs(rows["AdamW fused, control"]["ratio"] - 1.0) <= CONTROL_TOLERANCE
    return {"numel": numel, "tensors": len(params), "valid": valid, "rows": rows}


def show(name: str, dtype: torch.dtype, result: dict[str, object]) -> None:
    """Print one table."""
    kind = str(dtype).removeprefix("torch.") + ("" if dtype == torch.float32 else ", stochastic rounding for ours")
    print(f"\n{name}: {result['tensors']} tensors, {result['numel']:,} elements, {kind}")
    print(
        f"{'optimizer':24}{'CPU ms':>10}{'min':>10}{'wall ms':>10}{'ns/el':>8}{'B/el':>7}{'of bound':>10}{'ratio':>8}"
    )
    rows = result["rows"]
    assert isinstance(rows, dict)
    for contestant, row in rows.items():
        print(
            f"{contestant:24}{row['cpu_ms']:10.3f}{row['cpu_ms_min']:10.3f}{row['wall_ms']:10.3f}"
            f"{row['ns_per_element']:8.3f}{row['bytes_per_element']:7.2f}{row['share_of_bound']:9.0%}{row['ratio']:9.2f}"
        )
    print("VALID" if result["valid"] else "contended, not quotable: the control is off by more than 3 %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--set", default="gpt2,odd,small", help="which sets of shapes")
    parser.add_argument("--dtype", default="float32,bfloat16")
    parser.add_argument("--isa", default="auto", help="generic, avx2 or avx512; by default the best there is")
    parser.add_argument("--json", action="store_true", help="one run record instead of tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    library.set_isa(options.isa)
    load = [os.getloadavg()[0]]
    bound = bandwidth(1)
    results = {}
    for dtype_name in options.dtype.split(","):
        for name in options.set.split(","):
            dtype = getattr(torch, dtype_name)
            results[f"{name}, {dtype_name}"] = result = table(name, dtype, options.rounds, bound)
            if not options.json:
                show(name, dtype, result)
    load.append(os.getloadavg()[0])
    if options.json:
        metrics = {"isa": library.isa(), "bound_gb_per_s": bound / 1e9, "load_average": load, "tables": results}
        print(run_record.RunRecord("native_step", 0, vars(options), metrics).line())
        return
    machine = run_record.machine()
    print(f"\n{machine['processor']}, {machine['cores']} cores, one used; {library.isa()}; torch {torch.__version__}")
    print(f"bound: {bound / 1e9:.1f} GB/s, three arrays read and two written in place")
    print(f"load average {load[0]:.1f} to {load[1]:.1f}")


if __name__ == "__main__":
    main()
