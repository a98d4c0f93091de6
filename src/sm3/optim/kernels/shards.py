"""What this rank holds of some parameters that are cut over ranks, flat, and where its message keeps what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sm3.optim.kernels.shard_plan import COUNTS, ShardPlan, Whole
from sm3.optim.kernels.sign_store import SignStore
from sm3.optim.kernels.window import Job, Window
from sm3.optim.rules.panels import Panel
from sm3.optim.rules.smmf import SMMFRule


@dataclass(frozen=True)
class Shards:
    """One entry per parameter of the plan."""

    plan: ShardPlan
    params: Sequence[Tensor]  # (held,), dense as in the rank's memory
    grads: Sequence[Tensor]  # (held,), of the dtype in which they are exchanged
    signs: Sequence[SignStore | None]  # None: no first moment
    states: Sequence[dict[str, Tensor]]
    rule: SMMFRule
    indices: Sequence[int]

    def record(self, message: Tensor, member: int, panel: Panel) -> Tensor:
        """Where the sums of a panel lie in its owner's message; a view."""
        plan = self.plan
        at, numel = plan.places[panel.owner].records[member, panel.number], plan.members[member].record_numel(panel)
        return message[at : at + numel * plan.members[member].number_bytes].view(self.states[member]["v_row"].dtype)

    def counts(self, message: Tensor) -> Tensor:
        """Where a message has its counts, (parameters, COUNTS) int64; a view. Several messages: (ranks, ...)."""
        head = message[..., : 8 * COUNTS * len(self.params)].view(torch.int64)
        return head.view(*message.shape[:-1], len(self.params), COUNTS)

    def in_place(self, whole: Whole, message: Tensor) -> Job:
        """A panel that this rank holds, where it lies."""
        signs, origin = self.signs[whole.member], whole.origin
        window = Window(
            self.params[whole.member],
            self.grads[whole.member],
            origin,
            None if signs is None else signs.packed,
            0 if signs is None else signs.numel,
            0 if signs is None or signs.shared else origin,
        )
        panel = whole.panel
        record = self.record(message, whole.member, panel) if whole.owned else None
        return Job(whole.member, window, panel.first, panel.last, record)
