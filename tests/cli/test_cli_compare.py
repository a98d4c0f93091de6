"""`sm3 compare` from outside: exit codes, one JSON object, and what a kill or Ctrl-C leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from sm3.cli import main

COMMAND = [sys.executable, "-c", "from sm3.cli import main; main()", "compare"]
SMALL = ["--optimizers", "AdamW", "--lr", "AdamW=1e-3,2e-3", "--steps", "10", "--seeds", "2"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"entry {i}: {i * i} is its square\n" for i in range(2000)))
    return path


def exit_code(*arguments: str) -> int:
    """Exit code of the command, in this process."""
    try:
        main(["compare", *arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def losses(folder: Path) -> dict[tuple[float, int], list[list[float]]]:
    """(lr, seed) -> recorded losses of the finished training runs."""
    records = map(json.loads, (folder / "runs.jsonl").read_text().splitlines())
    return {(r["settings"]["lr"], r["seed"]): r["metrics"]["training"] for r in records if r["kind"] == "compare-run"}


def test_json_is_one_object_on_stdout_and_the_files_are_there(tmp_path, text, capsys):
    """Progress and paths go to stderr."""
    assert exit_code(*SMALL, "--text", str(text), "--output", str(tmp_path / "out"), "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["rows"][0]["name"] == "AdamW"
    assert all(Path(path).is_file() for path in found["files"].values())
    assert found["files"]["page"] in err
    assert "bits/byte" in err


def test_a_killed_comparison_goes_on_and_ends_as_if_nothing_had_happened(tmp_path, text):
    """Killed with no chance to clean up, after one finished run: no worker outlives it, all losses are the same."""
    options = ["--text", str(text), "--optimizers", "AdamW", "--lr", "AdamW=1e-3,2e-3,4e-3,8e-3", "--steps", "30"]
    options += ["--seeds", "1"]
    command = [*COMMAND, *options, "--output", str(tmp_path / "killed"), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    runs = tmp_path / "killed" / "runs.jsonl"
    wait_for(lambda: runs.exists() and b"\n" in runs.read_bytes())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [Path("/proc") / pid for pid in children.read_text().split()] if children.exists() else []
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(worker) for worker in workers))
    before = len(losses_if_whole(runs))
    for name in ("killed", "whole"):
        assert exit_code(*options, "--output", str(tmp_path / name), "--workers", "1") == 0
    assert 1 <= before < 4
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def is_alive(process: Path) -> bool:
    """A zombie, which nobody here can collect, is not."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def losses_if_whole(runs: Path) -> list[str]:
    return [line for line in runs.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_for(condition, seconds: float = 60.0) -> None:
    """Ask often; fail if it never comes true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tmp_path, text):
    """Exit code 130, a sentence on stderr, and with --json still one object on stdout."""
    command = [*COMMAND, "--text", str(text), "--output", str(tmp_path / "out"), "--steps", "400", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "out" / "settings.json").exists())
    time.sleep(1.0)  # into the training; any moment will do
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"] == "Interrupted"
    assert "Run the same command again to go on" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quick", "--thorough"],
        ["--text", "a", "--model", "b:c"],
        ["--steps", "many"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    """Two choices where there is one, a word where a number belongs, an option that is none."""
    assert exit_code(*arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--optimizers", "Adam"], "no such contestant"),
        (["--lr", "SMMF"], "not understood"),
        (["--lr", "SMMF=1,x"], "not understood"),
        (["--lr", "SMMF=-1"], "not understood"),
        (["--lr", "Adam=1"], "no such contestant"),
        (["--steps", "3"], "steps=3"),
        (["--seeds", "0"], "seeds=0"),
        (["--threads", "0"], "threads=0"),
        (["--workers", "9999"], "workers=9999"),
        (["--text", "/no/such/file"], "no such file"),
        (["--model", "nowhere:job"], "ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_exit_code_1_and_one_message(arguments, reason, tmp_path, monkeypatch, capsys):
    """No traceback, nothing written; with --json the message is JSON too."""
    monkeypatch.chdir(tmp_path)
    assert exit_code(*arguments, "--json") == 1
    out, err = capsys.readouterr()
    assert reason in json.loads(out)["message"]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_other_settings_in_the_same_folder_are_refused(tmp_path, text, capsys):
    """The folder belongs to one comparison."""
    (tmp_path / "settings.json").write_text('{"threads": 77}')
    assert exit_code(*SMALL, "--text", str(text), "--output", str(tmp_path)) == 1
    assert "holds another comparison" in capsys.readouterr().err


def test_the_help_shows_examples_and_the_contract(capsys):
    """A newcomer finds a line to copy and what a function has to return."""
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    assert "sm3 compare --text my_notes/ --seeds 5" in out
    assert "job(seed) returns (model, batches, loss)" in out


def test_names_of_contestants_are_found_in_any_case():
    """And AdamW is always there, for everything is told relative to it."""
    from sm3.compare.contestants import choose, rates_from

    chosen = choose(["smmf BETA=none"], rates_from(["sm3=0.1,0.05"]), 4)
    assert [c.name for c in chosen] == ["AdamW", "SM3", "SMMF beta=None"]
    assert chosen[1].rates == (0.05, 0.1)
    assert rates_from(["SMMF beta=None=1e-3"]) == {"SMMF beta=None": (1e-3,)}
