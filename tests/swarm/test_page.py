"""The page in a real browser: the same answers as Python on twenty wells, no request elsewhere, keyboard, phone,
offline.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.client import HTTPConnection

import numpy as np
import pytest
import tifffile
from PIL import Image

from browser import chromium
from sm3.errors import InputError
from sm3.swarm.dataset import read_wells
from sm3.swarm.model_file import DEFAULT
from sm3.swarm.predict import SwarmClassifier
from sm3.swarm.serve import MODEL_FILES, PAGE, export_page, make_server
from sm3.swarm.simulate.folder import simulate_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*Below 30")
JUDGED = """() => sm3.judged.map(
  ({image, result, error}) => ({name: image.name, error: error ?? null, ...(result ?? {})}))"""


@pytest.fixture(scope="module")
def address():
    server = make_server(0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "wells"
    list(simulate_folder(folder, "wide", 20, 31))
    return [well.path for well in read_wells(folder)]


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser, address):
    """A page that has loaded its model; requests to anywhere else and errors of its scripts end the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.elsewhere, opened.errors = [], []
    opened.on("request", lambda asked: _note(opened.elsewhere, asked.url, address))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("body[data-ready=yes]")
    yield opened
    assert opened.elsewhere == []
    assert opened.errors == []
    context.close()


def _note(elsewhere, url, address):
    if not url.startswith((address, "blob:" + address, "data:")):
        elsewhere.append(url)


def judge(page, paths, already=0):
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_selector(f'body[data-judged="{already + len(paths)}"]')
    return page.evaluate(JUDGED)


def test_twenty_wells_as_in_python(page, wells):
    """Probability, range, circle and pixel size within 1e-3, the same decision and the same reason."""
    classifier = SwarmClassifier()
    for told, path in zip(judge(page, wells), wells, strict=True):
        mine = classifier.assess(path)
        assert told["probability"] == pytest.approx(mine.judgement.probability, abs=1e-3)
        assert told["low"] == pytest.approx(mine.judgement.low, abs=1e-3)
        assert told["high"] == pytest.approx(mine.judgement.high, abs=1e-3)
        assert (told["decision"], told["reason"]) == (mine.judgement.decision, mine.judgement.reason)
        assert told["labels"] == list(mine.judgement.labels)
        assert told["circle"] == pytest.approx(mine.circle, abs=1e-2)
        assert told["umPerPx"] == pytest.approx(mine.um_per_px, rel=1e-6)
        assert np.abs(np.array(told["evidence"]) - mine.evidence.ravel()).max() < 1e-2


