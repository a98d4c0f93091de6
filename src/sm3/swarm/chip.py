"""A picture of a whole chip: every well found, numbered by row and column, and cut out.

Circles by scikit-image's Hough transform on a picture shrunk to 10 pixels a well radius at least; the array's rows and
columns from the centres alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sm3.errors import InputError, explain
from sm3.extras import require
from sm3.swarm.images import DIAMETER_UM, WellImage

RADIUS_PX = 14  # of a well in the shrunk picture
FEWEST = 0.35  # of the strongest circle's votes
MARGIN = 1.25  # side of a cut well in diameters


@dataclass(frozen=True)
class ChipWell:
    """One well of a chip: its number, row and column (from 1), centre and radius in pixels, and its own image."""

    number: int
    row: int
    column: int
    x: float
    y: float
    radius: float
    image: WellImage


def find_wells(picture: WellImage, *, diameter_um: float = DIAMETER_UM, most: int = 500) -> list[ChipWell]:
    """All whole wells of a picture, row by row. Needs the pixel size; raises `InputError` without it or without
    wells.
    """
    if picture.um_per_px is None:
        raise InputError(
            explain(
                f"{picture.name}: the size of a pixel is not known.",
                got="no pixel size in the file",
                accepted="um per pixel: wells of a chip are found by their size",
                do="give --um-per-px",
            )
        )
    radius = diameter_um / 2 / picture.um_per_px
    apart = _apart(_circles(picture, radius, most), radius)
    half = MARGIN * radius
    rows, columns = picture.pixels.shape
    whole = [c for c in apart if c[2] <= c[0] <= columns - c[2] and c[2] <= c[1] <= rows - c[2]]
    if not whole:
        raise InputError(
            explain(
                f"{picture.name}: no wells were found.",
                got=f"{rows} x {columns} pixels of {picture.um_per_px:g} um",
                accepted=f"round wells of {diameter_um:g} um",
                do="check --um-per-px, or crop one well and judge it alone",
            )
        )
    return [
        ChipWell(number, row, column, x, y, r, _cut(picture, x, y, half, f"{picture.name}#{number}"))
        for number, (row, column, x, y, r) in enumerate(_numbered(np.asarray(whole), radius), start=1)
    ]


def _circles(picture: WellImage, radius: float, most: int) -> np.ndarray:
    """Centres and radii in pixels, strongest first, (n, 3)."""
    filters, transform = require("skimage.filters"), require("skimage.transform")
    shrink = min(1.0, RADIUS_PX / radius)
    small = transform.rescale(picture.pixels.astype(float), shrink, anti_aliasing=True)
    # without a frame a picture smaller than a circle has no place for one
    small = np.pad(small, RADIUS_PX * 2, mode="edge")
    edges = filters.sobel(small)
    edges = edges > np.quantile(edges, 0.85)
    sizes = np.unique(np.round(radius * shrink * np.array([0.92, 0.96, 1.0, 1.04, 1.08])).astype(int))
    votes = transform.hough_circle(edges, sizes)
    _, x, y, found = transform.hough_circle_peaks(
        votes, sizes, min_xdistance=int(RADIUS_PX * 1.7), min_ydistance=int(RADIUS_PX * 1.7), total_num_peaks=most,
        threshold=FEWEST * float(votes.max()),
    )  # fmt: skip
    return np.asarray(np.stack([x - 2 * RADIUS_PX, y - 2 * RADIUS_PX, found], axis=1) / shrink)


def _apart(circles: np.ndarray, radius: float) -> np.ndarray:
    """Strongest first: a circle closer than 1.6 radii to a stronger one is its shadow."""
    kept: list[np.ndarray] = []
    for circle in circles:
        if all(np.hypot(*(circle[:2] - other[:2])) > 1.6 * radius for other in kept):
            kept.append(circle)
    return np.asarray(kept).reshape(-1, 3)


def _numbered(circles: np.ndarray, radius: float) -> list[tuple[int, int, float, float, float]]:
    """Rows are runs of centres whose y differ by less than a radius; columns count within all x."""
    order = circles[np.argsort(circles[:, 1])]
    row = np.r_[0, np.cumsum(np.diff(order[:, 1]) > radius)]
    across = np.sort(order[:, 0])
    starts = across[np.r_[True, np.diff(across) > radius]]
    column = np.searchsorted(starts, order[:, 0] + 1e-6)
    listed = sorted(zip(row + 1, column, *order.T, strict=True))
    return [(int(r), int(c), float(x), float(y), float(size)) for r, c, x, y, size in listed]


def _cut(picture: WellImage, x: float, y: float, half: float, name: str) -> WellImage:
    rows, columns = picture.pixels.shape
    top, left = max(0, round(y - half)), max(0, round(x - half))
    pixels = picture.pixels[top : min(rows, round(y + half)), left : min(columns, round(x + half))]
    return WellImage(
        np.ascontiguousarray(pixels), picture.um_per_px, name, picture.frames, picture.colour, picture.notes
    )


def draw_map(picture: WellImage, wells: list[ChipWell], decisions: list[str], path: Path) -> None:
    """The chip with a numbered ring on each well: orange swarming, blue swimming, grey not told."""
    module, pens = require("PIL.Image"), require("PIL.ImageDraw")
    scale = min(1.0, 2000 / max(picture.pixels.shape))
    low, high = np.percentile(picture.pixels, [1, 99])
    grey = np.clip((picture.pixels - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    canvas = module.fromarray(grey).convert("RGB")
    canvas = canvas.resize((round(canvas.width * scale), round(canvas.height * scale)))
    pen = pens.Draw(canvas)
    colours = {"swarming": (230, 97, 1), "swimming": (30, 120, 190)}
    for well, decision in zip(wells, decisions, strict=True):
        x, y, r = well.x * scale, well.y * scale, well.radius * scale
        colour = colours.get(decision, (150, 150, 150))
        pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=3)
        pen.text((x - 6, y - 6), str(well.number), fill=colour)
    canvas.save(path)
