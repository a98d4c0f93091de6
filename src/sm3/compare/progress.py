"""What is on stderr while a comparison runs: a bar with the time left for all runs, and a line per finished run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sm3.compare.sweep import Watch


class ProgressBar(Watch):
    """Shows the watch on a console; without a terminal there is no bar, and only the lines remain."""

    def __init__(self, console: Console) -> None:
        # Runs of different optimizers differ in speed and take turns: the estimate looks back over several of them.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=60,
            disable=not console.is_terminal,
            transient=True,
        )
        self._console = console
        self._bar = self._progress.add_task("preparing", total=0)
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, steps: int) -> None:
        self._total += steps
        self._progress.update(self._bar, total=self._total)

    def begin(self, label: str) -> None:
        self._progress.update(self._bar, description=label)

    def step(self, count: int) -> None:
        self._progress.advance(self._bar, count)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
