"""Where results are kept: records/<machine>/<date>-bench.json and .txt, committed; and which is the newest.

The JSON holds every second that was measured, so that every figure can be computed again. A run that may not be quoted
(--quick, or the headline's control was off) goes to build/records instead, which is not committed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import ROOT
from benchmarks.shapes import HEADLINE

RECORDS = ROOT / "benchmarks" / "records"
NOT_QUOTABLE = ROOT / "build" / "records"
ENDING = "-bench.json"

Record = dict[str, Any]


def slug(machine: Mapping[str, Any]) -> str:
    """A folder name for a machine.

    >>> slug({"processor": "AMD EPYC", "cores": 2})
    'amd-epyc-2-cores'
    >>> slug({"processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 8})
    'intel-xeon-cpu-2-20ghz-8-cores'
    """
    name = re.sub(r"\((R|TM)\)", "", f"{machine['processor']} {machine['cores']} cores")
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def tables(record: Record, kind: str = "native_step") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(what was stepped, one table) for every table of one kind of run."""
    runs = [run["metrics"] for run in record["runs"] if run["kind"] == kind]
    return [(metrics, table) for metrics in runs for table in metrics["tables"]]


def quotable(record: Record) -> bool:
    """Whether it is a whole run, and its headline is valid: float32, one thread, pages as the system gives them.

    Any other table says for itself whether it may be quoted.
    """
    headline = [
        table["valid"]
        for metrics, table in tables(record)
        if metrics["set"] == HEADLINE
        and (metrics["dtype"], table["threads"]) == ("float32", 1)
        and not table["conditions"]["pages"]["asked_for"]
    ]
    return not record["quick"] and bool(headline) and all(headline)


def write(record: Record, lines: Sequence[str]) -> Path:
    """Write both files, whole or not at all; the path of the JSON."""
    folder = (RECORDS if quotable(record) else NOT_QUOTABLE) / slug(record["machine"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['finished'][:10]}{ENDING}"
    _write(path.with_suffix(".txt"), "\n".join(line.rstrip() for line in lines) + "\n")
    _write(path, json.dumps(record, sort_keys=True) + "\n")
    return path


def _write(path: Path, content: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(content, encoding="utf-8")
    draft.replace(path)


def read(path: Path) -> Record:
    """A record as it was written."""
    found: Record = json.loads(path.read_text(encoding="utf-8"))
    return found


def newest(folder: Path = RECORDS) -> Path | None:
    """The record that finished last, of all machines in this folder."""
    paths = sorted(folder.glob(f"*/*{ENDING}"))
    return max(paths, key=lambda path: str(read(path)["finished"]), default=None)
