"""How many photographs, blanks and good wells the model refuses.

    python -m benchmarks.swarm.refusals [--wells DIR] [--model FOLDER] [--json]

Photographs are those that scikit-image and scikit-learn ship, in colour and in grey, and, as a harder case that has no
limit to meet, with a round rim drawn on. Good wells: DIR of `sm3 swarm simulate`, or 400 made here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets

from sm3.errors import InputError
from sm3.swarm.dataset import read_wells
from sm3.swarm.predict import SwarmClassifier
from sm3.swarm.simulate.folder import simulate_folder

IN_THE_WHEEL = (
    "astronaut", "brick", "camera", "cat", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse",
    "hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
LEAST_REFUSED, MOST_REFUSED = 0.98, 0.03


def photographs() -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels, each in colour where it has one and in grey."""
    pictures = [(name, np.asarray(getattr(skimage.data, name)())) for name in IN_THE_WHEEL]
    pictures += [(name, sklearn.datasets.load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    for name, picture in pictures:
        if picture.ndim == 3:
            yield f"{name}, colour", picture
            yield f"{name}, grey", picture[..., :3].astype(np.float32).mean(axis=2)
        else:
            yield name, picture.astype(np.float32)


def blanks() -> Iterator[tuple[str, np.ndarray]]:
    """Constant, saturated and noisy frames; wells that are empty or burnt out; 20 of each."""
    rows, columns = np.indices((300, 300))
    distance = np.hypot(rows - 150, columns - 150)
    rim = 300 * np.exp(-(((distance - 112) / 4) ** 2))
    for seed in range(20):
        random = np.random.default_rng(seed)
        noise = random.normal(0, 3, (300, 300))
        yield "constant", np.full((300, 300), 1000.0 + seed)
        yield "saturated", np.full((300, 300), 65535.0)
        yield "noise", 1000 + 10 * noise
        yield "empty well", 1000 - rim + noise
        yield "burnt out well", np.minimum(1000 + rim + 600 * (distance < 108) + noise, 1400)


def with_rim(picture: np.ndarray) -> np.ndarray:
    """A dark ring around the middle of a square cut, as wide as a well's."""
    side = min(picture.shape)
    top, left = (size - side for size in picture.shape)
    square = picture[top // 2 : top // 2 + side, left // 2 : left // 2 + side]
    rows, columns = np.indices(square.shape)
    distance = np.hypot(rows - side / 2, columns - side / 2) / side
    return np.asarray(square - 0.5 * np.ptp(square) * np.exp(-(((distance - 0.4) / 0.02) ** 2)), dtype=np.float32)


def refused(classifier: SwarmClassifier, pixels: np.ndarray) -> str:
    """The reason, or nothing if a label was given."""
    try:
        told = classifier.assess(pixels).judgement
    except InputError as error:
        return str(error).splitlines()[0]
    return told.reason


def main() -> None:
    """Print counts; exit status 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    classifier = SwarmClassifier(options.model)
    groups = {
        "photographs": [(name, refused(classifier, pixels)) for name, pixels in photographs()],
        "blank and saturated": [(name, refused(classifier, pixels)) for name, pixels in blanks()],
        "photographs with a rim": [
            (name, refused(classifier, with_rim(pixels))) for name, pixels in photographs() if pixels.ndim == 2
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        wells = options.wells or Path(folder) / "wells"
        if options.wells is None:
            list(simulate_folder(wells, "sm3-like", 400, 71))
        good = [(str(well.path), classifier.assess(well.path).judgement.reason) for well in read_wells(wells)]
    counts = {
        name: {"refused": sum(bool(reason) for _, reason in rows), "of": len(rows),
               "not_refused": [which for which, reason in rows if not reason]}
        for name, rows in groups.items()
    }  # fmt: skip
    counts["good wells"] = {"refused": sum(bool(reason) for _, reason in good), "of": len(good),
                            "reasons": dict(Counter(reason for _, reason in good if reason))}  # fmt: skip
    if options.json:
        print(json.dumps(counts))
    else:
        for name, count in counts.items():
            rest = count.get("not_refused") or count.get("reasons") or ""
            print(f"{name:24} {count['refused']:4} of {count['of']:4} refused   {rest}")
    must = sum(counts[name]["refused"] for name in ("photographs", "blank and saturated"))
    of = sum(counts[name]["of"] for name in ("photographs", "blank and saturated"))
    if must < LEAST_REFUSED * of or counts["good wells"]["refused"] > MOST_REFUSED * counts["good wells"]["of"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
