"""What ranks tell each other: process groups, and the collectives of a step, each once for all parameters together.

Maxima travel as integers: the bits of non-negative floating-point numbers are ordered as the numbers are, and a NaN is
above them all, where a collective's own maximum of floats may drop it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from sm3.errors import RankError, explain

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}
# All bits but the sign, which a NaN may have: it would make the largest of all the smallest.
_MASK = {torch.int32: 0x7FFF_FFFF, torch.int64: 0x7FFF_FFFF_FFFF_FFFF}


@dataclass(frozen=True)
class Ranks:
    """The ranks that hold the pieces of some parameters, this one among them."""

    group: Any  # of torch.distributed
    size: int
    me: int  # number of this rank in the group
    device: torch.device  # where the group's collectives find their buffers
    # Of each member, in the order of the group, its place in the mesh.
    coordinates: tuple[tuple[int, ...], ...]

    def maximum_(self, numbers: Tensor) -> None:
        """Elementwise over all ranks, in place."""
        with _clear_errors(self):
            dist.all_reduce(numbers, op=dist.ReduceOp.MAX, group=self.group)

    def sum_(self, numbers: Tensor) -> None:
        """The sum over all ranks, in place; of integers, whose order is free."""
        with _clear_errors(self):
            dist.all_reduce(numbers, op=dist.ReduceOp.SUM, group=self.group)

    def highest(self, number: int) -> int:
        """The largest of a small number over all ranks; waits for the device."""
        numbers = torch.tensor([number], dtype=torch.int32, device=self.device)
        self.maximum_(numbers)
        return int(numbers)

    def gather(self, numbers: Tensor) -> Tensor:
        """(length,) of each rank to (ranks, length) everywhere; the lengths must be equal."""
        gathered = numbers.new_empty(self.size * numbers.numel())
        with _clear_errors(self):
            dist.all_gather_into_tensor(gathered, numbers, group=self.group)
        return gathered.view(self.size, -1)

    def trade(self, outgoing: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Parts of `outgoing`, `sent[r]` elements to rank r, for what the ranks have for this one, in their order."""
        incoming = outgoing.new_empty(sum(received))
        with _clear_errors(self):
            dist.all_to_all_single(incoming, outgoing, list(received), list(sent), group=self.group)
        return incoming


class Groups:
    """Process groups by mesh and mesh dimensions; kept, because to make one is a collective itself."""

    def __init__(self) -> None:
        self._made: dict[tuple[DeviceMesh, tuple[int, ...]], Ranks] = {}

    def along(self, mesh: DeviceMesh, axes: tuple[int, ...]) -> Ranks:
        """The ranks that differ from this one along these dimensions of the mesh and no others."""
        known = self._made.get((mesh, axes))
        if known is None:
            known = self._made[mesh, axes] = _ranks_along(mesh, axes)
        return known


def _ranks_along(mesh: DeviceMesh, axes: tuple[int, ...]) -> Ranks:
    here = mesh.get_coordinate()
    assert here is not None, "checked by Box.of"
    places = list(product(*(range(mesh.size(a)) if a in axes else (here[a],) for a in range(mesh.ndim))))
    numbers = [int(mesh.mesh[place]) for place in places]
    group: Any
    if len(axes) == 1:
        group = mesh.get_group(axes[0])
    elif len(numbers) == dist.get_world_size():
        group = dist.group.WORLD
    else:
        group = dist.new_group(numbers, use_local_synchronization=True)
    order = sorted(range(len(places)), key=lambda i: dist.get_group_rank(group, numbers[i]))
    device = torch.device(mesh.device_type)
    if device.type != "cpu":
        device = torch.device(mesh.device_type, torch.get_device_module(device).current_device())
    return Ranks(group, len(numbers), dist.get_rank(group), device, tuple(places[i] for i in order))


@contextmanager
def _clear_errors(ranks: Ranks) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankError(
            explain(
                "a collective of the optimizer's step did not complete: another rank has ended, is stuck, or does not "
                "step; parameters of this rank may have moved.",
                got=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
                accepted=f"all {ranks.size} ranks of the group call step() equally often, within the group's timeout",
                do="look at the first rank that failed, and resume all ranks from the last checkpoint",
            )
        ) from error


@dataclass
class Shared:
    """A vector that all ranks hold or hold parts of; `local` is this rank's part, from `first` on."""

    local: Tensor
    first: int
    length: int  # of the whole
    empty: bool  # this rank has nothing to say: its part of the parameter has no elements

    def words(self, number: torch.dtype) -> Tensor:
        """The whole as the bits of its numbers, 0 where others know."""
        if self.empty or self.local.numel() < self.length:
            whole = self.local.new_zeros(self.length)
            if not self.empty:
                whole[self.first : self.first + self.local.numel()] = self.local
        else:
            whole = self.local
        words = whole.to(number).view(_WORDS[number])
        return words & _MASK[words.dtype]


def agree_on_maxima_(ranks: Ranks, notes: Sequence[int], vectors: Sequence[Shared]) -> Callable[[], list[int]]:
    """Raise every shared vector to its maximum over the ranks; one collective.

    notes: small non-negative integers that travel along. Returned: their maxima, as a function, because to read them
    waits for the device.
    """
    number = torch.float64 if any(v.local.dtype == torch.float64 for v in vectors) else torch.float32
    header = torch.tensor(notes, dtype=_WORDS[number], device=ranks.device)
    words = torch.cat([header, *(vector.words(number).to(ranks.device) for vector in vectors)])
    ranks.maximum_(words)
    at = len(notes)
    for vector in vectors:
        start = at + vector.first
        part = words[start : start + vector.local.numel()]
        vector.local.copy_(part.view(number))
        at += vector.length
    return lambda: words[: len(notes)].tolist()
