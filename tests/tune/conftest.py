"""Functions to tune, written into modules of their own in an empty folder; and trials made up without running any."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution

from sm3.tune.outcomes import Outcome

optuna.logging.set_verbosity(optuna.logging.WARNING)
_NUMBER = itertools.count()
_HEAD = """import math
import numpy as np
def note(text):
    with open("count", "a") as file:
        file.write(text)
def score(settings):
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes the body of score(settings) into a module, and gives its name; note(text) appends to a file `count`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body: str) -> str:
        name = f"tune_job_{next(_NUMBER)}"
        (tmp_path / f"{name}.py").write_text(_HEAD + textwrap.indent(textwrap.dedent(body), "    "))
        return f"{name}:score"

    return write


def made_up(
    columns: np.ndarray,  # (n, d) values
    scores: Sequence[float | None],
    distributions: Sequence[BaseDistribution] | None = None,  # default: uniform on [0, 1]
    names: Sequence[str] | None = None,
    **other: Any,
) -> list[Outcome]:
    """Trials with these values and scores."""
    count = columns.shape[1]
    names = names or [f"x{j}" for j in range(count)]
    given = dict(zip(names, distributions or [FloatDistribution(0.0, 1.0)] * count, strict=True))
    return [
        Outcome(
            number,
            dict(zip(names, row, strict=True)),
            given,
            score,
            "finished" if score is not None else "nan",
            **other,
        )
        for number, (row, score) in enumerate(zip(columns.tolist(), scores, strict=True))
    ]


@pytest.fixture(name="made_up")
def made_up_fixture() -> Callable[..., list[Outcome]]:
    return made_up
