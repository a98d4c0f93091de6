"""The result for the terminal (one table and the verdict) and as data (everything needed to rerun)."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sm3.compare.verdict import Row

if TYPE_CHECKING:
    from rich.table import Table

    from sm3.compare.job import Result

FORMAT = 1
PIPED_WIDTH = 118

# Title and one cell per row; the terminal's table and the page's are the same columns.
COLUMNS = (
    "optimizer",
    "best\nlr",
    "state bytes,\nplanned =\nmeasured",
    "of\nAdamW",
    "step\nms",
    "large:\nms",
    "large:\npeak MB",
    "final loss,\nmedian [min, max]",
    "steps to\nAdamW",
    "seconds\nto AdamW",
)


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, in the order of `COLUMNS`."""
    equal = row.state_bytes == row.planned_state_bytes
    peak = row.large_peak_bytes
    return (
        row.name,
        "-" if row.lr is None else f"{row.lr:g}" + ("*" if row.edge else ""),
        f"{row.state_bytes:,}" if equal else f"{row.planned_state_bytes:,} ≠ {row.state_bytes:,}",
        f"{100 * row.state_share:.3g} %",
        "-" if row.optimizer_ms is None else f"{row.optimizer_ms:.2f}",
        f"{row.large_ms:.1f}",
        "-" if peak is None else f"{peak / 1e6:.1f}",
        loss_cell(row),
        "never" if math.isinf(row.steps_to_baseline) else f"{row.steps_to_baseline:.0f}",
        "never" if math.isinf(row.seconds_to_baseline) else f"{row.seconds_to_baseline:.1f}",
    )


def loss_cell(row: Row) -> str:
    if not row.losses:
        return "diverged at every lr"
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    if math.isinf(row.median):
        return f"diverged{diverged}"
    if len(row.losses) == 1:
        return f"{row.median:.3f}"
    high = "inf" if math.isinf(row.high) else f"{row.high:.3f}"
    return f"{row.median:.3f} [{row.low:.3f}, {high}]{diverged}"


def notes(result: Result) -> list[str]:
    """What the columns mean, and the landmarks."""
    protocol, large = result.job.protocol, result.timing.metrics
    lines = [
        f"Trained: {subject(result)}, {result.parameters:,} parameters, {protocol.steps} steps, "
        f"{len(protocol.seeds)} seed(s), {at_a_time(result)}.",
        "step ms: the optimizer's part of one training step. large: one step on "
        f"{large['parameters'] / 1e6:.1f} M parameters in large tensors; its peak is on top of weights and gradients.",
        "to AdamW: when the held-out loss first is no higher than AdamW's final median, in half of the runs."
        + (" *: the best rate is the last one tried on that side." if any(row.edge for row in result.table) else ""),
    ]
    return [*lines, *landmark_lines(result)]


def landmark_lines(result: Result) -> list[str]:
    named = {"scored": "the very bytes the loss is measured on", "corpus": "the whole corpus"}
    return [
        f"Landmarks on {named[key]} ({values['bytes']:,.0f} bytes): by frequency {values['unigram']:.2f}, "
        f"gzip -9 {values['gzip']:.2f}, xz -9 {values['xz']:.2f} bits/byte."
        for key, values in result.landmarks.items()
    ]


def at_a_time(result: Result) -> str:
    return f"{result.prepared.workers} run(s) at a time with {result.settings['threads']} thread(s) each"


def subject(result: Result) -> str:
    """What was trained on what, in a few words."""
    settings = result.task.settings
    if settings["kind"] == "user":
        return f"the model of {settings['function']}"
    return f"byte-level GPT {settings['model']['name']} on {settings['corpus']['name']}"


def show(result: Result) -> None:
    """The table, the verdict and the notes, on stdout."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)  # Rich would fold the table into 80 columns
    console.print(table(result))
    for text in result.sentences:
        console.print(f"- {text}", markup=False, highlight=False)
    console.print()
    for text in notes(result):
        console.print(text, markup=False, highlight=False, style="dim")


def table(result: Result) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, title in enumerate(COLUMNS):
        drawn.add_column(Text(title), justify="right" if number else "left", no_wrap=True)
    for row in result.table:
        drawn.add_row(*(Text(cell) for cell in cells(row)))
    return drawn


def as_data(result: Result, *, runs: bool = True) -> dict[str, Any]:
    """Everything as plain JSON values; infinite (a loss that diverged, a target never reached) becomes null."""
    found = {
        "kind": "compare",
        "format": FORMAT,
        "command": result.command,
        "settings": result.settings,
        "machine": dict(result.records[0].machine),
        "unit": result.task.unit,
        "parameters": result.parameters,
        "landmarks": {name: dict(values) for name, values in result.landmarks.items()},
        "rows": [row.as_data() for row in result.table],
        "verdict": list(result.sentences),
        "timing": asdict(result.timing),
    }
    if runs:
        found["runs"] = [asdict(record) for record in result.records]
    return _finite(found)  # type: ignore[no-any-return]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
