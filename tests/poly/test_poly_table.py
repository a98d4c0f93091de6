"""Reading a CSV file: what is accepted is read exactly, and every way to be broken is told with its place."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.errors import InputError, SettingError
from sm3.poly.tables.table import number_of, read_table, write_table

GOOD = "x1,x2,y\n1,2,3\n4.5,-5e-1,6\n"


@pytest.fixture
def written(tmp_path):
    """A function: contents -> path of a file with them."""

    def write(contents: str | bytes) -> Path:
        path = tmp_path / "runs.csv"
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        return path

    return write


def told(path: Path, column: str = "x1") -> str:
    """The message of the InputError that reading, or reading this column, ends with; with a short name of the file."""
    with pytest.raises(InputError) as caught:
        read_table(path).number(column)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    "contents",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace(",", "|"),
        GOOD.replace(",", " , "),
        "\ufeff" + GOOD,
        GOOD.encode("utf-16"),
        GOOD.rstrip("\n"),
        "\n" + GOOD.replace("\n", "\n\n"),
        GOOD + ",,\n , ,\n",
        '"x1","x2","y"\n"1","2","3"\n"4.5", "-5e-1","6"\n',
    ],
    ids=[
        "plain",
        "windows",
        "semicolon",
        "tab",
        "pipe",
        "spaces",
        "mark",
        "utf-16",
        "no-end",
        "blank-lines",
        "empty-rows",
        "quotes",
    ],
)
def test_all_usual_forms_of_one_table_are_read_alike(written, contents):
    """Ends of lines, separators, marks, quotes, spaces and blank rows change nothing."""
    table = read_table(written(contents))
    assert table.names == ("x1", "x2", "y")
    assert len(table) == 2
    np.testing.assert_array_equal(table.numbers(["x2", "y", "x1"]), [[2, 3, 1], [-0.5, 6, 4.5]])
    assert table.numbers([]).shape == (2, 0)


def test_decimal_commas_are_read_when_asked_for(written):
    """With any separator that is not itself a comma; a table of one column included."""
    path = written("x1;y\n1,5;-2,5e3\n")
    np.testing.assert_array_equal(read_table(path, decimal=",").numbers(["x1", "y"]), [[1.5, -2500.0]])
    np.testing.assert_array_equal(read_table(written("y\n1,5\n"), decimal=",").number("y"), [1.5])


def test_names_may_hold_separators_and_line_ends_when_quoted(written):
    """And a row keeps the line it starts on, for the messages."""
    path = written('"load, kN","speed\nm/s",y\n1,2,3\n"4","5",six\n')
    table = read_table(path)
    assert table.names == ("load, kN", "speed\nm/s", "y")
    assert table.lines == (3, 4)
    assert "FILE, line 4, column 3 ('y')" in told(path, "y")


def test_text_columns_are_text(written):
    """Words are no error until numbers are asked for."""
    assert read_table(written("kind,y\nadam,1\nsgd,2\n")).text("kind") == ("adam", "sgd")


def test_standard_input_is_a_dash(monkeypatch):
    """`command | sm3 poly predict model.npz -`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert read_table("-").number("y").tolist() == [3, 6]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        # a cell
        ("x1,y\n1,2\noops,3\n", ["no number: FILE, line 3, column 1 ('x1')", "'oops'", "a finite number"]),
        ("x1,y\n\n1,2\n\n,3\n", ["missing at FILE, line 5, column 1 ('x1')", "an empty cell", "fill it in"]),
        ("x1,y\nNA,2\nnan,3\n4,5\n", ["missing at FILE, line 2, column 1", "'NA'; 2 of 3 cells"]),
        ("x1,y\n1e999,2\n", ["no number: FILE, line 2", "'1e999'", "finite"]),
        ("x1,y\n1_000,2\n", ["no number: FILE, line 2", "'1_000'"]),
        ("x1;y\n1,5;2\n", ["FILE, line 2, column 1", "'1,5'", '--decimal ","']),
        ("x1,y\n5 kN,2\n6,1\n", ["'5 kN'", "units"]),
        ("x1,y\nred,2\nblue,3\n", ["'red'; 2 of 2", "--ignore", "--inputs"]),
        # a row
        ("x1,y\n1,5,2\n", ["line 2 has 3 cells where the header has 2 names", "1, 5, 2", "a decimal comma"]),
        ("x1,x2,y\n1,2,3\n1,2\n", ["line 3 has 2 cells where the header has 3", "complete the row"]),
        ("x1,y\n1;2\n", ["line 2 has 1 cells", "another separator"]),
        ("x1,y\n1,2,\n", ["line 2 has 3 cells"]),
        # the header
        ("1,2\n3,4\n", ["FILE, line 1: there is no header", "1, 2", "put a line with the names"]),
        ("x1,x2,x1,y\n1,2,3,4\n", ["columns 1 and 3 have the same name 'x1'"]),
        (",x1,y\n0,1,2\n", ["column 1 has no name", "index=False"]),
        ("x1,y,\n1,2,\n", ["column 3 has no name", "separator at the end"]),
        ("x1,y;z\n1,2;3\n", ["cut in more than one way", "comma and semicolon", "--separator comma"]),
        ("x1 y\n1 2\n", ["no column 'x1'", "read as one column", "--separator comma|semicolon|tab|pipe"]),
        ("X1,y\n1,2\n", ["no column 'x1'", "X1, y", "did you mean 'X1'"]),
        ("alpha,beta\n1,2\n", ["no column 'x1'", "alpha, beta", "name one of the columns"]),
        ("x1,y\n", ["a header only", "at least one row"]),
        # the file
        ("", ["FILE is empty", "0 bytes"]),
        (" \n\n", ["FILE is empty", "3 bytes"]),
        ('x1,y\n1,2\n"3,4\n5,6\n', ["row that starts on line 3", "unexpected end of data", "a quote"]),
        ('x1,y\n1"2",3\n"4"5,6\n', ["row that starts on line 3", "expected after"]),
        ("x1,y\n1,2\né,3\n".encode("latin-1"), ["not UTF-8 text, first on line 3", "byte 0xe9", "xlsx"]),
        (b"PK\x03\x04\x00\x00", ["is no text, first on line 1", "a zero byte"]),
        (GOOD.encode("utf-16")[:-1], ["not UTF-16 text"]),
    ],
)
def test_a_broken_table_is_told_with_its_place(written, contents, expected):
    """Line, column, what stands there, and what to do."""
    message = told(written(contents))
    for part in expected:
        assert part in message
    assert all(part in message for part in ("\n  got ", "\n  accepted ", "\n  do "))


