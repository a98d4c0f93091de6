"""The table of step times in README.md, made from the newest record.

    python -m benchmarks.readme            writes it, between the two markers in README.md
    python -m benchmarks.readme --check    says whether it is what the record gives; a test does the same

Only VALID tables are quoted. Nothing here measures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.command import ROOT
from benchmarks.record import Record
from benchmarks.shapes import HEADLINE
from sm3.errors import InputError, explain

README = ROOT / "README.md"
BEGIN = "<!-- step times: written by `python -m benchmarks.readme`, not by hand -->"
END = "<!-- end of step times -->"
NONE_YET = "Not measured on a quiet machine yet: `make bench` prints it for yours."

# Of the contestants: the base, the floor, ours. The others stand in the record.
ROWS = (
    "AdamW fused",
    "SGD + momentum fused",
    "SGD fused",
    "SM3",
    "SM3 without momentum",
    "SMMF",
    "SMMF without first moment",
)


def block(path: Path | None) -> str:
    """The text between the markers for the record at this path."""
    if path is None:
        return NONE_YET
    found = record.read(path)
    columns = _columns(found)
    lines = [_introduction(found, path), ""]
    lines.append("| | state, bytes per parameter (float32) | " + " | ".join(columns) + " |")
    lines.append("|---|---:|" + "---:|" * len(columns))
    first = next(iter(columns.values()))
    for name in ROWS:
        cells = [_cell(table, name) for table in columns.values()]
        lines.append(f"| {name} | {first['rows'][name]['state']:.4f} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_peers(found)])


def _columns(found: Record) -> dict[str, dict[str, Any]]:
    """Heading -> table, in the order of the page."""
    columns = {}
    for dtype, heading in (("float32", "float32"), ("bfloat16", "bfloat16, stochastic")):
        for metrics, table in record.tables(found):
            asked = table["conditions"]["pages"]["asked_for"]
            if metrics["set"] == HEADLINE and metrics["dtype"] == dtype and not asked:
                columns[f"{heading}, {_threads(table)}"] = table
    return columns


def _threads(table: dict[str, Any]) -> str:
    return "1 thread" if table["threads"] == 1 else f"{table['threads']} threads"


def _cell(table: dict[str, Any], name: str) -> str:
    if not table["valid"]:
        return "contended"
    row = table["rows"][name]
    ratio = f"{row['ratio']:.2f}"
    return f"{ratio} ({1e3 * row['median']:.0f} ms)" if name == ROWS[0] else ratio


def _introduction(found: Record, path: Path) -> str:
    machine, versions = found["machine"], found["versions"]
    where = path.relative_to(ROOT).with_suffix(".txt").as_posix()
    (metrics, table), *_ = [pair for pair in record.tables(found) if pair[0]["set"] == HEADLINE]
    return (
        f"One `optimizer.step()` on GPT-2 small's {metrics['tensors']} tensors, {metrics['numel']:,} parameters: time"
        "\nas a ratio to PyTorch's fused AdamW in the same round, median of "
        f"{table['rounds']} rounds; CPU time on one thread, wall time on more.\n"
        f"{machine['processor']}, {machine['cores']} cores, {table['conditions']['isa']}, torch {versions['torch']}"
        f" ([record]({where})). SGD is the practical floor: with\nmomentum it moves SM3's bytes."
    )


def _peers(found: Record) -> list[str]:
    runs = [run["metrics"] for run in found["runs"] if run["kind"] == "peers"]
    if not runs or not runs[0]["valid"]:
        return []
    times, version = runs[0]["times_ours"], runs[0]["packages"]["pytorch_optimizer"]
    return [
        "",
        f"The same algorithms without kernels of their own: SM3 of pytorch_optimizer {version} takes "
        f"{times['SM3, pytorch_optimizer']:.1f} times\nas long as ours; SMMF as published, re-created in plain PyTorch "
        f"operations, {times['SMMF published, re-created']:.0f} times.",
    ]


def updated(text: str, path: Path | None) -> str:
    """README's text with the block of this record."""
    before, marker, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (marker and end):
        raise InputError(
            explain(
                "README.md has lost a marker.",
                got="no place for the table of step times",
                accepted=f"{BEGIN} and, below it, {END}",
                do="put both lines back where the table shall stand",
            )
        )
    return f"{before}{BEGIN}\n{block(path)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where README differs")
    options = parser.parse_args()
    path = record.newest()
    text = README.read_text(encoding="utf-8")
    new = updated(text, path)
    if options.check:
        sys.exit(0 if new == text else "README.md and the newest record differ: run `python -m benchmarks.readme`")
    README.write_text(new, encoding="utf-8")
    print(f"README.md: step times from {path.relative_to(ROOT) if path else 'no record yet'}")


if __name__ == "__main__":
    main()
