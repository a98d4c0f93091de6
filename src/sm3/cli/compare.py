"""`sm3 compare`: train one small model with several optimizers; show memory, time and loss.

The function is long because a command's options are its signature and its help is its docstring.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sm3.compare.job import Job
    from sm3.compare.store import Folder


def compare(
    quick: Annotated[
        bool, typer.Option("--quick", help="About three minutes on two cores. This is the default.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="8 times the steps, 5 seeds, 5 learning rates: an hour or two.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Your text, a file or a folder. Default: Python's own standard library."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Your model instead of the byte-level GPT, see below."),
    ] = None,
    optimizers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME", help='Only these: AdamW (always there), Adafactor, SM3, SMMF, "SMMF beta=None".'
        ),
    ] = None,
    lr: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V,V,V", help="Learning rates to try for an optimizer. Repeat it for more."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of every run. Default: 250, thorough 2000.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Runs at the best rate. Default: 3, thorough 5.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Runs side by side. Default: one per core, at most 4; for your model 1."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="Threads of one run; their number decides the last bits of a loss. Default: 1."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Default: runs/compare-<hash>, another one for all other settings."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard finished runs in the folder and begin again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Train one small model with several optimizers, fairly, and show memory, time and loss.

    Every optimizer gets the same first weights, the same batches and the same schedule, and its own best learning
    rate out of several. Prints a table and a verdict; writes a page with pictures and a JSON file. No network is used.

    Interrupt it whenever you like: finished runs are kept, and the same command goes on.

    \b
    Examples:
      sm3 compare
      sm3 compare --optimizers AdamW,SMMF --steps 100
      sm3 compare --text my_notes/ --seeds 5
      sm3 compare --lr "SMMF=4e-3,8e-3" --lr "AdamW=2e-3,4e-3"
      sm3 compare --model my_job:job      (my_job.py here has a function job)

    \b
    Your model: job(seed) returns (model, batches, loss):
      model    a torch.nn.Module
      batches  an endless iterator of batches
      loss     loss(model, batch) -> scalar tensor
    The same seed must give the same weights and batches.
    An example to copy: python -m pydoc sm3.compare.user
    """
    if quick and thorough:
        raise typer.BadParameter("choose one of --quick and --thorough")
    if text is not None and model is not None:
        raise typer.BadParameter("choose one of --text and --model: your model brings its own batches")
    from sm3.compare import contestants, protocol
    from sm3.compare.job import Job

    chosen = protocol.adjusted(protocol.THOROUGH if thorough else protocol.QUICK, steps=steps, seeds=seeds)
    fields = contestants.choose(
        optimizers.split(",") if optimizers else None, contestants.rates_from(lr or []), chosen.rates
    )
    options = {
        "text": text,
        "model": model,
        "optimizers": optimizers,
        "steps": steps,
        "seeds": seeds,
        "threads": threads,
    }
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += [word for value in lr or [] for word in ("--lr", value)]
    words = ["--thorough", *words] if thorough else words
    _run(Job(chosen, fields, text, model, output, threads, workers, fresh, words), as_json=as_json)


def _run(job: Job, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from sm3.compare import job as jobs
    from sm3.compare import report
    from sm3.compare.progress import ProgressBar

    prepared = jobs.prepare(job)
    try:
        with ProgressBar(Console(stderr=True)) as bar:
            result = jobs.run(prepared, bar)
        page, data = jobs.write(result)
    except KeyboardInterrupt:
        _interrupted(prepared.folder, as_json=as_json)
    if as_json:
        files = {"page": str(page), "data": str(data), "runs": str(prepared.folder.path / "runs.jsonl")}
        typer.echo(json.dumps(report.as_data(result, runs=False) | {"files": files}))
    else:
        report.show(result)
    typer.echo(f"page  {page}\ndata  {data}", err=True)


def _interrupted(folder: Folder, *, as_json: bool) -> NoReturn:
    import json
    import sys

    message = (
        f"interrupted: {len(folder.records)} finished runs are kept in {folder.path}. "
        "Run the same command again to go on, or add --fresh to begin again."
    )
    if as_json:
        typer.echo(json.dumps({"error": "Interrupted", "message": message}))
    typer.echo(message, err=True)
    sys.exit(130)
