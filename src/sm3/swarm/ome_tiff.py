"""The one writer of images: 16-bit OME-TIFF with its pixel size, whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require


def write_ome_tiff(path: Path, pixels: NDArray[np.uint16], um_per_px: float) -> None:
    """Write `pixels` (rows, columns) with PhysicalSizeX and Y in um. A kill leaves the old file or none, never half
    of one.
    """
    unfinished = path.with_name(path.name + ".part")
    require("tifffile").imwrite(
        unfinished,
        pixels,
        ome=True,
        compression="zlib",
        metadata={
            "axes": "YX",
            "PhysicalSizeX": um_per_px,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": um_per_px,
            "PhysicalSizeYUnit": "µm",
            # from the name: the same well, the same bytes
            "UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, path.name)}",
        },
    )
    os.replace(unfinished, path)
