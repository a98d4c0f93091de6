"""What both rules share: which tensors the library serves, the settings as a C struct, and the call itself.

A table describes a parameter list: one row of 64-bit integers per parameter, addresses and lengths, laid out as the
structs of abi.h. A list is looked at column by column, which costs a twentieth of a microsecond per tensor where a loop
in Python costs one. A `Memory` keeps the table from one step to the next; what can change in between, where each tensor
lies above all, is read anew at every step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, is_

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import increment_version

from sm3.optim.kernels.cpu import library
from sm3.optim.rules import Rule

_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}  # sm3k_dtype of abi.h
# Gradients of the parameter's dtype, or float32 for a 16-bit parameter.
SERVED = {(dtype, dtype) for dtype in _CODES} | {(torch.bfloat16, torch.float32), (torch.float16, torch.float32)}
# A subclass may keep its numbers anywhere: it is not read by address.
_PLAIN = {Tensor, torch.nn.Parameter}
# State whose dtype does not follow the parameter's.
_FIXED = {"step": torch.int64, "kept": torch.int64, "m_sign": torch.uint8, "rms": torch.float32}
# Element numbers of stochastic rounding are halved to 32 bits in the library.
_MOST_DRAWN = (1 << 33) - 64

_dtype, _shape, _is_inference = attrgetter("dtype"), attrgetter("shape"), Tensor.is_inference
_address, _is_contiguous, _is_neg, _dim, _numel = (
    Tensor.data_ptr,
    Tensor.is_contiguous,
    Tensor.is_neg,
    Tensor.dim,
    Tensor.numel,
)

Table = NDArray[np.int64]
PARAM, GRAD = range(2)  # the first columns of every table


@dataclass
class Lists:
    """The arguments of a step."""

    params: Sequence[Tensor]
    grads: Sequence[Tensor]
    states: Sequence[dict[str, Tensor]]
    indices: Sequence[int]
    columns: dict[str, list[Tensor]] = field(default_factory=dict)  # state by name, where a parameter has it

    def at(self, positions: Sequence[int]) -> Lists:
        """Some of the parameters."""
        params, grads, states, indices = self.params, self.grads, self.states, self.indices
        return Lists(
            [params[i] for i in positions],
            [grads[i] for i in positions],
            [states[i] for i in positions],
            [indices[i] for i in positions],
        )

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters."""
        return tuple(map(_shape, self.params))


def served_as_one(lists: Lists, rule: Rule) -> bool:
    """Whether the library takes the list as it is, which is the usual case: one pair of dtypes, all contiguous."""
    if not _pairs_served(lists):
        return False
    number = accumulator(lists.params[0].dtype)
    for name, column in lists.columns.items():
        if not set(map(_dtype, column)) <= {_FIXED.get(name, number)} or not all(map(_is_contiguous, column)):
            return False
    return rule.rounding == "nearest" or max(map(_numel, lists.params)) <= _MOST_DRAWN


def _pairs_served(lists: Lists) -> bool:
    """The part of it that concerns parameters and gradients, which may change between two steps."""
    params, grads = lists.params, lists.grads
    kinds = set(map(_dtype, params)), set(map(_dtype, grads))
    return (
        len(kinds[0]) == len(kinds[1]) == 1
        and (*kinds[0], *kinds[1]) in SERVED
        and set(map(type, params)) <= _PLAIN
        and set(map(type, grads)) <= _PLAIN
        and all(map(_is_contiguous, params))
        and all(map(_is_contiguous, grads))
        and not any(map(_is_neg, params))
        and not any(map(_is_neg, grads))
    )


class Memory:
    """The table of the last step: while a kernel sees the same tensors in the same places, only gradients move."""

    def __init__(self) -> None:
        self._table: Table | None = None

    def keep(self, table: Table, lists: Lists, settings: object) -> None:
        """Remember the table of a step that was one call of the library."""
        self._table, self._settings = table, settings
        self._params, self._shapes, self._indices = list(lists.params), lists.shapes(), list(lists.indices)
        self._kinds = lists.params[0].dtype, lists.grads[0].dtype
        self._state = _all_state(lists)
        self._places = addresses(self._state)

    def table(self, lists: Lists, settings: object) -> Table | None:
        """That table with parameters and gradients where they are now, or None if it is no longer the right one.

        `settings`: of the rule, those that a table depends on. The same state tensor in the same place has the dtype
        and the strides it had; parameters may have been given other data, so they are looked at as gradients are.
        """
        if self._table is None or settings != self._settings:
            return None
        state = _all_state(lists)
        if not (_same_objects(lists.params, self._params) and _same_objects(state, self._state)):
            return None
        if not (_pairs_served(lists) and (lists.params[0].dtype, lists.grads[0].dtype) == self._kinds):
            return None
        if lists.shapes() != self._shapes or list(lists.indices) != self._indices:
            return None
        if not np.array_equal(addresses(state), self._places):
            return None
        self._table[:, PARAM] = addresses(lists.params)
        self._table[:, GRAD] = addresses(lists.grads)
        return self._table


