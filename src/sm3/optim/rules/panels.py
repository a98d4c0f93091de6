"""Panels of SMMF's matrix, and what of them each rank holds. Integers in, integers out.

A panel is some whole rows of the near-square matrix (rules/shapes.py), hence a contiguous range of the flat tensor. The
kernels sum panel by panel, and which rows form a panel depends on the shape alone. So a result does not depend on the
cut over ranks if every panel is summed as a whole by one rank, its owner, and panels are added in their order:

    flat tensor    |    panel 0    |    panel 1    |    panel 2    |  3  |
    rank 0 holds    aaaaaaaaaaaaaaaaaaaaaa                                    owns 0; sends its part of 1
    rank 1 holds                          bbbbbbbbbbbbbbbbbbbbbbbbb           owns 1 and 2
    rank 2 holds                                                   cc cccc    owns 3; sends its part of 2

Whoever holds most of a panel owns it, so that least is sent; of equals one after another, so that work is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from sm3.optim.rules.shapes import signs_follow_rows


@dataclass(frozen=True)
class Runs:
    """`count` runs of `length` consecutive elements of a flat tensor, `stride` apart; in memory they are dense."""

    start: int
    length: int
    stride: int
    count: int

    @property
    def numel(self) -> int:
        return self.length * self.count

    @property
    def span(self) -> int:
        """Elements of the flat tensor from the first to the last, those between included."""
        return (self.count - 1) * self.stride + self.length if self.numel else 0


@dataclass(frozen=True)
class Block:
    """Runs of the flat tensor, and where in a rank's dense memory the first of their elements lies."""

    runs: Runs
    local: int


def runs_of_block(
    shape: tuple[int, ...],  # of the whole tensor
    offset: tuple[int, ...],  # of the block's first element
    lengths: tuple[int, ...],  # of the block
) -> tuple[Runs, ...]:
    """The runs of an axis-parallel block, in the order of its own row-major memory; none for an empty block.

    >>> runs_of_block((8, 6), (2, 0), (3, 6))  # some whole rows: one run
    (Runs(start=12, length=18, stride=18, count=1),)
    >>> runs_of_block((8, 6), (2, 3), (3, 3))  # the right half of them
    (Runs(start=15, length=3, stride=6, count=3),)
    """
    if prod(lengths) == 0:
        return ()
    whole = len(shape)  # from this dimension on, the block is as long as the tensor
    while whole > 0 and lengths[whole - 1] == shape[whole - 1]:
        whole -= 1
    if whole == 0:
        return (Runs(0, prod(shape), prod(shape), 1),)
    inner = prod(shape[whole:])
    length = lengths[whole - 1] * inner  # dimension whole - 1 is cut: its slices follow each other within a run
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    start = sum(first * step for first, step in zip(offset, steps, strict=True))
    counts = list(lengths[: whole - 1])
    last = len(counts)  # runs of dimensions [last - 1, ...) are equally far apart while those after are whole
    while last > 1 and (lengths[last - 1] == shape[last - 1]):
        last -= 1
    regular = prod(counts[max(last - 1, 0) :])
    stride = steps[whole - 2] if whole >= 2 and regular > 1 else length
    starts = [start]
    for count, step in zip(counts[: max(last - 1, 0)], steps, strict=False):
        starts = [first + i * step for first in starts for i in range(count)]
    return tuple(Runs(first, length, stride, regular) for first in starts)


def clip(holding: Sequence[Runs], start: int, stop: int) -> list[Block]:
    """What a holding has of the flat range [start, stop), in the order of its memory; at most three blocks a `Runs`."""
    found, before = [], 0
    for runs in holding:
        for first, last, skip, length in _pieces(runs, start, stop):
            part = Runs(runs.start + first * runs.stride + skip, length, runs.stride, last - first)
            if part.count == 1:
                part = Runs(part.start, length, length, 1)
            found.append(Block(part, before + first * runs.length + skip))
        before += runs.numel
    return found


def clip_local(holding: Sequence[Runs], start: int, stop: int) -> list[Runs]:
    """What elements [start, stop) of a rank's memory are of the flat tensor, in the order of that memory."""
    found, before = [], 0
    for runs in holding:
        dense = Runs(before, runs.length, runs.length, runs.count)
        for first, last, skip, length in sorted(_pieces(dense, start, stop)):
            at = runs.start + first * runs.stride + skip
            found.append(Runs(at, length, length if last - first == 1 else runs.stride, last - first))
        before += runs.numel
    return found


def signs_follow_holdings(shape: tuple[int, ...], holdings: Sequence[Sequence[Runs]]) -> bool:
    """Whether each rank can store the signs of what it holds and no others: whole rows, or whole bytes everywhere."""
    if not signs_follow_rows(shape):
        return False
    row = prod(shape[1:])
    runs = [runs for holding in holdings for runs in holding]
    whole_rows = all(run.start % row == run.length % row == 0 for run in runs)
    whole_bytes = row % 8 == 0 and all(run.start % 8 == run.length % 8 == run.stride % 8 == 0 for run in runs)
    return whole_rows or whole_bytes


