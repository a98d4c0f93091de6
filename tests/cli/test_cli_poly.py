"""`sm3 poly` from outside: exit codes, what goes to stdout and what to stderr, one JSON object, errors with a place."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("sklearn")

from sm3.cli import main

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "poly.md"
INPUTS = """
[speed]
distribution = "uniform"
lo = 10
hi = 30

[bolts]
distribution = "integer"
lo = 2
hi = 8

[steel]
distribution = "categorical"
values = ["S235", "S355"]
"""


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a CSV file, by name."""
    return list(csv.DictReader(io.StringIO(text)))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `sm3 poly`, in this process."""
    code: Any = 0
    try:
        main(["poly", *arguments])
    except SystemExit as exit_:
        code = exit_.code or 0
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """inputs.toml, 80 points of `design`, and what was measured there, in runs.csv."""
    path = tmp_path_factory.mktemp("poly")
    (path / "inputs.toml").write_text(INPUTS)
    main(["poly", "design", str(path / "inputs.toml"), "--n", "80", "--output", str(path / "points.csv")])
    rows = rows_of((path / "points.csv").read_text())
    for row in rows:
        factor = 1.0 if row["steel"] == "S235" else 0.8
        row["stress"] = repr(float(row["speed"]) * factor + float(row["bolts"]) ** 2)
        row["mass"] = row["bolts"]
    with (path / "runs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """Fitted to runs.csv and saved."""
    path = folder / "model.npz"
    command = ["poly", "fit", str(folder / "runs.csv"), "--target", "stress", "--inputs", str(folder / "inputs.toml")]
    main([*command, "--solver", "omp", "--output", str(path)])
    return path


def test_help_shows_what_to_type(capsys):
    """Four commands, and an example for each that a newcomer can copy."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("fit", "predict", "sensitivity", "design"):
        assert command in out
        code, help_text, _ = run(capsys, command, "--help")
        assert code == 0
        assert f"  sm3 poly {command} " in help_text
        assert max(map(len, help_text.splitlines())) <= 100


def test_a_design_is_a_csv_file_on_stdout(folder, capsys):
    """One column for each input, integers as such, labels as they are, the same points for the same seed."""
    code, out, err = run(capsys, "design", str(folder / "inputs.toml"), "--n", "20", "--seed", "7")
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert len(rows) == 20
    assert list(rows[0]) == ["speed", "bolts", "steel"]
    assert all(10 <= float(row["speed"]) <= 30 for row in rows)
    assert {row["bolts"] for row in rows} <= {str(k) for k in range(2, 9)}
    assert {row["steel"] for row in rows} == {"S235", "S355"}
    assert run(capsys, "design", str(folder / "inputs.toml"), "--n", "20", "--seed", "7")[1] == out
    assert run(capsys, "design", str(folder / "inputs.toml"), "--n", "20", "--seed", "8")[1] != out


@pytest.mark.parametrize("kind", ["mc", "lhs", "sobol", "christoffel"])
def test_every_kind_of_design_can_be_fitted(kind, folder, tmp_path, capsys):
    """Weights come as a column, and go back by --weight."""
    code, out, _ = run(capsys, "design", str(folder / "inputs.toml"), "--n", "32", "--kind", kind, "--json")
    points = json.loads(out)["points"]
    assert code == 0
    assert ("weight" in points) == (kind == "christoffel")
    assert all(len(column) == 32 for column in points.values())
    names = [*points, "y"]
    lines = [",".join(map(str, row)) for row in zip(*points.values(), points["speed"], strict=True)]
    (tmp_path / "runs.csv").write_text("\n".join([",".join(names), *lines]))
    weight = ["--weight", "weight"] if kind == "christoffel" else []
    arguments = ["--target", "y", "--inputs", str(folder / "inputs.toml"), "--solver", "omp", "--json", *weight]
    code, out, _ = run(capsys, "fit", str(tmp_path / "runs.csv"), *arguments)
    (output,) = json.loads(out)["outputs"]
    assert code == 0
    # y is speed itself
    assert output["indices"][0]["total"] == pytest.approx(1)


def test_a_fit_tells_on_stdout_and_keeps_messages_on_stderr(folder, capsys):
    """Sentences, a table with every input, and what happened to the model and to columns nobody named."""
    arguments = ["--target", "stress", "--inputs", str(folder / "inputs.toml"), "--solver", "omp"]
    code, out, err = run(capsys, "fit", str(folder / "runs.csv"), *arguments)
    assert code == 0
    assert "stress from 3 inputs, 80 rows" in out
    assert "bolts matters most" in out
    assert "one of S235, S355" in out
    assert "was not saved" in err
    assert "does not name them: mass" in err
    assert "Traceback" not in err


