"""TIFF in the forms that microscopes write: OME, ImageJ, plain; frames, planes, channels, colours; sizes in four
places.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.images import MOST_BYTES, MOST_FRAMES, MOST_METADATA, MOST_PIXELS, RawImage, refuse, unit_um

FRAME_AXES = "TIQ"  # T, and the two letters by which tifffile calls an axis that the file does not name
MOST_PAGES = 10_000


def read_tiff(path: Path, *, frames: int | None, z: int | None, channel: int | None) -> RawImage:
    """The first series of a TIFF file as one image; see `read_image` for what the options choose."""
    with require("tifffile").TiffFile(path) as file:
        if not file.pages or not file.series:
            raise refuse(path.name, "it holds no image.", "no pages", "at least one page", "export it again")
        page = file.pages[0]
        _check_size(path.name, page)
        series = file.series[0]
        axes, shape = series.axes, tuple(int(size) for size in series.shape)
        read, plane, notes = _planes(path.name, axes, shape, frames, z, channel)
        each = int(np.prod(page.shape)) * page.dtype.itemsize
        if each * read > MOST_BYTES:
            raise refuse(
                path.name, "its frames do not fit.", f"{read} frames of {each:,} bytes", f"{MOST_BYTES:,} bytes in all",
                "average fewer with --frames, or crop the well",
            )  # fmt: skip
        pixels = _mean_of(file, series, axes, shape, read, plane)
        if page.photometric == 0:  # MINISWHITE, and how ImageJ saves an inverting table
            top = float(np.iinfo(page.dtype).max) if page.dtype.kind == "u" else float(pixels.max())
            pixels = top - pixels
        return RawImage(pixels, _um_per_px(file, page), read, notes)


def _check_size(name: str, page: Any) -> None:
    rows, columns = int(page.imagelength), int(page.imagewidth)
    if rows * columns > MOST_PIXELS or rows * columns == 0:
        raise refuse(
            name,
            "its size cannot be judged.",
            f"{rows} x {columns} pixels",
            f"1 to {MOST_PIXELS:,} pixels",
            "crop the wells",
        )
    if page.dtype is None or page.dtype.kind not in "buif":
        raise refuse(
            name, "its values are of a type that no camera writes.", page.dtype, "integers or floats", "export it again"
        )


def _planes(
    name: str, axes: str, shape: tuple[int, ...], frames: int | None, z: int | None, channel: int | None
) -> tuple[int, dict[str, int], tuple[str, ...]]:
    """How many frames to average, which plane of the other axes, and what to tell the user."""
    size = dict(zip(axes, shape, strict=True))
    plane: dict[str, int] = {}
    for axis, chosen, option in (("Z", z, "--z"), ("C", channel, "--channel")):
        if size.get(axis, 1) > 1 and (chosen is None or not 0 <= chosen < size[axis]):
            raise refuse(
                name, f"it is a stack along {axis}.", f"axes {axes}, shape {shape}",
                f"{option} from 0 to {size[axis] - 1}",
                f"choose one plane with {option}",
            )  # fmt: skip
        if axis in size:
            plane[axis] = chosen or 0
    unknown = set(axes) - set("YXSZC" + FRAME_AXES)
    if unknown or "Y" not in size or "X" not in size:
        raise refuse(
            name, "its axes are not understood.", f"{axes} {shape}", "T, Z, C, Y, X, S", "save one plane or one film"
        )
    number = int(np.prod([size[axis] for axis in FRAME_AXES if axis in size]))
    read = min(number, frames or number)
    if read < 1 or read > MOST_FRAMES:
        raise refuse(
            name, "it has too many frames.", f"{number} frames", f"1 to {MOST_FRAMES}", "average ten: --frames 10"
        )
    notes = (f"mean of {read} frames",) if read > 1 else ()
    return read, plane, notes


def _mean_of(
    file: Any, series: Any, axes: str, shape: tuple[int, ...], read: int, plane: dict[str, int]
) -> NDArray[Any]:
    """Decode only the pages that are needed. A page holds the trailing axes of the series."""
    inner = len(file.pages[0].shape)
    page_axes = axes[len(axes) - inner :] if series.keyframe.shape == tuple(shape[len(shape) - inner :]) else axes
    outer = axes[: len(axes) - len(page_axes)]
    if set(page_axes) - set("YXS"):  # planes inside one page: decode it whole, its size has been checked
        outer, page_axes = "", axes
    total, taken = None, 0
    for index in np.ndindex(*shape[: len(outer)]):
        place = dict(zip(outer, index, strict=True))
        if any(place.get(axis, chosen) != chosen for axis, chosen in plane.items() if axis in outer):
            continue
        flat = int(np.ravel_multi_index(index, shape[: len(outer)])) if outer else 0
        data = _only(series.asarray() if not outer else series.pages[flat].asarray(), page_axes, plane, read)
        total = data.astype(np.float32) if total is None else total + data
        taken += 1
        if taken == read or not outer:
            break
    assert total is not None
    return total / np.float32(max(1, taken))


def _only(data: NDArray[Any], axes: str, plane: dict[str, int], read: int) -> NDArray[Any]:
    """Reduce the axes inside one array to rows, columns and colours."""
    for axis in axes:
        if axis in plane:
            data, axes = np.take(data, plane[axis], axes.index(axis)), axes.replace(axis, "", 1)
        elif axis in FRAME_AXES:
            place = axes.index(axis)
            data, axes = (
                np.take(data, range(min(read, data.shape[place])), place).mean(axis=place),
                axes.replace(axis, "", 1),
            )
    order = [axes.index(axis) for axis in "YXS" if axis in axes]
    return np.transpose(data, order)


def _um_per_px(file: Any, page: Any) -> float | None:
    text = file.ome_metadata
    if text and len(text) <= MOST_METADATA:
        size = re.search(r'PhysicalSizeX="([^"]{1,40})"', text)
        unit = re.search(r'PhysicalSizeXUnit="([^"]{1,20})"', text)
        factor = unit_um(unit.group(1) if unit else "um")
        if size and factor:
            return _times(size.group(1), factor)
    tag, kind = page.tags.get("XResolution"), page.tags.get("ResolutionUnit")
    if tag is None or not isinstance(tag.value, tuple) or not tag.value[0]:
        return None
    per_pixel = tag.value[1] / tag.value[0]
    if file.imagej_metadata:
        factor = unit_um(str(file.imagej_metadata.get("unit", "pixel")))
        return per_pixel * factor if factor else None
    # inches are what a screen writes (72 or 96 dots), never a microscope
    return per_pixel * 1e4 if kind is not None and int(kind.value) == 3 else None


def _times(text: str, factor: float) -> float | None:
    try:
        return float(text) * factor
    except ValueError:
        return None
