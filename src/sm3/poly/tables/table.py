"""A CSV file as columns of text and of numbers; whatever is wrong with it is told with its line and column.

Not a data frame: it reads a header and rows of the same length, and turns columns into finite float64 on request. It
guesses nothing that changes a value: the separator is taken from the header line only where one alone is possible, and
a decimal comma is refused until it is asked for. The format is RFC 4180 as Python's `csv` module reads it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.poly.tables.text_file import read_text

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
# What programs write where a number is missing: pandas, R, spreadsheets, databases (chosen; compared in lower case).
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?", ".", "#n/a", "#value!", "#div/0!", "#ref!"})


@dataclass(frozen=True)
class Table:
    """Cells as they stand in the file. `columns[j][i]` is row i of the column `names[j]`; `lines[i]` is its line."""

    source: str
    names: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    decimal: str = "."

    def __len__(self) -> int:
        return len(self.lines)

    def position(self, name: str) -> int:
        """Where a column stands; `InputError` naming the nearest ones where it does not."""
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name, self.names, n=3, cutoff=0.5)
        do = f"did you mean {' or '.join(map(repr, near))}?" if near else "name one of the columns above"
        if len(self.names) == 1:
            do = f"the header was read as one column: say how it is separated, --separator {'|'.join(SEPARATORS)}"
        raise InputError(
            explain(
                f"{self.source} has no column {name!r}.",
                got=_listed(self.names),
                accepted="the name of a column exactly as it stands in the header, upper and lower case included",
                do=do,
            )
        )

    def text(self, name: str) -> tuple[str, ...]:
        """The cells of a column as they stand, (m,)."""
        return self.columns[self.position(name)]

    def number(self, name: str) -> NDArray[np.float64]:
        """A column as finite float64, (m,); the first cell that is no number is an `InputError` with its place."""
        cells = self.text(name)
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            value = number_of(cell, self.decimal)
            if value is None:
                raise InputError(self._bad_cell(name, row))
            values[row] = value
        return values

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Several columns side by side, (m, len(names))."""
        return np.column_stack([self.number(name) for name in names]) if names else np.empty((len(self), 0))

    def place(self, name: str, row: int) -> str:
        """Where a cell stands, for messages."""
        return f"{self.source}, line {self.lines[row]}, column {self.position(name) + 1} ({name!r})"

    def _bad_cell(self, name: str, row: int) -> str:
        cells = self.text(name)
        cell = cells[row]
        bad = sum(number_of(other, self.decimal) is None for other in cells)
        more = f"; {bad} of {len(cells)} cells of this column are like that" if bad > 1 else ""
        accepted = f"a finite number such as {'-1.5e3' if self.decimal == '.' else '-1,5e3'}"
        if cell.strip().lower() in MISSING:
            return explain(
                f"a number is missing at {self.place(name, row)}.",
                got=(repr(cell) if cell else "an empty cell") + more,
                accepted=accepted,
                do="fill it in or delete the row: nothing is filled in or left out silently",
            )
        if self.decimal == "." and number_of(cell, ",") is not None:
            do = 'this looks like a decimal comma: say --decimal "," (decimal="," in Python)'
        elif bad == len(cells):
            do = "a column of words is no input by itself: leave it out (--ignore), or declare its values (--inputs)"
        else:
            do = "correct the cell; units, signs of currency and thousands separators do not belong into it"
        return explain(f"this is no number: {self.place(name, row)}.", got=repr(cell) + more, accepted=accepted, do=do)


def number_of(cell: str, decimal: str = ".") -> float | None:
    """The finite number a cell holds, or None.

    >>> number_of(" -1.5e3 "), number_of("1,5"), number_of("1,5", decimal=","), number_of("1_000"), number_of("inf")
    (-1500.0, None, 1.5, None, None)
    """
    text = cell.strip()
    if decimal == ",":
        text = text.replace(".", "x").replace(",", ".")  # 1.234,5 has a thousands separator, which we do not guess
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text and text.isascii() else None


