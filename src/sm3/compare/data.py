"""The text: the running Python's own standard library, or the user's file or folder. Bytes in, bytes out; no tokens.

Split by file, never by offset: a module cut in two puts half of a class into training and scores the other half.
A single file has no other files, so it is split into two contiguous parts with a gap between them.
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain

CAP = 4_000_000  # bytes of corpus; chosen: many times what the quick run reads, and xz -9 of it takes three seconds
LEAST = 8_192  # bytes; chosen: below this the held-out part is a few hundred bytes and its loss is noise
HELD_OUT = 0.1  # share of the bytes the loss is measured on
GAP = 1_024  # bytes dropped between the two parts of a single file, so that neither quotes the other's last lines

# Not the library itself: its tests, what was installed beside it, tables of character maps that repeat one another
# across files, and a file generated when this Python was built, which holds the builder's paths.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings"}
SKIPPED_PREFIX = "_sysconfigdata"


@dataclass(frozen=True)
class Corpus:
    """A text in two parts, and how it was made."""

    name: str
    train: bytes
    held_out: bytes
    split: str  # in words

    def digest(self) -> str:
        return hashlib.blake2b(self.train + b"\0" + self.held_out, digest_size=16).hexdigest()

    def as_data(self) -> dict[str, Any]:
        """What identifies the text in a record: its hash says whether two runs read the same bytes."""
        sizes = {"train_bytes": len(self.train), "held_out_bytes": len(self.held_out)}
        return {"name": self.name, "blake2b": self.digest(), "split": self.split, **sizes}


def standard_library() -> Corpus:
    """The `.py` files of the running Python, without tests; which of them depends on nothing but their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [path for path in sorted(root.rglob("*.py")) if _belongs(path.relative_to(root))]
    files = _capped({path.relative_to(root).as_posix(): path for path in paths})
    if sum(map(len, files.values())) < LEAST:
        raise InputError(
            explain(
                "this Python has no readable standard library to train on.",
                got=f"{len(files)} .py files in {root}",
                accepted="a Python installed with its source files",
                do="pass your own text: sm3 compare --text FILE_OR_FOLDER",
            )
        )
    return _split_by_file(f"Python {platform.python_version()} standard library", files)


def _belongs(path: Path) -> bool:
    return not SKIPPED_FOLDERS.intersection(path.parts) and not path.name.startswith(SKIPPED_PREFIX)


def user_text(path: Path) -> Corpus:
    """The user's text. Raises `InputError` if it is missing, unreadable, not a text, or too small."""
    if path.is_dir():
        paths = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if _is_visible_file(p, path)}
        files = {name: text for name, text in _capped(paths).items() if text and not _is_binary(text)}
    elif path.is_file():
        text = _read(path)
        if _is_binary(text):
            raise _unusable(path, "it holds bytes no text has; a UTF-16 text must be saved as UTF-8 first")
        files = {path.name: text}
    else:
        raise _unusable(
            path, "there is no such file or folder" if not path.exists() else "it is neither file nor folder"
        )
    size = sum(map(len, files.values()))
    if size < LEAST:
        raise _unusable(path, f"{size} bytes of text in {len(files)} files")
    return _split_by_file(path.name, files) if len(files) > 1 else _split_by_offset(path.name, *files.values())


def _is_visible_file(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and not path.is_symlink() and not hidden


def _unusable(path: Path, got: str) -> InputError:
    return InputError(
        explain(
            f"the text {str(path)!r} cannot be used.",
            got=got,
            accepted=f"a readable text file, or a folder of them, with at least {LEAST} bytes of text in all",
            do="pass another --text, or leave it out to train on Python's own standard library",
        )
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(CAP)
    except OSError as error:
        raise _unusable(path, f"{type(error).__name__}: {error.strerror}") from error


def _is_binary(text: bytes) -> bool:
    """NUL never occurs in a text; other control characters do, but rarely (an escape sequence, a form feed)."""
    control = sum(text.count(code) for code in range(32) if code not in b"\t\n\r\f\v\x1b")
    return b"\0" in text or control > 0.01 * len(text)


def _by_hash(names: Iterable[str]) -> list[str]:
    """An order that has nothing to do with the alphabet, and is the same everywhere."""
    return sorted(names, key=lambda name: hashlib.blake2b(name.encode("utf-8", "surrogateescape")).digest())


def _capped(paths: dict[str, Path]) -> dict[str, bytes]:
    """Whole files in the order of their hashes until the cap: a fair sample, where the alphabet would stop at 'e'."""
    files: dict[str, bytes] = {}
    room = CAP
    for name in _by_hash(paths):
        if paths[name].stat().st_size <= room:
            files[name] = _read(paths[name])
            room -= len(files[name])
    return files


def _split_by_file(name: str, files: dict[str, bytes]) -> Corpus:
    """Hold out whole files, in the order of their hashes, until a tenth of the bytes is reached."""
    total = sum(map(len, files.values()))
    held: list[str] = []
    for file in _by_hash(files):
        if sum(len(files[other]) for other in held) >= HELD_OUT * total:
            break
        if len(files[file]) <= total / 2:  # one file of nearly everything has to be trained on
            held.append(file)
    if not held or len(held) == len(files):
        return _split_by_offset(name, b"".join(files[file] for file in sorted(files)))
    train = [files[file] for file in sorted(files) if file not in held]
    return Corpus(
        name,
        b"".join(train),
        b"".join(files[file] for file in sorted(held)),
        f"by file: {len(train)} files to train on, {len(held)} whole files held out, chosen by the hash of their path",
    )


def _split_by_offset(name: str, text: bytes) -> Corpus:
    cut = round((1 - HELD_OUT) * len(text))
    gap = min(GAP, cut // 10)
    split = (
        f"one file: its first {cut - gap} bytes to train on, a gap of {gap}, and its last {len(text) - cut} held out"
    )
    return Corpus(name, text[: cut - gap], text[cut:], split)
