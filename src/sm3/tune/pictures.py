"""Three figures as SVG text: indices with intervals, the score over the first hyper-parameters, Q2 over trials.

Text stays text, and takes the colour of the page around it, so the figures read on light and on dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sm3.extras import require
from sm3.tune.axes import Axis
from sm3.tune.rank import Ranking
from sm3.tune.refusal import LEAST_Q2

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sm3.tune.job import Verdict

# After Okabe and Ito (2008): distinguishable with the common colour blindnesses, on white and on black.
ALONE, TOGETHER, TRIALS = "#2d8fd5", "#d98200", "#8a8a8a"
MOST_ROWS = 20  # hyper-parameters in the figure of indices; the table has all
MOST_PANELS = 4  # hyper-parameters shown one by one
_INK = "#010203"  # stands for the colour of the text; no other element has it
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sm3",  # the same numbers give the same file
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _INK,
    "grid.alpha": 0.12,
}


def pictures(verdict: Verdict, prefix: str) -> dict[str, str]:
    """The figures by name, each one `<svg>` element with ids that begin with `prefix`; without a ranking, the curve."""
    ranking = verdict.ranking
    with require("matplotlib").rc_context(_SETTINGS):
        drawn: dict[str, Figure] = {}
        if ranking.ranked:
            drawn["indices"] = _indices(ranking)
            drawn["effects"] = _effects(verdict)
        if ranking.curve:
            drawn["curve"] = _curve(ranking)
        return {name: _svg(figure, f"{prefix}{name}") for name, figure in drawn.items()}


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Without pyplot, which keeps every figure and looks for a display."""
    figure = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, columns, sharey=True)))


def _indices(ranking: Ranking) -> Figure:
    """Two marks with intervals per hyper-parameter, and what the polynomial does not explain in a row of its own."""
    effects = ranking.effects[:MOST_ROWS]
    figure, (axes,) = _figure(5.4, 1.4 + 0.32 * (len(effects) + 1))
    for row, effect in enumerate(effects):
        for value, ends, colour, marker, shift in (
            (effect.first, effect.first_interval, ALONE, "o", -0.14),
            (effect.total, effect.total_interval, TOGETHER, "D", 0.14),
        ):
            shown = [100 * min(max(end, 0.0), 1.0) for end in ends]
            axes.plot(shown, [row + shift] * 2, color=colour, linewidth=2, alpha=0.55)
            axes.plot(100 * value, row + shift, marker, color=colour, markersize=5)
    low, high = (100 * min(max(1.0 - end, 0.0), 1.0) for end in ranking.q2_interval[::-1])
    axes.plot([low, high], [len(effects)] * 2, color=TRIALS, linewidth=2, alpha=0.55)
    axes.plot(100 * (1.0 - ranking.q2), len(effects), "s", color=TRIALS, markersize=5)
    axes.set_yticks(range(len(effects) + 1), [*(effect.name for effect in effects), "not explained"])
    axes.set_ylim(len(effects) + 0.6, -0.6)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("% of the variance")
    handles = [axes.plot([], [], marker, color=colour)[0] for colour, marker in ((ALONE, "o"), (TOGETHER, "D"))]
    axes.legend(handles, ["alone", "with interactions"], frameon=False, loc="lower right", fontsize=9)
    return figure


def _effects(verdict: Verdict) -> Figure:
    """Each trial as a dot over one hyper-parameter, and the polynomial's mean over all others as a line."""
    ranking, axes_of = verdict.ranking, {axis.name: axis for axis in verdict.branch.axes}
    chosen = [axes_of[effect.name] for effect in ranking.effects[:MOST_PANELS]]
    figure, panels = _figure(2.7 * max(2, len(chosen)), 3.2, len(chosen))
    columns, model = verdict.branch.columns(), ranking.model
    assert model is not None
    good = ~verdict.target.bad
    for axis, panel in zip(chosen, panels, strict=True):
        j = verdict.branch.axes.index(axis)
        grid = axis.points if axis.points is not None else np.linspace(axis.input[0], axis.input[1], 101)
        values = verdict.target.values
        panel.plot(columns[good, j], values[good], ".", color=TRIALS, markersize=4, alpha=0.6)
        panel.plot(columns[~good, j], values[~good], "x", color=TRIALS, markersize=4, alpha=0.6)
        few = axis.points is not None and len(axis.points) < 20
        # choices have no order, so no line joins them
        panel.plot(
            grid,
            model.main_effect(j, grid),
            color=TOGETHER,
            linewidth=0 if axis.choices else 2,
            marker="o" if few else "",
        )
        panel.set_xlabel(axis.name)
        _ticks(panel, axis)
    panels[0].set_ylabel(f"{verdict.target.name}\n(less is better)")
    return figure


def _ticks(panel: Axes, axis: Axis) -> None:
    """Values as people write them, not coordinates."""
    if axis.choices and axis.points is not None:
        panel.set_xticks(axis.points, [str(axis.choices[round(point)]) for point in axis.points])
    elif axis.log:
        low, high = panel.get_xlim()
        values = [digit * 10.0**k for k in range(-300, 300) for digit in (1, 3) if low < np.log(digit * 10.0**k) < high]
        tens = [value for value in values if f"{value:.0e}".startswith("1")]
        values = tens[:: 1 + len(tens) // 5] if len(tens) >= 3 else values
        panel.set_xticks(np.log(values), [f"{value:g}" for value in values])


def _curve(ranking: Ranking) -> Figure:
    """What fits on parts of the trials predict of the others, and the limit below which nothing is ranked."""
    figure, (axes,) = _figure(5.4, 3.4)
    sizes = [point.trials for point in ranking.curve]
    lowest = min(0.0, *(point.q2 for point in ranking.curve))
    axes.fill_between(
        sizes,
        [max(point.low, lowest - 0.5) for point in ranking.curve],
        [point.high for point in ranking.curve],
        color=ALONE,
        alpha=0.2,
        linewidth=0,
    )
    axes.plot(sizes, [point.q2 for point in ranking.curve], "o-", color=ALONE)
    last = ranking.curve[-1]
    axes.plot([last.trials] * 2, [last.low, last.high], color=TOGETHER, linewidth=2)
    axes.plot(last.trials, last.q2, "D", color=TOGETHER)
    axes.axhline(LEAST_Q2, color=_INK, alpha=0.5, linewidth=0.9, linestyle=(0, (4, 3)))
    if ranking.ceiling is not None:
        axes.axhline(ranking.ceiling.q2, color=TRIALS, linewidth=0.9)
    axes.set_ylim(max(lowest - 0.1, -1.0), 1.05)
    axes.set_xlabel("trials that were fitted")
    axes.set_ylabel("Q2 on the others")
    return figure


def _svg(figure: Figure, name: str) -> str:
    """The figure as one element to put into a page: own ids, no metadata, no addresses, the ink of the page."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)  # inline SVG needs none
    svg = svg.replace("xlink:href", "href").replace(_INK, "currentColor")
    # Several figures share a page, and the ids of one must not shadow those of another.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    # The size comes from the page; the viewBox keeps the proportions.
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