def read_table(path: str | Path, *, separator: str | None = None, decimal: str = ".") -> Table:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path
        The file, or "-" for standard input. UTF-8, or UTF-16 with its mark.
    separator
        "," ";" "|" or a tab, also by name ("comma", "semicolon", "pipe", "tab"). Default: the one that the header has.
    decimal
        "." or ",".

    Raises
    ------
    InputError
        The file is absent, empty, not text, has no header, a name twice, or a row of another length.
    SettingError
        `separator` or `decimal` is none of these.
    """
    if decimal not in (".", ","):
        raise SettingError(explain("decimal is unknown.", got=repr(decimal), accepted='"." or ","', do="choose one"))
    source, text = read_text(path)
    chosen = _separator(source, text, separator, decimal)
    rows = _rows(source, text, chosen)
    header_line, header = rows[0]
    names = _header(source, header_line, header, decimal)
    body = rows[1:]
    if not body:
        raise InputError(
            explain(f"{source} has a header only.", got=_listed(names), accepted="at least one row", do="add rows")
        )
    for line, cells in body:
        if len(cells) != len(names):
            raise InputError(_wrong_length(source, line, cells, names, chosen))
    columns = tuple(zip(*(cells for _, cells in body), strict=True))
    return Table(source, names, columns, tuple(line for line, _ in body), decimal)


def write_table(stream: TextIO, names: Sequence[str], columns: Sequence[Iterable[object]]) -> None:
    """Columns under their names, as CSV; a float is written with the digits that give the same float again.

    >>> import sys
    >>> write_table(sys.stdout, ["x", "kind"], [[0.1, 2.0], ["a", "b, c"]])
    x,kind
    0.1,a
    2.0,"b, c"
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(
        [repr(float(cell)) if isinstance(cell, float) else cell for cell in row] for row in zip(*columns, strict=True)
    )


def _separator(source: str, text: str, wanted: str | None, decimal: str) -> str:
    """The one asked for; else the only one in the first line with anything in it (none: a table of one column)."""
    if wanted is not None:
        chosen = SEPARATORS.get(wanted, wanted)
        if chosen not in SEPARATORS.values() or chosen == decimal:
            raise SettingError(
                explain(
                    "the separator cannot be used.",
                    got=f"{wanted!r} with the decimal sign {decimal!r}",
                    accepted=", ".join(SEPARATORS) + "; another sign than the decimal one",
                    do="leave it out to have it read from the header",
                )
            )
        return chosen
    header = next(line for line in text.splitlines() if line.strip())
    outside_quotes = re.sub(r'"[^"]*"', "", header)
    found = [sign for sign in SEPARATORS.values() if sign in outside_quotes and sign != decimal]
    if len(found) > 1:
        names = [name for name, sign in SEPARATORS.items() if sign in found]
        raise InputError(
            explain(
                f"{source}: the header can be cut in more than one way.",
                got=f"{' and '.join(names)} in {header.strip()!r}",
                accepted=", ".join(SEPARATORS),
                do=f"say which: --separator {names[0]}",
            )
        )
    return found[0] if found else ";" if decimal == "," else ","


def _rows(source: str, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of every row that is not blank; the line is the one on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    rows, line = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            explain(
                f"{source}: the row that starts on line {line} cannot be read.",
                got=str(error),
                accepted='cells without quotes, or "in quotes", where a quote inside stands twice',
                do="look for a quote that is never closed, there or before",
            )
        ) from error
    return rows


def _header(source: str, line: int, cells: Sequence[str], decimal: str) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in cells)
    where = f"{source}, line {line}"
    accepted = "one name for each column, each only once"
    if all(number_of(name, decimal) is not None for name in names):
        raise InputError(
            explain(
                f"{where}: there is no header, the first row has numbers only.",
                got=_listed(names),
                accepted=accepted,
                do="put a line with the names of the columns on top",
            )
        )
    for number, name in enumerate(names, 1):
        if not name:
            do = "name it or delete the column: a separator at the end of the line makes one; pandas needs index=False"
            happened = f"{where}: column {number} has no name."
        elif name in names[: number - 1]:
            do = "rename one: which of the two is meant could not be told"
            happened = f"{where}: columns {names.index(name) + 1} and {number} have the same name {name!r}."
        else:
            continue
        raise InputError(explain(happened, got=_listed(names), accepted=accepted, do=do))
    return names


def _wrong_length(source: str, line: int, cells: Sequence[str], names: Sequence[str], separator: str) -> str:
    name = next(name for name, sign in SEPARATORS.items() if sign == separator)
    if len(cells) > len(names) and separator == ",":
        do = "a decimal comma or a comma inside words cuts a cell in two: write 1.5, and words in quotes"
    elif len(cells) == 1 < len(names):
        do = "the row seems to have another separator than the header"
    else:
        do = "complete the row, or delete it"
    return explain(
        f"{source}, line {line} has {len(cells)} cells where the header has {len(names)} names.",
        got=_listed(cells),
        accepted=f"{len(names)} cells, separated by {name}: {_listed(names)}",
        do=do,
    )


def _listed(words: Sequence[str], limit: int = 12) -> str:
    """Names or cells for a message, not more than a reader looks at."""
    shown = ", ".join(word if len(word) <= 40 else word[:37] + "..." for word in words[:limit])
    return shown + (f", ... ({len(words)} in all)" if len(words) > limit else "")
