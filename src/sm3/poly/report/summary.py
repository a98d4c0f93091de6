"""The analysis of a model for the terminal (sentences and tables) and as data. The page is page.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.poly.report.analysis import Analysis
from sm3.poly.report.verdict import sentences, share

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = 1
PIPED_WIDTH = 118
COLUMNS = ("input", "distribution", "first order", "total")
PAIR_COLUMNS = ("pair", "together")
GROUP_COLUMNS = ("group", "inputs", "closed", "total")
# Rows of a table on the terminal; the page and the JSON object have all (chosen).
MOST_ROWS = 25
MOST_OUTPUTS = 6  # outputs with tables of their own (chosen)


def index_rows(analysis: Analysis, output: int) -> list[tuple[str, ...]]:
    """One row for each input, the largest total index first."""
    order = np.argsort(-np.nan_to_num(analysis.total[:, output]), kind="stable").tolist()
    return [
        (
            analysis.inputs[j],
            analysis.distributions[j],
            interval(analysis.first[j, output], analysis.first_ends, (j, output)),
            interval(analysis.total[j, output], analysis.total_ends, (j, output)),
        )
        for j in order
    ]


def pair_rows(analysis: Analysis, output: int, least: float = 0.001) -> list[tuple[str, ...]]:
    """One row for each pair of inputs that makes at least this part of the variance together, the largest first."""
    values = np.nan_to_num(analysis.pair[:, output])
    order = [k for k in np.argsort(-values, kind="stable").tolist() if values[k] >= least]
    return [
        (
            " x ".join(analysis.inputs[j] for j in analysis.pairs[k]),
            interval(values[k], analysis.pair_ends, (k, output)),
        )
        for k in order
    ]


def group_rows(analysis: Analysis, output: int) -> list[tuple[str, ...]]:
    """One row for each group that was asked for."""
    return [
        (group.name, ", ".join(group.members), share(group.closed[output]), share(group.total[output]))
        for group in analysis.groups
    ]


def interval(value: float, ends: NDArray[np.float64] | None, place: tuple[int, int]) -> str:
    """An index with its interval, marked where it lies outside."""
    if ends is None:
        return share(value)
    low, high = ends[0][place], ends[1][place]
    outside = value < low - 5e-4 or value > high + 5e-4
    return f"{share(value)} [{share(low)}, {share(high)}]" + ("*" if outside else "")


def notes(analysis: Analysis) -> list[str]:
    """What the columns mean, and what the model itself has to say."""
    lines = ["first order: what the input explains alone. total: what it has a hand in, interactions included."]
    level = f"{100 * analysis.level:g} %"
    if analysis.kind == "cross-fit":
        lines.append(
            f"[ ]: {level} interval for the function itself; the unexplained part is inside, so it is "
            "no narrower than 1 - Q2."
        )
        if any("*" in "".join(row) for k in range(len(analysis.outputs)) for row in index_rows(analysis, k)):
            lines.append(
                "*: the polynomial's own index lies outside. It overfits; the interval is right, not the index."
            )
    elif analysis.kind is not None:
        lines.append(
            f"[ ]: {level} bootstrap interval for the polynomial ({analysis.kind}); what it misses of "
            "the function, 1 - Q2, comes on top."
        )
    return [*lines, *(f"Note: {note}" for note in analysis.model.notes_)]


def subject(analysis: Analysis) -> str:
    """The model in one line."""
    model = analysis.model
    return (
        f"{', '.join(analysis.outputs[:MOST_OUTPUTS])}{', ...' if len(analysis.outputs) > MOST_OUTPUTS else ''} from "
        f"{len(analysis.inputs)} inputs, {len(model.rows_)} rows: {len(model.index_set_)} of {model.n_basis_} terms, "
        f"solver {model.solver_}"
    )


def show(analysis: Analysis) -> None:
    """Sentences, tables and notes, on stdout."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)  # Rich would fold tables into 80 columns
    console.print(subject(analysis), markup=False, highlight=False)
    for output in range(min(len(analysis.outputs), MOST_OUTPUTS)):
        console.print()
        for text in sentences(analysis, output):
            console.print(f"- {text}", markup=False, highlight=False)
        for columns, rows in tables(analysis, output):
            console.print(_table(columns, rows))
            if len(rows) > MOST_ROWS:
                console.print(f"... and {len(rows) - MOST_ROWS} more: see --json or --report", style="dim")
    if len(analysis.outputs) > MOST_OUTPUTS:
        console.print(f"... and {len(analysis.outputs) - MOST_OUTPUTS} more outputs: see --json", style="dim")
    if analysis.together is not None:
        console.print("\nall outputs together, each with its own variance", markup=False)
        console.print(_table(("input", "first order", "total"), together_rows(analysis)))
    console.print()
    for text in notes(analysis):
        console.print(text, markup=False, highlight=False, style="dim")