def _all_state(lists: Lists) -> list[Tensor]:
    return list(chain.from_iterable(map(dict.values, lists.states)))


def _same_objects(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


DIRECT, COPY, EAGER = range(3)  # who steps a parameter: the library in place, the library on copies, the eager kernel


def who_steps(param: Tensor, grad: Tensor, state: Mapping[str, Tensor], rule: Rule) -> int:
    """For lists of which some are not served. State in another form than declared is left to the eager kernel."""
    if type(param) not in _PLAIN or type(grad) not in _PLAIN or param.dtype not in _CODES or param.is_neg():
        return EAGER
    number = accumulator(param.dtype)
    for name, tensor in state.items():
        if tensor.dtype is not _FIXED.get(name, number) or not tensor.is_contiguous():
            return EAGER
    if rule.rounding == "stochastic" and param.numel() > _MOST_DRAWN:
        return EAGER
    direct = (param.dtype, grad.dtype) in SERVED and param.is_contiguous() and grad.is_contiguous()
    return DIRECT if direct and not grad.is_neg() else COPY


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of accumulators and factors; gradients of any other dtype are converted to it."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def addresses(tensors: Sequence[Tensor]) -> Table:
    """Where the numbers of each tensor lie."""
    return np.fromiter(map(_address, tensors), np.int64, len(tensors))


def step(
    lists: Lists,
    rule: Rule,
    fill_columns: Callable[[Lists], None],
    make_table: Callable[[Lists], Table],
    call: Callable[[Table, Lists], None],  # one call of the library
    native: Callable[..., None],  # this rule's whole step, for copies
    eager: Callable[..., None],
    grad_scale: float,
    *,
    most_dimensions: int,
    memory: Memory | None = None,
    settings: object = None,  # what a table depends on, for the memory
) -> None:
    """Hand each parameter to who can step it: usually one call for all."""
    remembered = memory.table(lists, settings) if memory is not None else None
    if remembered is not None:
        call(remembered, lists)
        return
    if max(map(_dim, lists.params)) <= most_dimensions:
        fill_columns(lists)
        if served_as_one(lists, rule):
            table = make_table(lists)
            call(table, lists)
            if memory is not None:
                memory.keep(table, lists, settings)
            return
    parts: dict[object, list[int]] = {}
    for i, (param, grad, state) in enumerate(zip(lists.params, lists.grads, lists.states, strict=True)):
        who = EAGER if param.dim() > most_dimensions else who_steps(param, grad, state, rule)
        parts.setdefault((param.dtype, grad.dtype) if who == DIRECT else who, []).append(i)
    for kind, positions in parts.items():
        if kind == COPY:
            for i in positions:  # copies are made and dropped one parameter at a time
                _step_copy(lists.at([i]), rule, native, grad_scale)
        elif kind == EAGER:
            part = lists.at(positions)
            if grad_scale != 1.0:
                part.grads = [grad.to(accumulator(grad.dtype)) * grad_scale for grad in part.grads]
            eager(part.params, part.grads, part.states, rule, part.indices)
        else:
            part = lists.at(positions)
            fill_columns(part)
            call(make_table(part), part)


def _step_copy(one: Lists, rule: Rule, native: Callable[..., None], grad_scale: float) -> None:
    """A parameter or gradient that is not contiguous, or a gradient of a dtype to be converted."""
    (original,), (gradient,) = one.params, one.grads
    param, grad = original.detach().contiguous(), gradient.detach().resolve_neg()
    if (param.dtype, grad.dtype) not in SERVED:
        grad = grad.to(accumulator(param.dtype))
    native([param], [grad.contiguous()], one.states, rule, one.indices, grad_scale)
    if not original.is_contiguous():
        original.copy_(param)


def run(
    function: Callable[..., int], table: Table, lists: Lists, rule: Rule, hyper: Mapping[str, float], grad_scale: float
) -> None:
    """One call of the library."""
    settings = library.Hyper(
        lr=rule.lr,
        weight_decay=rule.weight_decay,
        grad_scale=grad_scale,
        update_rms=rule.update_rms or 0.0,
        seed=rule.seed,
        param_dtype=_CODES[lists.params[0].dtype],
        grad_dtype=_CODES[lists.grads[0].dtype],
        stochastic=rule.rounding == "stochastic",
        cautious=rule.cautious,
        maximize=rule.maximize,
        **hyper,
    )
    result = function(table.ctypes.data, len(table), ctypes.byref(settings), torch.get_num_threads())
    if result == library.OUT_OF_MEMORY:
        raise MemoryError("the CPU kernels found no memory for their column vectors; no parameter was changed")
    if result < 0:
        raise AssertionError(f"the CPU kernels refused a parameter list (result {result}); please report this")
    # Autograd must know that these were written, or it would use a saved parameter that is no longer what it was.
    params = lists.params
    increment_version(
        [param for param in params if not param.is_inference()] if any(map(_is_inference, params)) else params
    )
