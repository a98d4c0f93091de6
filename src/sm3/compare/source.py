"""Where a task comes from: small enough to be sent to another process, which makes the task again from it."""

from __future__ import annotations

from dataclasses import dataclass

from sm3.compare.data import Corpus
from sm3.compare.landmarks import landmarks
from sm3.compare.protocol import Protocol
from sm3.compare.task import Task, byte_task, scored_windows
from sm3.compare.user import user_task


@dataclass(frozen=True)
class Source:
    """A corpus for the byte-level GPT, or the name of the user's function."""

    protocol: Protocol
    corpus: Corpus | None = None
    model: str | None = None

    def task(self) -> Task:
        if self.model is not None:
            return user_task(self.model)
        assert self.corpus is not None
        return byte_task(self.corpus, self.protocol)

    def landmarks(self) -> dict[str, dict[str, float]]:
        """Bits per byte without a model, of the bytes the loss is measured on and of the whole text."""
        if self.corpus is None:
            return {}
        scored = scored_windows(self.corpus, self.protocol).numpy().astype("uint8").tobytes()
        texts = {"scored": scored, "corpus": self.corpus.train + self.corpus.held_out}
        return {name: landmarks(text) for name, text in texts.items()}
