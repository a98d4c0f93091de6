"""One exposure of moving cells as light on the camera: streaks, layers out of focus, phase contrast, the well's rim.

Everything is drawn on a grid of `STEP` um and then resampled to the camera's pixels, because the optics pass nothing
finer. Light is in units of the background, so 1 is an empty place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.simulate.species import FRAME_SECONDS, FRAMES
from sm3.swarm.simulate.zonal import Motion

numba = require("numba")
ndimage = require("scipy.ndimage")

STEP = 0.325  # um of a grid cell
MOMENTS = 40  # instants at which an exposure is sampled
LAYERS = ((2.0, 1.5), (3.5, 2.5))  # (blur in units of the focal layer's, cells in units of the focal layer's)
FLOW_SMOOTHING = 6.0  # um over which the cells out of focus share the flow of those in focus

Image = NDArray[np.float32]
Array = NDArray[np.float64]


def moments(long_exposure: bool, shutter: float) -> Array:
    """Instants (s, the last near 0) at which light falls: evenly, or in ten frames whose shutter opens for a share."""
    if long_exposure:
        return np.asarray((np.arange(MOMENTS) + 0.5) / MOMENTS * FRAMES * FRAME_SECONDS - FRAMES * FRAME_SECONDS)
    each = MOMENTS // FRAMES
    inside = (np.arange(each) + 0.5) / each * shutter
    return np.asarray(((np.arange(FRAMES)[:, None] + inside) * FRAME_SECONDS - FRAMES * FRAME_SECONDS).ravel())


def at(motion: Motion, instants: Array) -> tuple[Array, Array]:
    """Positions (instants, agents, 2) and headings (instants, agents), linear between snapshots."""
    dt = motion.times[1] - motion.times[0]
    exact = (instants - motion.times[0]) / dt
    before = np.clip(np.floor(exact).astype(int), 0, len(motion.times) - 2)
    share = (exact - before)[:, None]
    headings = np.unwrap(motion.heading, axis=0)
    position = motion.position[before] * (1 - share[..., None]) + motion.position[before + 1] * share[..., None]
    return position, headings[before] * (1 - share) + headings[before + 1] * share


def advected(
    motion: Motion, instants: Array, number: int, wall: float, speed: float, random: np.random.Generator
) -> tuple[Array, Array]:
    """Cells above and below the focal layer, `number` of them: they follow its smoothed flow, with a spread of
    headings.
    """
    radius, angle = wall * np.sqrt(random.random(number)), 2 * math.pi * random.random(number)
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    middle = motion.position[len(motion.times) // 2]
    squared = ((place[:, None, :] - middle[None]) ** 2).sum(axis=2)
    drift = np.exp(-squared / (2 * FLOW_SMOOTHING**2)) @ motion.velocity
    heading = np.arctan2(drift[:, 1], drift[:, 0]) + 0.4 * random.standard_normal(number)
    turning = 1.2 * random.standard_normal(number)  # rad/s over the exposure
    since = instants - instants.mean()
    headings = heading + since[:, None] * turning
    path = speed * since[:, None, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    position = place + path
    outside = np.hypot(position[..., 0], position[..., 1]) > wall - 0.5
    position[outside] *= ((wall - 0.5) / np.hypot(position[..., 0], position[..., 1])[outside])[:, None]
    return position, headings


@numba.njit(cache=True)
def _splat(canvas, position, heading, length, weight, step):  # type: ignore[no-untyped-def]
    """Add each cell as points along its axis, shared bilinearly by four grid cells."""
    side = canvas.shape[0]
    points = max(2, int(length / 0.4))
    half = side / 2.0
    for t in range(position.shape[0]):
        for i in range(position.shape[1]):
            c, s = math.cos(heading[t, i]), math.sin(heading[t, i])
            for k in range(points):
                along = ((k + 0.5) / points - 0.5) * length
                x = (position[t, i, 0] + along * c) / step + half - 0.5
                y = (position[t, i, 1] + along * s) / step + half - 0.5
                x0, y0 = math.floor(x), math.floor(y)
                if x0 < 0 or y0 < 0 or x0 >= side - 1 or y0 >= side - 1:
                    continue
                fx, fy = x - x0, y - y0
                w = weight / points
                canvas[y0, x0] += w * (1 - fx) * (1 - fy)
                canvas[y0, x0 + 1] += w * fx * (1 - fy)
                canvas[y0 + 1, x0] += w * (1 - fx) * fy
                canvas[y0 + 1, x0 + 1] += w * fx * fy


def cells(layers: list[tuple[Array, Array, float]], side: int, *, length: float, width: float, halo: float) -> Image:
    """Darkness of all layers, each (positions, headings, blur um): body minus halo, in units of one opaque cell
    body.
    """
    dark = np.zeros((side, side), np.float32)
    for position, heading, blur in layers:
        canvas = np.zeros((side, side), np.float32)
        _splat(canvas, position, heading, length, length * width / STEP**2 / len(position), STEP)
        body = ndimage.gaussian_filter(canvas, math.hypot(blur, width / 4) / STEP, truncate=3.0)
        glow = ndimage.gaussian_filter(canvas, 3 * blur / STEP, truncate=2.5)
        dark += body - np.float32(halo) * glow
    return dark


def radii(side: int, centre: tuple[float, float] = (0.0, 0.0)) -> Image:
    """Distance (um) of each grid cell from `centre`, which is given in um from the middle of the grid."""
    axis = (np.arange(side, dtype=np.float32) + 0.5 - side / 2) * np.float32(STEP)
    return np.asarray(np.hypot(axis[None, :] - np.float32(centre[0]), axis[:, None] - np.float32(centre[1])))


def rim(distance: Image, wall: float, *, strength: float, width: float, glow: float) -> Image:
    """The wall's ring, signed by `strength`, with a ring of the other sign outside and a step of the PDMS's
    brightness.
    """
    ring = strength * np.exp(-(((distance - wall) / width) ** 2))
    outside = -0.4 * strength * np.exp(-(((distance - wall - 2.2 * width) / (1.5 * width)) ** 2))
    step = glow / (1 + np.exp(np.clip(-(distance - wall) / 0.6, -30, 30)))
    return np.asarray(ring + outside + step, dtype=np.float32)


def to_pixels(light: Image, um_per_px: float, field: float, offset: tuple[float, float]) -> Image:
    """Resample to square pixels: an image of `field` um a side whose middle lies `offset` um from the grid's middle."""
    number = round(field / um_per_px)
    axis = (np.arange(number) + 0.5 - number / 2) * um_per_px / STEP + light.shape[0] / 2 - 0.5
    rows, columns = np.meshgrid(axis + offset[1] / STEP, axis + offset[0] / STEP, indexing="ij")
    return np.asarray(ndimage.map_coordinates(light, [rows, columns], order=1, mode="nearest"), dtype=np.float32)
