"""Where a conversion reads from: a live optimizer, its state dict, or a file of one, as one list of groups.

Nothing is copied and nothing is judged but the form: which parameters there are, what belongs to each, and by whom it
was saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sm3.errors import CheckpointError, ParameterError, SettingTypeError, StateMismatchError, explain
from sm3.optim.torch.state_dict import bare_name

# A state dict does not say its class; the state of one parameter does.
_KIND_OF_STATE = {"exp_avg_sq": "AdamW", "sum": "Adagrad", "v_row": "SMMF", "accumulator_0": "SM3"}


@dataclass(frozen=True)
class Entry:
    """One parameter: what the new optimizer trains, and the old state of it."""

    name: str | None
    param: Tensor
    state: Mapping[str, Any]  # empty: never stepped


@dataclass(frozen=True)
class Group:
    """One parameter group of the old optimizer; `settings` are its own, without parameters."""

    settings: Mapping[str, Any]
    entries: tuple[Entry, ...]


def read(source: Any, params: Iterable[Any] | None) -> tuple[str, list[Group]]:
    """The kind of optimizer ("AdamW", "Adagrad", "SMMF") and its groups.

    Raises `SettingTypeError` for something else, `StateMismatchError` where `params` are other parameters,
    `CheckpointError` for a file that cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        source = _from_file(Path(source))
    if isinstance(source, torch.optim.Optimizer):
        groups = source.param_groups
        held: dict[Any, Any] = dict(source.state)
        kind = _kind_of_object(source)
    elif isinstance(source, Mapping) and _is_state_dict(source):
        groups, held = list(source["param_groups"]), dict(source["state"])
        kind = _kind_of_state(held, groups)
        if params is None:
            raise SettingTypeError(
                explain(
                    "a state dict has no parameters.",
                    got="params=None",
                    accepted="the parameters it belongs to",
                    do="pass params=model.named_parameters(), in the order the old optimizer had them or with names",
                )
            )
    else:
        raise SettingTypeError(
            explain(
                "the source of the conversion is not understood.",
                got=f"a {type(source).__name__}",
                accepted="an optimizer, its state dict, or the path of a file written by torch.save with one in it",
                do="pass the optimizer itself, or optimizer.state_dict() and params=model.named_parameters()",
            )
        )
    found = _matched(groups, None if params is None else _named(params))
    return kind, [
        Group(
            {key: value for key, value in group.items() if key not in ("params", "param_names")},
            tuple(Entry(name, param, held.get(key, {})) for key, name, param in entries),
        )
        for group, entries in zip(groups, found, strict=True)
    ]


def _kind_of_object(source: torch.optim.Optimizer) -> str:
    for base, kind in ((torch.optim.Adam, "AdamW"), (torch.optim.Adagrad, "Adagrad")):
        if isinstance(source, base):
            return kind
    return str(source.param_groups[0].get("optimizer", type(source).__name__))


def _kind_of_state(held: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]]) -> str:
    if groups and "optimizer" in groups[0]:
        return str(groups[0]["optimizer"])
    for state in held.values():
        for key, kind in _KIND_OF_STATE.items():
            if key in state:
                return kind
    return (
        "AdamW" if groups and "betas" in groups[0] else "Adagrad" if groups and "lr_decay" in groups[0] else "unknown"
    )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def _from_file(path: Path) -> Mapping[str, Any]:
    """The one state dict in a file of torch.save, at its top or under a key. Nothing in the file is executed."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen kinds for damaged files
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if _is_state_dict(content):
        found: Mapping[str, Any] = content
        return found
    inside: dict[str, Any] = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    states = [key for key, value in inside.items() if _is_state_dict(value)]
    if len(states) != 1:
        got = f"state dicts of optimizers under {states}" if states else f"none, keys {sorted(inside)[:6]}"
        raise _unreadable(path, got)
    only: Mapping[str, Any] = inside.pop(states[0])
    return only


def _unreadable(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        explain(
            f"{path} holds no state dict to convert.",
            got=got,
            accepted="a file of torch.save with one optimizer's state dict, at its top or under one key",
            do="load it yourself and pass the state dict",
        )
    )


def _named(params: Iterable[Any]) -> list[tuple[str | None, Tensor]]:
    """Parameters with their names where they were given."""
    named = [(p[0], p[1]) if isinstance(p, tuple) else (None, p) for p in params]
    wrong = next((param for _, param in named if not isinstance(param, Tensor)), None)
    if wrong is not None:
        raise ParameterError(
            explain(
                "params are not parameters.",
                got=f"a {type(wrong).__name__}",
                accepted="tensors, or (name, tensor) pairs; one flat list, also where there are several groups",
                do="pass params=model.named_parameters()",
            )
        )
    return named


_Place = tuple[Any, str | None, Tensor]  # key of the state, name, parameter


def _matched(groups: Sequence[Mapping[str, Any]], params: list[tuple[str | None, Tensor]] | None) -> list[list[_Place]]:
    """For each group, each parameter's state key, name and tensor: by name where both sides have it, else in order."""
    keys = [key for group in groups for key in group["params"]]
    names = [name for group in groups for name in _names(group)]
    if params is None:
        params = list(zip(names, keys, strict=True))
    elif all(name is not None for name in names) and all(name is not None for name, _ in params):
        params = _by_name([str(name) for name in names], params)
    else:
        params = params if len(params) == len(keys) else [pair for pair in params if pair[1].requires_grad]
    if len(params) != len(keys):
        raise _other_model(f"{len(params)} parameters", f"{len(keys)}, as the old optimizer had")
    places = iter(zip(keys, params, strict=True))
    return [[(key, name, param) for key, (name, param) in (next(places) for _ in group["params"])] for group in groups]


def _names(group: Mapping[str, Any]) -> Sequence[str | None]:
    if "param_names" in group:
        names: Sequence[str | None] = group["param_names"]
        return names
    # torch.distributed.checkpoint writes names where others write numbers.
    return [key if isinstance(key, str) else None for key in group["params"]]


def _by_name(names: Sequence[str], params: list[tuple[str | None, Tensor]]) -> list[tuple[str | None, Tensor]]:
    ours = {bare_name(str(name)): (name, param) for name, param in params}
    theirs = {bare_name(name) for name in names}
    missing = [name for name in names if bare_name(name) not in ours]
    extra = [name for name, (_, param) in ours.items() if name not in theirs and param.requires_grad]
    if missing or extra or len(theirs) != len(names):
        got = f"missing {missing[:3]}, unknown {extra[:3]}; {len(params)} parameters for {len(names)}"
        raise _other_model(got, "the names the old optimizer had, each once, in any order; frozen ones may be more")
    return [ours[bare_name(name)] for name in names]


def _other_model(got: str, accepted: str) -> StateMismatchError:
    return StateMismatchError(
        explain(
            "the parameters are not those of the old optimizer.",
            got=got,
            accepted=accepted,
            do="pass those of the same model, model.named_parameters() for example",
        )
    )
