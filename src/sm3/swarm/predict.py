"""One image in, one judgement out: the Python face of a model file. Needs ONNX Runtime, not PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.images import WellImage, from_array, read_image
from sm3.swarm.judge import SWARMING, SWIMMING, Judgement, judge
from sm3.swarm.model_file import ModelFile, open_model

MEASURES = ("contrast", "sharpness", "unevenness", "clipped")


@dataclass(frozen=True)
class Prediction:
    """A judgement and what it rests on. `circle` is x, y, radius in pixels of `image`; `evidence` (16, 16) covers
    83.2 um.
    """

    judgement: Judgement
    image: WellImage
    circle: tuple[float, float, float]
    um_per_px: float
    scale_known: bool  # False where the pixel size was derived from the published diameter
    measures: dict[str, float]
    evidence: NDArray[np.float32]
    streaks: NDArray[np.float32]  # (3, 16, 16) structure tensor: xx - yy, 2 xy, xx + yy
    normalised: NDArray[np.float32]  # (128, 128), what the network saw
    logits: NDArray[np.float32]  # (members, 8)

    @property
    def diameter_um(self) -> float:
        """Diameter of the circle that was found."""
        return 2 * self.circle[2] * self.um_per_px

    def summary(self) -> dict[str, Any]:
        """Plain numbers and words, ready for JSON."""
        told = self.judgement
        return {
            "image": self.image.name,
            "probability": told.probability,
            "low": told.low,
            "high": told.high,
            "decision": told.decision,
            "reason": told.reason,
            "labels": list(told.labels),
            "diameter_um": self.diameter_um,
            "um_per_px": self.um_per_px,
            "scale_known": self.scale_known,
            "circle_px": list(self.circle),
            "frames": self.image.frames,
            "measures": self.measures,
            "notes": list(self.image.notes),
        }


class SwarmClassifier:
    """Swarming or swimming, from one blurry image of a round well; the model of the package, or `model=FOLDER`.

    scikit-learn's conventions: `classes_`, `predict_proba`, `predict`; `assess` tells everything about one image.
    Memory: 1 MB of weights and about 30 MB while an image is judged. Raises `InputError` for unreadable images.

    >>> from sm3.swarm.simulate.wells import make_well, pair_sidecars
    >>> wells = [make_well(sidecar) for sidecar in pair_sidecars("sm3-like", 5, 0).values()]
    >>> judged = SwarmClassifier(um_per_px=wells[0].sidecar["um_per_px"]).predict([well.pixels for well in wells])
    >>> [str(label) for label in judged]
    ['swarming', 'swimming']
    """

    def __init__(self, model: Path | None = None, *, um_per_px: float | None = None, threads: int = 1) -> None:
        self.model: ModelFile = open_model(model)
        self.um_per_px = um_per_px
        self.threads = threads
        self.classes_ = np.array([SWIMMING, SWARMING])

    @cached_property
    def _sessions(self) -> tuple[Any, Any]:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        files = ("finder.onnx", "classifier.onnx")
        finder, classifier = (
            runtime.InferenceSession(str(self.model.folder / file), options, providers=["CPUExecutionProvider"])
            for file in files
        )
        return finder, classifier

    def assess(
        self, image: Path | str | NDArray[Any] | WellImage, circle: tuple[float, float, float] | None = None
    ) -> Prediction:
        """Judge one image. `circle` (x, y, radius in pixels of the image as judged) replaces the one that would be
        found.
        """
        well = self._read(image).reduced()
        finder, classifier = self._sessions
        pixels = well.pixels[None, None]
        found, rim = finder.run(None, {"image": pixels})
        if circle is not None:
            found, rim = np.asarray(circle, dtype=np.float32), np.float32(1.0)
        scale = well.um_per_px_or(float(found[2]))
        logits, evidence, distance, measured, streaks, normalised = classifier.run(
            None, {"image": pixels, "circle": found, "um_per_px": np.array([scale], dtype=np.float32)}
        )
        measures = {
            **dict(zip(MEASURES, (float(value) for value in measured), strict=True)),
            "rim": float(rim),
            "distance": float(distance[0]),
            "colour": well.colour,
            "diameter_um": float(2 * found[2] * scale),
        }
        told = judge([float(value) for value in logits.ravel()], measures, self.model.card)
        where = (float(found[0]), float(found[1]), float(found[2]))
        return Prediction(
            told, well, where, scale, well.um_per_px is not None, measures, evidence, streaks, normalised, logits
        )

    def _read(self, image: Path | str | NDArray[Any] | WellImage) -> WellImage:
        if isinstance(image, WellImage):
            return image
        if isinstance(image, np.ndarray):
            return from_array(image, um_per_px=self.um_per_px)
        return read_image(Path(image), um_per_px=self.um_per_px)

    def predict_proba(self, images: Sequence[Any]) -> NDArray[np.float64]:
        """(n, 2): calibrated probabilities of `classes_`, also where a well would be refused; see `predict` for
        that.
        """
        swarming = np.array([self.assess(image).judgement.probability for image in images], dtype=float)
        return np.stack([1 - swarming, swarming], axis=1)

    def predict(self, images: Sequence[Any]) -> NDArray[np.str_]:
        """(n,): "swarming", "swimming" or "cannot tell"."""
        return np.array([self.assess(image).judgement.decision for image in images])
