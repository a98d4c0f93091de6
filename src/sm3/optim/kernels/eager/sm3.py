"""SM3 in plain PyTorch. Anil et al. 2019, algorithms SM3-I and SM3-II, and the exponential-mean variant.

    II:  nu = min over dimensions of the old accumulators + grad^2        one pass: the update needs only old state
         accumulator_a = max of nu over the slices along dimension a
    I:   accumulator_a += max of grad^2 over the slices                   two passes: all maxima, then the update
         nu = min over dimensions of the new accumulators
    both: momentum = b momentum + (1 - b) grad / sqrt(nu), 0/0 = 0;  param -= lr momentum

Departures from the text: a tensor is folded to rows x columns. Leading dimensions of size 1 are left out (their
accumulator is the largest of all, never the strict minimum), the first other dimension is the rows, the rest are the
columns, whose bound is the minimum of the trailing accumulators as one vector. That is exact for any rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sm3.optim.kernels.eager.cautious import CautiousMask
from sm3.optim.kernels.eager.roots import square_root_
from sm3.optim.kernels.eager.rounding import NoiseKey, WriteBack
from sm3.optim.kernels.eager.tiles import Tile, gradient_tile, read, tiles
from sm3.optim.kernels.eager.update_rms import UpdateRms
from sm3.optim.rules.panels import Runs
from sm3.optim.rules.sm3 import SM3Rule


def sm3_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SM3Rule.state of each; `step` already counts this step; updated in place
    rule: SM3Rule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
) -> None:
    """One step of SM3 on every parameter of the list. Temporaries are as large as a tile (2^17 elements)."""
    for param, grad, state, index in zip(params, grads, states, indices, strict=True):
        if param.numel() > 0:
            step = Sm3Step(param, grad, state, rule, index)
            step.run()
            step.finish_()


@dataclass
class _Fold:
    """A tensor as rows x columns; `bound` is the columns' minimum of the trailing accumulators, None for a vector."""

    leading: list[Tensor]  # accumulators of leading dimensions of size 1
    row: Tensor
    trailing: list[Tensor]
    trailing_shape: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], accumulators: list[Tensor]) -> _Fold:
        axis = next((axis for axis, length in enumerate(shape) if length != 1), max(len(shape) - 1, 0))
        return cls(accumulators[:axis], accumulators[axis], accumulators[axis + 1 :], tuple(shape[axis + 1 :]))

    @property
    def columns(self) -> int:
        return prod(self.trailing_shape)

    def bound(self) -> Tensor | None:
        """Minimum of the trailing accumulators, (columns,)."""
        lowest = None
        for axis, accumulator in enumerate(self.trailing):
            along = accumulator.view([-1 if dim == axis else 1 for dim in range(len(self.trailing))])
            lowest = along if lowest is None else torch.minimum(lowest, along)
        return None if lowest is None else lowest.expand(self.trailing_shape).reshape(-1)

    def maxima(self, row: Tensor, column: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Pairs (accumulator, maximum of its slices), given the maxima of every row and of every column."""
        pairs = [(accumulator, row.amax(0, keepdim=True)) for accumulator in self.leading] + [(self.row, row)]
        grid = column.view(self.trailing_shape)
        for axis, accumulator in enumerate(self.trailing):
            others = [dim for dim in range(len(self.trailing)) if dim != axis]
            pairs.append((accumulator, grid.amax(others) if others else grid))
        return pairs


class Sm3Step:
    """One parameter, one step; or a block of one, whose elements are at `holding` in the whole."""

    def __init__(
        self,
        param: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rule: SM3Rule,
        index: int,
        holding: tuple[Runs, ...] | None = None,
        numel: int | None = None,  # of the whole; None: of `param`
    ):
        self.param, self.grad, self.rule = param, grad, rule
        self.momentum = state.get("momentum")
        accumulators = [state[f"accumulator_{axis}"] for axis in range(max(param.dim(), 1))]
        self.dtype = accumulators[0].dtype
        self.fold = _Fold.of(tuple(param.shape), accumulators)
        self.row_max = torch.zeros_like(self.fold.row)
        self.column_max = self.row_max.new_zeros(self.fold.columns)
        step, numel = int(state["step"]), param.numel() if numel is None else numel
        noise = NoiseKey(rule.seed, step, index) if rule.rounding == "stochastic" else None
        self.rms = UpdateRms.of(rule, state, numel, self.dtype)
        step_size = self.rms.step_size if self.rms else None
        self.write_back = WriteBack(rule.lr, rule.weight_decay, noise, step_size, holding)
        self.mask = CautiousMask(state["kept"], numel, step, self.dtype) if rule.cautious else None

    def run(self) -> None:
        """Everything but what was counted."""
        if self.rule.variant == "I":
            self._add_maxima_of_squares()
        bound = self.fold.bound()
        for tile in tiles(self.fold.row.numel(), self.fold.columns):
            grad = gradient_tile(self.grad, tile, self.dtype, maximize=self.rule.maximize)
            nu = self._smallest_accumulator(tile, bound)
            if self.rule.variant == "II":
                nu = self._add_square(nu, grad * grad)
                self._raise_maxima(tile, nu)
            self._apply(tile, grad, nu)
        if self.rule.variant == "II":
            for accumulator, maximum in self.fold.maxima(self.row_max, self.column_max):
                accumulator.copy_(maximum)

    def finish_(self) -> None:
        """Store what was counted; not of a block, whose counts are a part."""
        if self.mask is not None:
            self.mask.finish_()
        if self.rms is not None:
            self.rms.finish_()

    def counts(self) -> Tensor:
        """(3,) int64: entries kept, squares, whether any update is not 0."""
        zero = torch.zeros((), dtype=torch.int64, device=self.param.device)
        kept = zero if self.mask is None else self.mask.count
        squares, moved = (zero, zero) if self.rms is None else (self.rms.count, self.rms.moved.long())
        return torch.stack([kept, squares, moved])

    def _add_maxima_of_squares(self) -> None:
        """SM3-I, first pass: every accumulator grows by the largest grad^2 of its slice."""
        for tile in tiles(self.fold.row.numel(), self.fold.columns):
            grad = gradient_tile(self.grad, tile, self.dtype, maximize=False)
            self._raise_maxima(tile, grad * grad)
        for accumulator, maximum in self.fold.maxima(self.row_max, self.column_max):
            accumulator.copy_(self._add_square(accumulator, maximum))

    def _raise_maxima(self, tile: Tile, values: Tensor) -> None:
        # maximum and amax let NaN through, so a poisoned row or column shows instead of looking healthy.
        row, column = self.row_max[tile.rows], self.column_max[tile.columns]
        torch.maximum(row, values.amax(1), out=row)
        torch.maximum(column, values.amax(0), out=column)

    def _add_square(self, accumulated: Tensor, square: Tensor) -> Tensor:
        beta2 = self.rule.beta2
        return accumulated + square if beta2 is None else accumulated * beta2 + square * (1.0 - beta2)

    def _smallest_accumulator(self, tile: Tile, bound: Tensor | None) -> Tensor:
        row = self.fold.row[tile.rows].unsqueeze(1)
        return row if bound is None else torch.minimum(row, bound[tile.columns].unsqueeze(0))

    def _apply(self, tile: Tile, grad: Tensor, nu: Tensor) -> None:
        root = square_root_(nu.clone(memory_format=torch.contiguous_format))
        update = (grad / root).masked_fill_(root == 0, 0.0)
        if self.momentum is not None:
            beta = self.rule.momentum
            momentum = read(self.momentum, tile.start, tile.stop).view_as(update)
            momentum.mul_(beta).add_(update.mul_(1.0 - beta))
            update = momentum.clone() if self.mask is None else self.mask.apply(momentum, grad)
        if self.rms is not None:
            self.rms.add(update)
        self.write_back.apply_(self.param, tile.start, tile.stop, update.view(-1))
