"""Files that mean harm, or are merely broken: seconds and memory until each is refused or read.

    python -m benchmarks.swarm.hostile [--json]

Each file is read in a fresh process, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

MOST_SECONDS, MOST_MEGABYTES = 1.0, 300.0


def _tiff(pixels: np.ndarray, **options: object) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def _picture(pixels: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _png(
    width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 0, checksum: int | None = None
) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        sum_ = zlib.crc32(kind + body) if checksum is None else checksum
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _directory(entries: list[tuple[int, int, int, int]], *, next_at: int = 0, tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value) each."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + struct.pack("<I", next_at) + tail


def _plain(
    width: int,
    height: int,
    *,
    strip_at: int = 200,
    strip_bytes: int = 100,
    bits: int = 8,
    compression: int = 1,
    samples: int = 1,
    more: list[tuple[int, int, int, int]] | None = None,
    next_at: int = 0,
) -> bytes:
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, compression), (262, 3, 1, 1),
        (273, 4, 1, strip_at), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, strip_bytes), *(more or []),
    ]  # fmt: skip
    return _directory(entries, next_at=next_at, tail=b"\x80" * 600)


def files() -> dict[str, Callable[[], bytes]]:
    """Name with suffix -> maker of the bytes. None is a well, some are images."""
    noise = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    whole = _tiff(noise)
    made: dict[str, Callable[[], bytes]] = {
        "empty.tif": lambda: b"",
        "one_byte.tif": lambda: b"I",
        "header_only.tif": lambda: b"II*\0",
        "directory_at_zero.tif": lambda: b"II*\0\0\0\0\0",
        "directory_beyond_end.tif": lambda: b"II*\0\xff\xff\xff\x7f",
        "directory_points_at_itself.tif": lambda: _plain(64, 64, next_at=8),
        "no_tags.tif": lambda: _directory([]),
        "many_tags.tif": lambda: b"II*\0" + struct.pack("<IH", 8, 65535) + b"\x01" * 5000,
        "zero_width.tif": lambda: _plain(0, 64),
        "huge_sides.tif": lambda: _plain(2**31 - 1, 2**31 - 1),
        "claims_16_gigabytes.tif": lambda: _plain(131072, 131072),
        "claims_1_gigabyte.tif": lambda: _plain(32768, 32768),
        "claims_40_megapixels.tif": lambda: _plain(6300, 6300),
        "strip_beyond_end.tif": lambda: _plain(64, 64, strip_at=2**31, strip_bytes=4096),
        "strip_of_4_gigabytes.tif": lambda: _plain(64, 64, strip_bytes=2**32 - 1),
        "odd_bits.tif": lambda: _plain(64, 64, bits=7),
        "zero_bits.tif": lambda: _plain(64, 64, bits=0),
        "bits_65535.tif": lambda: _plain(64, 64, bits=65535),
        "unknown_compression.tif": lambda: _plain(64, 64, compression=31337),
        "lzw_of_garbage.tif": lambda: _plain(64, 64, compression=5, strip_bytes=400),
        "deflate_of_garbage.tif": lambda: _plain(64, 64, compression=8, strip_bytes=400),
        "jpeg_of_garbage.tif": lambda: _plain(64, 64, compression=7, strip_bytes=400),
        "samples_60000.tif": lambda: _plain(64, 64, samples=60000),
        "rows_per_strip_0.tif": lambda: _plain(64, 64, more=[(278, 4, 1, 0)]),
        "resolution_over_zero.tif": lambda: _plain(64, 64, more=[(282, 5, 1, 300), (296, 3, 1, 3)]),
        "truncated.tif": lambda: whole[: len(whole) // 2],
        "truncated_by_one.tif": lambda: whole[:-1],
        "bit_flips.tif": lambda: bytes(byte ^ (0x55 if at % 37 == 9 else 0) for at, byte in enumerate(whole)),
        "deflate_bomb.tif": lambda: _bomb(),
        "thousand_pages.tif": lambda: _tiff(np.zeros((1000, 16, 16), np.uint8)),
        "sixty_five_frames.tif": lambda: _tiff(np.zeros((65, 32, 32), np.uint8), imagej=True, metadata={"axes": "TYX"}),
        "z_stack.tif": lambda: _tiff(np.zeros((5, 64, 64), np.uint16), imagej=True, metadata={"axes": "ZYX"}),
        "channels.tif": lambda: _tiff(np.zeros((2, 64, 64), np.uint16), imagej=True, metadata={"axes": "CYX"}),
        "complex.tif": lambda: _tiff(np.zeros((64, 64), np.complex64)),
        "nan.tif": lambda: _tiff(np.full((64, 64), np.nan, np.float32)),
        "one_infinity.tif": lambda: _tiff(np.where(noise == noise[3, 3], np.inf, noise).astype(np.float32)),
        "float64_huge.tif": lambda: _tiff(np.full((64, 64), 1e300)),
        "one_pixel.tif": lambda: _tiff(np.zeros((1, 1), np.uint8)),
        "one_row.tif": lambda: _tiff(np.zeros((1, 4000), np.uint16)),
        "constant.tif": lambda: _tiff(np.full((64, 64), 7, np.uint16)),
        "saturated.tif": lambda: _tiff(np.full((300, 300), 65535, np.uint16)),
        "boolean.tif": lambda: _tiff(noise > 2000, photometric="minisblack"),
        "negative.tif": lambda: _tiff(-noise.astype(np.int32)),
        "ome_of_lies.tif": lambda: _tiff(
            noise, description='<OME><Pixels SizeX="9999999" PhysicalSizeX="1e999"/></OME>'
        ),
        "ome_pixel_size_zero.tif": lambda: _tiff(
            noise, description='<OME PhysicalSizeX="0" PhysicalSizeXUnit="um"></OME>'
        ),
        "ome_laughs.tif": lambda: _tiff(noise, description=_laughs()),
        "imagej_of_lies.tif": lambda: _tiff(
            noise, description="ImageJ=1.53\nimages=4000000\nslices=2000000\nframes=2\n"
        ),
        "description_of_megabytes.tif": lambda: _tiff(noise, description="<OME " + "a" * 3_000_000),
        "big_tiff_cut.tif": lambda: _tiff(noise, bigtiff=True)[:40],
        "text.tif": lambda: b"this is no image\n" * 100,
        "empty.png": lambda: b"",
        "png_header_only.png": lambda: b"\x89PNG\r\n\x1a\n",
        "png_claims_gigapixels.png": lambda: _png(100000, 100000, b""),
        "png_bomb.png": lambda: _png(30000, 30000, zlib.compress(b"\0" * 50_000_000, 9)),
        "png_zero_sides.png": lambda: _png(0, 0, b""),
        "png_bad_checksum.png": lambda: _png(64, 64, zlib.compress(b"\0" * 64 * 65), checksum=1),
        "png_truncated.png": lambda: _picture(np.asarray(noise, np.uint8), "PNG")[:100],
        "png_of_garbage.png": lambda: _png(64, 64, b"garbage" * 20),
        "png_odd_depth.png": lambda: _png(64, 64, zlib.compress(b"\0" * 5000), depth=3),
        "png_transparent.png": lambda: _picture(np.zeros((64, 64, 4), np.uint8), "PNG"),
        "jpeg_header_only.jpg": lambda: b"\xff\xd8\xff",
        "jpeg_truncated.jpg": lambda: _picture(np.asarray(noise, np.uint8), "JPEG")[:400],
        "jpeg_claims_gigapixels.jpg": lambda: _lying_jpeg(),
        "jpeg_named_tif.tif": lambda: _picture(np.asarray(noise, np.uint8), "JPEG"),
        "gif.png": lambda: _picture(np.asarray(noise, np.uint8), "GIF"),
        "postscript.png": lambda: b"%!PS-Adobe-3.0\n(run me) show\n",
        "zip.tif": lambda: b"PK\3\4" + b"\0" * 200,
        "script.jpg": lambda: b"#!/bin/sh\necho harm\n",
    }
    return made


def _bomb() -> bytes:
    """120 kB that would unpack to 120 MB in a picture that declares 64 x 64 pixels."""
    packed = zlib.compress(b"\0" * 120_000_000, 9)
    entries = [
        (256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, 1, 200), (277, 3, 1, 1),
        (278, 4, 1, 64), (279, 4, 1, len(packed)),
    ]  # fmt: skip
    head = _directory(entries)
    return head + b"\0" * (200 - len(head)) + packed


def _laughs() -> str:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY l0 "ha">{entities}]><OME>&l11;</OME>'


def _lying_jpeg() -> bytes:
    whole = bytearray(_picture(np.zeros((64, 64), np.uint8), "JPEG"))
    at = whole.index(b"\xff\xc0")
    whole[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(whole)


def read(path: Path) -> str:
    """What became of one file: "read", or the first line of the error. Any other exception passes through."""
    from sm3.errors import InputError
    from sm3.swarm.images import read_image

    try:
        read_image(path)
    except InputError as error:
        return "refused: " + str(error).splitlines()[0]
    return "read"


def _measure(path: Path) -> None:
    """In a process of its own: imports first, then the file; prints one line of JSON."""
    import PIL.Image  # noqa: F401
    import tifffile  # noqa: F401

    import sm3.swarm.tiff  # noqa: F401

    start = time.perf_counter()
    told = read(path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"file": path.name, "seconds": round(seconds, 4), "peak_mb": round(peak, 1), "told": told}))


def main() -> None:
    """Measure every file; exit status 1 if one breaks a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return _measure(options.one)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in files().items():
            path = Path(folder) / name
            path.write_bytes(make())
            command = [sys.executable, "-m", "benchmarks.swarm.hostile", "--one", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            rows.append(json.loads(done.stdout))
            if not options.json:
                print(f"{rows[-1]['seconds']:7.3f} s  {rows[-1]['peak_mb']:6.1f} MB  {name:32} {rows[-1]['told']}")
    worst = {key: max(row[key] for row in rows) for key in ("seconds", "peak_mb")}
    print(
        json.dumps(rows)
        if options.json
        else f"{len(rows)} files; worst {worst['seconds']:.3f} s, {worst['peak_mb']:.0f} MB"
    )
    if worst["seconds"] >= MOST_SECONDS or worst["peak_mb"] >= MOST_MEGABYTES:
        sys.exit(1)
    return None


if __name__ == "__main__":
    main()
