"""A hyper-parameter's range, stated once: it makes the check, the message, the docs row and the tests' bad values."""

from __future__ import annotations

import math
import numbers
import operator
from dataclasses import dataclass
from typing import Any

from sm3.errors import SettingError, SettingTypeError, explain


@dataclass(frozen=True)
class Real:
    """A finite real number in an interval; `none` says that None is accepted too, and what it means."""

    name: str
    default: float | None
    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    none: str | None = None
    about: str = ""

    def accepted(self) -> str:
        left, right = ("(" if self.low_open else "["), (")" if self.high_open else "]")
        if self.high == math.inf:
            text = f"a finite number {'>' if self.low_open else '>='} {self.low:g}"
        elif self.low == -math.inf:
            text = f"a finite number {'<' if self.high_open else '<='} {self.high:g}"
        else:
            text = f"a number in {left}{self.low:g}, {self.high:g}{right}"
        return f"{text}, or None ({self.none})" if self.none else text

    def check(self, value: Any) -> float | None:
        """The value as a Python float (or None). NumPy scalars are converted: they cannot be loaded safely later."""
        if value is None and self.none:
            return None
        # bool is an int in Python, and lr=True is always a mistake. `item` lets one-element tensors and arrays in.
        if isinstance(value, bool) or not (isinstance(value, numbers.Real) or hasattr(value, "item")):
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default))
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default)) from error
        above = number > self.low or (number == self.low and not self.low_open)
        below = number < self.high or (number == self.high and not self.high_open)
        if not (math.isfinite(number) and above and below):
            raise SettingError(_message(self.name, value, self.accepted(), self.default))
        return number

    def bad_values(self) -> list[Any]:
        """Values that `check` must refuse."""
        bad: list[Any] = [math.nan, math.inf, -math.inf, "0.5", True, 1 + 2j, [0.1], object()]
        bad += [] if self.none else [None]
        bad += [] if self.low == -math.inf else [self.low - 1.0]
        bad += [] if self.high == math.inf else [self.high + 1.0]
        bad += [self.low] if self.low_open and self.low != -math.inf else []
        bad += [self.high] if self.high_open and self.high != math.inf else []
        return bad


@dataclass(frozen=True)
class Choice:
    """One of a few words; `none` says that None is accepted too, and what it means."""

    name: str
    default: str | None
    words: tuple[str, ...]
    none: str | None = None
    about: str = ""

    def accepted(self) -> str:
        text = " or ".join(repr(word) for word in self.words)
        return f"{text}, or None ({self.none})" if self.none else text

    def check(self, value: Any) -> str | None:
        if value is None and self.none:
            return None
        if not isinstance(value, str):
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default))
        if value not in self.words:
            raise SettingError(_message(self.name, value, self.accepted(), self.default))
        return value

    def bad_values(self) -> list[Any]:
        return ["", "no such word", 1, 1.5, True, object(), *([] if self.none else [None])]


@dataclass(frozen=True)
class Flag:
    """True or False."""

    name: str
    default: bool
    about: str = ""

    def accepted(self) -> str:
        return "True or False"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default))
        return value

    def bad_values(self) -> list[Any]:
        return [None, 0, 1, "True", 0.0, object()]


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high]."""

    name: str
    default: int
    low: int
    high: int
    about: str = ""

    def accepted(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default))
        try:
            number = operator.index(value)
        except TypeError as error:
            raise SettingTypeError(_message(self.name, value, self.accepted(), self.default)) from error
        if not self.low <= number <= self.high:
            raise SettingError(_message(self.name, value, self.accepted(), self.default))
        return number

    def bad_values(self) -> list[Any]:
        return [None, 0.5, "0", True, self.low - 1, self.high + 1, object()]


Hyperparameter = Real | Choice | Flag | Integer


def _message(name: str, value: Any, accepted: str, default: Any) -> str:
    do = (
        f"pass for example {name}={default!r}"
        if default is not None
        else f"leave {name} out, or pass a value from there"
    )
    return explain(f"{name} is not accepted.", got=f"{name}={value!r}", accepted=accepted, do=do)
