"""SM3-II in C++ (Anil et al. 2019); equal to the eager kernel bit for bit.

Parameters and gradients that are not contiguous, and gradients of a dtype that is neither the parameter's nor float32,
are stepped on copies, one parameter at a time. The eager kernel steps what is not served here: variant I, tensor
subclasses, more than 8 dimensions, state of another dtype than declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.call import GRAD, PARAM, Lists, Memory, Table, addresses, run, step
from sm3.optim.kernels.eager import sm3 as eager
from sm3.optim.rules.sm3 import SM3Rule

# Columns of sm3k_sm3_tensor in abi.h; after the rank come the accumulators, the shape, the root mean square.
_MOMENTUM, _STEP, _KEPT, _INDEX, _RANK, _ACCUMULATOR = range(2, 8)
_SHAPE = _ACCUMULATOR + library.MAX_RANK
_RMS = _SHAPE + library.MAX_RANK
_WIDTH = _RMS + 1


def sm3_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place; no two may share memory
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SM3Rule.state of each; `step` already counts this step; updated in place
    rule: SM3Rule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    grad_scale: float = 1.0,  # every gradient is multiplied by it
    memory: Memory | None = None,  # of one caller with, usually, the same tensors at every step
) -> None:
    """One step of SM3 on every parameter of the list. Scratch: one vector of columns per 64 rows, per thread."""
    if not params:
        return

    def call(table: Table, lists: Lists) -> None:
        hyper = {"beta": rule.momentum, "beta2": -1.0 if rule.beta2 is None else rule.beta2}
        run(library.library().sm3k_sm3_step, table, lists, rule, hyper, grad_scale)

    step(
        Lists(params, grads, states, indices),
        rule,
        _fill_columns,
        _table,
        call,
        sm3_step_,
        eager.sm3_step_,
        grad_scale,
        most_dimensions=-1 if rule.variant == "I" else library.MAX_RANK,
        memory=memory,
        settings=(rule.variant, rule.rounding),
    )


def _fill_columns(lists: Lists) -> None:
    states, columns = lists.states, lists.columns
    for axis, positions in enumerate(_template(lists.shapes())[1]):
        name = f"accumulator_{axis}"
        columns[name] = [states[i][name] for i in positions]
    for name in ("step", "momentum", "kept", "rms"):
        columns[name] = [state[name] for state in states if name in state]


def _table(lists: Lists) -> Table:
    """One row per parameter."""
    template, with_axis = _template(lists.shapes())
    table, columns = template.copy(), lists.columns
    table[:, PARAM] = addresses(lists.params)
    table[:, GRAD] = addresses(lists.grads)
    table[:, _STEP] = addresses(columns["step"])
    table[:, _INDEX] = lists.indices
    # Momentum that was switched on or off in between: some have it, some have none.
    for name, column in (("momentum", _MOMENTUM), ("kept", _KEPT), ("rms", _RMS)):
        if columns[name]:
            table[[i for i, state in enumerate(lists.states) if name in state], column] = addresses(columns[name])
    for axis, positions in enumerate(with_axis):
        table[positions, _ACCUMULATOR + axis] = addresses(columns[f"accumulator_{axis}"])
    return table


@lru_cache(maxsize=64)
def _template(shapes: tuple[tuple[int, ...], ...]) -> tuple[Table, list[list[int]]]:
    """What shapes alone say of a table; and for each dimension, which parameters have it (a scalar has one)."""
    table = np.zeros((len(shapes), _WIDTH), np.int64)
    ranks = [len(shape) for shape in shapes]
    table[:, _RANK] = ranks
    for row, shape in zip(table, shapes, strict=True):
        row[_SHAPE : _SHAPE + len(shape)] = shape
    dimensions = [max(rank, 1) for rank in ranks]
    return table, [[i for i, own in enumerate(dimensions) if own > axis] for axis in range(max(dimensions))]
