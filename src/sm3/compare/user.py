"""A model of the user instead of ours: `sm3 compare --model module:function`. The contract is one function::

    # my_job.py
    import torch

    def job(seed):
        \"\"\"(model, batches, loss) of one run; everything random in it follows from the seed.\"\"\"
        torch.manual_seed(seed)
        model = torch.nn.Linear(8, 1)
        truth = torch.arange(8.0)

        def batches():
            generator = torch.Generator().manual_seed(seed)
            while True:
                x = torch.randn(32, 8, generator=generator)
                yield x, x @ truth[:, None]

        def loss(model, batch):
            x, y = batch
            return torch.nn.functional.mse_loss(model(x), y)

        return model, batches(), loss

It may also return a mapping, or an object with attributes, of these names: `model`, `batches`, `loss`, and if it likes
`held_out` (a list of batches to measure the loss on) and `unit` (of the loss). Without `held_out` the first batches of
the stream are set aside for that and never trained on.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sm3.compare.task import Start, Task
from sm3.errors import InputError, explain

SET_ASIDE = 8  # batches measured on, where the user names none; chosen
_NAMES = ("model", "batches", "loss", "held_out", "unit")
_CONTRACT = "function(seed) -> (model, batches, loss), see `sm3 compare --help`"


def user_task(name: str) -> Task:
    """The task behind "module:function", tried once before anything is trained.

    Raises `InputError` if it is missing, does not keep the contract, or does not follow its seed.
    """
    function = _find(name)
    first = _start(name, function, 0)
    first_loss = _first_loss(name, first)
    again = _start(name, function, 0)
    if first_loss != _first_loss(name, again) or not _same_weights(first.model, again.model):
        raise _broken(
            name,
            "two calls with the same seed give other weights or another first loss",
            "let the seed alone decide weights and batches (torch.manual_seed(seed) first): all must get the same",
        )
    source = Path(sys.modules[function.__module__].__file__ or "")
    settings = {
        "kind": "user",
        "function": name,
        "source": hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest() if source.is_file() else None,
        "first_loss": first_loss,  # changes with the data, which the source does not show
    }
    return Task(lambda seed: _start(name, function, seed), first.unit, float("inf"), settings)


def _find(name: str) -> Callable[[int], Any]:
    module, _, function = name.partition(":")
    if not module or not function:
        raise _broken(name, "no module and function name", "pass module:function, for example my_job:job")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look into the current folder by itself
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise _broken(name, got, f"check it with: python -c 'import {module}; {module}.{function}'") from error
    if not callable(found):
        raise _broken(name, f"{function} is a {type(found).__name__}", "name a function")
    return found  # type: ignore[no-any-return]


def _start(name: str, function: Callable[[int], Any], seed: int) -> Start:
    """One run's beginning. The usual generators are seeded, so that a function that forgot to is repeatable too."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may draw from the global generator
    torch.manual_seed(seed)
    try:
        parts = _parts(name, function(seed))
    except InputError:
        raise
    except Exception as error:
        raise _broken(name, f"{type(error).__name__}: {error}", "make it run with one argument, the seed") from error
    model, batches, loss = parts["model"], parts["batches"], parts["loss"]  # Any: checked next
    if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
        raise _broken(
            name, f"model: {type(model).__name__}", "model must be a torch.nn.Module with trainable parameters"
        )
    if not isinstance(batches, Iterable):
        raise _broken(
            name, f"batches: {type(batches).__name__}", "batches must be an iterator, for example a generator"
        )
    if not callable(loss):
        raise _broken(name, f"loss: {type(loss).__name__}", "loss must be a function (model, batch) -> scalar tensor")
    stream: Iterator[Any] = iter(batches)
    held_out = parts.get("held_out")
    aside = tuple(itertools.islice(stream, SET_ASIDE)) if held_out is None else tuple(held_out)
    if not aside:
        raise _broken(name, "no batch at all", f"yield at least {SET_ASIDE} batches and one per step")
    return Start(model, stream, aside, loss, str(parts.get("unit", "loss")))


def _parts(name: str, returned: Any) -> dict[str, Any]:
    """A tuple, a mapping or an object with attributes, as names and values."""
    if isinstance(returned, tuple) and not hasattr(returned, "_fields"):
        parts = dict(zip(_NAMES, returned, strict=False)) if 3 <= len(returned) <= len(_NAMES) else {}
    elif isinstance(returned, Mapping):
        parts = {key: returned[key] for key in _NAMES if key in returned}
    else:
        parts = {key: getattr(returned, key) for key in _NAMES if hasattr(returned, key)}
    if not {"model", "batches", "loss"} <= parts.keys():
        size = f" of {len(returned)}" if isinstance(returned, tuple) else ""
        raise _broken(name, f"a {type(returned).__name__}{size}", "return model, batches, loss")
    return parts


def _first_loss(name: str, start: Start) -> float:
    """The loss of the first held-out batch, with a gradient behind it."""
    try:
        loss: Any = start.loss(start.model, start.held_out[0])
    except Exception as error:
        raise _broken(
            name, f"loss: {type(error).__name__}: {error}", "make loss(model, batch) run on a batch"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
        raise _broken(name, f"loss gave a {type(loss).__name__}{shape}", "return one scalar tensor that has a gradient")
    return float(loss.detach())


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def _broken(name: str, got: str, do: str) -> InputError:
    return InputError(explain(f"{name} cannot be trained.", got=got, accepted=_CONTRACT, do=do))
