"""Save and load an optimizer: one safetensors file, a digest per tensor, written aside and renamed.

safetensors finds a truncated file but not a changed byte, and so does PyTorch's own format. Here every tensor's name,
dtype, shape and bytes are digested with BLAKE2b, and so are the settings: any flipped bit is a `CheckpointError`.
The new file replaces the old one only when it is complete on the disk.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sm3.errors import CheckpointError, explain
from sm3.optim.torch.boxes import is_sharded
from sm3.optim.torch.loop import RuleOptimizer

# Version of the file's layout. 1: first release.
FILE_VERSION = 1
_KEY = "sm3"


def save(optimizer: RuleOptimizer, path: str | os.PathLike[str]) -> None:
    """Write the optimizer's settings and state to `path`, replacing a file there only once the new one is complete.

    Disk space: `optimizer.state_bytes()` and a header of a few hundred bytes per tensor. Memory: nothing besides the
    copy that a tensor on another device needs to reach the CPU. Raises `CheckpointError` when it cannot be written;
    the old file is then intact and nothing is left behind.

    >>> import tempfile, torch
    >>> from sm3 import SMMF
    >>> from sm3.optim.torch import load, save
    >>> weight = torch.nn.Parameter(torch.ones(64, 64))
    >>> optimizer = SMMF([weight], lr=3e-3)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(optimizer, folder + "/optimizer.safetensors")
    ...     resumed = SMMF([weight])
    ...     load(resumed, folder + "/optimizer.safetensors")
    >>> resumed.param_groups[0]["lr"], int(resumed.state[weight]["step"])
    (0.003, 1)
    """
    if any(is_sharded(param) for group in optimizer.param_groups for param in group["params"]):
        raise CheckpointError(
            explain(
                "one file cannot hold an optimizer whose state is spread over ranks.",
                got="an optimizer of sharded parameters (DTensors)",
                accepted="parameters that this process holds whole",
                do="save with torch.distributed.checkpoint (docs/guide/many-ranks); `load` reads one file into any",
            )
        )
    target = Path(path).resolve()  # through a symbolic link, to the file it points to
    snapshot = super(RuleOptimizer, optimizer).state_dict()  # without copies: written at once
    tensors = {
        f"state.{index}.{name}": tensor.detach().cpu().contiguous()
        for index, entry in snapshot["state"].items()
        for name, tensor in entry.items()
    }
    groups = [_encode_group(number, group, tensors) for number, group in enumerate(snapshot["param_groups"])]
    digests = {name: _digest(name, tensor) for name, tensor in tensors.items()}
    header = json.dumps({"version": FILE_VERSION, "param_groups": groups, "digests": digests}, allow_nan=True)
    metadata = {_KEY: header, "digest": blake2b(header.encode(), digest_size=16).hexdigest()}
    try:
        _write_aside_and_rename(target, tensors, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            explain(
                "the checkpoint could not be written; a file that was there before is intact.",
                got=f"{target}: {error}",
                accepted="a path in an existing folder that can be written, on a disk with room",
                do="choose another path, or make room, and save again",
            )
        ) from error


def load(optimizer: RuleOptimizer, path: str | os.PathLike[str]) -> None:
    """Read a file written by `save` into the optimizer, bit for bit.

    Every digest is checked before the optimizer is touched. Raises `CheckpointError` for a missing, foreign, truncated
    or altered file, `StateMismatchError` for one that belongs to another optimizer or model.
    """
    target = Path(path)
    try:
        with safetensors.safe_open(target, framework="pt") as file:
            header = _verified_header(target, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, safetensors.SafetensorError, UnicodeDecodeError) as error:
        size = f"{target.stat().st_size} bytes" if target.is_file() else "no file"
        raise _damaged(target, f"{size}: {error}") from error
    if set(tensors) != set(header["digests"]):
        raise _damaged(target, f"tensors {sorted(set(tensors) ^ set(header['digests']))[:3]} missing or unknown")
    for name, tensor in tensors.items():
        if _digest(name, tensor) != header["digests"][name]:
            raise _damaged(target, f"the digest of {name} differs")
    groups = [_decode_group(group, tensors) for group in header["param_groups"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        index, _, key = rest.partition(".")
        if kind == "state":
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _digest(name: str, tensor: Tensor) -> str:
    described = f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
    digest = blake2b(described, digest_size=16)
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _verified_header(target: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The settings and digests of the file, if they are as they were written."""
    if not metadata or _KEY not in metadata or "digest" not in metadata:
        raise _damaged(target, "a safetensors file without sm3's header")
    if blake2b(metadata[_KEY].encode(), digest_size=16).hexdigest() != metadata["digest"]:
        raise _damaged(target, "the digest of the header differs")
    header: dict[str, Any] = json.loads(metadata[_KEY])
    if header["version"] > FILE_VERSION:
        raise CheckpointError(
            explain(
                f"{target} was written by a newer sm3.",
                got=f"file version {header['version']}",
                accepted=f"versions up to {FILE_VERSION}",
                do="upgrade sm3",
            )
        )
    return header


def _encode_group(number: int, group: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A group as JSON; tensors (a learning rate) go to the file's tensors, tuples are marked, floats repeat exactly."""
    encoded: dict[str, Any] = {}
    for key, value in group.items():
        if isinstance(value, Tensor):
            name = f"group.{number}.{key}"
            tensors[name] = value.detach().cpu().contiguous()
            encoded[key] = {"tensor": name}
            continue
        encoded[key] = {"tuple": list(value)} if isinstance(value, tuple) else value
        try:
            json.dumps(encoded[key])
        except TypeError as error:
            raise CheckpointError(
                explain(
                    f"the setting {key!r} of group {number} cannot be saved.",
                    got=f"a {type(value).__name__}",
                    accepted="numbers, strings, None, tensors, and lists, tuples or dicts of numbers and strings",
                    do="remove it from the parameter group before saving",
                )
            ) from error
    return encoded


def _decode_group(group: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for key, value in group.items():
        if isinstance(value, dict) and set(value) == {"tensor"}:
            decoded[key] = tensors[value["tensor"]]
        elif isinstance(value, dict) and set(value) == {"tuple"}:
            decoded[key] = tuple(value["tuple"])
        else:
            decoded[key] = value
    return decoded


def _write_aside_and_rename(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Temporary file in the same folder, flushed to the disk, then renamed over the target."""
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder")
    aside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        safetensors.torch.save_file(tensors, aside, metadata)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, aside)
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; some systems cannot open a folder, and have nothing to flush there."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(target: Path, got: str) -> CheckpointError:
    return CheckpointError(
        explain(
            f"{target} is not an intact checkpoint of sm3; the optimizer is unchanged.",
            got=got,
            accepted="a file written by sm3.optim.torch.save, byte for byte",
            do="load an earlier checkpoint, or copy the file again from where it was saved",
        )
    )
