"""A function of the user in the current folder."""

from __future__ import annotations

import sys
import textwrap

import pytest

from awkward import AWKWARD


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder; each has a name of its own, for Python remembers them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(source: str = AWKWARD) -> str:
        names.append(f"verified_module_{abs(hash((source, str(tmp_path))))}")
        (tmp_path / f"{names[-1]}.py").write_text(textwrap.dedent(source))
        return f"{names[-1]}:job"

    yield write
    for name in names:
        sys.modules.pop(name, None)
