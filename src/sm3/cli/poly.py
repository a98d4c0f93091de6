"""`sm3 poly fit | predict | sensitivity | design`: a polynomial of many inputs from a CSV file, and what it says.

Long because the options of four commands are their signatures and their help is their docstrings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.report.analysis import Analysis
    from sm3.poly.report.learning_curve import LearningCurve

poly = typer.Typer(
    help="Learn a smooth function of many inputs from a few hundred rows, and which inputs matter.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CsvFile = Annotated[Path, typer.Argument(metavar="FILE.csv", help="A CSV file with a header, or - for standard input.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by `sm3 poly fit --output`.")]
Separator = Annotated[
    str | None,
    typer.Option(metavar="SIGN", help="comma, semicolon, tab or pipe. Default: the one in the header."),
]
Decimal = Annotated[str, typer.Option(metavar="SIGN", help='"." or ",".')]
Report = Annotated[
    Path | None, typer.Option(metavar="PAGE.html", help="Also write a page with tables and pictures; one file.")
]
Level = Annotated[float, typer.Option(metavar="P", help="Probability that an interval is meant to cover.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides every random choice; the same seed, the same result.")]


@poly.command("fit")
def fit(
    file: CsvFile,
    target: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="The column to explain. Repeat it for several outputs.")
    ],
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="INPUTS.toml",
            help="The distribution of each input, as above. Default: all other columns, each uniform on its range.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is no input. Repeat it for more.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Weights of the rows, as `sm3 poly design` writes them.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="MODEL.npz", help="Save the fitted model.")] = None,
    report: Report = None,
    solver: Annotated[
        str, typer.Option(metavar="NAME", help="auto, ls, als, omp or srlasso. auto tries them and takes the best.")
    ] = "auto",
    degree: Annotated[
        int | None, typer.Option(metavar="N", help="Order of the terms. Default: as many as the rows allow for.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Parts of the validation that gives Q2 and intervals. Default: 5 to 20, by the rows."
        ),
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    separator: Separator = None,
    decimal: Decimal = ".",
    as_json: AsJson = False,
) -> None:
    """Fit a polynomial to the rows of a CSV file; show how well it predicts and which inputs matter.

    Quality is measured on rows that no part of the fit has seen. Intervals are for the function itself.

    \b
    Examples:
      sm3 poly fit runs.csv --target stress
      sm3 poly fit runs.csv --target stress --inputs inputs.toml --output model.npz --report page.html
      sm3 poly fit runs.csv --target stress --target mass --ignore run_id --json

    \b
    inputs.toml, a table for each input:
      [speed]                           uniform      lo, hi
      distribution = "uniform"          log_uniform  lo, hi
      lo = 10                           triangular   lo, mode, hi
      hi = 30                           normal       mean, std
                                        lognormal    median, log_std
      [steel]                           beta         a, b, lo, hi
      distribution = "categorical"      gamma        shape, scale, lo
      values = ["S235", "S355"]         integer      lo, hi
                                        categorical  values, probabilities
                                        auto         the range of the data
    """
    _need_libraries(report)
    from sm3.poly.sensitivity.intervals import checked_level
    from sm3.poly.tables.from_table import fit_problem, problem_of
    from sm3.poly.tables.inputs_file import read_inputs
    from sm3.poly.tables.table import read_table

    checked_level(level)  # before the work, not after it
    table = read_table(file, separator=separator, decimal=decimal)
    stated = None if inputs is None else read_inputs(inputs)
    problem = problem_of(table, target, stated, ignore=ignore or [], weight=weight)
    if problem.left_out:
        _tell(f"not used, because {inputs} does not name them: {', '.join(problem.left_out)}")
    settings = {"solver": solver, "degree": degree, "cv": "auto" if folds is None else folds, "random_state": seed}
    with _working(f"fitting {', '.join(target)} to {len(table)} rows of {len(problem.names)} inputs"):
        model = fit_problem(problem, **settings)
    if output is not None:
        model.save(output)
    _finish(model, report, as_json=as_json, source=table.source, level=level, seed=seed)
    _tell(f"model  {output}" if output else "the model was not saved: add --output model.npz to keep it")


@poly.command("predict")
def predict(
    model: ModelFile,
    file: CsvFile,
    outside: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="Rows outside the domain of the inputs: warn, raise, clip (nearest point inside) or nan (empty cell).",
        ),
    ] = "warn",
    output: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Default: standard output.")] = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a CSV file that has the model's inputs as columns, in any order.

    Prints a CSV file with the predictions, one row for each row of the file.

    \b
    Examples:
      sm3 poly predict model.npz new.csv > predicted.csv
      some_program | sm3 poly predict model.npz - --outside raise
    """
    import json
    import math

    _need_libraries()
    from sm3.poly.estimator.persistence import load
    from sm3.poly.tables.from_table import output_names, predict_table
    from sm3.poly.tables.table import read_table

    fitted = load(model)
    fitted.extrapolate = outside
    predicted, warned = predict_table(fitted, read_table(file, separator=separator, decimal=decimal))
    for message in warned:
        _tell(message)
    names, columns = output_names(fitted), predicted.T.tolist()
    known = [[x if math.isfinite(x) else None for x in column] for column in columns]
    if output is not None or not as_json:
        _write_csv(output, names, known)
    if as_json:
        typer.echo(json.dumps({"predictions": dict(zip(names, known, strict=True))}))