def test_a_fit_writes_one_json_object(folder, tmp_path, capsys):
    """With two outputs, a page and a model; stdout is the object alone."""
    page, saved = tmp_path / "page.html", tmp_path / "model.npz"
    arguments = ["--target", "stress", "--target", "mass", "--inputs", str(folder / "inputs.toml"), "--solver", "omp"]
    arguments += ["--json", "--report", str(page), "--output", str(saved)]
    code, out, err = run(capsys, "fit", str(folder / "runs.csv"), *arguments)
    found = json.loads(out)
    assert code == 0
    assert [output["name"] for output in found["outputs"]] == ["stress", "mass"]
    assert found["outputs"][1]["indices"][1]["first"] == pytest.approx(1)  # mass is the number of bolts
    assert len(found["all_outputs_together"]) == 3
    assert found["learning_curve"][-1]["rows"] == 76
    assert "<h2>mass</h2>" in page.read_text(encoding="utf-8")
    assert saved.is_file()
    assert str(page) in err
    assert str(saved) in err


def test_without_inputs_the_range_of_the_data_is_told(folder, capsys):
    """And a column of words is an error that says what to do with it."""
    code, out, _ = run(capsys, "fit", str(folder / "runs.csv"), "--target", "stress", "--solver", "omp")
    assert (code, out) == (1, "")
    arguments = ["--target", "stress", "--ignore", "steel", "--ignore", "mass", "--solver", "omp"]
    code, out, _ = run(capsys, "fit", str(folder / "runs.csv"), *arguments)
    assert code == 0
    assert "(range of the data)" in out
    assert "speed, bolts: no distribution was given" in out


def test_predictions_are_a_csv_file_on_stdout(model, folder, tmp_path, capsys):
    """One row for each row, columns in any order, the numbers that were measured."""
    code, out, err = run(capsys, "predict", str(model), str(folder / "runs.csv"))
    assert (code, err) == (0, "")
    measured = [float(row["stress"]) for row in rows_of((folder / "runs.csv").read_text())]
    predicted = [float(row["stress"]) for row in rows_of(out)]
    assert predicted == pytest.approx(measured)
    (tmp_path / "new.csv").write_text("steel;extra;speed;bolts\nS355;;20,5;3\n")
    code, out, _ = run(
        capsys,
        "predict",
        str(model),
        str(tmp_path / "new.csv"),
        "--decimal",
        ",",
        "--output",
        str(tmp_path / "out.csv"),
    )
    assert (code, out) == (0, "")
    assert float((tmp_path / "out.csv").read_text().splitlines()[1]) == pytest.approx(20.5 * 0.8 + 9)


def test_rows_outside_are_treated_as_asked(model, tmp_path, capsys):
    """A warning on stderr, an error, the nearest point inside, or an empty cell; null in JSON."""
    (tmp_path / "far.csv").write_text("speed,bolts,steel\n20,4,S235\n50,4,S235\n")
    arguments = ["predict", str(model), str(tmp_path / "far.csv")]
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "1 of 2 rows lie outside" in err
    assert "speed in 1 rows" in err
    assert len(out.splitlines()) == 3
    code, out, err = run(capsys, *arguments, "--outside", "raise")
    assert (code, out) == (1, "")
    assert err.startswith("InputError: 1 of 2 rows lie outside")
    code, out, err = run(capsys, *arguments, "--outside", "clip")
    assert (code, err) == (0, "")
    assert float(out.splitlines()[2]) == pytest.approx(30 + 16)
    code, out, _ = run(capsys, *arguments, "--outside", "nan")
    assert (code, out.splitlines()[2].strip('"')) == (0, "")
    code, out, _ = run(capsys, *arguments, "--outside", "nan", "--json")
    (values,) = json.loads(out)["predictions"].values()
    assert values == [pytest.approx(36), None]


