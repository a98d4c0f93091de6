"""A model for other programs: ONNX files, a bioimage.io package checked by its own library, or the page for a web
host.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sm3.errors import InputError, explain
from sm3.extras import require
from sm3.swarm.model_file import FILES, ModelFile, open_model
from sm3.swarm.predict import SwarmClassifier

ONNX, BIOIMAGE, PAGE = "onnx", "bioimageio", "page"


def export(kind: str, out: Path, *, model: Path | None = None, sample: Path | None = None) -> list[Path]:
    """Write `kind` ("onnx", "bioimageio" or "page") into the new folder `out`; the files written.

    A bioimage.io package holds a sample well and the answers of ONNX Runtime, against which the library tests it.
    """
    opened = open_model(model)
    if out.exists() and any(out.iterdir()):
        raise InputError(explain("The folder is not empty.", got=out, accepted="a new folder", do="give another --out"))
    out.mkdir(parents=True, exist_ok=True)
    if kind == ONNX:
        for name in FILES:
            if (opened.folder / name).is_file():
                shutil.copyfile(opened.folder / name, out / name)
    elif kind == PAGE:
        from sm3.swarm.serve import export_page

        export_page(out, model=model)
    elif kind == BIOIMAGE:
        _bioimage(opened, out, sample)
    else:
        raise InputError(
            explain("Unknown kind of export.", got=repr(kind), accepted=f"{ONNX}, {BIOIMAGE}, {PAGE}", do="choose one")
        )
    return sorted(path for path in out.rglob("*") if path.is_file())


def _bioimage(model: ModelFile, out: Path, sample: Path | None) -> None:
    require("bioimageio.spec")
    from sm3.swarm.bioimageio import write_package

    classifier = SwarmClassifier(model.folder)
    if sample is None:
        sample = Path(__file__).parent / "page" / "samples" / "swarming-1.tif"
    write_package(classifier, classifier.assess(sample), out)
