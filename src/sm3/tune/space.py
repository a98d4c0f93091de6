"""SPACE.toml as data: the function, its hyper-parameters, how many trials. Strings and numbers; no Optuna, no NumPy.

    function = "my_job:score"     # score(settings) -> number
    trials = 128

    [fixed]                       # handed to the function as it stands
    steps = 200

    [parameters]
    lr = { kind = "float", low = 1e-4, high = 1e-1, log = true }
    layers = { kind = "int", low = 1, high = 4 }
    norm = { kind = "categorical", choices = ["none", "layer", "rms"] }
    bias = { kind = "bool" }
    eps = { kind = "float", low = 1e-8, high = 1e-3, log = true, when = { norm = ["layer", "rms"] } }

A hyper-parameter with `when` is there only where an earlier one has one of these values.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sm3.errors import InputError, explain

Value = bool | int | float | str
Kind = Literal["float", "int", "categorical", "bool"]

MOST_TRIALS = 1_000_000  # chosen: beyond this a typing mistake is likelier than a wish
# The keys of a table, each with what it must be; "function" and "parameters" are the two that have no default.
TOP_KEYS = ("function", "better", "trials", "sampler", "seed", "repeats", "fixed", "parameters")
KEYS_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "float": ("kind", "low", "high", "log", "when"),
    "int": ("kind", "low", "high", "log", "when"),
    "categorical": ("kind", "choices", "when"),
    "bool": ("kind", "when"),
}


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter and its prior: uniform, uniform in the logarithm, or equal chances of all choices."""

    name: str
    kind: Kind
    low: float = 0.0  # float and int: both ends belong to the range
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()  # categorical and bool
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def value(self, u: float) -> Value:
        """The value at a uniform draw u in [0, 1), so that u uniform gives the prior.

        >>> rate = Parameter("lr", "float", low=1e-4, high=1.0, log=True)
        >>> [rate.value(u) for u in (0.0, 0.25, 0.5)]
        [0.0001, 0.001, 0.01]
        >>> [Parameter("layers", "int", low=1, high=4).value(u) for u in (0.0, 0.24, 0.25, 0.99)]
        [1, 1, 2, 4]
        """
        if self.choices:
            return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]
        # A whole number n stands for [n - 1/2, n + 1/2): then the ends are as likely as the rest.
        half = 0.5 if self.kind == "int" else 0.0
        low, high = self.low - half, self.high + half
        if self.log:
            x = low * (high / low) ** u
        else:
            x = low + u * (high - low)
        inside = min(max(round(x) if half else x, self.low), self.high)  # rounding must not leave the range
        return int(inside) if half else float(inside)

    def active(self, settings: Mapping[str, Value]) -> bool:
        """Whether this hyper-parameter exists beside these values of the earlier ones."""
        return all(name in settings and settings[name] in values for name, values in self.when.items())

    def as_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind}
        if self.choices:
            data["choices"] = list(self.choices)
        else:
            data |= {"low": self.low, "high": self.high, "log": self.log}
        return data | ({"when": {name: list(values) for name, values in self.when.items()}} if self.when else {})


@dataclass(frozen=True)
class Space:
    """What SPACE.toml says."""

    function: str  # "module:function"
    parameters: tuple[Parameter, ...]
    better: str = "lower"
    trials: int = 128
    sampler: str = "random"
    seed: int = 0
    repeats: int = 0  # so many settings run a second time with another seed: the noise of one run
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, draws: Mapping[str, float]) -> dict[str, Value]:
        """The hyper-parameters that exist at these uniform draws, one per name, with their values."""
        found: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.active(found):
                found[parameter.name] = parameter.value(draws[parameter.name])
        return found

    def as_data(self) -> dict[str, Any]:
        """What decides every trial: two spaces with equal data share their trials. How many is not part of it."""
        return {
            "function": self.function,
            "better": self.better,
            "sampler": self.sampler,
            "seed": self.seed,
            "fixed": json.loads(json.dumps(dict(self.fixed), default=str)),  # TOML has dates, JSON has none
            "seeded": self.repeats > 0,  # the function then gets one entry more
            "parameters": {parameter.name: parameter.as_data() for parameter in self.parameters},
        }


def read(path: Path) -> Space:
    """The space of a file. Raises `InputError` with the place and the reason if it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise _unusable(str(path), str(got), "a TOML file", "check the path, or see `sm3 tune --help`") from error
    return parse(text, str(path))


def parse(text: str, source: str = "SPACE.toml") -> Space:
    """The space in a text.

    >>> space = parse('function = "my_job:score"\\n[parameters]\\nlr = { kind = "float", low = 0.1, high = 0.4 }')
    >>> space.settings({"lr": 0.5})
    {'lr': 0.25}
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unusable(source, str(error), "TOML, see https://toml.io", "correct the line that is named") from error
    _known_keys(source, "the file", table, TOP_KEYS)
    entries = _typed(source, table, "parameters", dict, None, "a table with one line per hyper-parameter")
    if not entries:
        do = 'add for example lr = { kind = "float", low = 1e-4, high = 1e-1, log = true }'
        raise _unusable(source, "[parameters] is empty", "at least one hyper-parameter", do)
    parameters: list[Parameter] = []
    for name, entry in entries.items():
        parameters.append(_parameter(source, name, entry, parameters))
    fixed = _typed(source, table, "fixed", dict, {}, "a table")
    repeats = _whole(source, table, "repeats", 0, least=0)
    space = Space(
        function=_function(source, table),
        parameters=tuple(parameters),
        better=_word(source, table, "better", ("lower", "higher")),
        trials=_whole(source, table, "trials", 128, least=1),
        sampler=_word(source, table, "sampler", ("random", "sobol")),
        seed=_whole(source, table, "seed", 0, least=0, most=2**31 - 1),
        repeats=repeats,
        fixed=fixed,
    )
    _refuse_names_used_twice(source, space)
    return space


