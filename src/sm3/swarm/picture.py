"""The evidence drawn on the image: the circle, the map of evidence in colour, and short strokes along the streaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.judge import CANNOT_TELL
from sm3.swarm.predict import Prediction

SIDE = 640  # pixels of the picture
FIELD_UM = 83.2  # what the network sees
ORANGE, BLUE = (230, 97, 1), (30, 120, 190)  # swarming, swimming; told apart by colour-blind readers
MAP = 16


def draw(prediction: Prediction, path: Path | None = None) -> Any:
    """A picture (PIL image, RGB) of the judged image; written to `path` if given."""
    picture_module, draw_module = require("PIL.Image"), require("PIL.ImageDraw")
    pixels = prediction.image.pixels
    scale = SIDE / max(pixels.shape)
    grey = picture_module.fromarray(_grey(prediction)).resize(
        (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)), picture_module.Resampling.BICUBIC
    )
    canvas = picture_module.merge("RGB", (grey, grey, grey))
    x, y, radius = (value * scale for value in prediction.circle)
    _tint(canvas, prediction, (x, y, radius), scale)
    pen = draw_module.Draw(canvas)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(255, 221, 87), width=2)
    for x0, y0, x1, y1, tangential in strokes(prediction):
        colour = tuple(round(o * tangential + b * (1 - tangential)) for o, b in zip(ORANGE, BLUE, strict=True))
        pen.line((x + x0 * scale, y + y0 * scale, x + x1 * scale, y + y1 * scale), fill=colour, width=3)
    pen.rectangle((0, 0, canvas.width, 22), fill=(20, 20, 20))
    pen.text((6, 5), caption(prediction), fill=(255, 255, 255))
    if path is not None:
        canvas.save(path)
    return canvas


def caption(prediction: Prediction) -> str:
    """One line: decision, probability and range, or the reason."""
    told = prediction.judgement
    if told.decision == CANNOT_TELL:
        return f"cannot tell: {told.reason}"
    return f"{told.decision}   p(swarming) {told.probability:.3f}   range {told.low:.3f} to {told.high:.3f}"


def _grey(prediction: Prediction) -> NDArray[np.uint8]:
    """Stretched to what lies inside the circle, where the streaks are."""
    pixels = prediction.image.pixels
    x, y, radius = prediction.circle
    rows, columns = np.indices(pixels.shape)
    inside = pixels[(columns - x) ** 2 + (rows - y) ** 2 < (0.9 * radius) ** 2]
    low, high = np.percentile(inside if inside.size else pixels, [0.5, 99.5])
    return np.asarray(np.clip((pixels - low) / max(high - low, 1e-9) * 200 + 28, 0, 255), dtype=np.uint8)


def _tint(canvas: Any, prediction: Prediction, circle: tuple[float, float, float], scale: float) -> None:
    """Colour the inside of the circle by the evidence."""
    module = require("PIL.Image")
    x, y, radius = circle
    side = round(FIELD_UM / prediction.um_per_px * scale)
    evidence = prediction.evidence / (np.abs(prediction.evidence).max() + 1e-9)
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    inside = module.fromarray(((np.hypot(rows, columns) < radius) * 255).astype(np.uint8))
    nothing = module.new("L", (side, side))
    for sign, colour in ((1, ORANGE), (-1, BLUE)):
        strength = module.fromarray((np.clip(sign * evidence, 0, 1) * 90).astype(np.uint8))
        mask = module.composite(strength.resize((side, side), module.Resampling.BICUBIC), nothing, inside)
        canvas.paste(module.new("RGB", (side, side), colour), (round(x - side / 2), round(y - side / 2)), mask)


def strokes(prediction: Prediction) -> list[tuple[float, float, float, float, float]]:
    """Ends (x0, y0, x1, y1) in image pixels from the circle's centre, and how tangential each streak runs, 0 to 1.

    A streak lies across its gradient, so its angle is half the angle of the structure tensor plus a quarter turn.
    """
    step = FIELD_UM / MAP / prediction.um_per_px
    along, across, energy = prediction.streaks.astype(float)
    coherence = np.hypot(along, across) / (energy + 1e-9)
    lines = []
    filled = energy[energy > 0]
    for row, column in np.argwhere(energy > 0.3 * (np.median(filled) if filled.size else np.inf)):
        x, y = (column + 0.5 - MAP / 2) * step, (row + 0.5 - MAP / 2) * step
        angle = 0.5 * np.arctan2(across[row, column], along[row, column]) + np.pi / 2
        half = 0.45 * step * coherence[row, column]
        tangential = np.sin(angle - np.arctan2(y, x)) ** 2
        dx, dy = half * np.cos(angle), half * np.sin(angle)
        lines.append((float(x - dx), float(y - dy), float(x + dx), float(y + dy), float(tangential)))
    return lines
