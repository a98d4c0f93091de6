"""The analysis as one HTML page that needs nothing else: no script, no font, no request. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, explain
from sm3.poly.report import pictures, summary
from sm3.poly.report.analysis import Analysis
from sm3.poly.report.verdict import sentences
from sm3.poly.sensitivity.unseen import unseen_folds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sm3.poly.inputs.one_input import Input

Array = NDArray[np.float64]

POINTS_ON_A_CURVE = 101  # of a main effect; smooth to the eye (chosen)
PICTURED_OUTPUTS = 3  # with figures of their own; tables have `summary.MOST_OUTPUTS` (chosen)
WORDS = ("input", "distribution", "pair", "group", "inputs", "solver")

CAPTIONS = {
    "indices": "Share of the variance that each input explains alone, and has a hand in. Lines are intervals; the grey "
    "bar is what the model does not explain of rows it had not seen.",
    "effects": "Mean of the output over one input, all others averaged; one scale for all. The inputs with the largest "
    "total index. A flat curve may still hide an interaction.",
    "held_out": "Each row against the prediction of a model that had not seen it. On the line: right.",
    "decay": "Sizes of the coefficients, the largest first. A straight fall is a smooth function; a flat tail at the "
    "right is noise, or a function that polynomials of this degree do not reach.",
    "convergence": "Error on held-out rows over the number of rows, terms chosen anew each time; 100 % is no better "
    "than the mean. While it falls steeply, more rows help.",
}


def page(analysis: Analysis, command: str) -> str:
    """The page as text. `command`: what to type to make it again."""
    title = f"{', '.join(analysis.outputs[: summary.MOST_OUTPUTS])} from {len(analysis.inputs)} inputs"
    body = [f"<h1>{escape(title)}</h1>", f'<p class="faint">{escape(_about(analysis))}</p>']
    for output in range(min(len(analysis.outputs), summary.MOST_OUTPUTS)):
        body += _output(analysis, output)
    if analysis.together is not None:
        body += ["<h2>All outputs together</h2>", "<p>Each output counts with its own variance.</p>"]
        body.append(_table(("input", "first order", "total"), summary.together_rows(analysis)))
        body += ["<h2>The fit</h2>", _figures(_shared_figures(analysis))]
    body += [
        "<h2>How to read it</h2>",
        _list(summary.notes(analysis)),
        "<h2>Settings, and how to repeat</h2>",
        f"<pre>{escape(command)}</pre>",
        _candidates(analysis),
        _settings(analysis),
    ]
    style = resources.files("sm3.poly.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>sm3 poly: {escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def write_page(path: str | Path, analysis: Analysis, command: str) -> None:
    """Make the page and write it. Raises `InputError` when the file cannot be written."""
    text = page(analysis, command)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            explain(
                f"the report could not be written to {path}.",
                got=error.strerror or str(error),
                accepted="a path in an existing folder that can be written",
                do="choose another path",
            )
        ) from error


def effects(analysis: Analysis, output: int) -> list[pictures.Effect]:
    """Main effects of the inputs with the largest total index, over the domain of each."""
    model, found = analysis.model, []
    order = np.argsort(-np.nan_to_num(analysis.total[:, output]), kind="stable")
    for j in order[: pictures.MOST_EFFECTS].tolist():
        one = model.inputs_[j]
        if one.fixed:
            continue
        if one.levels is not None:
            values = model.main_effect(j, list(one.levels))
            labels, x = tuple(map(str, one.levels)), np.arange(len(one.levels), dtype=np.float64)
        else:
            labels = None
            x = _grid(one) if one.values is None else one.values
            values = model.main_effect(j, x)
        found.append(pictures.Effect(analysis.inputs[j], x, values.reshape(len(x), -1)[:, output], labels))
    return found


def _grid(one: Input) -> Array:
    """Values of a continuous input: its whole domain, and of an unbounded one where 99 % of it is."""
    low, high = one.domain
    if not np.isfinite(one.basis.bounds).all():
        middle = one.map.inverse(one.basis.quantile(np.array([0.005, 0.995])))
        low, high = max(low, float(middle[0])), min(high, float(middle[1]))
    return np.linspace(low, high, POINTS_ON_A_CURVE)


def _output(analysis: Analysis, output: int) -> list[str]:
    """Verdict, tables and figures of one output."""
    first, *others = sentences(analysis, output)
    heading = f"<h2>{escape(analysis.outputs[output])}</h2>" if len(analysis.outputs) > 1 else ""
    tables = [_table(columns, rows) for columns, rows in summary.tables(analysis, output)]
    figures = _output_figures(analysis, output) if output < PICTURED_OUTPUTS else {}
    if analysis.together is None:
        figures |= _shared_figures(analysis)
    return [heading, f'<p class="first">{escape(first)}</p>', _list(others), *tables, _figures(figures, output)]


def _output_figures(analysis: Analysis, output: int) -> dict[str, Figure]:
    if not analysis.variance[output] > 0:
        return {}
    found = {
        "indices": pictures.index_bars(
            analysis.inputs,
            analysis.first[:, output],
            analysis.total[:, output],
            None if analysis.first_ends is None else analysis.first_ends[:, :, output],
            None if analysis.total_ends is None else analysis.total_ends[:, :, output],
            float(analysis.unexplained[output]) if np.isfinite(analysis.unexplained[output]) else None,
        )
    }
    curves = effects(analysis, output)
    if curves:
        found["effects"] = pictures.main_effects(curves, analysis.outputs[output])
    folds = unseen_folds(analysis.model)
    if folds:
        measured = np.concatenate([analysis.model.rows_.y[fold.rows, output] for fold in folds])
        predicted = np.concatenate([fold.design.times(fold.coef[:, output]) for fold in folds])
        found["held_out"] = pictures.held_out(measured, predicted, analysis.outputs[output])
    return found


def _shared_figures(analysis: Analysis) -> dict[str, Figure]:
    """Of all outputs: coefficients in units of each output's spread."""
    model, found = analysis.model, {}
    spread = np.sqrt(np.where(analysis.variance > 0, analysis.variance, 1.0))
    size = np.sqrt(np.square(model.coef_.reshape(len(model.index_set_), -1) / spread).sum(1))
    if len(size) > 1:
        found["decay"] = pictures.coefficient_decay(size, model.index_set_.length)
    if analysis.curve is not None and len(analysis.curve.rows) > 1:
        found["convergence"] = pictures.convergence(analysis.curve.rows, analysis.curve.errors)
    return found


