"""What ranks send each other in one step of SMMF, known from shapes and cuts alone: sizes, and the order of everything.

    pieces    to the owner of a panel that is cut, from each who holds a part of it: gradient, signs     (`Piece`)
    message   from each rank to all: counts; sums of the panels it owns; its own bits of shared signs   (`Places`)

Every entry starts at a multiple of 8 bytes, so that it can be read as numbers where it lies. Ranks need no words about
sizes: each computes the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sm3.optim.rules.panels import Block, Cut, Panel, panels_of
from sm3.optim.rules.shapes import near_square

COUNTS = 3  # int64 each: kept entries, squares, whether any update is not 0


def aligned(nbytes: int) -> int:
    """Rounded up to whole words of 8 bytes."""
    return -(-nbytes // 8) * 8


@dataclass(frozen=True)
class Member:
    """One parameter: its cut, its panels, and the bytes of its numbers."""

    cut: Cut
    height: int  # rows of a panel, which the backend chooses
    turn: int  # shifts whose turn it is to own a panel that several hold equally much of
    grad_bytes: int  # of one element
    number_bytes: int  # of one sum
    moments: int  # 2, or 1 without a first moment
    published: bool = False
    native: bool = False  # stepped by C++

    @cached_property
    def matrix(self) -> tuple[int, int]:
        return near_square(self.cut.numel, published=self.published)

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        return panels_of(self.cut, *self.matrix, self.height, self.turn)

    def record_numel(self, panel: Panel) -> int:
        """Sums of a panel: its rows and all columns, per moment."""
        return self.moments * (panel.last - panel.first + self.matrix[1])

    def sign_bytes(self, rank: int) -> int:
        """Of a rank's own bits, where every rank stores all."""
        return -(-self.cut.held(rank) // 8) if self.moments == 2 and self.cut.signs_shared else 0


@dataclass(frozen=True)
class Piece:
    """A part of a panel on its way to the owner: the gradient's bytes, then its signs."""

    member: int
    panel: Panel
    blocks: tuple[Block, ...]
    numel: int
    at: int  # bytes from the beginning of what the sender has for this owner
    grad_nbytes: int
    sign_nbytes: int

    @property
    def end(self) -> int:
        return self.at + aligned(self.grad_nbytes + self.sign_nbytes)


@dataclass(frozen=True)
class Places:
    """Where everything lies in a rank's message: byte offsets."""

    counts: int  # of the first member; COUNTS words each
    records: dict[tuple[int, int], int]  # of the panels it owns, by member and number
    signs: dict[int, int]  # of its own bits, by member
    nbytes: int


class ShardPlan:
    """The plan of one list of parameters, seen from one rank. Depends on no values; keep it while cuts stay."""

    def __init__(self, members: Sequence[Member], rank: int, ranks: int):
        self.members, self.rank, self.ranks = tuple(members), rank, ranks
        self.outgoing = [list(self._pieces(rank, other)) for other in range(ranks)]
        self.incoming = [list(self._pieces(other, rank)) for other in range(ranks)]
        self.places = [self._places(other) for other in range(ranks)]

    @property
    def sent(self) -> list[int]:
        """Bytes of pieces to each rank."""
        return [pieces[-1].end if pieces else 0 for pieces in self.outgoing]

    @property
    def received(self) -> list[int]:
        """Bytes of pieces from each rank."""
        return [pieces[-1].end if pieces else 0 for pieces in self.incoming]

    @cached_property
    def any_pieces(self) -> bool:
        """Whether any rank sends any piece to another: the same on all ranks."""
        return any(len(panel.parts) > 1 for member in self.members for panel in member.panels)

    @cached_property
    def message_nbytes(self) -> int:
        """Of the longest message; shorter ones are filled up, so that one all-gather takes them."""
        return max((places.nbytes for places in self.places), default=0)

    def _pieces(self, sender: int, owner: int) -> Iterator[Piece]:
        at = 0
        for number, member in enumerate(self.members):
            for panel in member.panels:
                if panel.owner != owner or len(panel.parts) == 1:
                    continue
                for part in panel.parts:
                    if part.speaker != sender or owner in part.ranks:
                        continue
                    signs = -(-part.numel // 8) if member.moments == 2 else 0
                    piece = Piece(number, panel, part.blocks, part.numel, at, part.numel * member.grad_bytes, signs)
                    at = piece.end
                    yield piece

    def _places(self, rank: int) -> Places:
        at = 8 * COUNTS * len(self.members)
        records, signs = {}, {}
        for number, member in enumerate(self.members):
            for panel in member.panels:
                if panel.owner == rank:
                    records[number, panel.number] = at
                    at += aligned(member.record_numel(panel) * member.number_bytes)
            if nbytes := member.sign_bytes(rank):
                signs[number] = at
                at += aligned(nbytes)
        return Places(0, records, signs, at)
