"""Which backend serves a group of parameters. For now there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from sm3.optim.kernels.eager.sm3 import sm3_step_
from sm3.optim.kernels.eager.smmf import smmf_step_

# (params, grads, states, rule, indices): updates params and states in place
Kernel = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[dict[str, Tensor]], Any, Sequence[int]], None]

_KERNELS: dict[tuple[str, str], Kernel] = {("eager", "SM3"): sm3_step_, ("eager", "SMMF"): smmf_step_}


def kernel_for(rule_name: str, backend: str | None) -> Kernel:
    """The kernel of a rule; `backend=None` takes the fastest one that is available."""
    return _KERNELS[backend or "eager", rule_name]
