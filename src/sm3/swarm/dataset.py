"""Labelled wells: two folders or a table in, splits by chip out. No image of one chip lies in two splits."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sm3.errors import InputError, explain

LABELS = ("swimming", "swarming")  # index = class number: 1 is the positive class
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
FEW_WELLS = 30  # per class; below it every figure is an anecdote


@dataclass(frozen=True)
class LabelledWell:
    """One image of one well. `chip` is what a split may never cut: a chip, a day, or any batch that shares optics."""

    path: Path
    label: str
    well: str
    chip: str
    date: str = ""
    species: str = ""
    vortex_order: float | None = None
    um_per_px: float | None = None

    @property
    def positive(self) -> int:
        """1 for swarming."""
        return LABELS.index(self.label)


def read_wells(folder: Path, *, alone: bool = False) -> list[LabelledWell]:
    """Wells of DIR/wells.csv, of any CSV given, or of DIR/swarming and DIR/swimming (each file `CHIP_rest.tif`).

    A table has the columns path, label, well, chip and, if you like, date, species, um_per_px. `alone=True` accepts
    wells without a chip and takes each file as a chip of its own: then the split cannot see what wells of a chip share.
    Raises `InputError` naming the first row or file that cannot be used.
    """
    table = folder if folder.is_file() else folder / "wells.csv"
    wells = _of_table(table, alone) if table.is_file() else _of_folders(folder, alone)
    counts = Counter(well.label for well in wells)
    if min(counts[label] for label in LABELS) == 0:
        raise _unusable(f"{folder} holds one class only.", dict(counts), "wells of both classes", "add the other class")
    if min(counts.values()) < FEW_WELLS:
        warnings.warn(
            f"{folder}: {counts['swarming']} swarming and {counts['swimming']} swimming wells. Below {FEW_WELLS} of "
            "each, intervals are so wide that no figure should be quoted.",
            stacklevel=2,
        )
    return wells


def _unusable(happened: str, got: object, accepted: str, do: str) -> InputError:
    return InputError(explain(happened, got=got, accepted=accepted, do=do))


def _of_table(table: Path, alone: bool) -> list[LabelledWell]:
    wells = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unusable(
            f"{table} is no CSV table.", error, "UTF-8 text, columns separated by commas", "save it as CSV"
        ) from error
    for line, row in enumerate(rows, start=2):
        label, path = (row.get("label") or "").strip().lower(), (row.get("path") or "").strip()
        chip = (row.get("chip") or "").strip()
        if label not in LABELS or not path:
            raise _unusable(f"{table}, line {line}.", row, f"a path, and a label of {LABELS}", "correct this line")
        if not chip and not alone:
            raise _no_chip(f"{table}, line {line}")
        where = (table.parent / path).resolve()
        if not where.is_file():
            raise _unusable(f"{table}, line {line}: no such file.", where, "a path relative to the table", "correct it")
        wells.append(
            LabelledWell(
                where, label, (row.get("well") or path).strip(), chip or path, (row.get("date") or "").strip(),
                (row.get("species") or "").strip(), _number(row.get("vortex_order")), _number(row.get("um_per_px")),
            )
        )  # fmt: skip
    return wells


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _of_folders(folder: Path, alone: bool) -> list[LabelledWell]:
    if not all((folder / label).is_dir() for label in LABELS):
        raise _unusable(
            f"{folder} holds no labelled wells.",
            "neither wells.csv nor the folders swarming and swimming",
            "a table with path,label,well,chip, or the two folders",
            "sort the images into the two folders, named CHIP_WELL.tif, or write the table",
        )
    wells = []
    for label in LABELS:
        for path in sorted(p for p in (folder / label).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
            chip, separator, _ = path.stem.partition("_")
            if not separator and not alone:
                raise _no_chip(str(path))
            wells.append(LabelledWell(path.resolve(), label, path.stem, chip if separator else path.stem))
    return wells


def _no_chip(where: str) -> InputError:
    return _unusable(
        f"{where}: it is not known which chip this well is from.",
        "no chip",
        "a column chip, or files named CHIP_WELL.tif",
        "name the chips, so that no chip lies in two splits; --i-know takes every image as its own chip",
    )


def split_by_chip(wells: Sequence[LabelledWell], shares: Sequence[float], seed: int = 0) -> list[list[LabelledWell]]:
    """Parts with about these shares of the wells; all wells of a chip go to one part. Same seed, same parts.

    >>> wells = [LabelledWell(Path(f"{n}.tif"), LABELS[n % 2], str(n), str(n // 4)) for n in range(40)]
    >>> [len(part) for part in split_by_chip(wells, (0.5, 0.5))]
    [20, 20]
    """
    chips = sorted({well.chip for well in wells})
    size = Counter(well.chip for well in wells)
    order = np.random.default_rng(seed).permutation(len(chips))
    parts: list[list[LabelledWell]] = [[] for _ in shares]
    goal = np.cumsum(np.asarray(shares, float) / sum(shares)) * len(wells)
    place, taken, owner = 0, 0.0, {}
    held = [0] * len(shares)
    for number, index in enumerate(order):
        left, waiting = len(order) - number, len(shares) - 1 - place
        full = taken + size[chips[index]] / 2 > goal[place] or left <= waiting
        if place < len(shares) - 1 and held[place] and full:  # no part stays empty while there are chips
            place += 1
        held[place] += 1
        owner[chips[index]] = place
        taken += size[chips[index]]
    for well in wells:
        parts[owner[well.chip]].append(well)
    return parts


def counts(wells: Iterable[LabelledWell]) -> dict[str, int]:
    """How many wells of each class, and chips."""
    listed = list(wells)
    found = Counter(well.label for well in listed)
    return {**{label: found[label] for label in reversed(LABELS)}, "chips": len({well.chip for well in listed})}
