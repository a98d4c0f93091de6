"""SM3's learning-rate recipe as a PyTorch scheduler."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sm3.optim.rules.schedule import WarmupCooldown


def warmup_cooldown(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.05, cooldown: float = 0.1) -> LambdaLR:
    """Quadratic warm-up, constant, linear cool-down to zero: the recipe of SM3's authors, for any optimizer.

    total_steps : length of the run; call `scheduler.step()` after each `optimizer.step()`
    warmup, cooldown : fractions of the run, defaults 0.05 and 0.1 as the authors advise; together at most 1

    Raises `SettingError` for fractions outside [0, 1] or that overlap. Needs no memory.

    >>> import torch
    >>> from sm3 import SM3
    >>> optimizer = SM3([torch.nn.Parameter(torch.ones(2))], lr=0.2)
    >>> scheduler = warmup_cooldown(optimizer, total_steps=40, warmup=0.25, cooldown=0.25)
    >>> rates = []
    >>> for _ in range(40):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates[:4], rates[20], rates[-3:]
    ([0.002, 0.008, 0.018, 0.032], 0.2, [0.055, 0.036, 0.018])
    """
    return LambdaLR(optimizer, WarmupCooldown(total_steps, warmup, cooldown))
