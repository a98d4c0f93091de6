"""The text of a file that a user gives: its encoding, and a clear word where it is no text. Nothing about its cells."""

from __future__ import annotations

import sys
from pathlib import Path

from sm3.errors import InputError, explain

# The mark at the start of a file that tells its encoding; spreadsheets write the first two (Unicode 2.13).
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_text(path: str | Path) -> tuple[str, str]:
    """(what to call it in messages, its text); "-" is standard input.

    Raises `InputError` for a file that cannot be read, is no UTF-8 (or UTF-16 with its mark), or has nothing in it.
    """
    source = "standard input" if str(path) == "-" else str(path)
    return source, decoded(source, contents_of(path))


def contents_of(path: str | Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            explain(
                f"cannot read {path}.",
                got=error.strerror or str(error),
                accepted="a CSV file, or - for standard input",
                do="check the path",
            )
        ) from error


def decoded(source: str, contents: bytes) -> str:
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if contents.startswith(mark)), "utf-8")
    try:
        text = contents.decode(encoding)
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise InputError(
            explain(
                f"{source} is not {encoding.upper()} text, first on line {line}.",
                got=f"byte 0x{contents[error.start]:02x} at offset {error.start}",
                accepted="CSV text in UTF-8",
                do="save it as CSV (UTF-8); a spreadsheet file itself (.xlsx, .ods) cannot be read",
            )
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            explain(
                f"{source} is no text, first on line {line}.",
                got="a zero byte",
                accepted="CSV text in UTF-8",
                do="save it as CSV (UTF-8)",
            )
        )
    if not text.strip():
        raise InputError(
            explain(
                f"{source} is empty.",
                got=f"{len(contents)} bytes",
                accepted="a header line with the names of the columns, and rows of numbers",
                do="check that it was written to the end",
            )
        )
    return text
