"""What a measurement found about one goal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """`figure` against `goal`: met if it is at most (or at least) that, and `also` holds where more is asked."""

    name: str
    figure: float
    goal: float
    unit: str = ""
    at_least: bool = False
    also: bool = True
    timed: bool = False  # depends on what else the machine does
    about: str = ""  # what else was seen
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Not met by a figure that is nan.

        >>> Finding("error", 0.5, 1.0).met, Finding("share", 0.5, 0.9, at_least=True).met
        (True, False)
        """
        return self.also and (self.figure >= self.goal if self.at_least else self.figure <= self.goal)

    def line(self) -> str:
        """One line of text.

        >>> Finding("time of a fit", 2.0, 4.0, "s", about="gap 1e-9").line()
        'MET    time of a fit: 2 s, goal <= 4 s; gap 1e-9'
        """
        unit = f" {self.unit}" if self.unit else ""
        said = f"{'MET   ' if self.met else 'MISSED'} {self.name}: {self.figure:.3g}{unit}"
        said += f", goal {'>=' if self.at_least else '<='} {self.goal:g}{unit}"
        return said + (f"; {self.about}" if self.about else "")
