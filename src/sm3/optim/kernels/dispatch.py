"""Which backend serves a group of parameters.

    cpu     C++, for tensors on the CPU, where its library is installed
    triton  for CUDA tensors, only when asked for: it equals eager in Triton's interpreter and has not run on a card yet
    eager   plain PyTorch, everywhere

A group is served by one backend; within it the cpu backend hands over to the eager kernels what it does not serve.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from sm3.errors import SettingError, explain
from sm3.extras import require
from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu import sm3 as cpu_sm3
from sm3.optim.kernels.cpu import smmf as cpu_smmf
from sm3.optim.kernels.cpu.call import Memory, accumulator, addresses
from sm3.optim.kernels.eager import smmf as eager_smmf
from sm3.optim.kernels.eager.sm3 import sm3_step_
from sm3.optim.kernels.eager.smmf import smmf_step_
from sm3.optim.kernels.shard_plan import Member, ShardPlan
from sm3.optim.kernels.smmf_shards import exchanged_dtype
from sm3.optim.rules.panels import Cut
from sm3.optim.rules.shapes import near_square
from sm3.optim.rules.smmf import SMMFRule
from sm3.optim.rules.storage import PARAMETER_DTYPES

# (params, grads, states, rule, indices): updates params and states in place
Kernel = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[dict[str, Tensor]], Any, Sequence[int]], None]

_is_cpu, _dtype = attrgetter("is_cpu"), attrgetter("dtype")

_EAGER: dict[str, Kernel] = {"SM3": sm3_step_, "SMMF": smmf_step_}
_CPU: dict[str, Callable[..., None]] = {"SM3": cpu_sm3.sm3_step_, "SMMF": cpu_smmf.smmf_step_}


def kernel_for(rule_name: str, backend: str | None, params: Sequence[Tensor] = ()) -> Kernel:
    """The kernel of a rule; `backend=None` takes the fastest one that is available.

    A caller that steps the same list again and again keeps it: the cpu kernel remembers its table of addresses.

    Raises `MissingExtraError` where the CPU kernels are asked for, by `backend="cpu"` or by the environment variable
    SM3_REQUIRE_NATIVE=1, and are not installed, or Triton is; `SettingError` for Triton with tensors not on CUDA.
    """
    eager, native = _EAGER[rule_name], _CPU[rule_name]
    if backend == "eager":
        return eager
    if backend == "triton":
        return _triton(rule_name, params)
    if backend == "cpu" or os.environ.get("SM3_REQUIRE_NATIVE") == "1":
        library.library()
    elif not library.available():
        _say_once(library.why_not())
        return eager

    memory = Memory()

    def kernel(
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[dict[str, Tensor]],
        rule: Any,
        indices: Sequence[int],
    ) -> None:
        if all(map(_is_cpu, params)):
            native(params, grads, states, rule, indices, memory=memory)
            return
        for serves, on_cpu in ((native, True), (eager, False)):
            here = [i for i, param in enumerate(params) if param.is_cpu is on_cpu]
            serves(
                [params[i] for i in here],
                [grads[i] for i in here],
                [states[i] for i in here],
                rule,
                [indices[i] for i in here],
            )

    return kernel


def _triton(rule_name: str, params: Sequence[Tensor]) -> Kernel:
    require("triton")
    elsewhere = next((param.device for param in params if not param.is_cuda), None)
    if elsewhere is not None:
        raise SettingError(
            explain(
                "Triton kernels cannot step this parameter.",
                got=f"backend='triton' and a parameter on {elsewhere}",
                accepted="parameters on CUDA devices",
                do="leave backend out, and each parameter gets the fastest kernels of its device",
            )
        )
    from sm3.optim.kernels.triton import sm3 as triton_sm3
    from sm3.optim.kernels.triton import smmf as triton_smmf

    steps: dict[str, Kernel] = {"SM3": triton_sm3.sm3_step_, "SMMF": triton_smmf.smmf_step_}
    return steps[rule_name]


def shards_plan(
    rule: SMMFRule,
    cuts: Sequence[Cut],
    params: Sequence[Tensor],  # what this rank holds of each parameter; maybe no elements
    grads: Sequence[Tensor],
    indices: Sequence[int],  # position of each parameter in the optimizer
    rank: int,
) -> ShardPlan:
    """How the ranks of one group step these parameters together (`SmmfShards`). Keep it while nothing of this changes.

    Raises what `kernel_for` raises, and `SettingError` for Triton.
    """
    if rule.backend == "triton":
        raise SettingError(
            explain(
                "the Triton kernels step whole parameters only.",
                got="backend='triton' and a sharded parameter",
                accepted="backend=None, 'eager', or 'cpu' where parameters are on the CPU",
                do="leave backend out",
            )
        )
    members = []
    for cut, param, grad, index in zip(cuts, params, grads, indices, strict=True):
        columns = near_square(cut.numel, published=rule.published)[1]
        members.append(
            Member(
                cut=cut,
                height=eager_smmf.panel_height(columns),
                turn=index,
                grad_bytes=exchanged_dtype(param, grad).itemsize,
                number_bytes=accumulator(param.dtype).itemsize,
                moments=1 if rule.beta is None else 2,
                published=rule.published,
            )
        )
    return ShardPlan(members, rank, len(cuts[0].holdings))


def count_steps(counters: Sequence[Tensor]) -> None:
    """Add 1 to each step counter (int64 scalars on the CPU), in place.

    PyTorch takes 1.7 microseconds for each of them, which on small tensors was a third of a step.
    """
    if library.available() and set(map(_dtype, counters)) == {torch.int64}:
        library.count(addresses(counters))
    elif counters:
        torch._foreach_add_(list(counters), 1)


@dataclass(frozen=True)
class Service:
    """Which backend serves parameters of one kind with `backend=None`, and why."""

    device: str
    dtype: str
    backend: str
    why: str


def services() -> list[Service]:
    """What `sm3 doctor` prints: the backend of every kind of parameter on this machine."""
    found = []
    for dtype in PARAMETER_DTYPES:
        if library.available():
            found.append(Service("cpu", dtype, "cpu", f"C++ kernels, instruction set {library.isa()}"))
        else:
            found.append(Service("cpu", dtype, "eager", library.why_not()))
        found.append(Service("any other", dtype, "eager", "PyTorch's own operations serve every device"))
    return sorted(found, key=lambda service: service.device, reverse=True)


@lru_cache(maxsize=8)
def _say_once(reason: str) -> None:
    logging.getLogger("sm3").info("steps run on PyTorch's own operations, several times slower: %s", reason)
