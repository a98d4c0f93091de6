"""The step within a real training step: forward, backward, `optimizer.step()` of a byte-level GPT.

    python -m benchmarks.training_step [--threads 1,all] [--rounds 15] [--json]

Here the step finds what it finds in training: caches full of activations, gradients at new addresses every time,
PyTorch's threads still spinning after backward. All contestants train the same weights in turns, with a rate so small
that the weights stay what they are. Forward and backward are the same work for all, so the whole is their median over
all contestants plus the contestant's own step: what is left is the optimizer's share, not the noise of backward.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import cores, run, thread_counts, threads_option
from benchmarks.conditions import conditions, load_average, load_text, pages_text
from benchmarks.contestants import BASE, CONTROL, contestants
from benchmarks.measure import ROUNDS_TO_QUOTE, Seconds, clock_for, figures, interleaved, valid, verdict
from sm3.compare.model import BYTES, ByteGPT, Size, bits_per_byte

# 19 M parameters: weights, gradients and AdamW's state are 305 MB, and a round takes a quarter of a minute (chosen).
SIZE = Size(layers=6, width=512, heads=8, context=128)
BATCH = 4


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One table per number of threads."""
    torch.set_num_threads(1)  # at first there is no thread pool that could spin in the CPU time
    torch.manual_seed(0)
    model = ByteGPT(SIZE)
    batch = torch.randint(BYTES, (BATCH, SIZE.context + 1))
    tables = [_table(model, batch, threads, options.rounds) for threads in thread_counts(options.threads)]
    params = list(model.parameters())
    return {
        "model": SIZE.as_data(),
        "bytes_per_batch": BATCH * SIZE.context,
        "tensors": len(params),
        "numel": sum(param.numel() for param in params),
        "tables": tables,
    }


def _table(model: ByteGPT, batch: Tensor, threads: int, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    load = [load_average()]
    params: list[Tensor] = list(model.parameters())
    optimizers = {name: make(params) for name, make in contestants().items()}

    def forward_and_backward() -> None:
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(bits_per_byte(model, batch))

    steps = {name: optimizer.step for name, optimizer in optimizers.items()}
    seconds = interleaved(steps, rounds, before=forward_and_backward)
    rows = rows_of(seconds, clock_for(threads))
    return {
        "threads": threads,
        "clock": clock_for(threads),
        "rounds": rounds,
        "order": list(rows),  # JSON objects have none
        "rows": rows,
        "control": rows[CONTROL]["ratio"],
        "valid": valid(rows[CONTROL]["ratio"], rounds),
        "conditions": conditions(),
        "load_average": [*load, load_average()],
        "seconds": seconds,
    }


def rows_of(seconds: Seconds, clock: str) -> dict[str, dict[str, float]]:
    """The rows of a table: the step alone, and the whole as forward + backward of all and the step of each."""
    alone = figures(seconds, BASE, clock)
    shared = statistics.median(value for taken in seconds.values() for value in taken[f"before_{clock}"])
    return {
        name: {
            **found,
            "before": shared,
            "share_of_whole": found["median"] / (shared + found["median"]),
            "whole_ratio": (shared + found["median"]) / (shared + alone[BASE]["median"]),
        }
        for name, found in alone.items()
    }


def text(metrics: dict[str, Any]) -> list[str]:
    """All tables."""
    model = metrics["model"]
    lines = [
        "",
        f"one training step of a byte-level GPT, {model['layers']} layers of {model['width']}, float32: "
        f"{metrics['tensors']} tensors, {metrics['numel']:,} elements, {metrics['bytes_per_batch']} bytes a batch",
    ]
    for table in metrics["tables"]:
        forward = 1e3 * table["rows"][BASE]["before"]
        load = load_text(table["load_average"])
        lines += [
            "",
            f"  {table['threads']} of {cores()} cores, {table['clock']} time; load {load}; "
            f"forward and backward {forward:.0f} ms; {pages_text(table['conditions']['pages'])}",
            f"  {'':26}{'step ms':>9}{'min':>9}{'p90':>9}{'ratio':>8}{'p10':>7}{'p90':>7}{'of whole':>10}{'whole':>8}",
        ]
        for name in table["order"]:
            row = table["rows"][name]
            lines.append(
                f"  {name:26}{1e3 * row['median']:9.3f}{1e3 * row['min']:9.3f}{1e3 * row['p90']:9.3f}"
                f"{row['ratio']:8.3f}{row['ratio_p10']:7.2f}{row['ratio_p90']:7.2f}{row['share_of_whole']:>10.1%}{row['whole_ratio']:8.3f}"
            )
        lines.append(f"  {verdict(table['control'], table['rounds'])}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    threads_option(parser)
    parser.add_argument("--rounds", type=int, default=ROUNDS_TO_QUOTE)
    run("training_step", parser, measure, text)


if __name__ == "__main__":
    main()