def _parameter(source: str, name: str, entry: Any, earlier: list[Parameter]) -> Parameter:
    where = f"parameters.{name}"
    if not isinstance(entry, dict):
        do = f'write {name} = {{ kind = "float", low = 0.0, high = 1.0 }}'
        raise _unusable(source, f"{where} = {entry!r}", "a table with a kind", do)
    kind: Any = entry.get("kind")
    if kind not in KEYS_OF_KIND:
        kinds = ", ".join(map(repr, KEYS_OF_KIND))
        raise _unusable(source, f"{where}.kind = {kind!r}", kinds, "name the kind of this hyper-parameter")
    _known_keys(source, where, entry, KEYS_OF_KIND[kind])
    when = _when(source, where, entry.get("when", {}), earlier)
    if kind == "bool":
        return Parameter(name, "bool", choices=(False, True), when=when)
    if kind == "categorical":
        return Parameter(name, "categorical", choices=_choices(source, where, entry.get("choices")), when=when)
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise _unusable(source, f"{where}.log = {log!r}", "true or false", "write log = true")
    low, high = (_bound(source, where, entry, key, whole=kind == "int") for key in ("low", "high"))
    if not low < high:
        do = "exchange them, or move a value that is not varied to [fixed]"
        raise _unusable(source, f"{where}: low = {low:g}, high = {high:g}", "low < high", do)
    if log and low <= 0:
        do = "raise low, or leave log out"
        raise _unusable(source, f"{where}: low = {low:g} with log = true", "low > 0: zero has no logarithm", do)
    return Parameter(name, kind, low=low, high=high, log=log, when=when)


def _bound(source: str, where: str, entry: Mapping[str, Any], key: str, *, whole: bool) -> float:
    value: Any = entry.get(key)
    right = isinstance(value, int) or (isinstance(value, float) and not whole and math.isfinite(value))
    if not right or isinstance(value, bool) or abs(value) > 2**53:
        accepted = f"a {'whole' if whole else 'finite'} number, at most 2^53 in size"
        got = f"{where}.{key} = {value!r}" if key in entry else f"{where} without {key}"
        raise _unusable(source, got, accepted, f"write both low and high of {where.partition('.')[2]}")
    return int(value) if whole else float(value)


def _choices(source: str, where: str, choices: Any) -> tuple[Value, ...]:
    right = isinstance(choices, list) and all(isinstance(choice, bool | int | float | str) for choice in choices)
    # 1, 1.0 and true are equal in Python, and Optuna looks a choice up by equality
    if not right or len(choices) < 2 or len(set(choices)) < len(choices):
        accepted = "a list of two or more different strings, numbers or truth values"
        do = 'write choices = ["a", "b"]; a value that is not varied belongs to [fixed]'
        raise _unusable(source, f"{where}.choices = {choices!r}", accepted, do)
    return tuple(choices)


def _when(source: str, where: str, when: Any, earlier: list[Parameter]) -> dict[str, tuple[Value, ...]]:
    known = {parameter.name: parameter.choices for parameter in earlier if parameter.choices}
    found: dict[str, tuple[Value, ...]] = {}
    for name, values in when.items() if isinstance(when, dict) else [("", None)]:
        listed: list[Any] = values if isinstance(values, list) else [values]
        if name not in known or not listed or any(value not in known[name] for value in listed):
            accepted = "earlier categorical or bool hyper-parameters, each with some of its values"
            raise _unusable(source, f"{where}.when = {when!r}", accepted, 'write for example when = { norm = ["rms"] }')
        found[name] = tuple(listed)
    return found


def _function(source: str, table: Mapping[str, Any]) -> str:
    name = table.get("function")
    if not isinstance(name, str) or not all(name.partition(":")):
        do = "for example my_job:score, where my_job.py is in the current folder"
        raise _unusable(source, f"function = {name!r}", '"module:function"', do)
    return name


def _refuse_names_used_twice(source: str, space: Space) -> None:
    taken = {parameter.name for parameter in space.parameters} & set(space.fixed)
    taken |= {"seed"} & ({parameter.name for parameter in space.parameters} if space.repeats else set())
    if taken:
        do = "`repeats` hands the function a seed of its own" if "seed" in taken else "keep one of the two"
        raise _unusable(source, f"{sorted(taken)} named twice", "every name once in [fixed] and [parameters]", do)


def _known_keys(source: str, where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            do = f"did you mean {close[0]!r}?" if close else "remove it"
            raise _unusable(source, f"{key!r} in {where}", ", ".join(known), do)


def _typed(source: str, table: Mapping[str, Any], key: str, kind: type, default: Any, accepted: str) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        raise _unusable(source, f"{key} = {value!r}", accepted, f"write a [{key}] section")
    return value


def _word(source: str, table: Mapping[str, Any], key: str, words: tuple[str, ...]) -> str:
    value = table.get(key, words[0])
    if value not in words:
        raise _unusable(source, f"{key} = {value!r}", " or ".join(map(repr, words)), f'write {key} = "{words[0]}"')
    return str(value)


def _whole(
    source: str, table: Mapping[str, Any], key: str, default: int, *, least: int, most: int = MOST_TRIALS
) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _unusable(source, f"{key} = {value!r}", f"an integer from {least} to {most}", f"write {key} = {default}")
    return value


def _unusable(source: str, got: str, accepted: str, do: str) -> InputError:
    return InputError(explain(f"{source} is not a space to search.", got=got, accepted=accepted, do=do))