def test_a_file_that_cannot_be_opened_is_an_error_of_ours(tmp_path):
    """Absent, or a folder."""
    assert "No such file" in told(tmp_path / "absent.csv")
    assert "cannot read FILE" in told(tmp_path)


@pytest.mark.parametrize(
    "options", [{"separator": ":"}, {"separator": ""}, {"separator": "comma", "decimal": ","}, {"decimal": "'"}]
)
def test_wrong_settings_are_told_before_the_table_is_read(written, options):
    """A separator that is none, or that is the decimal sign at the same time."""
    with pytest.raises(SettingError):
        read_table(written(GOOD), **options)


def test_a_separator_may_be_forced(written):
    """By name or as itself, and then the header is not searched for others."""
    path = written("a,b;y\n1;2\n")
    for separator in ("semicolon", ";"):
        assert read_table(path, separator=separator).names == ("a,b", "y")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_written_number_is_read_as_the_same_number(values):
    """Bit for bit, beside names and words that need quotes."""
    buffer = io.StringIO()
    write_table(buffer, ["a, b", 'say "c"'], [values, ["x,y\n"] * len(values)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(buffer.getvalue().encode())))
        table = read_table("-")
    assert table.names == ("a, b", 'say "c"')
    np.testing.assert_array_equal(table.number("a, b"), values)


@given(st.text())
def test_any_text_is_a_finite_number_or_none(text):
    """A cell is never an exception."""
    value = number_of(text)
    assert value is None or np.isfinite(value)


def test_digits_of_other_scripts_are_no_numbers():
    """float() would take them; a mixture in one file is a mistake more often than a wish."""
    assert number_of("١٢") is None
    assert number_of("1.234,5", decimal=",") is None
