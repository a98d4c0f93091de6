"""`sm3 doctor` says which kernels run, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from sm3.optim.kernels.cpu import library


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "sm3.cli", "doctor", *arguments]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_the_table_and_the_json_tell_what_the_dispatcher_does():
    """Every dtype has a row for the CPU, served by the C++ kernels where they are, with a reason where not."""
    shown = json.loads(run("--json"))
    on_cpu = [row for row in shown["kernels"] if row["device"] == "cpu"]
    assert {row["dtype"] for row in on_cpu} == {"float64", "float32", "bfloat16", "float16"}
    expected = "cpu" if library.available() else "eager"
    assert {row["backend"] for row in on_cpu} == {expected}
    assert all(row["why"] for row in shown["kernels"])
    table = run()
    for row in shown["kernels"]:
        assert row["why"].split(",")[0] in table
    assert shown["versions"]["torch"] in table
