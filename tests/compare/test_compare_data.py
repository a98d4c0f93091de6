"""The text: split by file, repeatable, and refused with a reason where it cannot be used."""

from __future__ import annotations

import gzip
import lzma
import math
import os
import platform
from pathlib import Path

import pytest

from sm3.compare import data, landmarks
from sm3.errors import InputError


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text)
    return path


def numbered(count: int, size: int = 2000) -> dict[str, bytes]:
    return {f"part{i % 3}/file{i}.txt": (f"<{i}>".encode() * size)[:size] for i in range(count)}


def test_whole_files_are_held_out(tmp_path):
    """Every file is entirely on one side, and about a tenth of the bytes is held out."""
    files = numbered(40)
    corpus = data.user_text(folder_of(tmp_path, files))
    for text in files.values():
        assert (text in corpus.train) != (text in corpus.held_out)
    assert len(corpus.train) + len(corpus.held_out) == 80_000
    assert len(corpus.held_out) == 8_000


def test_the_split_depends_on_paths_and_not_on_where_the_folder_is(tmp_path):
    """The same files in another place, written in another order, give the same bytes and the same hash."""
    files = numbered(20)
    one = data.user_text(folder_of(tmp_path / "a" / "texts", files))
    other = data.user_text(folder_of(tmp_path / "b" / "texts", dict(reversed(files.items()))))
    assert one == other
    assert one.digest() == other.digest()


def test_one_changed_byte_changes_the_hash(tmp_path):
    """The hash in the record says whether two runs read the same bytes."""
    files = numbered(20)
    before = data.user_text(folder_of(tmp_path, files)).digest()
    name = next(iter(files))
    (tmp_path / name).write_bytes(b"X" + files[name][1:])
    assert data.user_text(tmp_path).digest() != before


def test_the_standard_library_is_the_same_every_time_and_has_no_tests_in_it():
    """Two readings agree; the name holds the Python version; the cap holds."""
    one, other = data.standard_library(), data.standard_library()
    assert one.as_data() == other.as_data()
    assert platform.python_version() in one.name
    assert 1_000_000 < len(one.train) + len(one.held_out) <= data.CAP
    assert not data._belongs(Path("test/test_os.py"))
    assert not data._belongs(Path("site-packages/torch/nn.py"))
    assert data._belongs(Path("asyncio/queues.py"))


def test_a_single_file_is_split_into_contiguous_parts_with_a_gap(tmp_path):
    """There is no other file to hold out; the record says how it was cut."""
    text = "".join(f"line {i}\n" for i in range(4000)).encode()
    (tmp_path / "one.txt").write_bytes(text)
    corpus = data.user_text(tmp_path / "one.txt")
    assert text.startswith(corpus.train)
    assert text.endswith(corpus.held_out)
    assert len(text) - len(corpus.train) - len(corpus.held_out) == data.GAP
    assert "gap of 1024" in corpus.split


def test_a_file_that_is_nearly_everything_is_trained_on(tmp_path):
    """Holding it out would leave nothing to learn from."""
    corpus = data.user_text(folder_of(tmp_path, {"big.txt": b"abcdefgh\n" * 9000, "small.txt": b"0123456\n" * 900}))
    assert corpus.held_out == b"0123456\n" * 900


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "0 bytes"),
        ("tiny.txt", b"hello\n", "6 bytes"),
        ("zeros.bin", bytes(20_000), "no text has"),
        ("utf16.txt", ("word " * 9000).encode("utf-16"), "UTF-16"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 90, "no text has"),
        ("control.txt", b"\x01\x02\x03 abc" * 4000, "no text has"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, name, content, reason):
    """Empty, tiny and binary files say what is wrong with them and what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        data.user_text(tmp_path / name)
    assert reason in str(caught.value)
    assert "do        pass another --text" in str(caught.value)


def test_a_missing_path_a_device_and_an_empty_folder_are_refused(tmp_path):
    """A device would never end, a folder without texts has nothing to read."""
    folder_of(tmp_path, {"only/picture.bin": bytes(30_000), ".hidden/text.txt": b"words " * 5000})
    for path, reason in ((tmp_path / "no", "no such file"), (Path("/dev/zero"), "neither"), (tmp_path, "0 bytes")):
        with pytest.raises(InputError, match=reason):
            data.user_text(path)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    """The operating system's reason is passed on. (Root may read everything, so the refusal is simulated.)"""
    (tmp_path / "secret.txt").write_text("words " * 4000)

    def refuse(self, mode):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        data.user_text(tmp_path / "secret.txt")


def test_binary_files_beside_texts_are_left_out(tmp_path):
    """A folder of notes with a picture in it is still a folder of notes."""
    corpus = data.user_text(folder_of(tmp_path, {**numbered(10), "photo.jpg": bytes(5000)}))
    assert b"\0" not in corpus.train + corpus.held_out


def test_a_long_text_is_capped(tmp_path, monkeypatch):
    """Neither a huge file nor a huge folder is read whole."""
    monkeypatch.setattr(data, "CAP", 30_000)
    (tmp_path / "long.txt").write_bytes(b"some words\n" * 10_000)
    assert len(data.user_text(tmp_path / "long.txt").train) < 30_000
    many = folder_of(tmp_path / "many", numbered(40))
    corpus = data.user_text(many)
    assert len(corpus.train) + len(corpus.held_out) == 30_000


def test_landmarks_are_what_the_compressors_say():
    """Recomputed here with the libraries directly; the entropy of two equal halves is one bit."""
    text = (b"def f(x):\n    return x\n" * 50)[:1000]
    found = landmarks.landmarks(text)
    assert found["gzip"] == len(gzip.compress(text, compresslevel=9, mtime=0)) * 8 / 1000
    assert found["xz"] == len(lzma.compress(text, preset=9)) * 8 / 1000
    assert landmarks.unigram_entropy(b"ab" * 100) == 1.0
    assert math.isclose(landmarks.unigram_entropy(bytes(range(256))), 8.0)
