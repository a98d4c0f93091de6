"""Records: only what is quotable lies among them, the newest counts, and README's table is made from it alone."""

from __future__ import annotations

import pytest

from benchmarks import readme, record
from benchmarks.contestants import contestants
from sm3.errors import InputError


def table(*, threads=1, valid=True, asked_for=False, ratio=0.5):
    """One table of `native_step`, with ratios that tell their row."""
    rows = {
        name: {"ratio": ratio + number / 100, "median": 0.07, "state": 8.0 / (1 + number)}
        for number, name in enumerate(contestants())
    }
    conditions = {"isa": "avx512", "pages": {"asked_for": asked_for}}
    return {"threads": threads, "rounds": 15, "valid": valid, "rows": rows, "conditions": conditions}


def headline(*tables, dtype="float32"):
    """A run of the headline."""
    metrics = {"set": "gpt2-small", "dtype": dtype, "tensors": 148, "numel": 124_439_808, "tables": list(tables)}
    return {"kind": "native_step", "metrics": metrics}


def bench(*runs, quick=False, finished="2026-11-25T10:00:00Z"):
    """A record as `python -m benchmarks` writes it."""
    return {
        "kind": "bench",
        "quick": quick,
        "finished": finished,
        "machine": {"processor": "AMD EPYC", "cores": 2},
        "versions": {"torch": "2.13.0"},
        "runs": list(runs),
    }


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Records and what is not quotable, in an empty folder that stands for the repository."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(record, "NOT_QUOTABLE", tmp_path / "build")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (bench(headline(table(), table(threads=2))), True),
        (bench(headline(table(), table(threads=2)), quick=True), False),
        (bench(headline(table(valid=False), table(threads=2))), False),
        (bench(headline(table(), table(threads=2, valid=False))), True),
        (bench(headline(table()), headline(table(valid=False), dtype="bfloat16")), True),
        (bench(headline(table()), headline(table(valid=False, asked_for=True))), True),
        (bench(), False),
    ],
    ids=[
        "whole",
        "quick",
        "contended",
        "threads contended",
        "other dtype contended",
        "huge pages contended",
        "headline missing",
    ],
)
def test_a_record_is_quotable_when_its_headline_is_valid(folders, found, expected):
    """Others are written to the build folder, where nobody quotes them."""
    assert record.quotable(found) is expected

    path = record.write(found, ["a line  ", ""])

    assert path.is_relative_to(folders / ("records" if expected else "build"))
    assert path.name == "2026-11-25-bench.json"
    assert path.parent.name == "amd-epyc-2-cores"
    assert record.read(path) == found
    assert path.with_suffix(".txt").read_text() == "a line\n\n"


def test_the_newest_record_is_the_one_that_finished_last(folders):
    """Of all machines, whatever the folders are called."""
    assert record.newest(folders / "records") is None
    late = bench(headline(table()), finished="2026-12-01T00:00:00Z")
    early = bench(headline(table()), finished="2026-11-30T00:00:00Z")
    late["machine"] = {"processor": "A", "cores": 1}
    early["machine"] = {"processor": "Z", "cores": 1}

    paths = [record.write(found, []) for found in (late, early)]

    assert record.newest(folders / "records") == paths[0]


def test_the_table_shows_every_valid_column_and_no_contended_number(folders):
    """One column per dtype and number of threads, huge pages left out."""
    found = bench(
        headline(table(), table(threads=2, ratio=0.7)),
        headline(table(valid=False, ratio=0.9), dtype="bfloat16"),
        headline(table(ratio=0.1, asked_for=True)),
    )
    lines = readme.block(record.write(found, [])).splitlines()

    heading = next(line for line in lines if line.startswith("| | state"))
    assert heading.endswith("| float32, 1 thread | float32, 2 threads | bfloat16, stochastic, 1 thread |")
    (row,) = [line for line in lines if line.startswith("| SM3 |")]
    assert row == "| SM3 | 1.3333 | 0.55 | 0.75 | contended |"
    assert "| AdamW fused | 8.0000 | 0.50 (70 ms) | 0.70 (70 ms) | contended |" in lines
    assert "[record](records/amd-epyc-2-cores/2026-11-25-bench.txt)" in "\n".join(lines)


@pytest.mark.parametrize("valid", [True, False])
def test_peers_are_quoted_only_when_their_control_held(folders, valid):
    """With the version that was installed, and the word re-created."""
    times = {"SM3, pytorch_optimizer": 4.44, "SMMF published, re-created": 31.2}
    peers = {
        "kind": "peers",
        "metrics": {"valid": valid, "times_ours": times, "packages": {"pytorch_optimizer": "4.1.0"}},
    }
    text = readme.block(record.write(bench(headline(table()), peers), [])).replace("\n", " ")

    assert ("pytorch_optimizer 4.1.0 takes 4.4 times as long as ours" in text) is valid
    assert ("re-created in plain PyTorch operations, 31 times" in text) is valid


def test_the_readme_changes_between_its_markers_only(folders):
    """And a README that differs from the record is found."""
    path = record.write(bench(headline(table())), [])
    old = f"# before\n{readme.BEGIN}\nby hand: 2x faster\n{readme.END}\nafter\n"

    new = readme.updated(old, path)

    assert new != old
    assert new.startswith(f"# before\n{readme.BEGIN}\nOne `optimizer.step()`")
    assert new.endswith(f"\n{readme.END}\nafter\n")
    assert readme.updated(new, path) == new
    assert readme.NONE_YET in readme.updated(new, None)
    with pytest.raises(InputError, match="lost a marker"):
        readme.updated("no markers", path)