@poly.command("sensitivity")
def sensitivity(
    model: ModelFile,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=X,X", help="Inputs to take together, as weather=wind,rain. Repeat it for more."),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="cross-fit: for the function itself, the default. fixed: bootstrap with the terms as they are. refit: "
            "bootstrap of the whole fit, which takes 100 fits.",
        ),
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """Sobol' indices of a saved model: which inputs matter, alone and together, with intervals.

    \b
    Examples:
      sm3 poly sensitivity model.npz
      sm3 poly sensitivity model.npz --group weather=wind,rain --report page.html
    """
    _need_libraries(report)
    from sm3.poly.estimator.persistence import load

    fitted = load(model)
    with _working("intervals"):
        groups = [_group(text) for text in group or []]
        _finish(
            fitted,
            report,
            as_json=as_json,
            source=str(model),
            level=level,
            seed=seed,
            method=intervals,
            groups=groups,
        )


@poly.command("design")
def design(
    inputs: Annotated[
        Path, typer.Argument(metavar="INPUTS.toml", help="The distribution of each input, as for `sm3 poly fit`.")
    ],
    n: Annotated[int, typer.Option("--n", metavar="N", help="How many points.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="mc: random. lhs: Latin hypercube. sobol: evenly spread, best for powers of 2. christoffel: random "
            "with weights, for few inputs or one that dominates.",
        ),
    ] = "mc",
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Default: standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Points at which to run an experiment or a simulation, as a CSV file with one column for each input.

    Add a column with what you measured, then `sm3 poly fit`. For christoffel there is one column more, weight:
    pass it back with --weight weight.

    \b
    Examples:
      sm3 poly design inputs.toml --n 200 > runs.csv
      sm3 poly design inputs.toml --n 256 --kind sobol --output runs.csv
    """
    import json

    _need_libraries()
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.tables.inputs_file import read_inputs

    if n < 1:
        raise typer.BadParameter("give a number of points, at least 1", param_hint="--n")
    stated = read_inputs(inputs)
    points, weights = PolynomialRegressor(stated).design(n, kind, random_state=seed)
    names, columns = list(stated), [_whole(column) for column in points.T.tolist()]
    if kind == "christoffel":
        names, columns = [*names, _free_name("weight", names)], [*columns, weights.tolist()]
    if output is not None or not as_json:
        _write_csv(output, names, columns)
    if as_json:
        typer.echo(json.dumps({"points": dict(zip(names, columns, strict=True))}))


def _finish(
    model: PolynomialRegressor,
    report: Path | None,
    *,
    as_json: bool,
    source: str,
    level: float,
    seed: int,
    method: str | None = None,
    groups: list[tuple[str, list[str]]] | None = None,
) -> None:
    """Analyse a model and show it; with a report also the error over the number of rows, which takes some more fits."""
    import json

    from sm3.poly.report import summary
    from sm3.poly.report.analysis import analyse

    curve = None if report is None else _curve(model, seed)
    found: Analysis = analyse(
        model,
        source=source,
        method=method,
        level=level,
        groups=groups or [],
        curve=curve,
        random_state=seed,
    )
    if report is not None:
        from sm3.poly.report.page import write_page

        write_page(report, found, _command())
    if as_json:
        typer.echo(json.dumps(summary.as_data(found, _command())))
    else:
        summary.show(found)
    if report is not None:
        _tell(f"page   {report}")


def _need_libraries(report: Path | None = None) -> None:
    """Told before anything is read or fitted: a fit is not to be lost because the pictures cannot be drawn."""
    from sm3.extras import require

    for module in ("scipy", "sklearn", *(["matplotlib"] if report else [])):
        require(module)


def _curve(model: PolynomialRegressor, seed: int) -> LearningCurve:
    from rich.console import Console
    from rich.progress import Progress

    from sm3.poly.report.learning_curve import REPEATS, learning_curve, sizes_of

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fits with fewer rows", total=REPEATS * len(sizes_of(model)))
        return learning_curve(model, random_state=seed, progress=lambda: bar.advance(task))


def _working(what: str) -> Any:
    """A sign of life on stderr, gone when the work is done."""
    from rich.console import Console

    return Console(stderr=True).status(what)


def _tell(message: str) -> None:
    typer.echo(message, err=True)


def _command() -> str:
    import shlex
    import sys

    return shlex.join(["sm3", *sys.argv[1:]])


def _group(text: str) -> tuple[str, list[str]]:
    name, sign, members = text.partition("=")
    found = [member.strip() for member in members.split(",") if member.strip()]
    if not (name.strip() and sign and found):
        raise typer.BadParameter(f"{text!r} is not NAME=INPUT,INPUT", param_hint="--group")
    return name.strip(), found


def _whole(column: list[Any]) -> list[Any]:
    """Integers written as such: 6 and not 6.0."""
    if all(isinstance(value, float) and value.is_integer() for value in column):
        return [int(value) for value in column]
    return column


def _free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _write_csv(output: Path | None, names: Any, columns: Any) -> None:
    import sys

    from sm3.errors import InputError, explain
    from sm3.poly.tables.table import write_table

    if output is None:
        write_table(sys.stdout, names, columns)
        return
    try:
        with output.open("w", newline="", encoding="utf-8") as stream:
            write_table(stream, names, columns)
    except OSError as error:
        raise InputError(
            explain(
                f"{output} could not be written.",
                got=error.strerror or str(error),
                accepted="a path in an existing folder that can be written",
                do="choose another path",
            )
        ) from error
