"""One `optimizer.step()` on given gradients, whole and from Python, ours and PyTorch's, with bound and control.

    python -m benchmarks.native_step [--set gpt2-small] [--dtype float32] [--threads 1,all] [--rounds 15] [--json]
    THP_MEM_ALLOC_ENABLE=1 python -m benchmarks.native_step     the same with huge pages

First the answers are checked (answers.py), then all contestants step the same parameters in turns (measure.py). 16-bit
parameters are written with stochastic rounding by ours and to nearest by PyTorch's, which has nothing else.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from benchmarks import answers, bounds
from benchmarks.command import cores, progress, run, thread_counts, threads_option
from benchmarks.conditions import conditions, load_average, load_text, pages_text
from benchmarks.contestants import BASE, CONTROL, contestants, rounding
from benchmarks.measure import ROUNDS_TO_QUOTE, Seconds, clock_for, figures, interleaved, valid, verdict
from benchmarks.shapes import ABOUT, HEADLINE, parameters, shapes_of
from sm3.optim.kernels.cpu import library
from sm3.plan.measure import state_nbytes

# Lists with fewer elements are stepped this often per round: a step would be too short for the clock (chosen).
REPEAT_BELOW, REPEATS = 1 << 22, 20


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One table per number of threads, all on the same tensors."""
    library.set_isa(options.isa)
    dtype = getattr(torch, options.dtype)
    torch.set_num_threads(1)  # at first there is no thread pool that could spin in the CPU time
    params = parameters(shapes_of(options.set), dtype)
    progress("answers")
    checked = answers.check(params)
    tables = [_table(params, threads, options.rounds) for threads in thread_counts(options.threads)]
    return {
        "set": options.set,
        "dtype": options.dtype,
        "rounding": rounding(dtype),
        "tensors": len(params),
        "numel": sum(param.numel() for param in params),
        "answers": checked,
        "tables": tables,
    }


def _table(params: list[Tensor], threads: int, rounds: int) -> dict[str, Any]:
    """What the contestants took with this number of threads, between two probes of the bandwidth."""
    torch.set_num_threads(threads)
    load = [load_average()]
    progress("bandwidth")
    rates = bounds.bandwidth(threads)
    optimizers = {name: make(params) for name, make in contestants().items()}
    numel = sum(param.numel() for param in params)
    repeats = REPEATS if numel < REPEAT_BELOW else 1
    steps = {name: optimizer.step for name, optimizer in optimizers.items()}
    seconds = interleaved(steps, rounds, repeats=repeats)
    state = {name: state_nbytes(optimizer) / numel for name, optimizer in optimizers.items()}
    found = conditions()  # with all tensors in place
    del optimizers, steps
    rates = bounds.faster(rates, bounds.bandwidth(threads))
    if not all(bool(param.isfinite().all()) for param in params):
        raise AssertionError("a contestant made a weight infinite or NaN: these are not the times of a training run")
    rows = rows_of(seconds, clock_for(threads), numel, params[0].element_size(), state, rates[bounds.BOUND])
    control = rows[CONTROL]["ratio"]
    return {
        "threads": threads,
        "clock": clock_for(threads),
        "rounds": rounds,
        "repeats": repeats,
        "gb_per_s": {name: rate / 1e9 for name, rate in rates.items()},
        "order": list(rows),  # JSON objects have none
        "rows": rows,
        "control": control,
        "valid": valid(control, rounds),
        "conditions": found,
        "load_average": [*load, load_average()],
        "seconds": seconds,
    }


def rows_of(
    seconds: Seconds,
    clock: str,
    numel: int,
    number: int,  # bytes of one element of a parameter
    state: dict[str, float],  # bytes of state per element, by contestant
    bytes_per_second: float,
) -> dict[str, dict[str, Any]]:
    """The rows of a table, from what was measured alone."""
    streams = 2 * numel * number >= bounds.STREAMS_FROM_BYTES
    rows = {}
    for name, found in figures(seconds, BASE, clock).items():
        moved = bounds.bytes_per_element(number, state[name])
        least = moved * numel / bytes_per_second
        share = least / found["median"] if streams else None
        rows[name] = {**found, "state": state[name], "bytes": moved, "share": share}
    return rows


def text(metrics: dict[str, Any]) -> list[str]:
    """All tables of one set and dtype."""
    numel, tensors, name = metrics["numel"], metrics["tensors"], metrics["set"]
    about = f", {ABOUT[name]}" if name in ABOUT else ""
    how = metrics["dtype"] + ("" if metrics["rounding"] == "nearest" else f", {metrics['rounding']} rounding for ours")
    count = "1 tensor" if tensors == 1 else f"{tensors} tensors"
    found = metrics["tables"][0]["conditions"]
    lines = ["", f"{name}, {how}: {count}, {numel:,} elements{about}", f"  {metrics['answers']}"]
    lines.append(f"  {found['isa']}; {pages_text(found['pages'])}")
    for table in metrics["tables"]:
        lines += _table_text(table, numel)
    return lines


def _table_text(table: dict[str, Any], numel: int) -> list[str]:
    clock = table["clock"]
    other = "wall" if clock == "cpu" else "cpu"
    load = load_text(table["load_average"])
    rates = bounds.rates_text(table["gb_per_s"])
    lines = [
        "",
        f"  {table['threads']} of {cores()} cores, {clock} time; load {load}; GB/s: {rates}",
        f"  {'':26}{clock + ' ms':>9}{'ns/el':>9}{'min':>9}{'p90':>9}{other:>9}"
        f"{'B/el':>7}{'of bound':>10}{'state B':>9}{'ratio':>8}{'p10':>7}{'p90':>7}",
    ]
    per_element = 1e9 / numel
    for name in table["order"]:
        row = table["rows"][name]
        share = "cache" if row["share"] is None else f"{row['share']:.0%}"
        lines.append(
            f"  {name:26}{1e3 * row['median']:9.3f}{per_element * row['median']:9.3f}{per_element * row['min']:9.3f}"
            f"{per_element * row['p90']:9.3f}{per_element * row[other + '_median']:9.3f}{row['bytes']:7.2f}{share:>10}"
            f"{row['state']:9.4f}{row['ratio']:8.3f}{row['ratio_p10']:7.2f}{row['ratio_p90']:7.2f}"
        )
    return [*lines, f"  {verdict(table['control'], table['rounds'])}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default=HEADLINE, help=f"{', '.join(ABOUT)}, ROWSxCOLUMNS, or a model of `sm3 plan`")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    threads_option(parser)
    parser.add_argument("--rounds", type=int, default=ROUNDS_TO_QUOTE)
    parser.add_argument("--isa", default="auto", help="generic, avx2 or avx512; by default the best there is")
    run("native_step", parser, measure, text)


if __name__ == "__main__":
    main()
