"""Files and folders to rows: each image one row, a chip one row a well, a bad file a row that says why."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain
from sm3.swarm.chip import find_wells
from sm3.swarm.dataset import SUFFIXES
from sm3.swarm.images import read_image
from sm3.swarm.predict import Prediction, SwarmClassifier

COLUMNS = (
    "path", "well", "row", "column", "um_per_px", "scale_known", "diameter_um", "probability", "low", "high",
    "decision", "reason", "labels", "model", "sha256",
)  # fmt: skip
UNREADABLE = "unreadable"


def images_of(paths: Iterable[Path]) -> list[Path]:
    """The files given, and the images of the folders given, sorted. Files in folders that are no images are passed
    over.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            found.append(path)
    if not found:
        raise InputError(
            explain(
                "No images.",
                got=", ".join(map(str, paths)),
                accepted="TIFF, PNG, JPEG, or folders of them",
                do="check the path",
            )
        )
    return found


def judge_files(
    files: Sequence[Path], classifier: SwarmClassifier, *, chip: bool = False, **reading: Any
) -> Iterator[tuple[dict[str, Any], Prediction | None]]:
    """A row for each well of each file, with its prediction; `reading` goes to `read_image`. Bad files never raise."""
    for file in files:
        try:
            picture = read_image(file, um_per_px=classifier.um_per_px, **reading)
            wells = (
                [(well.number, well.row, well.column, well.image) for well in find_wells(picture)]
                if chip
                else [("", "", "", picture)]
            )
            judged = [(*place, classifier.assess(image)) for *place, image in wells]
        except InputError as error:
            yield (
                {**dict.fromkeys(COLUMNS, ""), "path": str(file), "decision": UNREADABLE, "reason": _short(error)},
                None,
            )
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        for number, row, column, prediction in judged:
            yield _row(file, (number, row, column), prediction, classifier.model.id, digest), prediction


def _short(error: InputError) -> str:
    """The first and the last line of an error: what happened, what to do."""
    lines = str(error).splitlines()
    return lines[0] + (" " + lines[-1].strip() if len(lines) > 1 else "")


def _row(file: Path, place: tuple[Any, Any, Any], prediction: Prediction, model: str, digest: str) -> dict[str, Any]:
    told = prediction.judgement
    return {
        "path": str(file),
        "well": place[0],
        "row": place[1],
        "column": place[2],
        "um_per_px": round(prediction.um_per_px, 5),
        "scale_known": prediction.scale_known,
        "diameter_um": round(prediction.diameter_um, 2),
        "probability": round(told.probability, 5),
        "low": round(told.low, 5),
        "high": round(told.high, 5),
        "decision": told.decision,
        "reason": told.reason,
        "labels": " ".join(told.labels),
        "model": model,
        "sha256": digest,
    }


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as CSV text with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
