"""The result as one HTML page that needs nothing else: no script, no font, no request. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from sm3.compare import report
from sm3.compare.pictures import STYLE
from sm3.compare.protocol import WARM_UP

if TYPE_CHECKING:
    from sm3.compare.job import Result

BREAK = "\n"  # where the terminal breaks a title; a page does so by itself

CAPTIONS = {
    "steps": "Held-out loss over steps, at each contestant's best learning rate. Each thin line is one seed.",
    "seconds": "The same over seconds of training, on this machine; measuring the loss is not counted.",
    "rates": "Final loss over the learning rates tried, first seed. A flat valley forgives a wrong guess; "
    "a cross at the top is a run that diverged.",
    "memory": "State against final loss; bars are the range over seeds. Nobody beats those on the line in both.",
}
# The shapes of pictures.STYLE once more, for the key: a marker of Matplotlib as a path in a box of 24 x 14.
_MARKERS = {
    "o": '<circle cx="12" cy="7" r="4"/>',
    "s": '<rect x="8" y="3" width="8" height="8"/>',
    "^": '<path d="M12 2l5 9H7z"/>',
    "v": '<path d="M12 12l5-9H7z"/>',
    "D": '<path d="M12 2l5 5-5 5-5-5z"/>',
    "<": '<path d="M7 7l9-5v10z"/>',
    ">": '<path d="M17 7l-9-5v10z"/>',
    "d": '<path d="M12 2l3 5-3 5-3-5z"/>',
    "P": '<path d="M10.5 2h3v3.5H17v3h-3.5V12h-3V8.5H7v-3h3.5z"/>',
    "X": '<path d="M7 4l2-2 3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3z"/>',
    "p": '<path d="M12.0 1.8L16.9 5.4L15.1 11.2L8.9 11.2L7.1 5.4z"/>',
    "*": '<path d="M12.0 1.5L13.3 5.2L17.2 5.3L14.1 7.7L15.2 11.4L12.0 9.2L8.8 11.4L9.9 7.7L6.8 5.3L10.7 5.2z"/>',
    "h": '<path d="M12.0 1.8L16.5 4.4L16.5 9.6L12.0 12.2L7.5 9.6L7.5 4.4z"/>',
    "8": '<path d="M13.9 2.4L16.6 5.1L16.6 8.9L13.9 11.6L10.1 11.6L7.4 8.9L7.4 5.1L10.1 2.4z"/>',
    "H": '<path d="M14.6 2.5L17.2 7.0L14.6 11.5L9.4 11.5L6.8 7.0L9.4 2.5z"/>',
}


def page(result: Result, pictures: Mapping[str, str]) -> str:
    """The page as text. `pictures`: one `<svg>` per name in `CAPTIONS`."""
    title = f"{len(result.table)} optimizers, one model"
    first, *others = result.sentences
    body = [
        f"<h1>{title}</h1>",
        f'<p class="faint">{escape(report.subject(result))}, {result.parameters:,} parameters, '
        f"{result.job.protocol.steps} steps</p>",
        f'<p class="first">{escape(first)}</p>',
        _list(others),
        "<h2>Memory, time, loss</h2>",
        _table(result),
        *[f'<p class="faint">{escape(text)}</p>' for text in report.notes(result)],
        "<h2>Pictures</h2>",
        _key(result),
        '<div class="figures">',
        *[f"<figure>{pictures[name]}<figcaption>{text}</figcaption></figure>" for name, text in CAPTIONS.items()],
        "</div>",
        "<h2>Settings, and how to repeat</h2>",
        f"<pre>{escape(result.command)}</pre>",
        "<p>All losses, settings and versions are in <code>compare.json</code> beside this page; with the same text, "
        "machine and number of threads every loss comes out the same, bit for bit.</p>",
        _settings(result),
    ]
    style = resources.files("sm3.compare").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>sm3 compare: {title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(result: Result) -> str:
    head = "".join(f'<th scope="col">{escape(title.replace(BREAK, " "))}</th>' for title in report.COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in report.cells(row)) + "</tr>" for row in result.table
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _key(result: Result) -> str:
    """One legend for all figures: a legend inside each would hide what it explains."""
    entries = []
    for row in result.table:
        colour, marker = STYLE[row.name]
        line = f'<path d="M0 7h24" stroke="{colour}" stroke-width="1.5"/>'
        shape = f'<svg viewBox="0 0 24 14" aria-hidden="true" fill="{colour}">{line}{_MARKERS[marker]}</svg>'
        entries.append(f"<li>{shape}{escape(row.name)}</li>")
    return f'<ul class="key">{"".join(entries)}</ul>'


def _settings(result: Result) -> str:
    protocol, settings = result.job.protocol, result.settings
    corpus = result.task.settings.get("corpus")
    machine, versions = result.records[0].machine, settings["versions"]
    entries = {
        "schedule": f"for all: quadratic warm-up over the first {WARM_UP:.0%} of the steps, then straight to zero",
        "learning rates": "; ".join(
            f"{outcome.contestant.name}: " + ", ".join(f"{record.settings['lr']:g}" for record in outcome.sweep)
            for outcome in result.outcomes
        ),
        "other settings": "; ".join(f"{c.name}: {_words(c.settings)}" for c in result.job.contestants),
        "seeds": ", ".join(map(str, protocol.seeds)),
        "text": f"{corpus['name']}, {corpus['split']}; blake2b {corpus['blake2b']}" if corpus else "the user's model",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {report.at_a_time(result)}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "kernels of SM3 and SMMF": {
            "cpu": "C++",
            "eager": "plain PyTorch; no C++ kernels are installed, which are much faster",
        }[settings["kernels"]],
        "peak memory of the process": "; ".join(
            f"{row.name} {row.peak_bytes / 1e6:.0f} MB" for row in result.table if row.peak_bytes is not None
        )
        + " (PyTorch itself and the text are most of it)",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in entries.items()) + "</dl>"


def _words(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"
