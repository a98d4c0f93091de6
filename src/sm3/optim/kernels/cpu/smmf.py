"""SMMF in C++ (Park & Lee 2025). Given equal factors, parameters and signs equal the eager kernel's bit for bit.

The new factors are sums in another order than the eager kernel's, so they agree to rounding; their order is fixed by
the shape alone, so they are equal for every number of threads and every instruction set.

Parameters and gradients that are not contiguous, and gradients of a dtype that is neither the parameter's nor float32,
are stepped on copies, one parameter at a time. The eager kernel steps what is not served here: tensor subclasses, state
of another dtype than declared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod

import numpy as np
from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.call import GRAD, PARAM, Lists, Memory, Table, addresses, run, step
from sm3.optim.kernels.eager import smmf as eager
from sm3.optim.rules.shapes import near_square, rows_and_columns, signs_follow_rows
from sm3.optim.rules.smmf import SMMFRule

# Columns of sm3k_smmf_tensor in abi.h.
_STEP, _KEPT, _INDEX = range(2, 5)
_GEOMETRY = slice(5, 10)
_FACTORS = {"m_row": 10, "m_col": 11, "m_sign": 12, "v_row": 13, "v_col": 14}
_RMS = 15
_WIDTH = 16


def smmf_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place; no two may share memory
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SMMFRule.state of each; `step` already counts this step; updated in place
    rule: SMMFRule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    grad_scale: float = 1.0,  # every gradient is multiplied by it
    memory: Memory | None = None,  # of one caller with, usually, the same tensors at every step
) -> None:
    """One step of SMMF on every parameter of the list. Scratch: two vectors of columns per 64 rows, per thread."""
    if not params:
        return

    def make_table(lists: Lists) -> Table:
        return _table(lists, rule.published)

    def call(table: Table, lists: Lists) -> None:
        run(library.library().sm3k_smmf_step, table, lists, rule, own_settings(rule), grad_scale)

    step(
        Lists(params, grads, states, indices),
        rule,
        _fill_columns,
        make_table,
        call,
        smmf_step_,
        eager.smmf_step_,
        grad_scale,
        most_dimensions=sys.maxsize,
        memory=memory,
        settings=(rule.published, rule.rounding),
    )


def own_settings(rule: SMMFRule) -> dict[str, float]:
    """The settings that only SMMF has, by their names in abi.h."""
    return {
        "eps": rule.eps,
        "beta": -1.0 if rule.beta is None else rule.beta,
        "growth_rate": rule.growth_rate,
        "decay_rate": rule.decay_rate,
        "published": rule.published,
    }


def _fill_columns(lists: Lists) -> None:
    states = lists.states
    for name in ("step", "kept", "rms", *_FACTORS):
        if name in states[0]:
            lists.columns[name] = [state[name] for state in states]


def _table(lists: Lists, published: bool) -> Table:
    """One row per parameter."""
    table = state_table(lists.shapes(), published, lists.columns, lists.indices)
    table[:, PARAM] = addresses(lists.params)
    table[:, GRAD] = addresses(lists.grads)
    return table


def state_table(
    shapes: tuple[tuple[int, ...], ...],
    published: bool,
    columns: Mapping[str, Sequence[Tensor]],
    indices: Sequence[int],
) -> Table:
    """The same without parameters and gradients."""
    table = _template(shapes, published).copy()
    table[:, _INDEX] = indices
    for name, column in {"step": _STEP, "kept": _KEPT, "rms": _RMS, **_FACTORS}.items():
        if name in columns:
            table[:, column] = addresses(columns[name])
    return table


@lru_cache(maxsize=64)
def _template(shapes: tuple[tuple[int, ...], ...], published: bool) -> Table:
    """What shapes alone say of a table."""
    table = np.zeros((len(shapes), _WIDTH), np.int64)
    table[:, _GEOMETRY] = [geometry(shape, published) for shape in shapes]
    return table


def geometry(shape: tuple[int, ...], published: bool) -> tuple[int, int, int, int, int]:
    """Elements, the matrix, and where signs lie: length of a run without padding, bits from one run to the next."""
    numel = prod(shape)
    rows, columns = near_square(numel, published=published)
    run_length = rows_and_columns(shape)[1] if signs_follow_rows(shape) else numel
    padded = -(-run_length // 8) * 8
    if padded == run_length or run_length == numel:  # one stream of bits
        return numel, rows, columns, max(numel, 1), max(numel, 1)
    return numel, rows, columns, run_length, padded
