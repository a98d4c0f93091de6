"""A model on the disk: a folder of four files, under a megabyte, complete without any network or PyTorch.

card.json          what it is, how it was trained and calibrated, its limits, its blind tests
finder.onnx        image -> circle
classifier.onnx    image, circle, pixel size -> logits, evidence, measures
model.safetensors  the weights in half precision, to train on from
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain

FORMAT = 1
FILES = ("card.json", "finder.onnx", "classifier.onnx", "model.safetensors")
DEFAULT = Path(__file__).parent / "default"  # ships with the package
_KEYS = ("name", "calibration", "limits", "members", "architecture")


@dataclass(frozen=True)
class ModelFile:
    """The folder of a model and its card."""

    folder: Path
    card: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """Twelve digits of the SHA-256 of the classifier: two models with one id give the same answers."""
        return hashlib.sha256((self.folder / "classifier.onnx").read_bytes()).hexdigest()[:12]


def open_model(folder: Path | None = None) -> ModelFile:
    """The model in `folder`, or the one that ships with the package. Raises `InputError` for a folder that holds
    none.
    """
    folder = DEFAULT if folder is None else Path(folder)
    missing = [name for name in FILES[:3] if not (folder / name).is_file()]
    try:
        card = {} if missing else json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except ValueError as error:
        missing, card = [f"a readable card.json ({error})"], {}
    if not missing and (
        not isinstance(card, dict) or card.get("format") != FORMAT or any(key not in card for key in _KEYS)
    ):
        missing = [f"a card of format {FORMAT} with {', '.join(_KEYS)}"]
    if missing:
        raise InputError(
            explain(
                f"{folder} holds no model.",
                got=f"it lacks {', '.join(missing)}",
                accepted=f"a folder with {', '.join(FILES)}",
                do="sm3 swarm train --data DIR --out FOLDER makes one; without --model the one of the package is used",
            )
        )
    return ModelFile(folder, card)
