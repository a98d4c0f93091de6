"""SM3 in Triton. Anil et al. 2019, algorithm SM3-II, and the exponential-mean variant: one pass over memory.

    tiles   nu = min(row, column bound) + grad^2;  new maxima of rows and columns;  momentum;  param     every element
    folds   accumulators = new maxima of their slices                                                   vectors only

1. The update needs old accumulators only, and a maximum is exact in any order: tiles raise a zeroed copy of the row
   and column maxima by integer atomic max (nu >= 0, so its bits order as integers, and NaN lies above infinity: it
   sticks). The second launch moves the copy into the accumulators, folding the columns to each trailing dimension.
2. The columns' bound is the minimum of the trailing accumulators, gathered once a tile.
3. A vector owns its accumulator entry by entry: written in place, no atomics.
4. SM3-I needs all maxima before the first update, two passes: the eager kernel serves it. So it does tensors that are
   not contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sm3.optim.kernels.eager.sm3 import sm3_step_ as eager_step_
from sm3.optim.kernels.triton import table
from sm3.optim.kernels.triton.sm3_tile import sm3_folds, sm3_tiles
from sm3.optim.kernels.triton.storage import FIELDS
from sm3.optim.kernels.triton.update_rms import store_rms
from sm3.optim.rules.sm3 import SM3Rule


def sm3_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SM3Rule.state of each; `step` already counts this step; updated in place
    rule: SM3Rule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
) -> None:
    """One step of SM3 on every parameter of the list: two launches a pair of dtypes, three with `update_rms`."""
    if rule.variant == "I":
        eager_step_(params, grads, states, rule, indices)
        return
    groups, rest = table.grouped(params, grads, states, indices, lambda shape: _Fold.of(shape).matrix)
    for group in groups:
        _step_group(group, rule)
    if rest is not None:
        eager_step_(rest.params, rest.grads, rest.states, rule, rest.indices)


@dataclass(frozen=True)
class _Fold:
    """A shape as leading ones, rows and trailing dimensions; see `kernels.eager.sm3`. A vector is one row here."""

    leading: int
    rows: int
    trailing: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> _Fold:
        axis = next((axis for axis, length in enumerate(shape) if length != 1), max(len(shape) - 1, 0))
        return cls(axis, shape[axis] if shape else 1, tuple(shape[axis + 1 :]))

    @property
    def matrix(self) -> tuple[int, int]:
        return (self.rows, prod(self.trailing)) if self.trailing else (1, self.rows)

    def maxima(self) -> int:
        """Words of new maxima this tensor needs."""
        return self.rows + prod(self.trailing) if self.trailing else int(self.leading > 0)


class _Tables:
    """Descriptors of tensors, of trailing accumulators, and of the folds of the second launch."""

    def __init__(self, group: table.Group, rule: SM3Rule):
        self.folds = [_Fold.of(tuple(param.shape)) for param in group.params]
        self.tensors: list[list[int]] = []
        self.axes: list[list[int]] = []  # (address, distance of neighbours in the columns, length)
        self.shapes: list[tuple[int, int, int]] = []  # rows, columns and kind of tile
        self.moves: list[list[int]] = []  # (to, from, outer, length, inner), all in words of the accumulators' size
        size = group.accumulator.itemsize
        counts = len(self.folds) * (rule.cautious + 2 * (rule.update_rms is not None))
        words = sum(fold.maxima() for fold in self.folds)
        # One fill: counts of kept entries, counts of squares, maxima.
        self.scratch = torch.zeros(counts + -(-words * size // 8), dtype=torch.int64, device=group.device)
        address = self.scratch.data_ptr() + 8 * counts
        square = self.scratch.data_ptr() + 8 * len(self.folds) * rule.cautious
        for number, (member, fold) in enumerate(zip(group.members(), self.folds, strict=True)):
            self._add(member, fold, rule, size, address, self.scratch.data_ptr() + 8 * number, square + 16 * number)
            address += fold.maxima() * size

    def _add(
        self, member: table.Member, fold: _Fold, rule: SM3Rule, size: int, maxima: int, count: int, square: int
    ) -> None:
        param, grad, state, index = member
        rows, columns = fold.matrix
        decays = (rule.momentum, 1.0 if rule.beta2 is None else rule.beta2)
        head = table.head(param, grad, state, rule, index, rows=rows, columns=columns, decays=decays, count=count)
        streams = [param, grad, *([state["momentum"]] if rule.momentum else [])]
        kind = table.GEOMETRY.kind(columns, aligned=table.aligned(columns, *streams)) if fold.trailing else 4
        self.shapes.append((rows, columns, kind))
        accumulators = [state[f"accumulator_{axis}"].data_ptr() for axis in range(max(param.dim(), 1))]
        momentum = state["momentum"].data_ptr() if rule.momentum else 0
        column_max = maxima + rows * size
        own = maxima if fold.maxima() else 0
        words = [*head, momentum, accumulators[fold.leading], own, column_max, len(self.axes), len(fold.trailing)]
        self.tensors.append(table.with_rms(words, state, rule, square))
        for leading in accumulators[: fold.leading]:
            self.moves.append([leading, maxima, 1, 1, rows])
        if fold.trailing:
            self.moves.append([accumulators[fold.leading], maxima, 1, rows, 1])
        for axis, length in enumerate(fold.trailing):
            inner = prod(fold.trailing[axis + 1 :])
            trailing = accumulators[fold.leading + 1 + axis]
            self.axes.append([trailing, inner, length])
            self.moves.append([trailing, column_max, columns // (inner * length), length, inner])
        if rule.cautious:
            self.moves.append([state["kept"].data_ptr(), count, 1, 8 // size, 1])


def _step_group(group: table.Group, rule: SM3Rule) -> None:
    geometry, device = table.GEOMETRY, group.device
    tables = _Tables(group, rule)
    flags = table.Flags.of(group, rule, averages=rule.momentum > 0, mean=rule.beta2 is not None)
    tensors, axes, moves = table.on_device(device, (tables.tensors, FIELDS.value), (tables.axes, 4), (tables.moves, 8))
    tiles = table.tile_table(tuple(tables.shapes), device, geometry)
    table.launch(sm3_tiles, len(tiles), (tensors, axes, tiles), flags)
    if tables.moves:
        lengths = tuple(move[3] for move in tables.moves)
        blocks = tuple(geometry.block if move[2] * move[4] == 1 else geometry.few for move in tables.moves)
        where = table.block_table(lengths, blocks, device)
        table.launch(sm3_folds, len(where), (moves, where), flags)
    if flags.held:
        table.launch(store_rms, len(tables.tensors), (tensors,), flags)
