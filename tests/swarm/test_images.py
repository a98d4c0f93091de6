"""Every form of image a microscope writes, and every form that means harm."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.swarm import hostile
from sm3.errors import InputError
from sm3.swarm.images import LONGEST, from_array, read_image
from sm3.swarm.ome_tiff import write_ome_tiff

RANDOM = np.random.default_rng(0)
FILM = RANDOM.integers(0, 4000, (10, 40, 56)).astype(np.uint16)
MEAN = FILM.astype(np.float64).mean(axis=0)


def test_our_own_file_comes_back_whole(tmp_path):
    """Pixels to the bit, the pixel size, and the same bytes from the same name and pixels."""
    write_ome_tiff(tmp_path / "w.ome.tif", FILM[0], 0.3123)
    image = read_image(tmp_path / "w.ome.tif")
    assert np.array_equal(image.pixels, FILM[0])
    assert image.um_per_px == pytest.approx(0.3123)
    first = (tmp_path / "w.ome.tif").read_bytes()
    write_ome_tiff(tmp_path / "w.ome.tif", FILM[0], 0.3123)
    assert (tmp_path / "w.ome.tif").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "um_per_px"),
    [
        ({"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 300, "PhysicalSizeXUnit": "nm"}}, 0.3),
        ({"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 0.3, "PhysicalSizeXUnit": "µm"}}, 0.3),
        ({"imagej": True, "metadata": {"axes": "TYX", "unit": "um"}, "resolution": (4.0, 4.0)}, 0.25),
        ({"imagej": True, "metadata": {"axes": "TYX", "unit": "\\u00B5m"}, "resolution": (4.0, 4.0)}, 0.25),
        ({"imagej": True, "metadata": {"axes": "TYX"}, "resolution": (4.0, 4.0)}, None),
        ({"resolution": (20000.0, 20000.0), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (72.0, 72.0), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
)
def test_films_are_averaged_and_sizes_understood(tmp_path, options, um_per_px):
    """The mean of ten frames to float32's last digits; inches are a screen's, not a microscope's."""
    tifffile.imwrite(tmp_path / "film.tif", FILM, **options)
    image = read_image(tmp_path / "film.tif")
    assert np.abs(image.pixels - MEAN).max() <= MEAN.max() * 2**-21
    assert image.frames == 10
    assert image.notes == ("mean of 10 frames",)
    assert image.um_per_px == (None if um_per_px is None else pytest.approx(um_per_px))
    assert read_image(tmp_path / "film.tif", frames=1).pixels == pytest.approx(FILM[0].astype(float))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
def test_depths(tmp_path, kind):
    """Values pass as they are."""
    pixels = (FILM[0] > 2000) if kind == "bool" else (FILM[0] % 250).astype(kind)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels, pixels.astype(np.float32))


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
def test_compressions(tmp_path, compression):
    """Those that cameras and ImageJ use."""
    tifffile.imwrite(tmp_path / "x.tif", FILM[0], compression=compression)
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels, FILM[0])


@pytest.mark.parametrize("axes", ["YX", "CYX", "TCYX", "ZYX", "TZCYX", "YXS"])
def test_axes(tmp_path, axes):
    """A plane is chosen where there are several; without a choice the error names the option."""
    size = {"T": 3, "Z": 4, "C": 2, "Y": 40, "X": 56, "S": 3}
    data = RANDOM.integers(0, 4000, [size[axis] for axis in axes]).astype(np.uint8 if "S" in axes else np.uint16)
    options = {} if axes in ("YX", "YXS") else {"imagej": True, "metadata": {"axes": axes}}
    if axes == "YXS":
        options["photometric"] = "rgb"
    tifffile.imwrite(tmp_path / "x.tif", data, **options)
    chosen = {key: 1 for key, axis in (("z", "Z"), ("channel", "C")) if axis in axes}
    for key in chosen:
        with pytest.raises(InputError, match=f"--{key}"):
            read_image(tmp_path / "x.tif", **{other: 1 for other in chosen if other != key})
    found = read_image(tmp_path / "x.tif", **chosen).pixels
    expected, left = data.astype(float), axes
    for axis, how in (("T", None), ("Z", 1), ("C", 1), ("S", None)):
        if axis in left:
            place = left.index(axis)
            expected = expected.mean(axis=place) if how is None else np.take(expected, how, place)
            left = left.replace(axis, "")
    assert found == pytest.approx(expected, rel=1e-5)