def test_films_pictures_and_bad_files(page, wells, tmp_path):
    """A film is averaged, a picture has no pixel size, blanks are refused, broken files become rows."""
    pixels = tifffile.imread(wells[0])
    tifffile.imwrite(tmp_path / "film.tif", np.stack([pixels] * 4), imagej=True, metadata={"axes": "TYX", "unit": "um"},
                     resolution=(3.0, 3.0))  # fmt: skip
    tifffile.imwrite(tmp_path / "z.tif", np.stack([pixels] * 4), imagej=True, metadata={"axes": "ZYX"})
    Image.fromarray((pixels / 257).astype(np.uint8)).save(tmp_path / "picture.png")
    tifffile.imwrite(tmp_path / "blank.tif", np.full((300, 300), 900, np.uint16))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3)).astype(np.uint8)).save(tmp_path / "rgb.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "text.tif").write_bytes(b"no image")
    names = ["film.tif", "picture.png", "blank.tif", "rgb.png", "z.tif", "broken.tif", "text.tif"]
    film, picture, blank, rgb, *broken = judge(page, [tmp_path / name for name in names])
    assert film["umPerPx"] == pytest.approx(1 / 3)
    assert picture["umPerPx"] == pytest.approx(74 / (2 * picture["circle"][2]), rel=1e-6)
    assert blank["decision"] == "cannot tell"
    assert "colour" in rgb["reason"]
    assert all(one["error"] for one in broken)
    assert "z" in broken[0]["error"]
    for name in names[:4]:
        mine = SwarmClassifier().assess(tmp_path / name).judgement
        theirs = {"film.tif": film, "picture.png": picture, "blank.tif": blank, "rgb.png": rgb}[name]
        assert theirs["decision"] == mine.decision
        assert theirs["reason"] == mine.reason


def test_samples_keyboard_and_table(page):
    """By keyboard alone: a sample, the circle moved and found again; two samples make a table that can be saved."""
    page.focus("#samples button:nth-child(1)")
    page.keyboard.press("Enter")
    page.wait_for_selector('body[data-judged="1"]')
    assert page.inner_text("#decision") == "swarming"
    before = page.evaluate(JUDGED)[0]["circle"]
    page.focus("#canvas")
    for key in ("Shift+ArrowRight", "ArrowDown", "+"):
        page.keyboard.press(key)
    page.wait_for_timeout(600)
    moved = page.evaluate(JUDGED)[0]["circle"]
    assert moved == pytest.approx([before[0] + 5, before[1] + 1, before[2] + 1], abs=1e-3)
    page.keyboard.press("0")
    page.wait_for_timeout(600)
    assert page.evaluate(JUDGED)[0]["circle"] == pytest.approx(before)
    page.click("#samples button:nth-child(2)")
    page.wait_for_selector('body[data-judged="2"]')
    assert page.inner_text("#decision") == "swimming"
    with page.expect_download() as saved:
        page.click("#csv")
    rows = saved.value.path().read_text().splitlines()
    assert rows[0].startswith("path,decision,probability")
    assert len(rows) == 3


def test_it_works_after_the_network_is_gone(page):
    """Once loaded, the page needs nothing more for files of the user."""
    page.context.set_offline(True)
    told = judge(page, [PAGE / "samples" / "swimming-1.tif"])
    assert told[0]["decision"] == "swimming"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    """On a phone, too; only the table may scroll inside its frame."""
    page.set_viewport_size({"width": width, "height": 800})
    page.click("#samples button:nth-child(1)")
    page.click("#samples button:nth-child(3)")
    page.wait_for_selector('body[data-judged="2"]')
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator("#canvas").bounding_box()["width"] > 0.4 * min(width, 800)


def test_the_page_says_what_it_was_trained_on(page):
    """Simulated wells, not for diagnosis; the decision is announced to screen readers."""
    assert "simulated wells" in page.inner_text("#banner")
    assert page.get_attribute("#decision", "aria-live") == "polite"
    assert page.locator("a[href='model/card.json']").count() == 1


def test_the_server_gives_the_page_and_the_model_and_nothing_else(address):
    """Files outside the page's folder do not exist for it; folders are not listed; other methods are refused."""
    for name in ("", "app.mjs", "samples/samples.json", *(f"model/{file}" for file in MODEL_FILES)):
        with urllib.request.urlopen(address + name) as answer:
            assert answer.status == 200
            assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    host = address.removeprefix("http://").rstrip("/")
    for path in (
        "/model/model.safetensors",
        "/model/../serve.py",
        "/../predict.py",
        "/samples/",
        "/%2e%2e/predict.py",
        "/model/",
    ):
        connection = HTTPConnection(host)
        connection.request("GET", path)
        assert connection.getresponse().status == 404, path
        connection.close()
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(urllib.request.Request(address, data=b"x"))


def test_a_port_that_is_taken_is_an_error_with_an_action(address):
    """And so is one that is none."""
    for port in (int(address.rsplit(":", 1)[1].strip("/")), 70000):
        with pytest.raises(InputError, match="--port 0"):
            make_server(port)


def test_the_exported_page_is_complete(tmp_path):
    """Page, samples and model, for any static host."""
    export_page(tmp_path / "site")
    assert (tmp_path / "site" / "index.html").is_file()
    listed = json.loads((tmp_path / "site" / "samples" / "samples.json").read_text())
    assert all((tmp_path / "site" / "samples" / sample["file"]).is_file() for sample in listed)
    for name in MODEL_FILES:
        assert (tmp_path / "site" / "model" / name).read_bytes() == (DEFAULT / name).read_bytes()
