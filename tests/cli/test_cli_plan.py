"""`sm3 plan` from outside: exit codes, one JSON object, help that helps; and the guide, run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")

from sm3.cli import main

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "plan.md"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    code: Any = 0
    try:
        main(arguments)
    except SystemExit as exit_:
        code = exit_.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_runs_in_its_own_process() -> None:
    """As a user calls it: exit code 0, a table on stdout, nothing on stderr."""
    command = [sys.executable, "-c", "from sm3.cli import main; main()", "plan", "gpt2-small"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "124,439,808 parameters in 148 tensors" in done.stdout
    assert "Not counted: activations" in done.stdout


def test_help_of_the_whole_program_needs_no_heavy_import() -> None:
    """`sm3 --help` answers at once, and neither PyTorch nor Rich's tables are read for it."""
    code = (
        "import sys; from sm3.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'sm3.plan.bytes'} & set(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "plan" in done.stdout
    # 0.07 s measured on a laptop-class core; the rest is for a machine that is busy
    assert time.perf_counter() - start < 2


def test_help_shows_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer finds an example that works."""
    code, out, _ = run(capsys, "plan", "--help")
    assert code == 0
    assert "  sm3 plan gpt2-small\n" in out


def test_json_is_one_object_with_exact_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Integers that add up, and what is not counted."""
    code, out, err = run(capsys, "plan", "gpt2-small", "--json", "--parameters", "--optimizer", "SMMF")
    assert (code, err) == (0, "")
    report = json.loads(out)
    (row,) = report["plans"]
    assert row["weights_bytes"] == row["gradients_bytes"] == 4 * 124_439_808
    assert row["total_bytes"] == row["weights_bytes"] + row["gradients_bytes"] + row["state_bytes"]
    assert sum(parameter["state_bytes"] for parameter in row["parameters"]) == row["state_bytes"]
    assert row["largest_gradient_bytes"] == 4 * 50257 * 768
    assert "activations" in report["not_counted"]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ([], "InputError", "gpt2-small"),
        (["gpt5"], "InputError", "gpt2-small"),
        (["absent.json"], "InputError", "absent.json"),
        (["no_such_module:build"], "InputError", "no_such_module"),
        (["gpt2-small", "--optimizer", "SMF"], "SettingError", "did you mean SMMF"),
        (["gpt2-small", "--optimizer", "SM3", "--setting", "momentum=2"], "SettingError", "[0, 1)"),
        (["gpt2-small", "--optimizer", "SM3", "--setting", "momentun=0"], "SettingError", "momentum"),
        (["gpt2-small", "--setting", "momentum"], "SettingError", "KEY=VALUE"),
        (["gpt2-small", "--dtype", "int8"], "SettingError", "bfloat16"),
        (["gpt2-small", "--dtype", "float64", "--optimizer", "AdamW8bit"], "ParameterError", "float64"),
    ],
)
def test_an_error_is_told_once_and_in_json_too(
    arguments: list[str], error: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one message and no traceback; with --json stdout is one object that names the error."""
    code, out, err = run(capsys, "plan", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"{error}: ")
    assert told in err
    assert "Traceback" not in err
    code, out, _ = run(capsys, "plan", *arguments, "--json")
    assert code == 1
    assert json.loads(out)["error"] == error


def test_an_option_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, by the convention of command lines."""
    assert run(capsys, "plan", "gpt2-small", "--optimiser", "SMMF")[0] == 2


def test_a_table_per_parameter_takes_at_most_four_optimizers(capsys: pytest.CaptureFixture[str]) -> None:
    """More columns than fit would be cut without a word."""
    assert run(capsys, "plan", "gpt2-small", "--parameters")[0] == 1
    code, out, _ = run(
        capsys, "plan", "gpt2-small", "--parameters", "--exact", "--optimizer", "SMMF", "--optimizer", "SM3"
    )
    assert code == 0
    assert re.search(r"^h\.11\.ln_2\.bias +768 +3,072 +3,072 +552 +6,152$", out, flags=re.MULTILINE)


def test_settings_reach_the_optimizers_that_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Here SM3 and SGD: their rows are named by the setting."""
    _, out, _ = run(capsys, "plan", "resnet-50", "--setting", "momentum=0.5")
    assert "SM3(momentum=0.5)" in out
    assert "SGD(momentum=0.5)" in out
    assert "AdamW8bit *" in out


def test_what_the_users_code_prints_does_not_break_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module of the current directory that prints while it is imported and while it builds."""
    pytest.importorskip("torch")
    code = "print('import')\nfrom torch import nn\ndef build():\n    print('build')\n    return nn.Linear(3, 4)\n"
    (tmp_path / "chatty_model_of_test_cli.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    exit_code, out, err = run(capsys, "plan", "chatty_model_of_test_cli:build", "--json")
    assert exit_code == 0
    assert json.loads(out)["elements"] == 16
    assert "import\nbuild\n" in err


def blocks(language: str) -> list[str]:
    """The code blocks of the guide, also those indented in a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(code) for _, code in found]


def test_the_guide_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block runs as it stands; every command runs, and prints each line shown, up to the dots."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    for code in blocks("python"):
        if (name := re.match(r"# (\w+\.py)\n", code)) is not None:
            (tmp_path / name[1]).write_text(code, encoding="utf-8")
        exec(compile(code, str(GUIDE), "exec"), {"__name__": "guide"})
    capsys.readouterr()
    for block in blocks("console"):
        command, *expected = block.splitlines()
        assert command.startswith("$ sm3 ")
        code, out, _ = run(capsys, *shlex.split(command)[2:])
        assert code == 0
        shown = [line.rstrip() for line in out.splitlines()]
        assert [line for line in expected if line.rstrip() not in shown and line != "..."] == []
    monkeypatch.delitem(sys.modules, "train", raising=False)


def test_figures_in_the_guides_comments_are_those_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A comment behind a print is its output, up to three dots."""
    pytest.importorskip("torch")
    (code,) = [code for code in blocks("python") if "  # " in code and "print" in code]
    exec(compile(code, str(GUIDE), "exec"), {"__name__": "guide"})
    printed = capsys.readouterr().out.splitlines()
    for line, shown in zip(re.findall(r"^print.*  # (.*)$", code, re.MULTILINE), printed, strict=False):
        assert re.fullmatch(re.escape(line).replace(r"\.\.\.", r"\d*"), shown), (line, shown)
