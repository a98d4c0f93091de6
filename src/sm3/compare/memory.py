"""Bytes of optimizer state, planned and measured, and peak resident memory. Every figure comes from `sm3.plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sm3.compare.contestants import Contestant
from sm3.plan.bytes import plan
from sm3.plan.measure import peak_memory, state_nbytes
from sm3.plan.optimizers import settings_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["peak_memory", "planned_state_bytes", "state_nbytes"]


def planned_state_bytes(model: nn.Module, contestant: Contestant) -> int:
    """Bytes of state this optimizer will hold for the model, from shapes alone."""
    # The planner knows the settings that change the state; it refuses the others, AdamW's betas for example.
    known = {setting.name for setting in settings_of(contestant.kind)}
    decisive = {name: value for name, value in contestant.settings.items() if name in known}
    return plan(model, contestant.kind, **decisive).state_bytes
