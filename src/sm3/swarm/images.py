"""Any TIFF, PNG or JPEG -> one grey image with its pixel size, or an error that says what to do.

A stack of frames is averaged, which is how the blurry image is made. Nothing is decoded before its declared size has
been compared with the limits below, so a hostile file costs no memory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, explain
from sm3.extras import require

MOST_PIXELS = 40_000_000  # of one frame: a whole chip at 20x
MOST_BYTES = 200_000_000  # decoded, all frames that are read
MOST_FRAMES = 64
MOST_METADATA = 1_000_000  # characters
PLAUSIBLE_UM = (0.02, 5.0)  # um per pixel
DIAMETER_UM = 74.0  # published chip; gives the scale where a file does not
LONGEST = 640  # pixels; larger images of one well are averaged down by a whole factor before they are judged
UNITS = {
    "": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}


@dataclass(frozen=True)
class WellImage:
    """One grey image. `um_per_px` is None where nothing tells it; `notes` are sentences for the user."""

    pixels: NDArray[np.float32]  # (rows, columns)
    um_per_px: float | None
    name: str = ""
    frames: int = 1
    colour: float = 0.0  # mean difference between the colours over the range of values; 0 for grey
    notes: tuple[str, ...] = ()

    def um_per_px_or(self, radius_px: float) -> float:
        """The pixel size, or the one at which a well of this radius has the published diameter."""
        return self.um_per_px if self.um_per_px is not None else DIAMETER_UM / (2 * radius_px)

    def reduced(self) -> WellImage:
        """The same image with its longer side at most `LONGEST` pixels, by averaging squares of k x k pixels."""
        factor = -(-max(self.pixels.shape) // LONGEST)
        if factor <= 1:
            return self
        rows, columns = (size // factor * factor for size in self.pixels.shape)
        squares = self.pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
        scale = None if self.um_per_px is None else self.um_per_px * factor
        return WellImage(squares.mean(axis=(1, 3)), scale, self.name, self.frames, self.colour, self.notes)


def refuse(name: str, happened: str, got: object, accepted: str, do: str) -> InputError:
    """The error of an image that cannot be read."""
    return InputError(explain(f"{name}: {happened}", got=got, accepted=accepted, do=do))


def read_image(
    path: Path,
    *,
    um_per_px: float | None = None,
    frames: int | None = None,
    z: int | None = None,
    channel: int | None = None,
) -> WellImage:
    """Read an image or the mean of a stack of frames.

    Pixel size in this order: `um_per_px`, a sidecar `NAME.json`, OME, ImageJ, resolution in cm. `frames` limits how
    many
    frames of a stack are averaged; a z-stack needs `z`, several channels need `channel` (both from 0).
    Raises `InputError` for what is no image, damaged, too large, empty or not finite. Memory: the decoded frames,
    200 MB
    at most, and one float32 frame.
    """
    path = Path(path)
    if not path.is_file():
        raise refuse(path.name, "there is no such file.", str(path), "a TIFF, PNG or JPEG file", "check the path")
    with path.open("rb") as file:
        start = file.read(12)
    try:
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            from sm3.swarm.tiff import read_tiff

            raw = read_tiff(path, frames=frames, z=z, channel=channel)
        elif start[:8] == b"\x89PNG\r\n\x1a\n" or start[:3] == b"\xff\xd8\xff":
            raw = _read_picture(path)
        else:
            raise refuse(
                path.name, "it is no image that can be read here.", f"a file that starts with {start!r}",
                "TIFF, PNG, JPEG", "export it as 16-bit TIFF",
            )  # fmt: skip
    except InputError:
        raise
    except MemoryError as error:
        raise refuse(path.name, "it does not fit into memory.", error, "a smaller image", "crop the well") from error
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:200]
        hint = "install imagecodecs" if "imagecodecs" in message else "export it again as 16-bit TIFF"
        raise refuse(
            path.name, "it is damaged, or in a form that cannot be read.", message, "a whole file", hint
        ) from error
    scale = _checked_scale(path.name, um_per_px) or _sidecar_scale(path) or _plausible(raw.um_per_px)
    return from_array(raw.pixels, um_per_px=scale, name=path.name, frames=raw.frames, notes=raw.notes)


@dataclass(frozen=True)
class RawImage:
    """What a decoder returns: pixels (rows, columns) or (rows, columns, colours) of any real type."""

    pixels: NDArray[Any]
    um_per_px: float | None = None
    frames: int = 1
    notes: tuple[str, ...] = ()


def from_array(
    pixels: NDArray[Any],
    *,
    um_per_px: float | None = None,
    name: str = "array",
    frames: int = 1,
    notes: tuple[str, ...] = (),
) -> WellImage:
    """A `WellImage` of an array (rows, columns) or (rows, columns, 3 or 4 colours); raises `InputError` if it is
    none.
    """
    pixels = np.asarray(pixels)
    if (
        pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4))
        or pixels.dtype.kind not in "buif"
    ):
        raise refuse(
            name, "it is no image.", f"shape {pixels.shape}, type {pixels.dtype}",
            "(rows, columns) of numbers, or colours last",
            "average the frames first, or choose one plane",
        )  # fmt: skip
    if pixels.size == 0 or min(pixels.shape[:2]) < 16 or pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
        raise refuse(
            name, "its size cannot be judged.", f"{pixels.shape[0]} x {pixels.shape[1]} pixels",
            f"at least 16 x 16, at most {MOST_PIXELS:,} pixels", "crop the well",
        )  # fmt: skip
    colour, grey = _grey(pixels)
    if not np.isfinite(grey).all():
        raise refuse(
            name, "it holds values that are no numbers.", "NaN or infinity", "finite values", "export it again"
        )
    return WellImage(np.ascontiguousarray(grey), _checked_scale(name, um_per_px), name, frames, colour, notes)


def _grey(pixels: NDArray[Any]) -> tuple[float, NDArray[np.float32]]:
    if pixels.ndim == 2:
        return 0.0, pixels.astype(np.float32)
    colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1].astype(np.float32)
    grey = colours.mean(axis=2)
    spread = float(np.ptp(grey))
    difference = float((colours.max(axis=2) - colours.min(axis=2)).mean())
    return (difference / spread if spread > 0 else 0.0), grey


def _checked_scale(name: str, um_per_px: float | None) -> float | None:
    if um_per_px is not None and _plausible(um_per_px) is None:
        low, high = PLAUSIBLE_UM
        raise refuse(
            name, "its pixel size is not plausible.", f"{um_per_px} um", f"{low} to {high} um", "give --um-per-px"
        )
    return um_per_px


def _plausible(um_per_px: float | None) -> float | None:
    return um_per_px if um_per_px is not None and PLAUSIBLE_UM[0] <= um_per_px <= PLAUSIBLE_UM[1] else None


def sidecar_of(path: Path) -> Path | None:
    """The JSON file beside an image, NAME.json for NAME.tif and NAME.ome.tif, if there is one of a sensible size."""
    sidecar = path.with_name(path.name.removesuffix(".tif").removesuffix(".ome") + ".json")
    return sidecar if sidecar.is_file() and sidecar.stat().st_size <= MOST_METADATA else None


def _sidecar_scale(path: Path) -> float | None:
    sidecar = sidecar_of(path)
    if sidecar is None:
        return None
    try:
        return _plausible(float(json.loads(sidecar.read_text(encoding="utf-8"))["um_per_px"]))
    except (ValueError, KeyError, TypeError):
        return None


def _read_picture(path: Path) -> RawImage:
    picture = require("PIL.Image")
    with picture.open(path, formats=("PNG", "JPEG")) as opened:
        width, height = opened.size
        if width * height > MOST_PIXELS:
            raise refuse(
                path.name,
                "it is too large.",
                f"{width} x {height} pixels",
                f"at most {MOST_PIXELS:,}",
                "crop the wells",
            )
        if opened.mode == "P":
            opened = opened.convert("RGB")
        pixels = np.asarray(opened)
    notes = ("8-bit picture: a 16-bit TIFF keeps more of the contrast",) if pixels.dtype == np.uint8 else ()
    return RawImage(pixels, notes=notes)


def unit_um(unit: str) -> float | None:
    """Micrometres in one `unit`, or None where the unit is unknown.

    >>> unit_um("nm"), unit_um("inch")
    (0.001, None)
    """
    return UNITS.get(re.sub(r"\\u00[bB]5|\\u03[bB][cC]", "µ", unit.strip()).strip())