def tables(analysis: Analysis, output: int) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """The tables of one output, those with rows: inputs, pairs, groups."""
    found = [
        (COLUMNS, index_rows(analysis, output)),
        (PAIR_COLUMNS, pair_rows(analysis, output)),
        (GROUP_COLUMNS, group_rows(analysis, output)),
    ]
    return [(columns, rows) for columns, rows in found if rows]


def together_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Of all outputs as one."""
    together = analysis.together
    assert together is not None
    return [(analysis.inputs[j], share(together.first[j]), share(together.total[j])) for j in analysis.order.tolist()]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for title in columns:
        drawn.add_column(Text(title), no_wrap=title != "distribution", overflow="fold")
    for row in rows[:MOST_ROWS]:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def as_data(analysis: Analysis, command: str = "") -> dict[str, Any]:
    """Everything as plain JSON values; what is not known becomes null."""
    model = analysis.model
    found: dict[str, Any] = {
        "kind": "poly",
        "format": FORMAT,
        "command": command,
        "source": analysis.source,
        "rows": len(model.rows_),
        "terms": len(model.index_set_),
        "candidate_terms": model.n_basis_,
        "solver": model.solver_,
        "condition_number": model.cond_,
        "kappa": model.kappa_,
        "candidates": [dict(candidate) for candidate in model.candidates_],
        "notes": list(model.notes_),
        "inputs": [
            {"name": name, "distribution": text}
            for name, text in zip(analysis.inputs, analysis.distributions, strict=True)
        ],
        "intervals": None if analysis.kind is None else {"kind": analysis.kind, "level": analysis.level},
        "outputs": [_output(analysis, k) for k in range(len(analysis.outputs))],
    }
    if analysis.together is not None:
        first, total = analysis.together.first, analysis.together.total
        found["all_outputs_together"] = [
            {"name": name, "first": first[j], "total": total[j]} for j, name in enumerate(analysis.inputs)
        ]
    if analysis.curve is not None:
        curve = zip(analysis.curve.rows, analysis.curve.errors, strict=True)
        found["learning_curve"] = [{"rows": rows, "errors": errors.tolist()} for rows, errors in curve]
    return _plain(found)  # type: ignore[no-any-return]


def _output(analysis: Analysis, k: int) -> dict[str, Any]:
    def ends(table: NDArray[np.float64] | None, row: int) -> list[float] | None:
        return None if table is None else table[:, row, k].tolist()

    return {
        "name": analysis.outputs[k],
        "mean": analysis.mean[k],
        "variance": analysis.variance[k],
        "q2": analysis.q2[k],
        "q2_interval": analysis.q2_ends[:, k].tolist(),
        "unexplained": analysis.unexplained[k],
        "verdict": sentences(analysis, k),
        "indices": [
            {
                "name": name,
                "first": analysis.first[j, k],
                "first_interval": ends(analysis.first_ends, j),
                "total": analysis.total[j, k],
                "total_interval": ends(analysis.total_ends, j),
            }
            for j, name in enumerate(analysis.inputs)
        ],
        "pairs": [
            {
                "names": [analysis.inputs[j] for j in pair],
                "together": analysis.pair[row, k],
                "interval": ends(analysis.pair_ends, row),
            }
            for row, pair in enumerate(analysis.pairs.tolist())
        ],
        "groups": [
            {"name": g.name, "inputs": list(g.members), "closed": g.closed[k], "total": g.total[k]}
            for g in analysis.groups
        ],
    }


def _plain(value: Any) -> Any:
    """JSON knows neither NumPy's numbers nor nan and inf."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
