"""SMMF in C++ (Park & Lee 2025). Given equal factors, parameters and signs equal the eager kernel's bit for bit.

The new factors are sums in another order than the eager kernel's, so they agree to rounding; their order is fixed by
the shape alone, so they are equal for every number of threads and every instruction set.

Parameters and gradients that are not contiguous, and gradients of a dtype that is neither the parameter's nor float32,
are stepped on copies, one parameter at a time. The eager kernel steps what is not served here: tensor subclasses, state
of another dtype than declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.call import Key, Service, Table, run, service, step_rest
from sm3.optim.kernels.eager import smmf as eager
from sm3.optim.rules.shapes import near_square, rows_and_columns, signs_follow_rows
from sm3.optim.rules.smmf import SMMFRule

_WIDTH = 15  # sm3k_smmf_tensor of abi.h


def smmf_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place; no two may share memory
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SMMFRule.state of each; `step` already counts this step; updated in place
    rule: SMMFRule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    grad_scale: float = 1.0,  # every gradient is multiplied by it
) -> None:
    """One step of SMMF on every parameter of the list. Scratch: two vectors of columns per 64 rows, per thread."""
    native = library.library()
    tables: dict[Key, Table] = {}
    rest: dict[Service, list[int]] = {Service.COPY: [], Service.EAGER: []}
    first_moment = rule.beta is not None
    for position, (param, grad, state, index) in enumerate(zip(params, grads, states, indices, strict=True)):
        who = service(param, grad, state, rule)
        if who is not Service.DIRECT:
            rest[who].append(position)
            continue
        key = param.dtype, grad.dtype
        table = tables.get(key)
        if table is None:
            table = tables[key] = Table()
        kept = state.get("kept")
        table.rows.extend(
            (
                param.data_ptr(),
                grad.data_ptr(),
                state["step"].data_ptr(),
                0 if kept is None else kept.data_ptr(),
                index,
                *_geometry(param.shape, rule.published),
                state["m_row"].data_ptr() if first_moment else 0,
                state["m_col"].data_ptr() if first_moment else 0,
                state["m_sign"].data_ptr() if first_moment else 0,
                state["v_row"].data_ptr(),
                state["v_col"].data_ptr(),
            )
        )
        table.params.append(param)
    hyper = {
        "eps": rule.eps,
        "beta": -1.0 if rule.beta is None else rule.beta,
        "growth_rate": rule.growth_rate,
        "decay_rate": rule.decay_rate,
        "published": rule.published,
    }
    run(native.sm3k_smmf_step, tables.items(), _WIDTH, hyper, rule, grad_scale)
    step_rest(rest, (params, grads, states, indices), rule, smmf_step_, eager.smmf_step_, grad_scale)


@lru_cache(maxsize=4096)
def _geometry(shape: tuple[int, ...], published: bool) -> tuple[int, int, int, int, int]:
    """Elements, the matrix, and where signs lie: length of a run without padding, bits from one run to the next."""
    numel = prod(shape)
    rows, columns = near_square(numel, published=published)
    run_length = rows_and_columns(shape)[1] if signs_follow_rows(shape) else numel
    padded = -(-run_length // 8) * 8
    if padded == run_length or run_length == numel:  # one stream of bits
        return numel, rows, columns, max(numel, 1), max(numel, 1)
    return numel, rows, columns, run_length, padded
