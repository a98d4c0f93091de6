"""From light to the integers of a file: shot noise, read noise, hot pixels, depth, and the JPEG of a phone."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.simulate.species import FRAMES


@dataclass(frozen=True)
class Camera:
    """One sensor: `electrons` a pixel and frame where the light is 1, `bits` of its converter, JPEG `quality` or
    none.
    """

    electrons: float
    read_noise: float  # electrons
    bits: int
    exposure: float  # share of the full range at which light 1 lands
    hot_pixels: float  # share of pixels
    quality: int | None


def photograph(light: NDArray[np.float32], camera: Camera, random: np.random.Generator) -> NDArray[np.uint16]:
    """The mean of ten frames as 16-bit integers; an 8-bit camera's mean keeps eight bits and is stored in the upper
    ones.
    """
    signal = np.clip(light, 0.0, None) * np.float32(camera.electrons)
    # Poisson at thousands of electrons is normal to within the read noise; ten frames are averaged.
    spread = np.sqrt((signal + np.float32(camera.read_noise**2)) / np.float32(FRAMES))
    measured = signal + spread * random.standard_normal(light.shape, dtype=np.float32)
    share = np.clip(measured / np.float32(camera.electrons) * np.float32(camera.exposure), 0.0, 1.0)
    hot = random.random(light.shape, dtype=np.float32) < np.float32(camera.hot_pixels)
    share[hot] = np.minimum(share[hot] + np.float32(0.3), np.float32(1.0))
    if camera.quality is not None:
        return (_through_jpeg(share, camera.quality).astype(np.uint16) * 257).astype(np.uint16)
    levels = 2**camera.bits - 1
    return np.asarray(np.round(np.round(share * levels) * (65535 / levels)), dtype=np.uint16)


def _through_jpeg(share: NDArray[np.float32], quality: int) -> NDArray[np.uint8]:
    picture = require("PIL.Image")
    buffer = io.BytesIO()
    picture.fromarray(np.round(share * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with picture.open(buffer) as opened:
        return np.asarray(opened.convert("L"), dtype=np.uint8)
