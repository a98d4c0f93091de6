"""The state of one parameter: allocated as the rule declares it, and held against the declaration afterwards."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from sm3.errors import StateMismatchError, explain
from sm3.optim.rules import Rule, StateTensor
from sm3.optim.rules.storage import BYTES_PER_ELEMENT
from sm3.optim.torch import inputs
from sm3.optim.torch.boxes import Box, distributed


def layout_of(rule: Rule) -> Rule:
    """The rule without its learning rate, which schedulers change at every step and no state depends on.

    Equal rules give the same object, so that `is` compares them.
    """
    return _same_object(replace(rule, lr=0.0))


@lru_cache(maxsize=256)
def _same_object(rule: Rule) -> Rule:
    return rule


def declared_for(param: Tensor, layout: Rule) -> tuple[StateTensor, ...]:
    """The state tensors of a parameter, in global terms."""
    return _declared(layout, tuple(param.shape), inputs.dtype_name(param))


@lru_cache(maxsize=4096)
def _declared(rule: Rule, shape: tuple[int, ...], dtype: str) -> tuple[StateTensor, ...]:
    return rule.state(shape, dtype)


def place_of(declared: StateTensor, param: Tensor) -> torch.device:
    """The parameter's device; step counters are on the CPU."""
    return torch.device("cpu") if declared.name == "step" else param.device


def complete_(state: dict[str, Tensor], param: Tensor, layout: Rule, box: Box | None) -> dict[str, Tensor]:
    """Allocate what is missing, as zeros; refuse what has another shape than declared; move what lies elsewhere."""
    for declared in declared_for(param, layout):
        tensor, device = state.get(declared.name), place_of(declared, param)
        if tensor is None:
            state[declared.name] = _zeros(declared, device, box)
        elif tuple(tensor.shape) != declared.shape:
            raise _changed_shape(param, declared, tensor)
        elif tensor.device != device:
            state[declared.name] = tensor.to(device)
    return state


def _zeros(declared: StateTensor, device: torch.device, box: Box | None) -> Tensor:
    dtype = getattr(torch, declared.dtype)
    if box is None or not declared.shape:  # counters are the same on every rank, and no DTensors in PyTorch's own, too
        return torch.zeros(declared.shape, dtype=dtype, device=device)
    return distributed(torch.zeros(box.lengths_of(declared), dtype=dtype, device=device), box, declared)


def bytes_here(param: Tensor, rule: Rule, box: Box | None) -> int:
    """Bytes of a parameter's state on this rank."""
    declared = rule.state(tuple(param.shape), inputs.dtype_name(param))
    if box is None:
        return sum(tensor.nbytes for tensor in declared)
    return sum(prod(box.lengths_of(tensor)) * BYTES_PER_ELEMENT[tensor.dtype] for tensor in declared)


def _changed_shape(param: Tensor, declared: StateTensor, tensor: Tensor) -> StateMismatchError:
    return StateMismatchError(
        explain(
            f"the state {declared.name!r} does not fit its parameter of shape {tuple(param.shape)}.",
            got=f"shape {tuple(tensor.shape)}",
            accepted=f"shape {declared.shape}",
            do="a parameter was resized, or `published` changed, after its first step: build a new optimizer",
        )
    )
