"""What both rules share: which tensors the library serves, the settings as a C struct, and the call itself.

A table describes a parameter list: one row of 64-bit integers per parameter, addresses and lengths, laid out as the
structs of abi.h. It is filled anew at every step, because a tensor may move between two steps (0.5 microseconds each).
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from sm3.optim.kernels.cpu import library
from sm3.optim.rules import Rule

_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}  # sm3k_dtype of abi.h
# Gradients of the parameter's dtype, or float32 for a 16-bit parameter.
_SERVED = {(dtype, dtype) for dtype in _CODES} | {(torch.bfloat16, torch.float32), (torch.float16, torch.float32)}
# A subclass may keep its numbers anywhere: it is not read by address.
_PLAIN = {Tensor, torch.nn.Parameter}
_INTEGERS = {"step": torch.int64, "kept": torch.int64, "m_sign": torch.uint8}
# Element numbers of stochastic rounding are halved to 32 bits in the library.
_MOST_DRAWN = (1 << 33) - 64

Key = tuple[torch.dtype, torch.dtype]  # of the parameter and of the gradient


@dataclass
class Table:
    """Rows of one key, and which parameters they are."""

    rows: array[int] = field(default_factory=lambda: array("q"))
    params: list[Tensor] = field(default_factory=list)


class Service(Enum):
    """Who steps a parameter."""

    DIRECT = 0  # the library, in place
    COPY = 1  # the library, on contiguous copies of the parameter or of a converted gradient
    EAGER = 2  # the eager kernel


def service(param: Tensor, grad: Tensor, state: Mapping[str, Tensor], rule: Rule) -> Service:
    """Who steps this parameter. State in another form than declared is left to the eager kernel, which follows it."""
    if type(param) not in _PLAIN or type(grad) not in _PLAIN or param.dtype not in _CODES or param.is_neg():
        return Service.EAGER
    number = accumulator(param.dtype)
    for name, tensor in state.items():
        if tensor.dtype is not _INTEGERS.get(name, number) or not tensor.is_contiguous():
            return Service.EAGER
    if rule.rounding == "stochastic" and param.numel() > _MOST_DRAWN:
        return Service.EAGER
    direct = (param.dtype, grad.dtype) in _SERVED and param.is_contiguous() and grad.is_contiguous()
    return Service.DIRECT if direct and not grad.is_neg() else Service.COPY


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of accumulators and factors; gradients of any other dtype are converted to it."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def run(
    step: Callable[..., int],
    tables: Iterable[tuple[Key, Table]],
    width: int,  # integers per row
    hyper: Mapping[str, float],
    rule: Rule,
    grad_scale: float,
) -> None:
    """One call of the library per pair of dtypes."""
    threads = torch.get_num_threads()
    for (param_dtype, grad_dtype), table in tables:
        settings = library.Hyper(
            lr=rule.lr,
            weight_decay=rule.weight_decay,
            grad_scale=grad_scale,
            seed=rule.seed,
            param_dtype=_CODES[param_dtype],
            grad_dtype=_CODES[grad_dtype],
            stochastic=rule.rounding == "stochastic",
            cautious=rule.cautious,
            maximize=rule.maximize,
            **hyper,
        )
        address, length = table.rows.buffer_info()
        result = step(address, length // width, ctypes.byref(settings), threads)
        if result == library.OUT_OF_MEMORY:
            raise MemoryError("the CPU kernels found no memory for their column vectors; no parameter was changed")
        if result < 0:
            raise AssertionError(f"the CPU kernels refused a parameter list (result {result}); please report this")
        _mark_changed(table.params)


def _mark_changed(params: Sequence[Tensor]) -> None:
    """Autograd must know that these were written, or it would use a saved parameter that is no longer what it was."""
    increment_version([param for param in params if not param.is_inference()])


def step_rest(
    rest: Mapping[Service, Sequence[int]],  # positions
    lists: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[dict[str, Tensor]], Sequence[int]],
    rule: Rule,
    native: Callable[..., None],
    eager: Callable[..., None],
    grad_scale: float,
) -> None:
    """What the one call left out. Copies are made and dropped one parameter at a time."""
    params, grads, states, indices = lists
    for i in rest[Service.COPY]:
        param = params[i].detach()
        copy = param.contiguous()
        grad = grads[i].detach().resolve_neg()
        if (param.dtype, grad.dtype) not in _SERVED:
            grad = grad.to(accumulator(param.dtype))
        native([copy], [grad.contiguous()], [states[i]], rule, [indices[i]], grad_scale)
        if copy is not param:
            params[i].copy_(copy)
    for i in rest[Service.EAGER]:
        grad = grads[i] if grad_scale == 1.0 else grads[i].to(accumulator(params[i].dtype)) * grad_scale
        eager([params[i]], [grad], [states[i]], rule, [indices[i]])
