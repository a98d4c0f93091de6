"""Figures of a fitted polynomial, from plain numbers: index bars, main effects, held-out rows, decay, convergence.

Each function returns a Matplotlib `Figure`, which a notebook shows and `savefig` writes; `svg` makes it part of a page.
Matplotlib is needed only when one is called. Text stays text and, in a page, takes the colour of the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# After Okabe and Ito (2008): distinguishable with the common colour blindnesses; chosen dark enough for white and
# light enough for black.
BLUE, ORANGE, GREEN, GREY = "#2d8fd5", "#d98200", "#12a07a", "#8a8a8a"
MOST_BARS = 20  # inputs in one figure; the table has them all (chosen)
MOST_EFFECTS = 6  # curves that are still read one by one (chosen)

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


@dataclass(frozen=True, eq=False)
class Effect:
    """Mean output over one input. `labels` instead of numbers on the axis for a categorical input."""

    name: str
    x: Array  # (n,)
    y: Array  # (n,)
    labels: tuple[str, ...] | None = None


def index_bars(
    names: Sequence[str],  # d
    first: Array,  # (d,)
    total: Array,  # (d,)
    first_ends: Array | None = None,  # (2, d)
    total_ends: Array | None = None,
    unexplained: float | None = None,
) -> Figure:
    """First and total index of each input, the largest on top, with intervals; below them what nothing explains."""
    order = np.argsort(-total, kind="stable")[:MOST_BARS]
    rows = len(order) + (unexplained is not None)
    figure, axes = _figure("share of the variance", "", height=1.3 + 0.42 * max(rows, 2))
    place = np.arange(len(order))
    for values, ends, shift, colour, label in (
        (first, first_ends, -0.19, BLUE, "first order: alone"),
        (total, total_ends, 0.19, ORANGE, "total: with its interactions"),
    ):
        axes.barh(place + shift, values[order], height=0.34, color=colour, label=label)
        if ends is not None:
            axes.hlines(place + shift, ends[0, order], ends[1, order], color=_INK, linewidth=1.3)
            for end in ends[:, order]:
                axes.plot(end, place + shift, "|", color=_INK, markersize=6)
    if unexplained is not None and np.isfinite(unexplained):
        label = "unexplained: 1 - Q2"
        axes.barh(len(order), min(unexplained, 1.0), height=0.5, color=GREY, hatch="///", edgecolor=_INK, label=label)
    shown = [names[j] for j in order] + (["unexplained"] if unexplained is not None else [])
    axes.set_yticks(range(rows), [_short(name) for name in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.grid(visible=False, axis="y")
    # outside: a legend inside would cover the ends of intervals
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=10, labelcolor=_INK)
    return figure


def main_effects(effects: Sequence[Effect], output: str) -> Figure:
    """Mean of the output over each of some inputs, all on one scale: a steep curve matters."""
    shown = effects[:MOST_EFFECTS]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure, axes = _grid(rows, columns)
    values = np.concatenate([effect.y for effect in shown])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or 0.06 * max(abs(high), 1.0)
    for number, (one, effect) in enumerate(zip(axes, shown, strict=False)):
        if effect.labels is None:
            few = len(effect.x) <= 20  # an input that has only these values
            one.plot(effect.x, effect.y, "o-" if few else "-", color=BLUE, linewidth=1.8, markersize=4)
            one.locator_params(axis="x", nbins=3)
            one.ticklabel_format(axis="x", scilimits=(-3, 4))
        else:
            one.plot(effect.x, effect.y, "o", color=BLUE, markersize=6)
            crowded = sum(map(len, effect.labels)) > 14
            one.set_xticks(effect.x, [_short(label, 9) for label in effect.labels], rotation=40 if crowded else 0)
            one.set_xlim(effect.x.min() - 0.5, effect.x.max() + 0.5)
        one.set_ylim(low - room, high + room)
        one.set_xlabel(_short(effect.name))
        if number % columns == 0:
            one.set_ylabel(_short(output))
        else:
            one.tick_params(labelleft=False)
    for one in axes[len(shown) :]:
        one.remove()
    return figure


def held_out(measured: Array, predicted: Array, output: str) -> Figure:
    """Each row's measured value against the prediction of a model that had not seen it; on the line is right."""
    figure, axes = _figure(f"predicted {_short(output)}", f"measured {_short(output)}", height=4.2)
    both = np.concatenate([measured, predicted])
    low, high = float(both.min()), float(both.max())
    room = 0.04 * (high - low) or 1.0
    axes.axline((low, low), slope=1, color=_INK, alpha=0.5, linewidth=0.9)
    size = float(np.clip(600 / np.sqrt(len(measured)) / 10, 2.0, 5.0))
    # as an image beyond some thousands of points: as text they would be megabytes
    axes.plot(
        predicted,
        measured,
        "o",
        color=BLUE,
        markersize=size,
        alpha=0.55,
        markeredgewidth=0,
        rasterized=len(measured) > 3000,
    )
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)
    return figure