def _figures(figures: Mapping[str, Figure], number: int = 0) -> str:
    if not figures:
        return ""
    drawn = [
        f"<figure>{pictures.svg(figure, f'{name}{number}')}<figcaption>{CAPTIONS[name]}</figcaption></figure>"
        for name, figure in figures.items()
    ]
    return f'<div class="figures">{"".join(drawn)}</div>'


def _about(analysis: Analysis) -> str:
    text = summary.subject(analysis)
    return f"{analysis.source}: {text}" if analysis.source else text


def _list(items: Iterable[str]) -> str:
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{found}</ul>" if found else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kinds = [' class="word"' if title in WORDS else "" for title in columns]
    head = "".join(f'<th scope="col"{kind}>{escape(title)}</th>' for kind, title in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _candidates(analysis: Analysis) -> str:
    """The solvers that were tried, where there was a choice."""
    tried = analysis.model.candidates_
    if len(tried) < 2:
        return ""
    columns = [name for name in tried[0] if all(name in row for row in tried)]
    rows = [[_cell(row[name]) for name in columns] for row in tried]
    return "<p>Solvers tried; the one that predicts held-out rows best was taken:</p>" + _table(columns, rows)


def _cell(value: object) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"{one:.6g}" if isinstance(one, float) else str(one) for one in values)


def _settings(analysis: Analysis) -> str:
    from importlib.metadata import PackageNotFoundError, version

    model, versions = analysis.model, []
    for name in ("sm3", "numpy", "scipy", "scikit-learn"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    entries = {
        "mean": ", ".join(f"{value:.8g}" for value in analysis.mean),
        "variance": ", ".join(f"{value:.8g}" for value in analysis.variance),
        "terms": f"{len(model.index_set_)} chosen of {model.n_basis_}",
        "largest degree": str(int(model.index_set_.max_degrees().max(initial=0))),
        "condition number": f"{model.cond_:.3g}",
        "kappa": f"{model.kappa_:.4g}; {len(model.rows_)} rows",
        "folds": str(len(model.fold_models_) or "none"),
        "versions": ", ".join(versions),
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in entries.items()) + "</dl>"
