"""A headless Chromium for the tests of the page; without one they are skipped, and say what would run them."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """SM3_BROWSER, or the first Chromium or Chrome on the path."""
    given = os.environ.get("SM3_BROWSER")
    return given or next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def chromium():
    """A browser; the test is skipped where there is none, and fails where SM3_REQUIRE_BROWSER is set."""
    path = find_browser()
    if path is None:
        message = "no Chromium or Chrome: the page is not tested. Install chromium, or set SM3_BROWSER to its path"
        if os.environ.get("SM3_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
