"""SM3 on several ranks: each steps its pieces, then accumulators along an uncut dimension are raised to their maxima.

max is associative and exact, so the result is that of one process, bit for bit, in one collective for all parameters.
The cautious mask and `update_rms` need one more, a sum of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sm3.optim.kernels.sm3_shards import Sm3Piece, finish_
from sm3.optim.kernels.sm3_shards import step_ as step_pieces_
from sm3.optim.rules import StateTensor
from sm3.optim.torch.agreement import DIGEST, digest_of, settings_differ
from sm3.optim.torch.exchange import Shared, agree_on_maxima_
from sm3.optim.torch.pieces import Meeting, Part, Piece


def step_(parts: Sequence[Part], meetings: Sequence[Meeting], memory: dict[Any, Any]) -> list[Piece]:  # noqa: ARG001
    """Step all pieces; those returned were stepped on copies, and another rank had a gradient."""
    counts: dict[int, Tensor] = {}
    for part in parts:
        counted = step_pieces_([_as_kernels_see(piece) for piece in part.pieces], part.rule, part.kernel)
        counts |= {piece.index: row for piece, row in zip(part.pieces, counted, strict=True)}
    settled = [piece for meeting in meetings for piece in _agree_(meeting)]
    for meeting in meetings:
        _add_counts_(meeting, counts)
    for part in parts:
        if part.rule.cautious or part.rule.update_rms is not None:
            together = torch.stack([counts[piece.index] for piece in part.pieces])
            finish_([_as_kernels_see(piece) for piece in part.pieces], part.rule, together)
    return settled


def _as_kernels_see(piece: Piece) -> Sm3Piece:
    return Sm3Piece(piece.local, piece.grad, piece.state, piece.box.shape, piece.box.holding, piece.index)


def _agree_(meeting: Meeting) -> list[Piece]:
    """Raise shared accumulators to their maxima; the pieces without a gradient here of which another rank has one."""
    settings = digest_of(meeting.members)
    # Digest and complement: the two maxima are complements of each other only where all ranks say the same.
    notes = [settings, DIGEST - settings, *(int(piece.present) for piece in meeting.members)]
    read = agree_on_maxima_(meeting.ranks, notes, [shared for piece in meeting.members for shared in _shared(piece)])
    if meeting.ranks.device.type != "cpu" and all(piece.present for piece in meeting.members):
        return []  # nothing that must be known now, and to read it would wait for the device
    highest, complement, *anywhere = read()
    if highest + complement != DIGEST:
        raise settings_differ(meeting.ranks)
    return [piece for piece, found in zip(meeting.members, anywhere, strict=True) if found and not piece.present]


def _shared(piece: Piece) -> list[Shared]:
    """The accumulators of which other ranks saw other elements."""
    cut = [axis for axis, splits in enumerate(piece.box.splits) if splits]

    def is_shared(declared: StateTensor) -> bool:
        return declared.combine == "max" and any(axis not in declared.follows for axis in cut)

    return [
        Shared(
            piece.state[declared.name],
            first=piece.box.ranges_of(declared)[0][0],
            length=declared.shape[0],
            empty=piece.local.numel() == 0,
        )
        for declared in piece.declared
        if is_shared(declared)
    ]


def _add_counts_(meeting: Meeting, counts: dict[int, Tensor]) -> None:
    """Sum the counts of all ranks, each element's once, where an option needs them."""
    counted = [piece for piece in meeting.members if piece.rule.cautious or piece.rule.update_rms is not None]
    if not counted:
        return
    own = [
        counts[piece.index] if meeting.speaks_for(piece) else torch.zeros_like(counts[piece.index]) for piece in counted
    ]
    totals = torch.stack(own).to(meeting.ranks.device)
    meeting.ranks.sum_(totals)
    for piece, row in zip(counted, totals, strict=True):
        counts[piece.index] = row.to(piece.local.device)
