"""`sm3 swarm simulate | train | evaluate | audit | predict | export | serve`: bacteria in round wells.

Long because the options of seven commands are their signatures and their help is their docstrings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sm3.swarm.learn.train import TrainSettings

swarm = typer.Typer(
    help="Tell swarming from swimming bacteria in one blurry image of a round well. For research, not for diagnosis.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Model = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="A model made by `sm3 swarm train`. Default: the one of the package."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides every random choice; the same seed, the same result.")]
UmPerPx = Annotated[
    float | None, typer.Option("--um-per-px", metavar="UM", help="Size of a pixel. Default: from the file.")
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="DIR/wells.csv, or DIR/swarming and DIR/swimming with files CHIP_WELL.tif; or a CSV."
    ),
]
IKnow = Annotated[
    bool, typer.Option("--i-know", help="Accept wells without chips: the split then cannot keep a chip whole.")
]


@swarm.command("simulate")
def simulate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, or one that this command began.")],
    n: Annotated[int, typer.Option(metavar="N", help="Wells, half of each class.")] = 4000,
    set_name: Annotated[
        str, typer.Option("--set", metavar="NAME", help="sm3-like, db10-like, h6-like, sm3-unseen-optics or wide.")
    ] = "sm3-like",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate wells from published physics: 16-bit OME-TIFF files, sidecars, and a table of labels.

    Wells come in pairs that differ in the alignment range alone. A stopped run goes on where it stopped.

    \b
    Example:
      sm3 swarm simulate --n 4000 --set sm3-like --out wells
    """
    _need("tifffile", "numba", "scipy.ndimage", "PIL.Image")
    from sm3.swarm.simulate.folder import simulate_folder

    with _progress() as report:
        for done in simulate_folder(out, set_name, n, seed):
            report(f"{set_name} wells", done, n)
    _say({"wells": n, "set": set_name, "seed": seed, "table": str(out / "wells.csv")}, as_json)


@swarm.command("train")
def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The model's folder; a stopped run in it is continued.")],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Wells for calibration alone; repeat it. Default: a quarter of the chips."),
    ] = None,
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="smmf, sm3 or adamw.")] = "smmf",
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate. Default: the optimizer's own.")] = None,
    architecture: Annotated[str, typer.Option(metavar="NAME", help="small or dense.")] = "small",
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the wells.")] = 12,
    members: Annotated[int, typer.Option(metavar="N", help="Networks of the ensemble.")] = 3,
    name: Annotated[str, typer.Option(metavar="NAME", help="Stands on the card.")] = "swarm",
    seed: Seed = 0,
    i_know: IKnow = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on labelled wells: split by chip, an ensemble, calibration on wells of their own, a model card.

    \b
    Examples:
      sm3 swarm train --data my_wells --out my_model
      sm3 swarm train --data wide --calibration sm3 --calibration rigs --out model --optimizer adamw
    """
    _need("torch", "onnxruntime", "tifffile", "onnxscript", "sklearn", "scipy.ndimage")
    from sm3.swarm.dataset import read_wells
    from sm3.swarm.learn.fit import fit
    from sm3.swarm.learn.train import TrainSettings

    settings: TrainSettings = TrainSettings(architecture=architecture, optimizer=optimizer, lr=lr, epochs=epochs)
    wells = read_wells(data, alone=i_know)
    kept = [well for folder in calibration or () for well in read_wells(folder, alone=i_know)]
    with _progress() as report:
        model = fit(
            wells,
            out,
            calibration=kept or None,
            settings=settings,
            members=members,
            seed=seed,
            name=name,
            report=report,
        )
    _say({"model": str(out), "id": model.id, **model.card["validation"], "data": model.card["data"]}, as_json)


@swarm.command("evaluate")
def evaluate(
    data: Annotated[list[Path], typer.Option(metavar="DIR", help="Labelled wells the model never met. Repeat it.")],
    model: Model = None,
    floor: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Train the classical floor on these wells and show it beside.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="PAGE.html", help="Also write a page; one file.")] = None,
    i_know: IKnow = False,
    as_json: AsJson = False,
) -> None:
    """Sensitivity, specificity, area, calibration of a model, with exact intervals and counts.

    \b
    Example:
      sm3 swarm evaluate --data blind-1 --data blind-2 --floor training-wells --report page.html
    """
    _need(
        "onnxruntime",
        "tifffile",
        "scipy.stats",
        *(("torch", "sklearn") if floor else ()),
        *(("matplotlib",) if report else ()),
    )
    import tempfile

    from sm3.swarm.dataset import read_wells
    from sm3.swarm.evaluate import evaluate as run
    from sm3.swarm.model_file import open_model
    from sm3.swarm.report import page, table

    opened = open_model(model)
    sets = {path.name: read_wells(path, alone=i_know) for path in data}
    floor_wells = None if floor is None else read_wells(floor, alone=i_know)
    with tempfile.TemporaryDirectory() as store, _progress() as watch:
        results = run(opened.folder, sets, floor_wells=floor_wells, store=Path(store), report=watch)
    if report is not None:
        report.write_text(page(results, opened), encoding="utf-8")
    _say({"model": opened.id, "sets": results} if as_json else table(results), as_json)


@swarm.command("audit")
def audit(
    data: Data,
    model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also send blanked and scrambled wells through this model.")
    ] = None,
    i_know: IKnow = False,
    as_json: AsJson = False,
) -> None:
    """Could a model answer without the motion? Areas under the curve of intensity, contrast, rim, and more.

    Exit status 1 if something that must tell nothing tells something.
    """
    _need("torch", "tifffile", "sklearn", "scipy.stats")
    import tempfile

    from sm3.swarm.audit import audit as run
    from sm3.swarm.dataset import read_wells

    with tempfile.TemporaryDirectory() as store, _progress() as watch:
        rows = run(read_wells(data, alone=i_know), Path(store), model=model, report=watch)
    lines = [
        f"{row['check']:28} {row['auc']:.3f}  {row['low']:.3f} to {row['high']:.3f}   "
        + ("must be 0.5: " + ("holds" if row["holds"] else "FAILS") if row["must_be_half"] else "")
        for row in rows
    ]
    _say(rows if as_json else "\n".join(["check                        area   95 % interval", *lines]), as_json)
    if not all(row["holds"] for row in rows):
        raise typer.Exit(1)


@swarm.command("predict")
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="TIFF, PNG, JPEG, or folders of them.")],
    model: Model = None,
    um_per_px: UmPerPx = None,
    frames: Annotated[int | None, typer.Option(metavar="N", help="Average the first N frames of a film.")] = None,
    z: Annotated[int | None, typer.Option("--z", metavar="N", help="Plane of a z-stack, from 0.")] = None,
    channel: Annotated[int | None, typer.Option(metavar="N", help="Channel, from 0.")] = None,
    chip: Annotated[
        bool, typer.Option("--chip", help="The picture shows many wells: find, number and judge each.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the evidence of one image, or the map of one chip.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the table of all wells here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge images: probability of swarming, its range, a decision, or why there is none.

    One image prints a few lines; several print CSV, one row a well. An unreadable file is a row, not a stop.

    \b
    Examples:
      sm3 swarm predict well.tif --picture evidence.png
      sm3 swarm predict folder --output wells.csv
      sm3 swarm predict chip.tif --chip --picture map.png
    """
    _need("onnxruntime", "tifffile", "PIL.Image", *(("skimage",) if chip else ()))
    from sm3.swarm.folder import UNREADABLE, as_csv, images_of, judge_files
    from sm3.swarm.predict import SwarmClassifier

    files = images_of(images)
    classifier = SwarmClassifier(model, um_per_px=um_per_px)
    single = len(files) == 1 and not chip
    rows, predictions = [], []
    with _progress() as report:
        for row, prediction in judge_files(files, classifier, chip=chip, frames=frames, z=z, channel=channel):
            rows.append(row)
            predictions.append(prediction)
            if len(files) > 1:
                report("images", len({one["path"] for one in rows}), len(files))
    if picture is not None:
        _draw(picture, files, predictions, rows, chip, classifier)
    if output is not None:
        output.write_text(as_csv(rows), encoding="utf-8")
    if as_json:
        _say(
            [{**row, **({"detail": p.summary()} if p else {})} for row, p in zip(rows, predictions, strict=True)], True
        )
    elif single:
        typer.echo(_lines(rows[0]))
    elif output is None:
        typer.echo(as_csv(rows), nl=False)
    if single and rows[0]["decision"] == UNREADABLE:
        raise typer.Exit(1)