def _pieces(runs: Runs, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Runs [first, last), each without its first `skip` elements, `length` long: a cut one, a cut one, whole ones."""
    if runs.numel == 0 or stop <= runs.start or start >= runs.start + runs.span:
        return
    first = max(start - runs.start, 0) // runs.stride
    last = min((stop - 1 - runs.start) // runs.stride, runs.count - 1)

    def within(run: int) -> tuple[int, int]:
        at = runs.start + run * runs.stride
        return max(start - at, 0), min(stop - at, runs.length)

    for run in (first, last) if last > first else (first,):
        skip, end = within(run)
        if (skip, end) == (0, runs.length):
            continue
        if run == first:
            first += 1
        else:
            last -= 1
        if skip < end:
            yield run, run + 1, skip, end - skip
    if first <= last:
        yield first, last + 1, 0, runs.length


@dataclass(frozen=True)
class Part:
    """Some elements of a panel, and who holds them: several ranks where a mesh dimension replicates the parameter."""

    ranks: tuple[int, ...]
    blocks: tuple[Block, ...]
    speaker: int  # of those ranks, the one that sends

    @property
    def numel(self) -> int:
        return sum(block.runs.numel for block in self.blocks)


@dataclass(frozen=True)
class Panel:
    """Rows [first, last) of the matrix, flat elements [start, stop), who sums them and who holds what of them."""

    number: int
    first: int
    last: int
    start: int
    stop: int
    owner: int
    parts: tuple[Part, ...]

    @property
    def numel(self) -> int:
        return self.stop - self.start

    def held_by(self, rank: int) -> tuple[Block, ...]:
        return next((part.blocks for part in self.parts if rank in part.ranks), ())

    @property
    def whole(self) -> bool:
        """Whether whoever holds some of it holds it all, in one run."""
        return len(self.parts) == 1 and len(self.parts[0].blocks) == 1


@dataclass(frozen=True)
class Cut:
    """How one parameter is cut over ranks. `holdings[r]` is what rank r holds, as its memory has it; maybe nothing.

    Every element is held by one rank, or by several whose holdings are equal.
    """

    shape: tuple[int, ...]
    holdings: tuple[tuple[Runs, ...], ...]
    # Whether every rank stores the signs of the whole parameter. Else each stores those of what it holds, in the order
    # of its memory, which needs `signs_follow_holdings`.
    signs_shared: bool = False

    @property
    def numel(self) -> int:
        return prod(self.shape)

    def held(self, rank: int) -> int:
        """How many elements a rank holds."""
        return sum(runs.numel for runs in self.holdings[rank])

    def holders(self) -> list[tuple[int, ...]]:
        """Ranks with equal holdings, together; those that hold nothing are left out."""
        together: dict[tuple[Runs, ...], list[int]] = {}
        for rank, holding in enumerate(self.holdings):
            if holding:
                together.setdefault(holding, []).append(rank)
        return [tuple(ranks) for ranks in together.values()]


def panels_of(cut: Cut, rows: int, columns: int, height: int, turn: int = 0) -> tuple[Panel, ...]:
    """The panels of a parameter seen as a (rows, columns) matrix, `height` rows each.

    `turn` shifts whose turn it is where several hold equally much; the position of the parameter, say.
    """
    panels, holders = [], cut.holders()
    for number, first in enumerate(range(0, rows, height)):
        last = min(first + height, rows)
        start, stop = first * columns, min(last * columns, cut.numel)
        parts = []
        for ranks in holders:
            blocks = tuple(clip(cut.holdings[ranks[0]], start, stop))
            if blocks:
                parts.append(Part(ranks, blocks, ranks[(number + turn) % len(ranks)]))
        if sum(part.numel for part in parts) != stop - start:
            raise AssertionError(f"rows {first} to {last} of {cut.shape} are not held exactly once")
        most = max(part.numel for part in parts)
        equals = [part.speaker for part in parts if part.numel == most]
        owner = equals[(number + turn) % len(equals)]
        panels.append(Panel(number, first, last, start, stop, owner, tuple(parts)))
    return tuple(panels)


def even_rows(shape: tuple[int, ...], ranks: int) -> Cut:
    """Dimension 0 in equal blocks, rounded up, as PyTorch's `Shard(0)` cuts it: the last ranks may hold fewer or none.

    >>> [cut and cut[0].length for cut in even_rows((5, 2), 4).holdings]
    [4, 4, 2, ()]
    """
    block = -(-shape[0] // ranks)
    inner = prod(shape[1:])
    holdings = []
    for rank in range(ranks):
        first, last = min(rank * block, shape[0]), min((rank + 1) * block, shape[0])
        numel = (last - first) * inner
        holdings.append((Runs(first * inner, numel, numel, 1),) if numel else ())
    return Cut(shape, tuple(holdings))
