"""A bioimage.io package: rdf.yaml, ONNX weights and a sample well with its answers, checked by bioimageio's own
library.

The package holds the classifier for images of the sample's size and scale: circle and pixel size are constant inputs
of a
bioimage.io model, so programs that find wells themselves call the ONNX files directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sm3 import __version__
from sm3.errors import InputError, explain
from sm3.extras import require
from sm3.swarm.predict import MEASURES, Prediction, SwarmClassifier

DOCUMENTATION = """# Swarming or swimming, from one image

{use}

Input: one well, its circle (x, y, radius in pixels) and the size of a pixel in um. Outputs: logits of {members}
networks on 8 mirrored copies (swarming above zero after the calibration in `card.json`), a map of evidence, a distance
from the training wells, and the streaks.

# Validation

Validation and blind tests are on the card, `card.json`; the training wells are {origin}.
"""


def write_package(classifier: SwarmClassifier, sample: Prediction, out: Path) -> Path:
    """Write the package into `out` and validate it; the path of its rdf.yaml.

    Raises `InputError` with the library's own words if it does not validate.
    """
    model, card = classifier.model, classifier.model.card
    (out / "classifier.onnx").write_bytes((model.folder / "classifier.onnx").read_bytes())
    (out / "card.json").write_bytes((model.folder / "card.json").read_bytes())
    origin = "simulated" if card["simulated"] else "a laboratory's own"
    (out / "README.md").write_text(
        DOCUMENTATION.format(use=card["use"], members=card["members"], origin=origin), encoding="utf-8"
    )
    _write_tensors(sample, out)
    description = _description(sample, card)
    spec = require("bioimageio.spec")
    yaml = out / "rdf.yaml"
    yaml.write_text(_as_yaml(description), encoding="utf-8")
    found = spec.load_description(yaml, format_version="latest", perform_io_checks=True)
    if isinstance(found, spec.InvalidDescr):
        raise InputError(
            explain(
                "The package does not validate.",
                got=found.validation_summary.format()[:2000],
                accepted="what bioimageio.spec accepts",
                do="report this with the model's card",
            )
        )
    return yaml


def _write_tensors(sample: Prediction, out: Path) -> None:
    np.save(out / "image.npy", sample.image.pixels[None, None])
    np.save(out / "circle.npy", np.asarray(sample.circle, dtype=np.float32))
    np.save(out / "um_per_px.npy", np.array([sample.um_per_px], dtype=np.float32))
    np.save(out / "logits.npy", sample.logits)
    np.save(out / "evidence.npy", sample.evidence)
    np.save(out / "distance.npy", np.array([sample.measures["distance"]], dtype=np.float32))
    np.save(out / "measures.npy", np.array([sample.measures[name] for name in MEASURES], dtype=np.float32))
    np.save(out / "streaks.npy", sample.streaks)
    np.save(out / "normalised.npy", sample.normalised)


def _description(sample: Prediction, card: dict[str, Any]) -> dict[str, Any]:
    members, copies = sample.logits.shape
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": f"{card['name']} swarming or swimming",
        "description": "Tells collective swarming from swimming of bacteria in one blurry image of a round well.",
        "authors": [{"name": "The sm3 authors"}],
        "license": "Apache-2.0",
        "documentation": "README.md",
        "version": __version__,
        "tags": ["classification", "bacteria", "phase-contrast", "motility"],
        "cite": [
            {"text": "Li et al., Gut Microbes 17, 2505115 (2025)", "doi": "10.1080/19490976.2025.2505115"},
            {"text": "Chen et al., eLife 10, e64176 (2021)", "doi": "10.7554/eLife.64176"},
        ],
        "attachments": [{"source": "card.json"}],
        "inputs": [
            _tensor("image", "image.npy", [_batch(), _channel("image"), _space("y", sample.image.pixels.shape[0]),
                                           _space("x", sample.image.pixels.shape[1])]),
            _tensor("circle", "circle.npy", [_index(3)]),
            _tensor("um_per_px", "um_per_px.npy", [_index(1)]),
        ],
        "outputs": [
            _tensor("logits", "logits.npy", [_index(members), _channel(*[f"copy{n}" for n in range(copies)])]),
            _tensor("evidence", "evidence.npy", [_space("y", 16), _space("x", 16)]),
            _tensor("distance", "distance.npy", [_index(1)]),
            _tensor("measures", "measures.npy", [_channel(*MEASURES)]),
            _tensor("streaks", "streaks.npy", [_channel("xx_minus_yy", "two_xy", "energy"), _space("y", 16),
                                               _space("x", 16)]),
            _tensor("normalised", "normalised.npy", [_space("y", 128), _space("x", 128)]),
        ],
        "weights": {"onnx": {"source": "classifier.onnx", "opset_version": 18}},
    }  # fmt: skip


def _tensor(name: str, file: str, axes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": name, "axes": axes, "test_tensor": {"source": file}, "data": {"type": "float32"}}


def _batch() -> dict[str, Any]:
    return {"type": "batch", "size": 1}


def _channel(*names: str) -> dict[str, Any]:
    return {"type": "channel", "channel_names": list(names)}


def _space(name: str, size: int) -> dict[str, Any]:
    return {"type": "space", "id": name, "size": size}


def _index(size: int) -> dict[str, Any]:
    return {"type": "index", "size": size}


def _as_yaml(description: dict[str, Any]) -> str:
    """JSON is YAML: nothing else is needed to write it."""
    import json

    return json.dumps(description, indent=1) + "\n"
