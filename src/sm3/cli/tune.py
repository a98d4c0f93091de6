"""`sm3 tune`: which hyper-parameters of a function matter, with intervals, or why these trials do not say.

The function is long because a command's options are its signature and its help is its docstring.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sm3.tune.job import Job


def tune(
    space: Annotated[
        Path | None,
        typer.Argument(metavar="SPACE.toml", help="The function, its hyper-parameters, how many trials; see below."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rank the trials of an Optuna study instead: SQLite, journal, or a URL."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The study, where FILE holds several.")] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Trials in all, instead of the number in SPACE.toml.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Trials side by side, each in a process of its own if more than one."),
    ] = 1,
    transform: Annotated[
        str, typer.Option(metavar="NAME", help="What is ranked: rank (of the score), log, or none.")
    ] = "rank",
    cap: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Worse scores, and trials without one, count as this.")
    ] = None,
    failed: Annotated[
        str, typer.Option(metavar="worst|out", help="With --study: failed and pruned trials count as worst, or not.")
    ] = "worst",
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Default: runs/tune-<hash>, another one for each space.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard the trials in the folder and begin again.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run trials again that raised, after a mistake is mended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Which hyper-parameters matter, and how sure that is.

    Runs a function with settings drawn at random from their ranges, fits a polynomial to the scores, and shares their
    variance out among the hyper-parameters, with intervals. Where that would mean nothing it refuses, and says how many
    trials it would take. Writes a page with pictures and a JSON file.

    Interrupt it whenever you like: finished trials are kept, and the same command goes on.

    \b
    Examples:
      sm3 tune space.toml
      sm3 tune space.toml --trials 400 --workers 4
      sm3 tune --study optuna.db --name my-study

    \b
    space.toml:
      function = "my_job:score"     # score(settings) -> number, in my_job.py here
      trials = 128
      [parameters]
      lr = { kind = "float", low = 1e-4, high = 1e-1, log = true }
      layers = { kind = "int", low = 1, high = 4 }
      norm = { kind = "categorical", choices = ["none", "layer", "rms"] }
      bias = { kind = "bool" }
    Besides: better = "lower" or "higher", sampler = "random" or "sobol", seed,
    repeats (settings run twice, to measure noise), [fixed] for all other settings.
    """
    if (space is None) == (study is None):
        raise typer.BadParameter("give either SPACE.toml or --study FILE")
    if study is not None and (trials is not None or workers != 1 or fresh or retry):
        raise typer.BadParameter("--trials, --workers, --fresh and --retry are for SPACE.toml: a study is only read")
    if failed not in ("worst", "out"):
        raise typer.BadParameter("--failed is worst or out")
    from sm3.extras import require

    for module in ("optuna", "sklearn", "rich", "matplotlib"):
        require(module)
    from dataclasses import replace

    from sm3.tune import space as spaces
    from sm3.tune.job import Job

    read = spaces.read(space) if space is not None else None
    if read is not None and trials is not None:
        read = replace(read, trials=trials)
    given = {"study": study, "name": name, "trials": trials, "cap": cap, "output": output}
    words = [str(space)] if space is not None else []
    words += [word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))]
    words += [word for key, value in (("transform", transform), ("failed", failed)) for word in (f"--{key}", value)]
    _run(Job(read, study, name, output, transform, cap, failed, workers, fresh, retry, words), as_json=as_json)


def _run(job: Job, *, as_json: bool) -> None:
    import json

    import optuna
    from rich.console import Console

    from sm3.tune import job as jobs
    from sm3.tune import page, report
    from sm3.tune.progress import ProgressBar

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console = Console(stderr=True)
    try:
        with ProgressBar(console, job.space.better if job.space else "lower") as bar:
            outcomes = jobs.run(job, bar)
    except KeyboardInterrupt:
        _interrupted(job, as_json=as_json)
    with console.status("fitting"):
        result = jobs.judge(job, outcomes)
        files = page.write(result)
    if as_json:
        typer.echo(json.dumps(report.as_data(result) | {"files": {key: str(path) for key, path in files.items()}}))
    else:
        report.show(result)
    for key, path in files.items():
        typer.echo(f"{key}  {path}", err=True)


def _interrupted(job: Job, *, as_json: bool) -> NoReturn:
    import json
    import sys

    message = (
        f"interrupted: finished trials are kept in {job.folder}. "
        "Run the same command again to go on, or add --fresh to begin again."
    )
    if as_json:
        typer.echo(json.dumps({"error": "Interrupted", "message": message}))
    typer.echo(message, err=True)
    sys.exit(130)
