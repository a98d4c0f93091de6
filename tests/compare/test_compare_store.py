"""The output folder: belongs to one set of settings, written whole, and refuses what it cannot be."""

from __future__ import annotations

import pytest

from sm3.compare.store import Folder, settings_hash
from sm3.errors import InputError, SettingError
from sm3.run_record import RunRecord


def test_the_same_settings_go_on_and_others_are_refused(tmp_path):
    """The error names what differs."""
    Folder(tmp_path, {"steps": 10, "text": "a"})
    Folder(tmp_path, {"steps": 10, "text": "a"})
    with pytest.raises(InputError, match=r"other values of: steps"):
        Folder(tmp_path, {"steps": 20, "text": "a"})


def test_fresh_discards_our_files_and_nothing_else(tmp_path):
    """A user's file in the folder survives."""
    Folder(tmp_path, {"steps": 10}).add(RunRecord("compare-run", 0, {"a": 1}, {}))
    (tmp_path / "notes.txt").write_text("mine")
    folder = Folder(tmp_path, {"steps": 20}, fresh=True)
    assert folder.records == []
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_runs_without_settings_are_not_taken_over(tmp_path):
    """Nobody can say what they were made with."""
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(InputError, match=r"without settings\.json"):
        Folder(tmp_path, {})


def test_a_run_is_found_by_settings_and_seed_after_a_round_through_the_file(tmp_path):
    """Tuples come back as lists and still are the same settings."""
    settings = {"betas": (0.9, 0.99)}
    Folder(tmp_path, {}).add(RunRecord("compare-run", 1, settings, {"final_loss": 0.1 + 0.2}))
    folder = Folder(tmp_path, {})
    assert folder.find("compare-run", settings, 1).metrics["final_loss"] == 0.1 + 0.2
    assert folder.find("compare-run", settings, 2) is None
    assert folder.find("compare-timing", settings, 1) is None


def test_half_a_line_at_the_end_is_dropped_and_never_glued_to_the_next(tmp_path):
    """What a kill left behind is cut off before anything is appended."""
    folder = Folder(tmp_path, {})
    folder.add(RunRecord("compare-run", 0, {}, {}))
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"kind": "comp')
    Folder(tmp_path, {}).add(RunRecord("compare-run", 1, {}, {}))
    assert [record.seed for record in Folder(tmp_path, {}).records] == [0, 1]


def test_damage_in_the_middle_is_an_error_and_not_skipped(tmp_path):
    """Only the last line can be a kill's."""
    Folder(tmp_path, {})
    (tmp_path / "runs.jsonl").write_text("nonsense\n" + RunRecord("compare-run", 0, {}, {}).line() + "\n")
    with pytest.raises(InputError, match="line 1"):
        Folder(tmp_path, {})


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path):
    """A text that cannot be encoded fails half-way; the old page is still whole."""
    folder = Folder(tmp_path, {})
    folder.write("compare.html", "old")
    with pytest.raises(UnicodeEncodeError):
        folder.write("compare.html", "new \ud800")
    assert (tmp_path / "compare.html").read_text() == "old"
    assert not list(tmp_path.glob(".compare*"))


def test_a_folder_that_cannot_be_made_is_a_setting_error(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="cannot be written"):
        Folder(tmp_path / "file" / "out", {})


def test_the_hash_names_the_settings():
    """Another order is the same settings, another value is not."""
    assert settings_hash({"a": 1, "b": 2}) == settings_hash({"b": 2, "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})
