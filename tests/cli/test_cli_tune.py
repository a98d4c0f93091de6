"""`sm3 tune` from outside: exit codes, one JSON object, what Ctrl-C leaves behind, and messages that help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("sklearn")

from sm3.cli import main

COMMAND = [sys.executable, "-c", "from sm3.cli import main; main()", "tune"]
JOB = """
import time
def score(settings):
    time.sleep(settings.get("wait", 0))
    print("a line of the function")
    return settings["x"] ** 2 + 0.1 * settings["y"]
"""
SPACE = """
function = "{module}:score"
trials = 24
[parameters]
x = {{ kind = "float", low = 0.0, high = 1.0 }}
y = {{ kind = "float", low = 0.0, high = 1.0 }}
"""


@pytest.fixture
def space(tmp_path, monkeypatch) -> Path:
    module = f"cli_tune_job_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(JOB)
    (tmp_path / "space.toml").write_text(SPACE.format(module=module))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "space.toml"


def exit_code(*arguments: str) -> int:
    """Exit code of the command, in this process."""
    try:
        main(["tune", *arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def test_json_is_one_object_and_the_files_are_there(space, capsys):
    """Progress, paths and whatever the function prints go to stderr."""
    assert exit_code("space.toml", "--output", "out", "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)

    assert found["branches"][0]["effects"][0]["name"] == "x"
    assert found["command"] == "sm3 tune space.toml --output out --transform rank --failed worst"
    assert all(Path(path).is_file() for path in found["files"].values())
    assert found["files"]["page"] in err
    assert "24/24 trials" in err
    assert "a line of the function" in err


def test_the_table_is_on_stdout(space, capsys):
    """And the second call runs no trial again."""
    assert exit_code("space.toml", "--output", "out") == 0
    assert exit_code("space.toml", "--output", "out") == 0
    out, err = capsys.readouterr()

    assert out.count("x matters most") == 2
    assert "PED-ANOVA" in out
    assert err.count("a line of the function") == 24


def test_a_study_of_optuna_is_ranked(space, capsys):
    """The journal that the command itself wrote will do."""
    assert exit_code("space.toml", "--output", "out") == 0
    assert exit_code("--study", "out/study.journal", "--output", "again", "--json") == 0
    out, _ = capsys.readouterr()

    assert json.loads(out.splitlines()[-1])["branches"][0]["effects"][0]["name"] == "x"


def test_ctrl_c_keeps_what_has_run(space):
    """Exit code 130 and a line that says how to go on; then the same command goes on."""
    space.write_text(space.read_text() + "\n[fixed]\nwait = 0.2\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*COMMAND, "space.toml", "--output", "out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    journal = Path("out/study.journal")
    deadline = time.monotonic() + 180
    while not journal.exists() or journal.read_text().count('"sm3_ending"') < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)

    assert process.returncode == 130
    assert "finished trials are kept in out" in err
    finished = journal.read_text().count('"sm3_ending"')
    assert 2 <= finished < 24


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "SPACE.toml or --study"),
        (["space.toml", "--study", "x.db"], 2, "SPACE.toml or --study"),
        (["--study", "x.db", "--trials", "9"], 2, "only read"),
        (["space.toml", "--trials", "0"], 2, "trials"),
        (["space.toml", "--workers", "0"], 2, "workers"),
        (["--study", "x.db", "--failed", "maybe"], 2, "worst or out"),
        (["--study", "x.db"], 1, "no such file"),
        (["nothing.toml"], 1, "nothing.toml"),
        (["space.toml", "--transform", "sqrt"], 1, "transform"),
    ],
)
def test_mistakes_are_told(space, capsys, arguments, code, told):
    """With --json as an object too; nothing is run for a wrong transform."""
    assert exit_code(*arguments, "--json") == code
    out, err = capsys.readouterr()

    assert told in json.loads(out)["message"]
    assert "a line of the function" not in err


def test_without_optuna_the_command_says_how_to_install_it(space):
    """One line, not a traceback."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = "import sys; sys.modules['optuna'] = None; from sm3.cli import main; main(['tune', 'space.toml'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)

    assert done.returncode == 1
    assert 'pip install "sm3[tune]"' in done.stderr


def test_help_needs_no_heavy_import_and_shows_a_space():
    """A newcomer finds a file that works."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = (
        "import sys; from sm3.cli import main\n"
        "try: main(['tune', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'optuna', 'numpy', 'sklearn', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)

    assert done.returncode == 0, done.stderr
    assert 'lr = { kind = "float", low = 1e-4, high = 1e-1, log = true }' in done.stdout
