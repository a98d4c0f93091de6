"""Whether all ranks are about to do the same: compared once, before a first step modifies anything.

What a rank says is three numbers, digests of its settings, of its parameters in order, and of its state. Later steps
carry the settings' digest along with their maxima (`together.py`), so a schedule that runs apart is found, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import torch

from sm3.errors import RankError, explain
from sm3.optim.torch.exchange import Ranks
from sm3.optim.torch.pieces import Meeting, Piece

# Digests have 31 bits: they travel among maxima of 32-bit integers.
DIGEST = 0x7FFF_FFFF
_WHAT = ("settings", "parameters (names, order, shapes, dtypes, placements)", "state (which parameters have stepped)")


def digest_of(pieces: Sequence[Piece]) -> int:
    """Of the settings of this step."""
    return crc32(repr([piece.rule for piece in pieces]).encode()) & DIGEST


def check_agreement(meeting: Meeting) -> None:
    """Raise `RankError` on every rank if one differs from another; nothing is modified yet."""
    ranks, pieces = meeting.ranks, meeting.members
    said = [
        [repr(piece.rule) for piece in pieces],
        [(piece.name, piece.box.shape, str(piece.param.dtype), str(piece.box.placements)) for piece in pieces],
        [int(piece.state["step"]) for piece in pieces],
    ]
    digests = torch.tensor([crc32(repr(part).encode()) for part in said], dtype=torch.int64, device=ranks.device)
    for what, column in zip(_WHAT, ranks.gather(digests).T.tolist(), strict=True):
        if len(set(column)) > 1:
            most = max(set(column), key=column.count)
            others = [rank for rank, digest in enumerate(column) if digest != most]
            raise RankError(
                explain(
                    f"the ranks disagree about their {what}.",
                    got=f"rank {', '.join(map(str, others))} of the group differs from the {column.count(most)} others",
                    accepted="the same on every rank: they step one optimizer together",
                    do="build model and optimizer from the same code and arguments on every rank, load the same "
                    "checkpoint everywhere",
                )
            )


def settings_differ(ranks: Ranks) -> RankError:
    """The error for settings that were equal at the first step and are not any more."""
    return RankError(
        explain(
            "the ranks disagree about their settings in this step; parameters and state have moved already.",
            got=f"another learning rate, say, on one of the {ranks.size} ranks of the group",
            accepted="the same settings on every rank at every step",
            do="step schedulers on every rank, and resume all ranks from the last checkpoint",
        )
    )
