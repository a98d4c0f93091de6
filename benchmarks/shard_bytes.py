"""What ranks send each other in one step of SMMF, from shapes alone: nothing is stepped, no process is started.

    python -m benchmarks.shard_bytes [--set gpt2-small] [--ranks 2,4,8,64] [--dtype float32] [--json]

Rows of every parameter are cut over the ranks as FSDP2 cuts them. Per rank and step, in MB:

    pieces     sent to the owners of panels that are cut: gradient and signs; mean and largest rank
    sums       what every rank receives by the all-gather: all ranks' messages, filled up to the longest
    slices     what it would receive if each rank added a slice of the columns and gathered them (not what is done)
    stepped    elements stepped beyond the rank's own, as a share of its own: assembled panels, rows held in part
    gradient   for scale: what FSDP2 sends of this rank's gradients in the same step, (N - 1) / N of all of them
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks.command import run
from benchmarks.shapes import ABOUT, HEADLINE, shapes_of
from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.shard_plan import Member, ShardPlan
from sm3.optim.rules.panels import Cut, even_rows
from sm3.optim.rules.shapes import near_square, signs_follow_rows


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One row for each number of ranks."""
    shapes = shapes_of(options.set)
    element = getattr(torch, options.dtype).itemsize
    numel = sum(torch.Size(shape).numel() for shape in shapes)
    rows = [_row(shapes, element, int(ranks)) for ranks in options.ranks.split(",")]
    return {"set": options.set, "dtype": options.dtype, "numel": numel, "tensors": len(shapes), "rows": rows}


def _row(shapes: list[tuple[int, ...]], element: int, ranks: int) -> dict[str, Any]:
    members = [_member(shape, element, ranks, turn) for turn, shape in enumerate(shapes)]
    started = time.perf_counter()
    plans = [ShardPlan(members, rank, ranks) for rank in range(ranks)]
    seconds = (time.perf_counter() - started) / ranks
    pieces = [sum(plan.sent) for plan in plans]
    messages = [places.nbytes for places in plans[0].places]
    numel = sum(member.cut.numel for member in members)
    return {
        "ranks": ranks,
        "pieces_mean": sum(pieces) / ranks,
        "pieces_most": max(pieces),
        "message_mean": sum(messages) / ranks,
        "sums": ranks * plans[0].message_nbytes,
        "slices": _slices(members, ranks),
        "extra_mean": sum(map(_extra, plans)) / numel,
        "extra_most": max(_extra(plan) for plan in plans) * ranks / numel,
        "gradient": numel * element * (ranks - 1) / ranks,
        "plan_seconds": seconds,
    }


def _member(shape: tuple[int, ...], element: int, ranks: int, turn: int) -> Member:
    cut = even_rows(shape, ranks)
    height = library.panel_rows(*near_square(cut.numel))
    return Member(Cut(shape, cut.holdings, not signs_follow_rows(shape)), height, turn, element, 4, 2)


def _slices(members: list[Member], ranks: int) -> float:
    """Its slice of the columns of all panels, then the factors: what a rank would receive instead of all sums."""
    sums = sum(4 * member.moments * len(member.panels) * member.matrix[1] for member in members)
    factors = sum(4 * member.moments * sum(member.matrix) for member in members)
    return sums / ranks + factors


def _extra(plan: ShardPlan) -> int:
    """Elements that this rank steps and does not hold: of panels it assembles, of rows it holds in part."""
    extra = 0
    for member in plan.members:
        columns = member.matrix[1]
        for panel in member.panels:
            blocks = panel.held_by(plan.rank)
            held = sum(block.runs.numel for block in blocks)
            if panel.whole or not blocks:
                continue
            if panel.owner == plan.rank:
                extra += panel.numel - held
            else:
                first = min(block.runs.start for block in blocks) // columns
                last = -(-max(block.runs.start + block.runs.span for block in blocks) // columns)
                extra += min(last * columns, member.cut.numel) - first * columns - held
    return extra


def text(metrics: dict[str, Any]) -> list[str]:
    """The table."""
    about = f" ({ABOUT[metrics['set']]})" if metrics["set"] in ABOUT else ""
    lines = [
        f"SMMF, {metrics['set']}{about}, gradients of {metrics['dtype']}: "
        f"{metrics['tensors']} tensors, {metrics['numel']:,} elements; MB per rank and step",
        f"{'ranks':>6}{'pieces':>9}{'most':>8}{'sums':>8}{'slices':>8}{'stepped':>9}{'most':>7}{'gradient':>10}",
    ]
    for row in metrics["rows"]:
        mega = {name: row[name] / 1e6 for name in ("pieces_mean", "pieces_most", "sums", "slices", "gradient")}
        lines.append(
            f"{row['ranks']:6}{mega['pieces_mean']:9.2f}{mega['pieces_most']:8.2f}{mega['sums']:8.2f}"
            f"{mega['slices']:8.2f}{row['extra_mean']:9.1%}{row['extra_most']:7.0%}{mega['gradient']:10.1f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default=HEADLINE, help=f"{', '.join(ABOUT)}, ROWSxCOLUMNS, or a model of `sm3 plan`")
    parser.add_argument("--ranks", default="2,4,8,64", help="numbers of ranks, with commas between")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of gradients")
    run("shard_bytes", parser, measure, text)


if __name__ == "__main__":
    main()
