"""A measurement as a command, and the same command in a process of its own.

Each process measures one thing and ends, so that no figure depends on what an earlier one left in the allocator, in the
thread pools or in the page tables; and huge pages can only be asked for before PyTorch starts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sm3 import run_record
from sm3.errors import SettingError, explain
from sm3.run_record import RunRecord

ROOT = Path(__file__).parents[1]


def run(
    kind: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    text: Callable[[dict[str, Any]], list[str]],
) -> None:
    """Parse, measure, print: text for a reader, or with --json one run record."""
    parser.add_argument("--json", action="store_true", help="one run record instead of text")
    options = parser.parse_args()
    metrics = measure(options)
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        print(RunRecord(kind, 0, settings, metrics).line())
    else:
        print(machine_text())
        print("\n".join(text(metrics)))


def own_process(
    module: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    path: Path | None = None,  # one more folder to import from
) -> dict[str, Any]:
    """The run record of `python -m benchmarks.<module> <arguments> --json`; its messages go to our standard error.

    Raises `subprocess.CalledProcessError` where it fails.
    """
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    search = [*before, *([str(path)] if path else [])]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json"],
        env={**os.environ, **({"PYTHONPATH": os.pathsep.join(search)} if search else {}), **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cores() -> int:
    """Cores this process may use."""
    return int(run_record.machine()["cores"])


def machine_text() -> str:
    """Processor, cores, system, versions."""
    machine, versions = run_record.machine(), run_record.versions()
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {packages}"


def threads_option(parser: argparse.ArgumentParser) -> None:
    """--threads, for the commands that take it."""
    parser.add_argument("--threads", default="1,all", help="numbers of threads, in this order (default: 1,all)")


def thread_counts(text: str) -> list[int]:
    """1,all as numbers, each once: on a machine of one core that is 1."""
    try:
        counts = [cores() if word == "all" else int(word) for word in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise SettingError(
            explain(
                "the numbers of threads cannot be read.",
                got=f"--threads {text}",
                accepted="numbers from 1 on, and the word all, with commas between",
                do="write for example --threads 1,all",
            )
        )
    return list(dict.fromkeys(counts))


def progress(message: str) -> None:
    """A line on a terminal that the next one overwrites; nothing in a log."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{message}", end="", file=sys.stderr, flush=True)
