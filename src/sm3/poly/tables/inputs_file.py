"""inputs.toml: the distribution of each input, one table for each, in the order of the inputs.

    [speed]                          | distribution   keys (with their default)                        in scipy.stats
    distribution = "uniform"         | auto           the range of the data
    lo = 10                          | uniform        lo, hi                                           uniform
    hi = 30                          | log_uniform    lo, hi                                           loguniform
                                     | triangular     lo, mode, hi                                     triang
    [load]                           | normal         mean, std                                        norm
    distribution = "normal"          | lognormal      median, log_std (of the natural logarithm)       lognorm
    mean = 5.0                       | beta           a, b, lo (0), hi (1)                             beta
    std = 0.2                        | gamma          shape, scale (1), lo (0)                         gamma
                                     | integer        lo, hi, both included, all equally likely        -
    [steel]                          | categorical    values, probabilities (all alike)                -
    distribution = "categorical"
    values = ["S235", "S355"]

An unknown key is an error, told with its line. Inputs are independent of each other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sm3.errors import InputError, SettingError, Sm3Error, explain
from sm3.poly.basis.density import Discrete
from sm3.poly.inputs.one_input import Categorical, input_of
from sm3.poly.tables.text_file import read_text

REQUIRED = object()  # the value of a key that has no default


def _triangular(lo: float, mode: float, hi: float) -> Any:
    return stats.triang((mode - lo) / (hi - lo) if hi > lo else np.nan, loc=lo, scale=hi - lo)


def _integers(lo: float, hi: float) -> Any:
    if lo != int(lo) or hi != int(hi) or not lo < hi <= lo + 10_000:
        raise SettingError(
            explain(
                "lo and hi are no range of integers.",
                got=f"{lo} to {hi}",
                accepted="integers, lo < hi <= lo + 10000",
                do="take uniform for a longer range",
            )
        )
    return Discrete(np.arange(int(lo), int(hi) + 1.0), np.full(int(hi - lo) + 1, 1.0 / (hi - lo + 1)))


# distribution -> its keys with their defaults, and how it is made of them
DISTRIBUTIONS: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "auto": ({}, lambda: "auto"),
    "uniform": ({"lo": REQUIRED, "hi": REQUIRED}, lambda lo, hi: (lo, hi)),
    "log_uniform": ({"lo": REQUIRED, "hi": REQUIRED}, lambda lo, hi: stats.loguniform(lo, hi)),
    "triangular": ({"lo": REQUIRED, "mode": REQUIRED, "hi": REQUIRED}, _triangular),
    "normal": ({"mean": REQUIRED, "std": REQUIRED}, lambda mean, std: stats.norm(mean, std)),
    "lognormal": (
        {"median": REQUIRED, "log_std": REQUIRED},
        lambda median, log_std: stats.lognorm(s=log_std, scale=median),
    ),
    "beta": (
        {"a": REQUIRED, "b": REQUIRED, "lo": 0.0, "hi": 1.0},
        lambda a, b, lo, hi: stats.beta(a, b, loc=lo, scale=hi - lo),
    ),
    "gamma": (
        {"shape": REQUIRED, "scale": 1.0, "lo": 0.0},
        lambda shape, scale, lo: stats.gamma(shape, loc=lo, scale=scale),
    ),
    "integer": ({"lo": REQUIRED, "hi": REQUIRED}, _integers),
    "categorical": (
        {"values": REQUIRED, "probabilities": None},
        lambda values, probabilities: Categorical(values, probabilities),
    ),
}
LISTS = ("values", "probabilities")


def read_inputs(path: str | Path) -> dict[str, Any]:
    """Name -> distribution, as `PolynomialRegressor(inputs=...)` takes it, in the order of the file.

    Raises `InputError` for a file that is no TOML, an unknown or missing key, or parameters that no distribution of the
    kind has; with the line where it can be told.
    """
    source, text = read_text(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            explain(
                f"{source} is not TOML.",
                got=str(error),
                accepted='[name of an input], then lines such as distribution = "uniform"; text in double quotes',
                do="correct that line",
            )
        ) from error
    if not tables:
        raise InputError(
            explain(
                f"{source} describes no input.", got="no table", accepted="[name] for each input", do="add the inputs"
            )
        )
    return {name: _distribution(source, text, name, table) for name, table in tables.items()}


def _distribution(source: str, text: str, name: str, table: Any) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(
            explain(
                f"{source}{_line(text, None, name)}: {name!r} is not a table.",
                got=f"{name} = {table!r}"[:120],
                accepted=f"[{name}] on a line of its own, then its distribution",
                do="give each input a table of its own; a key belongs to the table above it",
            )
        )
    kind = table.get("distribution")
    if not isinstance(kind, str) or kind not in DISTRIBUTIONS:
        near = get_close_matches(str(kind), DISTRIBUTIONS, n=1)
        raise InputError(
            explain(
                f"{source}{_line(text, name, 'distribution')}: the distribution of {name!r} is "
                f"{'missing' if kind is None else 'unknown'}.",
                got="no key distribution" if kind is None else repr(kind),
                accepted=", ".join(DISTRIBUTIONS),
                do=f"did you mean {near[0]!r}?" if near else 'write for example distribution = "uniform"',
            )
        )
    keys, make = DISTRIBUTIONS[kind]
    values = _values(source, text, name, kind, keys, table)
    try:
        made = make(**values)
        if not isinstance(made, str):
            input_of(made, name)  # refuses parameters that the distribution cannot have
    except (Sm3Error, ValueError, TypeError, ZeroDivisionError) as error:
        happened = str(error).splitlines()[0]
        raise InputError(
            explain(
                f"{source}{_line(text, None, name)}: {name!r} has parameters that {kind} cannot have. {happened}",
                got=", ".join(f"{key} = {value}" for key, value in values.items()),
                accepted=f"{kind}: {', '.join(keys)}; lo < hi, scales and standard deviations > 0",
                do="correct the numbers",
            )
        ) from error
    return made


def _values(
    source: str, text: str, name: str, kind: str, keys: Mapping[str, Any], table: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of a distribution, each there and a number or a list, and no other key."""
    needed = ", ".join(keys) or "no other key"
    for key, value in table.items():
        wrong = isinstance(value, bool) or not isinstance(value, int | float)
        if key == "distribution" or (key in keys and (isinstance(value, list) if key in LISTS else not wrong)):
            continue
        near = get_close_matches(key, keys, n=1)
        happened = f"{key!r} is no number" if key in keys else f"{kind} has no key {key!r}"
        raise InputError(
            explain(
                f"{source}{_line(text, name, key)}: in [{name}], {happened}.",
                got=f"{key} = {value!r}"[:120],
                accepted=f"distribution, {needed}",
                do=f"did you mean {near[0]}?" if near and near[0] != key else "correct the line or delete it",
            )
        )
    given = {key: table.get(key, default) for key, default in keys.items()}
    if missing := [key for key, value in given.items() if value is REQUIRED]:
        raise InputError(
            explain(
                f"{source}{_line(text, None, name)}: in [{name}], {missing[0]!r} is missing.",
                got=", ".join(table),
                accepted=f"for {kind}: {needed}",
                do=f"add a line {missing[0]} = ...",
            )
        )
    return given


def _line(text: str, table: str | None, key: str) -> str:
    """', line n' of a key in a table, or of a table itself; nothing where it is written in an unusual way."""
    inside = table is None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r'\s*\[\s*"?(.*?)"?\s*\]', line)
        if header:
            if table is None and header[1] == key:
                return f", line {number}"
            inside = header[1] == table
        elif inside and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
            return f", line {number}"
    return ""
