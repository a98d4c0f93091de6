"""Names, shapes and dtypes of a safetensors file, from its header alone; the weights are not read.

The format: 8 bytes little-endian length, then that many bytes of JSON, {"name": {"dtype", "shape", "data_offsets"}},
then the data. https://huggingface.co/docs/safetensors (format section); a header has at most 100 MB there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain
from sm3.optim.rules.storage import PARAMETER_DTYPES
from sm3.plan.shapes import ParameterSpec, read_json

LARGEST_HEADER = 100_000_000  # the library's own limit
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "BF16": "bfloat16",
    "F16": "float16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
# PyTorch's names of a batch norm's statistics: they are in the file, and no optimizer trains them.
_NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")


def from_safetensors(path: str | Path) -> tuple[ParameterSpec, ...]:
    """Parameters of one file. Integers, booleans and a batch norm's statistics count as weights that are not trained.

    Raises `InputError` if the header is damaged. A tied weight is in the file once, as safetensors saves it.
    """
    header = _header(path)
    header.pop("__metadata__", None)
    if not header:
        raise _damaged(path, "a header without tensors")
    return tuple(_spec(path, name, entry) for name, entry in header.items())


def from_index(path: str | Path, index: Any = None) -> tuple[ParameterSpec, ...]:
    """Parameters of a checkpoint in several files, from its `model.safetensors.index.json` beside them."""
    index = read_json(path) if index is None else index
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise _damaged(path, "an index without a 'weight_map' of file names")
    files = sorted(set(weight_map.values()))
    if outside := [file for file in files if Path(file).name != file or not file.endswith(".safetensors")]:
        raise _damaged(path, f"a weight_map that points to {outside[0]!r}, which is no .safetensors file beside it")
    specs = {spec.name: spec for file in files for spec in from_safetensors(Path(path).parent / file)}
    if missing := sorted(set(weight_map) - set(specs)):
        raise _damaged(path, f"{len(missing)} tensors that none of its files has, first {missing[0]!r}")
    return tuple(specs[name] for name in weight_map)


def _header(path: str | Path) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            length = file.read(8)
            size = int.from_bytes(length, "little")
            if len(length) < 8 or not 2 <= size <= LARGEST_HEADER:
                raise _damaged(
                    path, f"a header of {size} bytes" if len(length) == 8 else f"a file of {len(length)} bytes"
                )
            text = file.read(size)
    except OSError as error:
        raise _damaged(path, error.strerror or repr(error)) from error
    if len(text) < size:
        raise _damaged(path, f"a header cut short: {len(text)} of {size} bytes")
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "a header that is not a JSON object")
    return header


def _spec(path: str | Path, name: str, entry: Any) -> ParameterSpec:
    if not (isinstance(entry, dict) and {"dtype", "shape", "data_offsets"} <= set(entry)):
        raise _damaged(path, f"tensor {name!r} without dtype, shape or data_offsets")
    dtype, offsets = _DTYPES.get(str(entry["dtype"])), entry["data_offsets"]
    if dtype is None:
        raise _damaged(path, f"tensor {name!r} of dtype {entry['dtype']!r}; known are {', '.join(_DTYPES)}")
    trainable = dtype in (*PARAMETER_DTYPES, "float8_e4m3fn", "float8_e5m2") and not name.endswith(_NOT_TRAINED)
    spec = ParameterSpec(name, entry["shape"], dtype, trainable)
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)):
        raise _damaged(path, f"tensor {name!r} with data_offsets {offsets!r}")
    if offsets[1] - offsets[0] != spec.weight_bytes:
        raise _damaged(
            path, f"tensor {name!r} with {offsets[1] - offsets[0]} bytes, its shape needs {spec.weight_bytes}"
        )
    return spec


def _damaged(path: str | Path, got: str) -> InputError:
    return InputError(
        explain(
            f"{path} cannot be read as safetensors.",
            got=got,
            accepted="a file written by safetensors.torch.save_file",
            do="fetch or save the file again; a shape list in JSON does as well",
        )
    )