def test_sensitivity_of_a_saved_model(model, tmp_path, capsys):
    """With groups, another kind of interval, a page, and as JSON."""
    arguments = ["sensitivity", str(model), "--group", "joint=bolts,steel", "--intervals", "fixed", "--level", "0.9"]
    code, out, _ = run(capsys, *arguments, "--report", str(tmp_path / "page.html"))
    assert code == 0
    assert "bolts, steel" in out
    assert "90 % bootstrap interval" in out
    assert (tmp_path / "page.html").is_file()
    code, out, err = run(capsys, *arguments, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["intervals"] == {"kind": "fixed terms", "level": 0.9}
    assert found["outputs"][0]["name"] == "stress"
    assert found["outputs"][0]["groups"][0]["inputs"] == ["bolts", "steel"]


def test_a_pipe_is_a_file(model):
    """`... | sm3 poly predict model.npz -`, in a process of its own; nothing on stderr."""
    command = [sys.executable, "-m", "sm3.cli", "poly", "predict", str(model), "-"]
    done = subprocess.run(command, input="speed,bolts,steel\n20,4,S235\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout.splitlines()[1]) == pytest.approx(36)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["fit", "absent.csv", "--target", "y"], "InputError", "absent.csv"),
        (["fit", "RUNS", "--target", "stres"], "InputError", "did you mean 'stress'"),
        (["fit", "RUNS", "--target", "stress", "--inputs", "absent.toml"], "InputError", "absent.toml"),
        (["fit", "RUNS", "--target", "stress", "--separator", "colon"], "SettingError", "semicolon"),
        (["fit", "RUNS", "--target", "stress", "--ignore", "steel", "--solver", "magic"], "SettingError", "omp"),
        (["fit", "RUNS", "--target", "stress", "--ignore", "steel", "--level", "95"], "SettingError", "0.95"),
        (["fit", "RUNS", "--target", "stress", "--ignore", "steel", "--folds", "1"], "SettingError", "cv"),
        (["predict", "RUNS", "RUNS"], "CheckpointError", "not an intact model"),
        (["predict", "MODEL", "RUNS", "--outside", "guess"], "SettingError", "clip"),
        (["sensitivity", "MODEL", "--group", "a=speeed"], "SettingError", "speed"),
        (["sensitivity", "MODEL", "--intervals", "magic"], "SettingError", "cross-fit"),
        (["design", "INPUTS", "--n", "10", "--kind", "magic"], "SettingError", "lhs"),
        (["design", "INPUTS", "--n", "10", "--output", "absent/out.csv"], "InputError", "could not be written"),
    ],
)
def test_an_error_is_told_once_and_in_json_too(arguments, error, told, folder, model, capsys):
    """Exit code 1, one message and no traceback; with --json stdout is one object that names the error."""
    places = {"RUNS": folder / "runs.csv", "MODEL": model, "INPUTS": folder / "inputs.toml"}
    words = [str(places.get(word, word)) for word in arguments]
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "")
    assert f"{error}: " in err
    assert told in err
    assert "Traceback" not in err
    code, out, _ = run(capsys, *words, "--json")
    assert code == 1
    assert json.loads(out)["error"] == error


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "runs.csv"],
        ["fit"],
        ["predict", "model.npz"],
        ["design", "inputs.toml"],
        ["design", "inputs.toml", "--n", "0"],
        ["design", "inputs.toml", "--n", "many"],
        ["sensitivity", "model.npz", "--no-such-option"],
        ["plot"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    """A missing target or file, a word where a number belongs, an unknown option or command."""
    code, out, _ = run(capsys, *arguments)
    assert code == 2
    assert out == ""


def test_a_group_that_cannot_be_read_is_wrong_usage(model, capsys):
    """NAME=INPUT,INPUT."""
    for text in ("weather", "=wind", "weather="):
        code, _, err = run(capsys, "sensitivity", str(model), "--group", text)
        assert code == 2
        assert "NAME=INPUT,INPUT" in err


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, body) of the code blocks of a page, in their order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_guide_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """Its files are written, its commands run in their order, and what it shows is printed: words exactly, numbers to
    two units of the third digit, which is what another processor may change."""
    monkeypatch.chdir(tmp_path)
    shown = 0
    for language, body in blocks(GUIDE.read_text(encoding="utf-8")):
        name = re.match(r"# ([\w.]+)\n", body)
        if name and language in ("toml", "python"):
            (tmp_path / name[1]).write_text(body)
        for command, *expected in (part.splitlines() for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]):
            words = shlex.split(command)
            if language != "console" or words[0] == "pip" or "measurements.csv" in words:
                continue
            if words[0] == "python":
                subprocess.run([sys.executable, *words[1:]], check=True)
                continue
            code, printed, _ = run(capsys, *words[2:])
            assert code == 0, command
            shown += compare(expected, [line for line in printed.splitlines() if line.strip()])
    assert shown > 10
    assert {"points.csv", "runs.csv", "model.npz", "page.html", "predicted.csv"} <= {p.name for p in tmp_path.iterdir()}


def compare(expected: list[str], printed: list[str]) -> int:
    """Line by line up to `...`; how many lines there were."""
    number = re.compile(r"\d+\.\d+")
    lines = [line for line in expected if line.strip()]
    lines = lines[: lines.index("...")] if "..." in lines else lines
    for line, other in zip(lines, printed, strict=False):
        assert number.sub("#", line).split() == number.sub("#", other).split()
        found, told = (np.array(number.findall(text), dtype=float) for text in (other, line))
        np.testing.assert_allclose(found, told, rtol=0, atol=2.1e-3)
    return len(lines)


def test_a_report_without_matplotlib_is_refused_before_the_fit(folder, tmp_path):
    """With the install line, and no work lost; without a report the fit does not need it."""
    code = f"""
import sys
sys.modules["matplotlib"] = None
from sm3.cli import main
main(["poly", "fit", {str(folder / "runs.csv")!r}, "--target", "mass", "--ignore", "steel", "--ignore", "stress",
      "--solver", "omp", *sys.argv[1:]])
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "page.html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'pip install "sm3[plot]"' in done.stderr
    assert "Traceback" not in done.stderr
