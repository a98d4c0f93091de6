"""Checkpoints written by every version so far open today, with the bits they were written with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from sm3.optim.torch import checkpoint, load

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.safetensors"))


def writer():
    spec = importlib.util.spec_from_file_location("golden_write", FOLDER / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_version_has_its_files():
    """A new file version is not released before its golden files are."""
    assert {file.stem for file in FILES} == {
        f"{name}-version-{version}" for name in writer().MAKE for version in range(1, checkpoint.FILE_VERSION + 1)
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_older_file_opens_with_its_bits(file):
    """And the optimizer steps on from it."""
    golden = writer()
    name, _, version = file.stem.partition("-version-")
    params = golden.parameters()
    optimizer = golden.MAKE[name](params)
    load(optimizer, file)
    expected = json.loads((FOLDER / f"version-{version}.json").read_text(encoding="utf-8"))
    assert golden.digest(optimizer, params) == expected[name]
    optimizer.step()
