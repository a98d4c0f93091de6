"""Four figures as SVG text: loss over steps, over seconds, over the learning rate; and memory against loss.

Text stays text, and takes the colour of the page around it, so the figures read on light and on dark.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sm3.compare.contestants import CONTESTANTS, RECIPES
from sm3.compare.sweep import Outcome, final_loss
from sm3.compare.verdict import Row
from sm3.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito (2008): distinguishable with the common colour blindnesses; chosen dark enough for white and
# light enough for black. The marker says the same once more.
_STYLES = (
    ("#8a8a8a", "o"),
    ("#d98200", "s"),
    ("#2d8fd5", "^"),
    ("#9a8c00", "P"),
    ("#12a07a", "D"),
    ("#c765a8", "v"),
)
STYLE = {contestant.name: style for contestant, style in zip(CONTESTANTS, _STYLES, strict=True)}
# A recipe has the colour of the plain optimizer it is made from, and a marker of its own.
_MARKERS = "<>dXp*h8H"
STYLE |= {
    recipe.name: (STYLE[recipe.name.split()[0]][0], marker)
    for recipe, marker in zip(RECIPES, _MARKERS[: len(RECIPES)], strict=True)
}

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


def pictures(
    outcomes: Sequence[Outcome], rows: Sequence[Row], unit: str, landmarks: Mapping[str, Mapping[str, float]]
) -> dict[str, str]:
    """The figures by name, each one `<svg>` element."""
    matplotlib = require("matplotlib")
    scored = landmarks.get("scored", {})
    with matplotlib.rc_context(_SETTINGS):
        drawn = {
            "steps": _curves(outcomes, unit, scored, column=0, label="steps"),
            "seconds": _curves(outcomes, unit, {}, column=1, label="seconds of training on this machine"),
            "rates": _rates(outcomes, unit),
            "memory": _memory(rows, unit),
        }
        return {name: _svg(figure, name) for name, figure in drawn.items()}


def _figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Without pyplot, which keeps every figure and looks for a display."""
    figure = require("matplotlib.figure").Figure(figsize=(5.4, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def _curves(outcomes: Sequence[Outcome], unit: str, scored: Mapping[str, float], *, column: int, label: str) -> Figure:
    """Held-out loss of the full runs; each seed a thin line, and a dot where a run ended."""
    figure, axes = _figure(label, f"held-out loss, {unit}")
    for outcome in outcomes:
        colour, marker = STYLE[outcome.contestant.name]
        for record in outcome.full:
            points = [point for point in record.metrics["held_out"] if point[2] is not None]
            if points:
                axes.plot([p[column] for p in points], [p[2] for p in points], color=colour, linewidth=1.1, alpha=0.85)
                axes.plot(points[-1][column], points[-1][2], marker, color=colour, markersize=5)
    for name in ("unigram", "gzip", "xz"):
        if name in scored:
            axes.axhline(scored[name], color=_INK, alpha=0.5, linewidth=0.9, linestyle=(0, (4, 3)))
    _name_landmarks(axes, scored)
    axes.set_xlim(left=0)
    _leave_out_the_beginning(axes, outcomes, [scored[name] for name in ("unigram", "gzip", "xz") if scored])
    axes.locator_params(axis="x", integer=column == 0)  # there is no half step
    return figure


def _leave_out_the_beginning(axes: Axes, outcomes: Sequence[Outcome], keep: list[float]) -> None:
    """The first fifth may leave the picture at the top: it falls so far that all the rest would be one line."""
    points = [(p, r.settings["steps"]) for o in outcomes for r in o.full for p in r.metrics["held_out"]]
    later = [p[2] for p, steps in points if p[2] is not None and p[0] > steps / 5]
    low, high = axes.get_ylim()
    if later:
        top = max(later + keep)
        axes.set_ylim(low, min(high, top + 0.1 * (top - low)))


def _name_landmarks(axes: Axes, scored: Mapping[str, float]) -> None:
    """Names above the lines, where no curve is: all begin high on the left and end low on the right."""
    if not scored:
        return
    higher, lower = sorted(("gzip", "xz"), key=lambda name: -scored[name])
    names = {"unigram": "bytes by frequency", higher: f"{higher} -9", lower: f"{lower} -9"}
    if scored[higher] - scored[lower] < 0.2:  # usual on a short text
        names[higher] = f"{names[higher]} and {names.pop(lower)}"
    for name, text in names.items():
        axes.annotate(
            text,
            (1.0 if name == "unigram" else 0.02, scored[name]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right" if name == "unigram" else "left",
            fontsize=9,
            alpha=0.75,
        )


def _rates(outcomes: Sequence[Outcome], unit: str) -> Figure:
    """Loss over learning rate from the first seed: a flat valley forgives. A cross at the top is a diverged run."""
    figure, axes = _figure("learning rate", f"final held-out loss, {unit}")
    for outcome in outcomes:
        colour, marker = STYLE[outcome.contestant.name]
        rates = [record.settings["lr"] for record in outcome.sweep]
        losses = [final_loss(record) for record in outcome.sweep]
        axes.plot(
            rates, [x if math.isfinite(x) else math.nan for x in losses], color=colour, marker=marker, markersize=5
        )
        bad = [rate for rate, loss in zip(rates, losses, strict=True) if math.isinf(loss)]
        axes.plot(bad, [0.98] * len(bad), "x", color=colour, markersize=8, transform=axes.get_xaxis_transform())
    _log_axis(axes)
    return figure


def _log_axis(axes: Axes, unit: str = "") -> None:
    """Numbers as people write them, 0.003 and not a power of ten."""
    axes.set_xscale("log")
    ticker = require("matplotlib.ticker")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def _memory(rows: Sequence[Row], unit: str) -> Figure:
    """State against loss with its range over seeds; the line joins those nobody beats in both."""
    figure, axes = _figure("optimizer state, share of AdamW's", f"final held-out loss, {unit}")
    shown = [row for row in rows if math.isfinite(row.median)]
    front = pareto_front([(100 * row.state_share, row.median) for row in shown])
    if front:
        axes.plot(*zip(*front, strict=True), color=_INK, alpha=0.45, linewidth=1, drawstyle="steps-post")
    for row in shown:
        colour, marker = STYLE[row.name]
        share = 100 * row.state_share
        high = row.high if math.isfinite(row.high) else row.median
        axes.plot([share] * 2, [row.low, high], color=colour, linewidth=2, alpha=0.6)
        axes.plot(share, row.median, marker, color=colour, markersize=8)
    _log_axis(axes, " %")
    axes.margins(0.2, 0.15)
    _name_points(figure, axes, {row.name: (100 * row.state_share, row.median) for row in shown})
    return figure


def _name_points(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """A name beside each point, in the first of several places where it covers no other name and no point."""
    if not points:
        return
    figure.draw_without_rendering()  # now places on the page are known
    pixels = axes.transData.transform(list(points.values()))
    taken = [_box(x, y, 8, 8) for x, y in pixels]
    for (name, point), (x, y) in zip(points.items(), pixels, strict=True):
        name_at = axes.annotate(name, point, xytext=(0, 0), textcoords="offset points", fontsize=10)
        extent = name_at.get_window_extent()
        scale = figure.dpi / 72  # pixels per point
        for right, up in _PLACES:
            dx = (10 + extent.width / scale / 2) * right if right else 0.0
            dy = 15.0 * up
            box = _box(x + dx * scale, y + dy * scale, extent.width / 2, extent.height / 2)
            inside = axes.bbox.x0 <= box[0] and box[2] <= axes.bbox.x1 and axes.bbox.y0 <= box[1]
            if inside and not any(_cover(box, other) for other in taken):
                break
        name_at.set_position((dx - extent.width / scale / 2, dy - extent.height / scale / 2))
        taken.append(box)


# Where a name may stand: (to the right, upwards), the first choice first.
_PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), *((side, up) for up in (1, -1, 2, -2, 3, 4, 5) for side in (1, -1, 0))]


def _box(x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _cover(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points no other beats in both coordinates, by the first.

    >>> pareto_front([(1, 5), (2, 6), (3, 4)])
    [(1, 5), (3, 4)]
    """
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


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
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