def test_white_is_zero(tmp_path):
    """MINISWHITE, which an inverting table of ImageJ becomes, is turned round."""
    tifffile.imwrite(tmp_path / "x.tif", FILM[0], photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels, 65535.0 - FILM[0])


def test_the_pixel_size_that_is_given_wins(tmp_path):
    """Argument, sidecar, file, in this order; an impossible one is refused."""
    write_ome_tiff(tmp_path / "w.ome.tif", FILM[0], 0.5)
    (tmp_path / "w.json").write_text(json.dumps({"um_per_px": 0.4}))
    assert read_image(tmp_path / "w.ome.tif").um_per_px == 0.4
    assert read_image(tmp_path / "w.ome.tif", um_per_px=0.3).um_per_px == 0.3
    (tmp_path / "w.json").write_text("{")
    assert read_image(tmp_path / "w.ome.tif").um_per_px == 0.5
    for wrong in (0.0, -1.0, float("nan"), 1e6):
        with pytest.raises(InputError, match="plausible"):
            read_image(tmp_path / "w.ome.tif", um_per_px=wrong)


def test_pictures(tmp_path):
    """PNG of 8 and 16 bits, JPEG, a palette; colours are measured."""
    grey = (FILM[0] // 16).astype(np.uint8)
    for name, picture in (("a.png", Image.fromarray(grey)), ("b.png", Image.fromarray(FILM[0]))):
        picture.save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, grey)
    assert np.array_equal(read_image(tmp_path / "b.png").pixels, FILM[0])
    assert read_image(tmp_path / "a.png").colour == 0
    Image.fromarray(np.stack([grey, 255 - grey, grey], axis=2)).save(tmp_path / "c.jpg")
    assert read_image(tmp_path / "c.jpg").colour > 0.2
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").pixels.shape == grey.shape


def test_large_images_are_averaged_down():
    """By whole squares, and the pixel grows with them."""
    image = from_array(np.arange(2 * LONGEST * 80, dtype=np.float32).reshape(80, 2 * LONGEST), um_per_px=0.1).reduced()
    assert image.pixels.shape == (40, LONGEST)
    assert image.um_per_px == 0.2
    assert image.pixels[0, 0] == (0 + 1 + 2 * LONGEST + 2 * LONGEST + 1) / 4


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((2, 3, 4, 5)), np.zeros((40, 40), complex), np.zeros((40, 40, 7)), np.zeros((0, 9)),
              np.zeros((40, 15)), np.array([["a"]])],
)  # fmt: skip
def test_arrays_that_are_no_images(array):
    """Are refused with what is accepted."""
    with pytest.raises(InputError, match="accepted"):
        from_array(array)


def test_there_are_at_least_sixty_hostile_files():
    """As many as were asked for."""
    assert len(hostile.files()) >= 60


@pytest.mark.parametrize("name", sorted(hostile.files()))
def test_hostile_files_are_read_or_refused(tmp_path, name):
    """Never another exception, never a warning left to the user; seconds and memory: benchmarks/swarm/hostile.py."""
    path = tmp_path / name
    path.write_bytes(hostile.files()[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        told = hostile.read(path)
    assert told == "read" or told.startswith(f"refused: {name}: ")


def test_a_missing_file_is_an_error_with_an_action(tmp_path):
    """And a folder is no file."""
    for path in (tmp_path / "absent.tif", tmp_path):
        with pytest.raises(InputError, match="check the path"):
            read_image(path)
