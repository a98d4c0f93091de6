"""A fitted model as a file: arrays and one text of JSON in NumPy's npz format. Nothing in it is ever executed.

    header   JSON: versions, arguments, distributions of the inputs (names and numbers), what the fit reported
    digest   BLAKE2b over the header and over name, type, shape and bytes of every array
    others   terms, coefficients, training rows, held-out residuals, models of the folds

A file is complete or it is refused: digest, shapes and ranges are checked before a model is made. Distributions are
looked up in a list of names (inputs/distributions.py). Writing goes to a file aside, which then replaces the old one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import CheckpointError, explain
from sm3.poly.estimator.model_state import model_from, state_of

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor

# Version of the file's layout. 1: first release.
FILE_VERSION = 1
_FORMAT = "sm3.poly"
Arrays = dict[str, NDArray[Any]]


def save(model: PolynomialRegressor, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to `path`, replacing a file there only once the new one is complete.

    The training rows are part of it, for `add_samples` and for intervals: do not share a file whose data are secret.
    Raises `CheckpointError` when it cannot be written, and then a file that was there is intact; `CheckpointError`
    also for an input whose distribution is not one of scipy.stats with numbers as parameters.

    >>> import tempfile
    >>> from sm3.poly import PolynomialRegressor
    >>> X = np.random.default_rng(0).random((40, 2))
    >>> model = PolynomialRegressor(inputs=(0, 1)).fit(X, X[:, 0] * X[:, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(folder + "/model.npz")
    ...     again = PolynomialRegressor.load(folder + "/model.npz")
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    settings, arrays = state_of(model)
    header = {"format": _FORMAT, "version": FILE_VERSION, "sm3": _own_version(), **settings}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    whole: Arrays = {"header": text, **arrays}
    target = Path(path).resolve()  # through a symbolic link, to the file it points to
    try:
        _write_aside_and_rename(target, {"digest": _digest(whole), **whole})
    except OSError as error:
        raise CheckpointError(
            explain(
                "the model could not be written; a file that was there before is intact.",
                got=f"{target}: {error}",
                accepted="a path in an existing folder that can be written, on a disk with room",
                do="choose another path, or make room, and save again",
            )
        ) from error


def load(path: str | os.PathLike[str]) -> PolynomialRegressor:
    """Read a file written by `save`: predictions are equal to the last bit.

    Raises `CheckpointError` for a missing, foreign, truncated or altered file, or one of a newer version.
    """
    target = Path(path)
    arrays = _read(target)
    digest, text = arrays.pop("digest", None), arrays.get("header")
    if digest is None or text is None or text.dtype != np.uint8:
        raise _refused(target, "an npz file without a header of sm3.poly")
    if not np.array_equal(digest, _digest(arrays)):
        raise _refused(target, "its digest differs from its content")
    try:
        header = json.loads(text.tobytes().decode())
        known = header["format"] == _FORMAT
        version = int(header["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(target, f"a header that cannot be read: {error}") from error
    if known and version > FILE_VERSION:
        raise CheckpointError(
            explain(
                f"{target} was written by a newer sm3.",
                got=f"file version {version}, sm3 {header.get('sm3')}",
                accepted=f"versions up to {FILE_VERSION}",
                do="upgrade sm3",
            )
        )
    if not known:
        raise _refused(target, f"format {header['format']!r}"[:80])
    del arrays["header"]
    try:
        return model_from(header, arrays)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise _refused(target, f"content that does not fit together: {type(error).__name__}: {error}") from error


def _read(target: Path) -> Arrays:
    """All arrays of an npz file. Members are stored, never packed: a small file cannot claim to be a large one."""
    try:
        with zipfile.ZipFile(target) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise _refused(target, "packed members, which sm3 does not write")
        with np.load(target, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, KeyError, MemoryError, NotImplementedError) as error:
        size = f"{target.stat().st_size} bytes" if target.is_file() else "no file"
        raise _refused(target, f"{size}: {type(error).__name__}: {error}"[:300]) from error


def _digest(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    digest = blake2b(digest_size=32)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _own_version() -> str:
    try:
        return metadata.version("sm3")
    except metadata.PackageNotFoundError:
        return "not installed"


def _write_aside_and_rename(target: Path, arrays: Arrays) -> None:
    """Temporary file in the same folder, flushed to the disk, then renamed over the target."""
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder")
    aside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, aside)
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _refused(target: Path, got: str) -> CheckpointError:
    return CheckpointError(
        explain(
            f"{target} is not an intact model of sm3.poly.",
            got=got,
            accepted="a file written by PolynomialRegressor.save, byte for byte",
            do="copy it again from where it was saved, or fit and save again",
        )
    )
