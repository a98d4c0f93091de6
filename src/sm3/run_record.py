"""The record of one run: one JSON object on one line, written by every command that trains or measures.

It holds what is needed to repeat the run: seed, versions, machine, settings; and what came out: metrics.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain

FORMAT = 1
_PACKAGES = ("sm3", "numpy", "torch")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result; absent packages are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, operating system. No host name, no user name."""
    return {"processor": _processor(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class RunRecord:
    """One run. `kind` says which command wrote it, `settings` repeats it, `metrics` is what came out."""

    kind: str
    seed: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=versions)
    machine: Mapping[str, Any] = field(default_factory=machine)
    finished: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    format: int = FORMAT

    def line(self) -> str:
        """The record as one line of JSON, keys sorted; NaN and infinity become null, which JSON can hold."""
        return json.dumps(_finite(asdict(self)), sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def append(path: Path, record: RunRecord) -> None:
    """Append one record to a JSON-lines file and flush it to the disk, so that a kill loses at most this line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(record.line() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[RunRecord]:
    """The records of a file. A last line cut short by a kill is skipped; any other damage raises `InputError`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            yield RunRecord(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                return
            raise InputError(
                explain(
                    f"{path}, line {number}: not a run record.",
                    got=repr(line[:80]),
                    accepted="one JSON object per line, as written by sm3",
                    do="remove this line, or delete the file to start afresh",
                )
            ) from error
