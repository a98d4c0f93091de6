"""What is on stderr while a certificate is made: a bar that names the promise at work."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sm3.verify.run import Watch


class ProgressBar(Watch):
    """Shows the watch on a console; nothing where it is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task("preparing", total=1)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, count: int) -> None:
        self._progress.update(self._bar, total=count)

    def begin(self, label: str) -> None:
        self._progress.update(self._bar, description=label)

    def done(self) -> None:
        self._progress.advance(self._bar)
