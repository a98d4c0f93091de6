"""The page on this machine: static files on 127.0.0.1, nothing leaves it, every answer comes from inside the
browser.
"""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sm3.errors import InputError, explain
from sm3.swarm.model_file import open_model

PAGE = Path(__file__).parent / "page"
MODEL_FILES = ("card.json", "finder.onnx", "classifier.onnx")
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; img-src 'self' blob: data:; "
    "style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".onnx": "application/octet-stream",
}


class PageHandler(SimpleHTTPRequestHandler):
    """The page's folder, and the three files of the model under `model/`; GET and HEAD, nothing else."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def __init__(self, *arguments: Any, model: Path, **options: Any) -> None:
        self._model = model
        super().__init__(*arguments, directory=str(PAGE), **options)

    def translate_path(self, path: str) -> str:
        """`model/NAME` is one of the model's files, all else lies in the page's folder."""
        name = unquote(urlsplit(path).path)
        if name.startswith("/model/"):
            wanted = name.removeprefix("/model/")
            return str(self._model / wanted) if wanted in MODEL_FILES else str(PAGE / "absent")
        return super().translate_path(path)

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        """Folders are not listed."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Every answer carries the policy that forbids requests to anywhere else."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet: which images are judged is nobody's business, and is not known here anyway."""


def make_server(port: int = 8000, *, host: str = "127.0.0.1", model: Path | None = None) -> ThreadingHTTPServer:
    """A server that is bound but not yet serving; port 0 takes a free one. Raises `InputError` if the port is taken."""
    folder = open_model(model).folder
    try:
        return ThreadingHTTPServer((host, port), partial(PageHandler, model=folder))
    except (OSError, OverflowError) as error:
        raise InputError(
            explain(f"Port {port} cannot be used.", got=error, accepted="a free port, or 0 for any", do="give --port 0")
        ) from error


def export_page(folder: Path, *, model: Path | None = None) -> None:
    """Copy page and model into `folder`, for any static web host."""
    import shutil

    source = open_model(model).folder
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "model").mkdir(exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(source / name, folder / "model" / name)