def coefficient_decay(magnitude: ArrayLike, variables: ArrayLike) -> Figure:
    """Sizes of the coefficients but the constant, the largest first: the faster they fall, the easier the function.

    `magnitude` (k,), `variables` (k,): number of inputs in each term.
    """
    size, count = np.asarray(magnitude, dtype=np.float64), np.asarray(variables)
    order = np.argsort(-size, kind="stable")
    order = order[(size[order] > 0) & (count[order] > 0)]
    figure, axes = _figure("rank of the term", "size of its coefficient")
    rank = np.arange(1, len(order) + 1)
    for least, most, colour, marker, label in (
        (1, 1, BLUE, "o", "one input"),
        (2, 2, ORANGE, "s", "two inputs together"),
        (3, np.inf, GREEN, "^", "three or more"),
    ):
        here = (count[order] >= least) & (count[order] <= most)
        if here.any():
            axes.plot(rank[here], size[order][here], marker, color=colour, markersize=4.5, label=label)
    if len(order):
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_numbers(axes.xaxis)
        axes.legend(loc="lower left", frameon=False, fontsize=10, labelcolor=_INK)
    return figure


def convergence(rows: Sequence[int], errors: Sequence[ArrayLike]) -> Figure:
    """Held-out error over the number of rows: geometric mean of repetitions, and a band of one standard deviation.

    `errors[i]` are the repetitions with `rows[i]` rows, relative to the spread of the output: 1 is no better than the
    mean of all rows.
    """
    figure, axes = _figure("rows", "error on held-out rows / spread")
    logs = [np.log10(np.maximum(np.asarray(error, dtype=np.float64), 1e-17)) for error in errors]
    centre = np.array([10 ** log.mean() for log in logs])
    low = np.array([10 ** (log.mean() - log.std()) for log in logs])
    high = np.array([10 ** (log.mean() + log.std()) for log in logs])
    axes.fill_between(rows, low, high, color=BLUE, alpha=0.22, linewidth=0)
    axes.plot(rows, centre, "o-", color=BLUE, markersize=5, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(rows), [str(count) for count in rows])
    axes.xaxis.set_minor_locator(require("matplotlib.ticker").NullLocator())
    if low.min() > 1e-4 and high.max() / low.min() < 300:
        _plain_numbers(axes.yaxis, percent=True)
    return figure


def svg(figure: Figure, name: str) -> str:
    """The figure as one element to put into a page: own ids, no metadata, no addresses, the ink of the page."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with require("matplotlib").rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)  # inline SVG needs none
    text = text.replace("xlink:href", "href").replace(_INK, "currentColor")
    # Several figures share a page, and the ids of one must not shadow those of another.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    # The size comes from the page; the viewBox keeps the proportions.
    head, rest = text.split(">", 1)
    return re.sub(r'\s(width|height)="[^"]*"', "", head) + ">" + rest


def _figure(xlabel: str, ylabel: str, height: float = 3.9) -> tuple[Figure, Axes]:
    """Without pyplot, which keeps every figure and looks for a display."""
    with require("matplotlib").rc_context(_SETTINGS):
        figure = require("matplotlib.figure").Figure(figsize=(5.4, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    return figure, axes


def _grid(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    with require("matplotlib").rc_context(_SETTINGS):
        figure = require("matplotlib.figure").Figure(figsize=(5.4, 0.4 + 2.0 * rows), layout="constrained")
        return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _plain_numbers(axis: Any, *, percent: bool = False) -> None:
    """Numbers as people write them, 30 and not a power of ten."""
    ticker = require("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:g} %" if percent else f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())


def _short(name: str, most: int = 24) -> str:
    """Long names would leave no room for the figure; a dollar sign would be read as mathematics."""
    cut = name if len(name) <= most else name[: most - 1] + "…"
    return cut.replace("$", r"\$")


def all_svg(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Every figure as one `<svg>` element, by name."""
    return {name: svg(figure, name) for name, figure in figures.items()}
