"""SMMF on several ranks: sums of whole panels, gathered and added in one order, so that no cut changes a bit.

    trade     gradient and signs of panels that are cut go to who sums them      one all-to-all for all parameters
    gather    panels' sums, counts, shared signs go to everyone                  one all-gather for all parameters

What is sent to whom is planned from shapes and cuts (`kernels/shard_plan.py`); the arithmetic is the kernels'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from sm3.optim.kernels.dispatch import shards_plan
from sm3.optim.kernels.shard_plan import ShardPlan
from sm3.optim.kernels.smmf_shards import SmmfShards
from sm3.optim.rules.panels import Cut
from sm3.optim.torch.agreement import digest_of, settings_differ
from sm3.optim.torch.exchange import Ranks
from sm3.optim.torch.pieces import Meeting, Part, Piece
from sm3.optim.torch.state import layout_of


def step_(parts: Sequence[Part], meetings: Sequence[Meeting], memory: dict[Any, Any]) -> list[Piece]:
    """Step all pieces; those returned were stepped on copies, and another rank had a gradient.

    memory : keeps plans from step to step
    """
    for part in parts:
        whole = [piece for piece in part.pieces if not piece.box.cut_by]
        if whole:
            part.kernel(
                [piece.local for piece in whole],
                [piece.grad for piece in whole],
                [piece.state for piece in whole],
                part.rule,
                [piece.index for piece in whole],
            )
    return [piece for meeting in meetings for piece in _meet(meeting, memory)]


def _meet(meeting: Meeting, memory: dict[Any, Any]) -> list[Piece]:
    ranks = meeting.ranks
    groups = [list(members) for _, members in groupby(meeting.members, key=lambda piece: piece.group)]
    steps = [
        SmmfShards(
            _plan(ranks, members, memory),
            [piece.local for piece in members],
            [piece.grad for piece in members],
            [piece.state for piece in members],
            members[0].rule,
            [piece.index for piece in members],
        )
        for members in groups
    ]
    header = torch.tensor([digest_of(meeting.members), *(int(piece.present) for piece in meeting.members)])
    arrived = _trade(ranks, steps)
    messages = [header.view(torch.uint8), *(step.panels_(part) for step, part in zip(steps, arrived, strict=True))]
    gathered = ranks.gather(torch.cat([message.to(ranks.device) for message in messages]))
    device = meeting.members[0].local.device
    headers, *parts = torch.split(gathered.to(device), [message.numel() for message in messages], dim=1)
    for step, part in zip(steps, parts, strict=True):
        step.finish_(part)
    if ranks.device.type != "cpu" and all(piece.present for piece in meeting.members):
        return []  # nothing that must be known now, and to read it would wait for the device
    digests, *present = headers.contiguous().view(torch.int64).T.tolist()
    if len(set(digests)) > 1:
        raise settings_differ(ranks)
    return [piece for piece, found in zip(meeting.members, present, strict=True) if any(found) and not piece.present]


def _trade(ranks: Ranks, steps: Sequence[SmmfShards]) -> Iterable[Tensor]:
    """What every rank has for this one, per group."""
    plans = [step.plan for step in steps]
    if not any(plan.any_pieces for plan in plans):
        return [step.pieces() for step in steps]  # nobody sends anything
    outgoing = [torch.split(step.pieces(), step.plan.sent) for step in steps]
    sent = [sum(plan.sent[rank] for plan in plans) for rank in range(ranks.size)]
    received = [sum(plan.received[rank] for plan in plans) for rank in range(ranks.size)]
    ordered = torch.cat([parts[rank] for rank in range(ranks.size) for parts in outgoing])
    incoming = ranks.trade(ordered.to(ranks.device), sent, received).to(ordered.device)
    by_rank = iter(torch.split(incoming, [plan.received[rank] for rank in range(ranks.size) for plan in plans]))
    table = [[next(by_rank) for _ in plans] for _ in range(ranks.size)]
    return [torch.cat(column) for column in zip(*table, strict=True)]


def _plan(ranks: Ranks, members: Sequence[Piece], memory: dict[Any, Any]) -> ShardPlan:
    rule = members[0].rule
    kinds = tuple((piece.index, piece.box, piece.local.dtype, piece.grad.dtype) for piece in members)
    key = ranks, layout_of(rule), kinds
    plan: ShardPlan | None = memory.get(key)
    if plan is None:
        if len(memory) > _MOST_PLANS:
            memory.clear()
        plan = memory[key] = shards_plan(
            rule,
            [_cut(ranks, piece) for piece in members],
            [piece.local for piece in members],
            [piece.grad for piece in members],
            [piece.index for piece in members],
            ranks.me,
        )
    return plan


# One per group, or one per parameter where gradients are released; freezing and thawing makes others (chosen).
_MOST_PLANS = 1 << 14


def _cut(ranks: Ranks, piece: Piece) -> Cut:
    holdings = tuple(piece.box.holding_at(coordinate) for coordinate in ranks.coordinates)
    signs = next((declared for declared in piece.declared if declared.name == "m_sign"), None)
    return Cut(piece.box.shape, holdings, signs_shared=signs is not None and not piece.box.follows(signs))