def _draw(
    picture: Path, files: list[Path], predictions: list[Any], rows: list[dict[str, Any]], chip: bool, classifier: Any
) -> None:
    from sm3.swarm.chip import draw_map, find_wells
    from sm3.swarm.images import read_image
    from sm3.swarm.picture import draw

    if len(files) != 1:
        raise typer.BadParameter("--picture draws one image; several were given")
    if any(prediction is None for prediction in predictions):
        return
    if chip:
        image = read_image(files[0], um_per_px=classifier.um_per_px)
        draw_map(image, find_wells(image), [row["decision"] for row in rows], picture)
    else:
        draw(predictions[0], picture)


def _lines(row: dict[str, Any]) -> str:
    if row["probability"] == "":
        return f"{row['path']}\n  {row['decision']}: {row['reason']}"
    scale = f"{row['um_per_px']:.4f} um a pixel" + ("" if row["scale_known"] else ", from the published diameter")
    return "\n".join(
        [
            row["path"],
            f"  {row['decision']}" + (f": {row['reason']}" if row["reason"] else ""),
            f"  p(swarming) {row['probability']:.3f}, {row['low']:.3f} to {row['high']:.3f} over members and copies",
            f"  well {row['diameter_um']:.1f} um wide, {scale}, model {row['model']}",
        ]
    )


@swarm.command("export")
def export(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="onnx, bioimageio or page.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    model: Model = None,
    sample: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Well to test a bioimage.io package with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs: ONNX files, a bioimage.io package, or the page for any web host."""
    _need(*(("bioimageio.spec", "onnxruntime", "tifffile") if kind == "bioimageio" else ()))
    from sm3.swarm.export import export as run

    files = run(kind, out, model=model, sample=sample)
    _say([str(file) for file in files] if as_json else "\n".join(map(str, files)), as_json)


@swarm.command("serve")
def serve(
    model: Model = None,
    port: Annotated[int, typer.Option(metavar="N", help="0 takes a free one.")] = 8000,
    browse: Annotated[bool, typer.Option("--browse/--no-browse", help="Open the page in the browser.")] = False,
) -> None:
    """Show the page on this machine: drop an image, see it judged inside the browser. Stop with Ctrl-C."""
    import webbrowser

    from sm3.swarm.serve import make_server

    with make_server(port, model=model) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        typer.echo(address)
        if browse:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)


def _need(*modules: str) -> None:
    """Missing packages are told before the work, with the line that installs them."""
    from sm3.extras import require

    for module in modules:
        require(module)


def _say(what: Any, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(what, allow_nan=False))
    elif isinstance(what, dict):
        typer.echo("\n".join(f"{key}  {value}" for key, value in what.items()))
    else:
        typer.echo(what)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, one row for each kind of work; without a terminal nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield report
