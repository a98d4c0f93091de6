"""What is trained: a model, an endless stream of batches and a loss, all decided by one seed; and what is measured.

Everything a contestant could profit from unfairly is fixed here: for one seed, every contestant and every learning
rate gets bitwise the same first weights, the same batches in the same order, and the same held-out batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sm3.compare.data import Corpus
from sm3.compare.model import SIZES, ByteGPT, bits_per_byte
from sm3.compare.protocol import Protocol
from sm3.errors import InputError, explain

UNIT = "bits/byte"
PIECE = 64  # windows measured at once; measured: fewer are slower, more need memory for nothing


@dataclass(frozen=True)
class Start:
    """The beginning of one run."""

    model: nn.Module
    batches: Iterator[Any]
    held_out: tuple[Any, ...]  # batches the loss is measured on, never trained on
    loss: Callable[[nn.Module, Any], Tensor]
    unit: str


@dataclass(frozen=True)
class Task:
    """What is trained, for any seed."""

    start: Callable[[int], Start]
    unit: str  # of the loss
    bound: float  # a loss above it counts as diverged
    settings: Mapping[str, Any]  # identifies the task in a record


def byte_task(corpus: Corpus, protocol: Protocol) -> Task:
    """Train a byte-level GPT on a corpus; the loss is in bits per byte."""
    size = SIZES[protocol.model]
    scored = scored_windows(corpus, protocol)
    train = torch.frombuffer(bytearray(corpus.train), dtype=torch.uint8)
    if len(train) <= 2 * size.context:
        raise InputError(
            explain(
                "the text leaves too little to train on.",
                got=f"{len(train)} bytes after {len(corpus.held_out)} were held out",
                accepted=f"more than {2 * size.context}",
                do="pass a longer --text",
            )
        )

    def start(seed: int) -> Start:
        torch.manual_seed(seed)
        model = ByteGPT(size)
        batches = _windows(train, size.context, protocol.batch, seed)
        return Start(model, batches, torch.split(scored, PIECE), bits_per_byte, UNIT)

    about = {"kind": "bytes", "model": {"name": protocol.model, **size.as_data()}, "corpus": corpus.as_data()}
    # Twice the 8 bits of a guess that knows nothing: a run that bad will not come back within its budget.
    return Task(start, UNIT, 16.0, about)


def scored_windows(corpus: Corpus, protocol: Protocol) -> Tensor:  # (windows or fewer, context + 1) int64
    """Non-overlapping windows, evenly spaced over the held-out text, so that every file has its say."""
    text, context = corpus.held_out, SIZES[protocol.model].context
    count = min(protocol.windows, len(text) // (context + 1))
    if count > PIECE:  # pieces of equal length, so that the mean over pieces is the mean over bytes
        count -= count % PIECE
    if count < 1:
        raise InputError(
            explain(
                "the held-out text is too short to measure a loss on.",
                got=f"{len(text)} bytes",
                accepted=f"at least {context + 1}",
                do="pass a longer --text",
            )
        )
    stride = len(text) // count
    starts = torch.arange(count) * stride
    flat = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return flat[starts[:, None] + torch.arange(context + 1)]


def _windows(train: Tensor, context: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Random windows of the training text, for ever; a generator of its own, so that nothing else moves it."""
    generator = torch.Generator().manual_seed(seed)
    span = torch.arange(context + 1)
    while True:
        starts = torch.randint(len(train) - context, (batch, 1), generator=generator)
        yield train[starts + span].long()


def mean_loss(start: Start) -> float:
    """Mean loss over the held-out batches, without gradients; the model is back in training mode afterwards."""
    start.model.eval()
    with torch.no_grad():
        losses = [float(start.loss(start.model, batch)) for batch in start.held_out]
    start.model.train()
    return math.fsum(losses) / len(losses)
