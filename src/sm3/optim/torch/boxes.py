"""Where the pieces of a sharded parameter lie: from a DTensor's mesh and placements to one box per rank.

A rank's box is an axis-parallel block of the global tensor. That covers what FSDP2, HSDP, tensor parallelism and their
combinations make: rows, columns, blocks, and rows in another order than the ranks'. Arithmetic only, no communication.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sm3.errors import ParameterError, explain
from sm3.optim.rules import StateTensor
from sm3.optim.rules.panels import Runs, runs_of_block

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

Range = tuple[int, int]  # first index, and one past the last


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, however it is placed."""
    # By name: importing torch.distributed.tensor costs 0.3 s, and who has a DTensor has paid for it already.
    return any(base.__name__ == "DTensor" for base in type(tensor).__mro__)


def to_local(tensor: Tensor) -> Tensor:
    """A DTensor's tensor on this rank, sharing its memory; other tensors as they are. Under no_grad."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Split:
    """One mesh dimension cuts a tensor dimension into `pieces`, as torch.chunk does: the last may be short or empty.

    split_factor > 1: the tensor dimension was cut into so many parts before, by a mesh dimension further right, and
    each of those is cut (PyTorch's `_StridedShard`, which FSDP2 over tensor parallelism makes).
    """

    mesh_axis: int
    pieces: int
    split_factor: int = 1


def held_range(length: int, splits: Sequence[Split], coordinate: Sequence[int]) -> Range | None:
    """The indices of one tensor dimension that a rank holds; None if they are not consecutive.

    >>> [held_range(5, [Split(0, 3)], (rank,)) for rank in range(3)]
    [(0, 2), (2, 4), (4, 5)]
    >>> fsdp_over_tensor_parallel = [Split(0, 2, split_factor=2), Split(1, 2)]
    >>> [held_range(12, fsdp_over_tensor_parallel, place) for place in ((0, 0), (0, 1), (1, 0), (1, 1))]
    [(0, 3), (6, 9), (3, 6), (9, 12)]
    """
    ranges: list[Range] = [(0, length)]
    for split in splits:
        parts = _chunks(ranges, split.split_factor)
        ranges = [piece for part in parts for piece in _chunks(part, split.pieces)[coordinate[split.mesh_axis]]]
    joined: list[Range] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    if not joined:
        return length, length
    return joined[0] if len(joined) == 1 else None


def _chunks(ranges: Sequence[Range], pieces: int) -> list[list[Range]]:
    """The indices of the ranges, one after another, cut as torch.chunk cuts."""
    total = sum(last - first for first, last in ranges)
    size = -(-total // pieces)
    return [_part(ranges, min(i * size, total), min((i + 1) * size, total)) for i in range(pieces)]


def _part(ranges: Sequence[Range], start: int, stop: int) -> list[Range]:
    found, before = [], 0
    for first, last in ranges:
        low, high = max(start - before, 0), min(stop - before, last - first)
        if low < high:
            found.append((first + low, first + high))
        before += last - first
    return found


@dataclass(frozen=True)
class Box:
    """How a parameter is cut over a mesh, and what of it this rank holds."""

    shape: tuple[int, ...]  # of the whole parameter
    mesh: DeviceMesh
    placements: tuple[Any, ...]  # one per mesh dimension
    splits: tuple[tuple[Split, ...], ...]  # per tensor dimension, what cuts it, in the order of the mesh dimensions

    @classmethod
    def of(cls, name: str, param: DTensor) -> Box:
        """Raises `ParameterError` for placements of which the pieces are not boxes, or not whole."""
        shape, mesh = tuple(param.shape), param.device_mesh
        splits: list[list[Split]] = [[] for _ in shape]
        placement: Any
        for axis, placement in enumerate(param.placements):
            kind = type(placement).__name__
            if kind not in ("Shard", "_StridedShard", "Replicate"):
                raise _unplaced(name, param, "sums or pieces of an unknown kind do not say what the parameter is")
            if kind != "Replicate" and mesh.size(axis) > 1:
                factor = placement.split_factor if kind == "_StridedShard" else 1
                splits[placement.dim].append(Split(axis, mesh.size(axis), factor))
        box = cls(shape, mesh, tuple(param.placements), tuple(map(tuple, splits)))
        if mesh.get_coordinate() is None:
            raise _unplaced(name, param, "this rank is not in the parameter's mesh")
        if any(box.held_by(coordinate) is None for coordinate in box.coordinates()):
            raise _unplaced(name, param, "a rank would hold separate parts of one dimension")
        if tuple(param.to_local().shape) != box.lengths:
            raise _unplaced(
                name, param, f"this rank holds {tuple(param.to_local().shape)}, placements say {box.lengths}"
            )
        return box

    def coordinates(self) -> Iterator[tuple[int, ...]]:
        """Of every rank of the mesh, in its order."""
        return product(*(range(self.mesh.size(axis)) for axis in range(self.mesh.ndim)))

    def held_by(self, coordinate: Sequence[int]) -> tuple[Range, ...] | None:
        """The range of each tensor dimension; None where one is not a range."""
        ranges = [held_range(n, splits, coordinate) for n, splits in zip(self.shape, self.splits, strict=True)]
        return tuple(found for found in ranges if found is not None) if None not in ranges else None

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """What this rank holds."""
        coordinate = self.mesh.get_coordinate()
        held = self.held_by(coordinate) if coordinate is not None else None
        assert held is not None, "checked by Box.of"
        return held

    def holding_at(self, coordinate: Sequence[int]) -> tuple[Runs, ...]:
        """The runs of the flat parameter that a rank holds, in the order of its memory."""
        ranges = self.held_by(coordinate)
        assert ranges is not None, "checked by Box.of"
        offset, lengths = tuple(first for first, _ in ranges), tuple(last - first for first, last in ranges)
        return runs_of_block(self.shape, offset, lengths)

    @cached_property
    def holding(self) -> tuple[Runs, ...]:
        """Those of this rank."""
        return self.holding_at(self.mesh.get_coordinate() or ())

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(last - first for first, last in self.ranges)

    @cached_property
    def cut_by(self) -> tuple[int, ...]:
        """Mesh dimensions along which ranks hold different pieces."""
        return tuple(sorted({split.mesh_axis for splits in self.splits for split in splits}))

    def follows(self, declared: StateTensor) -> bool:
        """Whether a state tensor is cut with the parameter; otherwise every rank holds the whole of it.

        Signs are bytes of several elements each: they follow where the cuts of their own, shorter, dimension fall on
        the same places. What ranks do not combine must follow every dimension that is cut, or none.
        """
        followed = [
            (mine, axis) for mine, axis in enumerate(declared.follows) if axis is not None and self.splits[axis]
        ]
        if declared.combine is None and len(followed) < sum(map(bool, self.splits)):
            return False
        return bool(followed) and all(
            self._same_cuts(axis, declared.shape[mine]) for mine, axis in followed if declared.combine is None
        )

    def _same_cuts(self, axis: int, length: int) -> bool:
        """Whether a dimension of this length is cut where the parameter's is, if it stands for the same elements."""
        own = self.shape[axis]
        for coordinate in self.coordinates():
            ours = held_range(own, self.splits[axis], coordinate)
            theirs = held_range(length, self.splits[axis], coordinate)
            if ours is None or theirs is None or [n * length for n in ours] != [n * own for n in theirs]:
                return False
        return True

    def placements_of(self, declared: StateTensor) -> list[Any]:
        """Where a state tensor of this parameter lies: cut where the dimension it runs along is cut, else whole."""
        from torch.distributed.tensor import Replicate, Shard

        placements: list[Any] = [Replicate()] * self.mesh.ndim
        if not self.follows(declared):
            return placements
        for mine, theirs in enumerate(declared.follows):
            for split in self.splits[theirs] if theirs is not None else ():
                placement = self.placements[split.mesh_axis]
                strided = split.split_factor > 1
                placements[split.mesh_axis] = (
                    type(placement)(mine, split_factor=split.split_factor) if strided else Shard(mine)
                )
        return placements

    def ranges_of(self, declared: StateTensor) -> tuple[Range, ...]:
        """What this rank holds of a state tensor."""
        whole = [(0, length) for length in declared.shape]
        if self.follows(declared):
            coordinate = self.mesh.get_coordinate() or ()
            for mine, axis in enumerate(declared.follows):
                held = None if axis is None else held_range(declared.shape[mine], self.splits[axis], coordinate)
                whole[mine] = held or whole[mine]
        return tuple(whole)

    def lengths_of(self, declared: StateTensor) -> tuple[int, ...]:
        """Shape of this rank's part of a state tensor."""
        return tuple(last - first for first, last in self.ranges_of(declared))


def distributed(local: Tensor, box: Box, declared: StateTensor) -> Tensor:
    """The state tensor of which `local` is this rank's piece: true global shape, true placements."""
    from torch.distributed.tensor import DTensor

    stride = [1] * len(declared.shape)
    for axis in range(len(stride) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * max(declared.shape[axis + 1], 1)
    placements = box.placements_of(declared)
    shape = torch.Size(declared.shape)
    return DTensor.from_local(local, box.mesh, placements, run_check=False, shape=shape, stride=tuple(stride))


def _unplaced(name: str, param: DTensor, why: str) -> ParameterError:
    return ParameterError(
        explain(
            f"parameter {name} is sharded in a way that cannot be stepped exactly: {why}.",
            got=f"{tuple(param.shape)} placed {tuple(param.placements)} on a mesh of {tuple(param.device_mesh.shape)}",
            accepted="Shard and Replicate, where each rank holds one block: FSDP2, HSDP, tensor parallelism and both",
            do="redistribute the parameter, for example to Shard(0), before building the optimizer",
        )
    )
