"""The door: help, version, exit codes, JSON on errors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import sm3


def run(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "sm3.cli"]
    return subprocess.run([sys.executable, *program, *arguments], capture_output=True, text=True, timeout=120)


def test_help_lists_the_commands_and_version_prints_one_line():
    """Data to stdout, exit 0."""
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("plan", "compare"):
        assert f"\n  {command}" in shown.stdout
    version = run("--version")
    assert (version.stdout, version.stderr, version.returncode) == (f"sm3 {sm3.__version__}\n", "", 0)


@pytest.mark.parametrize("arguments", [["--nope"], ["no-such-command"], ["plan", "gpt2-small", "--nope"]])
def test_wrong_usage_exits_with_2(arguments):
    """The message is on stderr, stdout stays empty."""
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["plan", "--nope", "--json"], 2), (["plan", "nope", "--json"], 1)])
def test_with_json_stdout_is_one_object_also_for_an_error(arguments, code):
    """Machines read stdout only."""
    result = run(*arguments)
    assert result.returncode == code
    assert set(json.loads(result.stdout)) == {"error", "message"}
    assert "Traceback" not in result.stderr


def test_without_typer_the_command_says_how_to_install_it():
    """The base install has no command-line tools."""
    result = run(code="import sys; sys.modules['typer'] = None; from sm3.cli import main; main(['--help'])")
    assert result.returncode == 1
    assert 'pip install "sm3[cli]"' in result.stderr


def test_ctrl_c_exits_with_130_and_one_line():
    """No traceback for an interruption."""
    code = """
import sm3.cli.app
def interrupted(*args, **kwargs): raise KeyboardInterrupt
sm3.cli.app.app = interrupted
from sm3.cli import main
main(["plan"])
"""
    result = run(code=code)
    assert result.returncode == 130
    assert result.stderr == "interrupted\n"
