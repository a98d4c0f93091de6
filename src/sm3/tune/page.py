"""The result as one HTML page that needs nothing else: no script, no font, no request. All text is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sm3.tune import report
from sm3.tune.job import DATA, PAGE
from sm3.tune.job import write as write_file
from sm3.tune.pictures import pictures

if TYPE_CHECKING:
    from sm3.tune.job import Result, Verdict

CAPTIONS = {
    "indices": "What each hyper-parameter moves, alone and together with others, with 95 % intervals; and what the "
    "polynomial does not explain.",
    "effects": "Every trial over the first hyper-parameters, crosses where it ended badly; the line is the mean of the "
    "polynomial over all others.",
    "curve": "How well fits on parts of the trials predict the rest: dots, with the range of several fits; and by "
    "cross-validation, with its interval. Below the dashed line nothing is ranked.",
}


def write(result: Result) -> dict[str, Path]:
    """Write the page and the data into the folder of the job, each whole or not at all; their paths."""
    folder = result.job.folder
    data = json.dumps(report.as_data(result), allow_nan=False, indent=1) + "\n"
    return {"page": write_file(folder, PAGE, page(result)), "data": write_file(folder, DATA, data)}


def page(result: Result) -> str:
    """The page as text."""
    title = f"Which hyper-parameters matter: {result.outcomes.title}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(report.subject(result))}</p>',
        f'<p class="first">{escape(report.headline(result))}</p>',
    ]
    for number, verdict in enumerate(result.verdicts):
        body += _branch(result, verdict, number)
    body += [
        "<h2>Settings, and how to repeat</h2>",
        f"<pre>{escape(result.job.command)}</pre>",
        "<p>All figures are in <code>tune.json</code> beside this page.</p>",
        _settings(result),
    ]
    style = resources.files("sm3.tune").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>sm3 tune: {escape(result.outcomes.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _branch(result: Result, verdict: Verdict, number: int) -> list[str]:
    drawn = pictures(verdict, f"b{number}-")
    label = verdict.branch.label or "All trials"
    body = [f"<h2>{escape(label)}: {len(verdict.branch.outcomes)} trials</h2>"]
    if verdict.ranking.ranked:
        body.append(_table(verdict))
        body += [f'<p class="faint">{escape(text)}</p>' for text in report.NOTES]
    body.append(_list(report.sentences(result, verdict)))
    figures = [f"<figure>{svg}<figcaption>{CAPTIONS[name]}</figcaption></figure>" for name, svg in drawn.items()]
    return [*body, '<div class="figures">', *figures, "</div>"]


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(verdict: Verdict) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in report.COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in report.cells(effect, verdict.peers)) + "</tr>"
        for effect in verdict.ranking.effects
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _settings(result: Result) -> str:
    space = result.outcomes.space
    entries = {
        "score": f"{result.job.transform} of it; {result.outcomes.better} is better",
        "versions": ", ".join(f"{name} {version}" for name, version in report.versions().items()),
    }
    if space is not None:
        ranges = [f"{name} {json.dumps(entry)}" for name, entry in space["parameters"].items()]
        entries = {
            "function": str(space["function"]),
            "hyper-parameters": "; ".join(ranges),
            "fixed": json.dumps(space["fixed"], default=str),
            "draws": f"{space['sampler']}, seed {space['seed']}",
            **entries,
        }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in entries.items()) + "</dl>"
