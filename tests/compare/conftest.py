"""A comparison small enough for tests: a model of ten thousand parameters, twelve steps, two kilobytes to be scored."""

from __future__ import annotations

import random

import pytest

from sm3.compare.contestants import CONTESTANTS, Contestant
from sm3.compare.data import Corpus
from sm3.compare.protocol import Protocol
from sm3.compare.sweep import Runs, Watch
from sm3.compare.task import Task, byte_task
from sm3.compare.workers import Here


@pytest.fixture
def protocol() -> Protocol:
    return Protocol("tiny", "1x16", batch=4, steps=12, rates=2, seeds=(0, 1), windows=8, checks=3, log_every=4)


@pytest.fixture
def corpus() -> Corpus:
    words = ["alpha", "beta", "gamma", "delta", "return", "self", "(x)", "\n"]
    draw = random.Random(0)
    text = " ".join(draw.choice(words) for _ in range(4000)).encode()
    return Corpus("words", text[:18_000], text[18_500:], "for tests")


@pytest.fixture
def task(corpus: Corpus, protocol: Protocol) -> Task:
    return byte_task(corpus, protocol)


@pytest.fixture
def contestants() -> dict[str, Contestant]:
    return {contestant.name: contestant for contestant in CONTESTANTS}


@pytest.fixture
def runs_in(protocol, task):
    """Makes runs into a folder, in this process."""

    def make(folder, watch: Watch | None = None, crew=None) -> Runs:
        return Runs(protocol, task, folder, crew or Here(task), watch or Watch(), threads=1)

    return make
