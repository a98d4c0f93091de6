"""SM3-II in C++ (Anil et al. 2019); equal to the eager kernel bit for bit.

Parameters and gradients that are not contiguous, and gradients of a dtype that is neither the parameter's nor float32,
are stepped on copies, one parameter at a time. The eager kernel steps what is not served here: variant I, tensor
subclasses, more than 8 dimensions, state of another dtype than declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.call import Key, Service, Table, run, service, step_rest
from sm3.optim.kernels.eager import sm3 as eager
from sm3.optim.rules.sm3 import SM3Rule

# sm3k_sm3_tensor of abi.h: seven integers, then addresses of accumulators, then the shape.
_WIDTH = 7 + 2 * library.MAX_RANK


def sm3_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place; no two may share memory
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SM3Rule.state of each; `step` already counts this step; updated in place
    rule: SM3Rule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    grad_scale: float = 1.0,  # every gradient is multiplied by it
) -> None:
    """One step of SM3 on every parameter of the list. Scratch: one vector of columns per 64 rows, per thread."""
    native = library.library()
    tables: dict[Key, Table] = {}
    rest: dict[Service, list[int]] = {Service.COPY: [], Service.EAGER: []}
    unserved = rule.variant == "I"
    for position, (param, grad, state, index) in enumerate(zip(params, grads, states, indices, strict=True)):
        shape = param.shape
        who = Service.EAGER if unserved or len(shape) > library.MAX_RANK else service(param, grad, state, rule)
        if who is not Service.DIRECT:
            rest[who].append(position)
            continue
        key = param.dtype, grad.dtype
        table = tables.get(key)
        if table is None:
            table = tables[key] = Table()
        names, padding, lengths = _accumulators(shape)
        momentum, kept = state.get("momentum"), state.get("kept")
        table.rows.extend(
            (
                param.data_ptr(),
                grad.data_ptr(),
                0 if momentum is None else momentum.data_ptr(),
                state["step"].data_ptr(),
                0 if kept is None else kept.data_ptr(),
                index,
                len(shape),
                *[state[name].data_ptr() for name in names],
                *padding,
                *lengths,
            )
        )
        table.params.append(param)
    hyper = {"beta": rule.momentum, "beta2": -1.0 if rule.beta2 is None else rule.beta2}
    run(native.sm3k_sm3_step, tables.items(), _WIDTH, hyper, rule, grad_scale)
    step_rest(rest, (params, grads, states, indices), rule, sm3_step_, eager.sm3_step_, grad_scale)


@lru_cache(maxsize=4096)
def _accumulators(shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """Names of the accumulators, and what fills a row up: zeros in place of addresses, the shape and zeros."""
    missing = library.MAX_RANK - len(shape)
    names = tuple(f"accumulator_{axis}" for axis in range(max(len(shape), 1)))
    return names, (0,) * (library.MAX_RANK - len(names)), (*shape, *(0,) * missing)
