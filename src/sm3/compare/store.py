"""The output folder of a comparison: its settings, and every finished run as one line, so that a kill loses one run.

settings.json   what was asked for; another run in this folder must ask for the same
runs.jsonl      the finished runs, in the order they finished
compare.json, compare.html   written at the end, whole or not at all
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sm3 import run_record
from sm3.errors import InputError, SettingError, explain
from sm3.run_record import RunRecord

# What decides the last bits of a step: our sources, and the compiled kernels where there are some.
CODE = (".py", ".cpp", ".h", ".so", ".dylib", ".dll")
SETTINGS, RUNS, DATA, PAGE = "settings.json", "runs.jsonl", "compare.json", "compare.html"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Eight letters that name the settings; they name the default folder."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=4).hexdigest()


def code_hash() -> str:
    """Names the code that decides a loss: runs of two versions of an optimizer are never mixed in one table."""
    package = Path(__file__).parents[1]
    here = [Path(__file__).parent / f"{name}.py" for name in ("data", "model", "protocol", "task", "train")]
    files = here + sorted(path for path in (package / "optim").rglob("*") if path.suffix in CODE)
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Folder:
    """An output folder opened for these settings."""

    def __init__(self, path: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.path = path
        with _writable(path):
            path.mkdir(parents=True, exist_ok=True)
            if fresh:
                for name in (SETTINGS, RUNS, DATA, PAGE):  # ours by name; whatever else is there stays
                    (path / name).unlink(missing_ok=True)
            _refuse_other_settings(path, settings)
            self.write(SETTINGS, json.dumps(settings, indent=1, sort_keys=True) + "\n")
            _drop_partial_line(path / RUNS)
        self.records = list(run_record.read(path / RUNS)) if (path / RUNS).exists() else []

    def find(self, kind: str, settings: Mapping[str, Any], seed: int) -> RunRecord | None:
        """The finished run with exactly these settings, if there is one."""
        wanted = as_json(settings)
        for record in self.records:
            if record.kind == kind and record.seed == seed and record.settings == wanted:
                return record
        return None

    def add(self, record: RunRecord) -> RunRecord:
        """Keep a finished run; what comes back is what a later process will read, so both see the same."""
        with _writable(self.path):
            run_record.append(self.path / RUNS, record)
        self.records.append(RunRecord(**json.loads(record.line())))
        return self.records[-1]

    def write(self, name: str, text: str) -> Path:
        """Write a file whole or not at all: under another name first, then renamed."""
        target = self.path / name
        draft = target.with_name(f".{name}.{os.getpid()}")
        with _writable(self.path):
            try:
                with draft.open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        return target


def as_json(value: Any) -> Any:
    """The value as it will be after a round through a file: tuples are lists, keys are strings."""
    return json.loads(json.dumps(value))


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingError(
            explain(
                f"the output folder {str(path)!r} cannot be written.",
                got=f"{type(error).__name__}: {error.strerror}",
                accepted="a folder this user may write to, or a path where one can be made",
                do="pass another --output",
            )
        ) from error


def _refuse_other_settings(path: Path, settings: Mapping[str, Any]) -> None:
    if not (path / SETTINGS).exists():
        if (path / RUNS).exists():
            raise _belongs_to_others(path, f"{RUNS} without {SETTINGS}")
        return
    try:
        found = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except ValueError:
        raise _belongs_to_others(path, f"a {SETTINGS} that cannot be read") from None
    wanted = as_json(settings)
    if found != wanted:
        found = found if isinstance(found, dict) else {}
        other = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise _belongs_to_others(path, f"other values of: {', '.join(other)}")


def _belongs_to_others(path: Path, got: str) -> InputError:
    return InputError(
        explain(
            f"the folder {str(path)!r} holds another comparison.",
            got=got,
            accepted="a new folder, or one with exactly these settings, versions and code",
            do="leave --output out (its default differs for all settings), choose another, or discard it with --fresh",
        )
    )


def _drop_partial_line(path: Path) -> None:
    """A kill can leave half a line at the end; the next record must not be glued to it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
