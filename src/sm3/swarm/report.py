"""Results as a table for a terminal and as one HTML page with reliability and ROC plots; counts beside every share."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from sm3.extras import require
from sm3.swarm.model_file import ModelFile

SIMULATED = (
    "All wells are simulated. Li et al. 2025 measured real ones, so no figure here confirms or equals theirs; their "
    "counts are inferred from their percentages by us."
)
# arXiv 2410.15229: sensitivity and specificity as printed; the smallest counts that give them are our inference
PAPER = {
    "sm3": ("38 of 39, 97.4 %", "100 %"),
    "db10": ("47 of 48, 97.9 %", "30 of 31, 96.8 %"),
    "h6": ("100 %", "35 of 36, 97.2 %"),
}


def share(part: Mapping[str, Any]) -> str:
    """Counts, percentage and exact interval of a proportion."""
    if not part["of"]:
        return "no wells"
    low, share_, high = (100 * part[key] for key in ("low", "share", "high"))
    return f"{part['found']}/{part['of']}  {share_:.1f} % ({low:.1f} to {high:.1f})"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A block of lines for every set, for a terminal."""
    blocks = []
    for name, found in results.items():
        lines = [name]
        rows = [("sensitivity", share(found["sensitivity"])), ("specificity", share(found["specificity"]))]
        low, high = found["auc_interval"]
        rows.append(("area under ROC", f"{found['auc']:.4f} ({low:.4f} to {high:.4f})"))
        rows.append(("calibration error, Brier", f"{found['calibration_error']:.4f}, {found['brier']:.4f}"))
        rows.append(("label sets cover", share(found["coverage"])))
        rows.append(("not called", share(found["not_called"])))
        rows.append(("right where called", share(found["right_where_called"])))
        if "floor" in found:
            floor = found["floor"]
            rows.append(("floor: sensitivity", share(floor["sensitivity"])))
            rows.append(("floor: specificity", share(floor["specificity"])))
            rows.append(
                (
                    "floor: area",
                    f"{floor['auc']:.4f} ({floor['auc_interval'][0]:.4f} to {floor['auc_interval'][1]:.4f})",
                )
            )
        lines += [f"  {label:26}{value}" for label, value in rows]
        lines += [f"    {count:4} {reason}" for reason, count in found["reasons"].items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def page(results: Mapping[str, Mapping[str, Any]], model: ModelFile) -> str:
    """One HTML page that needs no other file: results, plots, and the model's card."""
    style = resources.files("sm3.swarm").joinpath("report.css").read_text(encoding="utf-8")
    card = model.card
    body = [
        f"<h1>Model {escape(card['name'])}, {model.id}</h1>",
        f"<p>{escape(card['use'])}</p>",
        f'<p class="first">{escape(SIMULATED)}</p>' if card["simulated"] else "",
        _results(results),
        '<div class="figures">',
        *(
            f"<figure>{_plot(found)}<figcaption>{escape(name)}: reliability of the probability, and ROC."
            "</figcaption></figure>"
            for name, found in results.items()
        ),
        "</div>",
        "<h2>Model card</h2>",
        _card(card),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>sm3 swarm: {escape(card['name'])}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _results(results: Mapping[str, Mapping[str, Any]]) -> str:
    head = (
        "Set",
        "Sensitivity",
        "Specificity",
        "Area",
        "ECE",
        "Brier",
        "Not called",
        "Floor: sens.",
        "Floor: spec.",
        "Printed by Li et al.",
    )
    rows = []
    for name, found in results.items():
        floor = found.get("floor")
        paper = next((" / ".join(told) for key, told in PAPER.items() if key in name and "optics" not in name), "")
        rows.append(
            (name, share(found["sensitivity"]), share(found["specificity"]), f"{found['auc']:.4f}",
             f"{found['calibration_error']:.3f}", f"{found['brier']:.4f}", share(found["not_called"]),
             share(floor["sensitivity"]) if floor else "", share(floor["specificity"]) if floor else "", paper)
        )  # fmt: skip
    return f'<div class="wide">{_table(head, rows)}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _card(card: Mapping[str, Any]) -> str:
    rows = [(key, str(value)) for key, value in card.items() if key not in ("use", "blind")]
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows) + "</dl>"


def _plot(found: Mapping[str, Any]) -> str:
    figures = require("matplotlib.figure")
    matplotlib = require("matplotlib")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sm3", "font.size": 10}):
        figure = figures.Figure(figsize=(6.4, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        mean, observed, count = zip(*found["reliability"], strict=True)
        left.plot([0, 1], [0, 1], color="#8a8a8a", lw=1)
        left.scatter(mean, observed, s=[12 + 3 * n**0.5 for n in count], color="#2d8fd5")
        left.set(xlabel="mean probability", ylabel="share of swarming", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        across, up = zip(*found["roc"], strict=True)
        right.plot(across, up, color="#d98200")
        right.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 0.2), ylim=(0.8, 1.01))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = text.getvalue()
    return re.sub(r'style="([^"]*)fill: #000000', r'style="\1fill: currentColor', svg[svg.index("<svg") :])
