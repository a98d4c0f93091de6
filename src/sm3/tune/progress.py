"""What is on stderr while trials run: a bar with the time left, the best score so far, and how many ended badly."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sm3.tune.evaluate import Ending
from sm3.tune.trials import Watch


class ProgressBar(Watch):
    """Shows a search on a console; without a terminal there is a line every tenth of the trials instead."""

    def __init__(self, console: Console, better: str) -> None:
        self._progress = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            speed_estimate_period=600,  # trials differ in length
            disable=not console.is_terminal,
            transient=True,
        )
        self._console = console
        self._bar = self._progress.add_task("", total=0)
        self._better = min if better == "lower" else max
        self._best: float | None = None
        self._total = self._done = self._bad = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, trials: int) -> None:
        self._total = trials
        self._progress.update(self._bar, total=trials)
        self._console.print(f"{trials} trials to run", markup=False, highlight=False)

    def step(self, ending: Ending) -> None:
        self._done += 1
        if ending.score is None:
            self._bad += 1
        else:
            self._best = ending.score if self._best is None else self._better(self._best, ending.score)
        told = f"best {self._best:.4g}" if self._best is not None else "no score yet"
        told += f", {self._bad} ended badly" if self._bad else ""
        self._progress.update(self._bar, advance=1, description=told)
        tenth = max(1, self._total // 10)
        if not self._console.is_terminal and (self._done % tenth == 0 or self._done == self._total):
            self._console.print(f"{self._done}/{self._total} trials, {told}", markup=False, highlight=False)
