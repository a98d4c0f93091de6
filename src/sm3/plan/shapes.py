"""A parameter as data, and lists of them from Python or JSON. No tensor is made, no weight is read.

A shape list is one of
    {"head.weight": [1000, 2048], "head.bias": [1000]}
    [[1000, 2048], [1000]]
and where a dtype or a frozen parameter is to be told, an object stands in place of a shape:
    {"shape": [1000, 2048], "dtype": "bfloat16", "trainable": false}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from sm3.errors import InputError, SettingError, explain
from sm3.optim.rules.storage import PARAMETER_DTYPES

# Bytes per element of anything a model may hold; only PARAMETER_DTYPES can be trained.
WEIGHT_BYTES = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "complex64": 8,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
# Sizes and strides of a tensor are int64: what is larger cannot exist, so it is a mistake in the list.
LARGEST_NUMEL = 2**63 - 1
_FORMS = (
    '{"name": [3072, 768], ...} or [[3072, 768], ...]; {"shape": [...], "dtype": ..., "trainable": ...} for a shape'
)


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a model: what decides its bytes.

    >>> ParameterSpec("head.weight", (1000, 2048), "bfloat16").weight_bytes
    4096000
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"  # a key of WEIGHT_BYTES
    trainable: bool = True  # False: frozen, it has neither gradient nor state

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.name, self.shape))
        if self.dtype not in WEIGHT_BYTES:
            raise InputError(
                explain(
                    f"the dtype of parameter {self.name!r} is not known.",
                    got=repr(self.dtype),
                    accepted=", ".join(WEIGHT_BYTES),
                    do="name the dtype as PyTorch does, without 'torch.'",
                )
            )

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def weight_bytes(self) -> int:
        return self.numel * WEIGHT_BYTES[self.dtype]


def with_dtype(specs: Iterable[ParameterSpec], dtype: str) -> tuple[ParameterSpec, ...]:
    """The same parameters, every floating one in this dtype; integers and booleans stay as they are."""
    if dtype not in PARAMETER_DTYPES:
        raise SettingError(
            explain(
                "dtype is not accepted.",
                got=f"dtype={dtype!r}",
                accepted=", ".join(PARAMETER_DTYPES),
                do="pass for example dtype='bfloat16'",
            )
        )
    return tuple(replace(spec, dtype=dtype) if "float" in spec.dtype else spec for spec in specs)


def from_list(shapes: Mapping[str, Any] | Sequence[Any], source: str = "the shape list") -> tuple[ParameterSpec, ...]:
    """Parameters of a shape list as described on top of this file; `source` is named in errors.

    >>> from_list([[3072, 768], {"shape": [768], "dtype": "bfloat16"}])[1]
    ParameterSpec(name='1', shape=(768,), dtype='bfloat16', trainable=True)
    """
    entries: list[tuple[Any, Any]]
    if isinstance(shapes, Mapping):
        entries = list(shapes.items())
    elif isinstance(shapes, list | tuple):
        entries = [(str(index), entry) for index, entry in enumerate(shapes)]
    else:
        raise _refuse(source, "is neither an object nor a list.", repr(shapes)[:80], _FORMS)
    if not entries:
        raise _refuse(source, "holds no parameters.", repr(shapes), _FORMS)
    specs = tuple(_spec(source, name, entry) for name, entry in entries)
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _refuse(source, "names a parameter twice.", repr(twice), "each name once; a tied weight is one parameter")
    return specs


def from_json(path: str | Path) -> tuple[ParameterSpec, ...]:
    """Parameters of a JSON file that holds a shape list. Raises `InputError` on any damage, naming what it met."""
    return from_list(read_json(path), str(path))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; an object that has one key twice is refused, for one of the two would be lost."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_each_key_once)
    except OSError as error:
        raise _refuse(
            path, "cannot be read.", error.strerror or repr(error), "a JSON file with a shape list"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _refuse(path, "is not JSON.", str(error) or repr(error), _FORMS) from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return content


def _spec(source: object, name: Any, entry: Any) -> ParameterSpec:
    if isinstance(entry, ParameterSpec):
        return entry
    if not isinstance(name, str):
        raise _refuse(source, "has a name that is not text.", repr(name), _FORMS)
    if not isinstance(entry, Mapping):
        return ParameterSpec(name, _shape(name, entry, source))
    unknown = sorted(set(entry) - {"name", "shape", "dtype", "trainable"})
    if unknown or "shape" not in entry:
        got = f"unknown key {unknown[0]!r}" if unknown else f"no key 'shape' in {sorted(entry)}"
        raise _refuse(source, f"cannot be understood at parameter {name!r}.", got, "name, shape, dtype, trainable")
    named, trainable, dtype = entry.get("name", name), entry.get("trainable", True), entry.get("dtype", "float32")
    if not (isinstance(named, str) and isinstance(dtype, str) and isinstance(trainable, bool)):
        got, accepted = json.dumps(dict(entry), default=repr), "name and dtype as text, trainable as true or false"
        raise _refuse(source, f"cannot be understood at parameter {name!r}.", got, accepted)
    return ParameterSpec(named, _shape(named, entry["shape"], source), dtype, trainable)


def _shape(name: str, shape: Any, source: object = "a parameter") -> tuple[int, ...]:
    """The shape as a tuple of Python ints; () is a scalar, and a dimension of 0 an empty tensor."""
    ok: bool = isinstance(shape, Sequence) and not isinstance(shape, str | bytes)
    ok = ok and all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
    if not ok or prod(shape) > LARGEST_NUMEL:
        accepted = "a list of integers >= 0, such as [3072, 768]; [] is a scalar"
        raise _refuse(source, f"has a shape that cannot be: parameter {name!r}.", repr(shape)[:80], accepted)
    return tuple(shape)


def _refuse(source: object, happened: str, got: str, accepted: str) -> InputError:
    return InputError(
        explain(f"{source} {happened}", got=got, accepted=accepted, do="correct it there, then run again")
    )
