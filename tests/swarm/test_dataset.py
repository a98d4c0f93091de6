"""Labelled wells: what is read, what is refused, and that no chip is ever cut."""

from __future__ import annotations

from collections import Counter

import pytest

from sm3.errors import InputError
from sm3.swarm.dataset import LABELS, read_wells, split_by_chip

HEADER = "path,label,well,chip\n"


def folder_of(tmp_path, chips=6, wells=12):
    for label in LABELS:
        (tmp_path / label).mkdir()
        for chip in range(chips):
            for well in range(wells):
                (tmp_path / label / f"chip{chip}_{well}.tif").touch()
        (tmp_path / label / "notes.txt").touch()
    return tmp_path


def test_two_folders(tmp_path):
    """The chip is what stands before the first underscore; other files are passed over."""
    wells = read_wells(folder_of(tmp_path))
    assert Counter(well.label for well in wells) == {"swarming": 72, "swimming": 72}
    assert {well.chip for well in wells} == {f"chip{n}" for n in range(6)}


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.1, 0.2), (1.0,), (0.01, 0.99)])
def test_no_chip_is_cut(tmp_path, shares):
    """Parts are disjoint in chips, together they are everything, and the seed decides."""
    wells = read_wells(folder_of(tmp_path))
    parts = split_by_chip(wells, shares, seed=3)
    chips = [{well.chip for well in part} for part in parts]
    assert sum(len(part) for part in parts) == len(wells)
    assert sum(map(len, chips)) == len(set().union(*chips)) == 6
    assert parts == split_by_chip(wells, shares, seed=3)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEADER + "a.tif,swarm,1,1\n", "line 2"),
        (HEADER + "absent.tif,swarming,1,1\n", "no such file"),
        (HEADER + "a.tif,swarming,1,\n", "which chip"),
        (HEADER + "a.tif,swarming,1,1\n", "one class only"),
        ("nonsense\n1\n", "line 2"),
        (b"\xff\xfe\x00", "no CSV"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, table, message):
    """The error names the line."""
    (tmp_path / "a.tif").touch()
    (tmp_path / "wells.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(InputError, match=message):
        read_wells(tmp_path)


def test_few_wells_are_a_warning_and_no_chips_an_error(tmp_path):
    """Unless the user says that it is known."""
    for label in LABELS:
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.tif").touch()
    with pytest.raises(InputError, match="--i-know"):
        read_wells(tmp_path)
    with pytest.warns(UserWarning, match="Below 30"):
        assert len({well.chip for well in read_wells(tmp_path, alone=True)}) == 1  # both are called a
    with pytest.raises(InputError, match="no labelled wells"):
        read_wells(tmp_path / "swarming")
