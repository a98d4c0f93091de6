"""SMMF in plain PyTorch. Park & Lee 2025, algorithm 1: decompress, update, compress, apply.

    M = b_m S (r_m x c_m) + (1 - b_m) grad         S = +1 where the sign bit is set, else -1
    V = b_v (r_v x c_v)   + (1 - b_v) grad^2
    r, c = row sums and column sums of |M| and of V; c is divided by its sum (rows >= columns, so c is the shorter)
    param -= lr M / (sqrt(V) + eps)                with M and V before compression

Departures from the text: the matrix is walked in tiles of whole rows, old factors are read while new sums gather
beside them. Where the gradient is exactly zero no update is applied: a zero momentum is stored as negative, so the
published rule moves entries that never had a gradient (`published=True` does). Matrices with a missing tail
(`rules.shapes.near_square`) keep it at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sm3.optim.kernels.eager.cautious import CautiousMask
from sm3.optim.kernels.eager.roots import square_root_
from sm3.optim.kernels.eager.rounding import NoiseKey, WriteBack
from sm3.optim.kernels.eager.storage import read_signs, write_signs_
from sm3.optim.kernels.eager.tiles import Tile, gradient_tile, tiles
from sm3.optim.kernels.eager.update_rms import UpdateRms
from sm3.optim.rules.shapes import near_square
from sm3.optim.rules.smmf import SMMFRule


def smmf_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SMMFRule.state of each; `step` already counts this step; updated in place
    rule: SMMFRule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
) -> None:
    """One step of SMMF on every parameter of the list. Temporaries are as large as a tile (2^17 elements)."""
    for param, grad, state, index in zip(params, grads, states, indices, strict=True):
        if param.numel() > 0:
            _SmmfStep(param, grad, state, rule, index).run()


class _Moment:
    """The factors of one moment: old ones are read while the sums of the new one gather."""

    def __init__(self, row: Tensor, column: Tensor):
        self.row, self.column = row, column
        self.row_sum, self.column_sum = torch.zeros_like(row), torch.zeros_like(column)

    def decompress(self, tile: Tile) -> Tensor:
        return self.row[tile.rows].unsqueeze(1) * self.column[tile.columns].unsqueeze(0)

    def gather(self, tile: Tile, values: Tensor) -> None:
        self.row_sum[tile.rows] += values.sum(1)
        self.column_sum[tile.columns] += values.sum(0)

    def finish_(self) -> None:
        total = self.column_sum.sum()
        self.row.copy_(self.row_sum)
        # where, not `if`: a branch would wait for the device.
        self.column.copy_(self.column_sum / torch.where(total == 0, torch.ones_like(total), total))


class _SmmfStep:
    """One parameter, one step."""

    def __init__(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], rule: SMMFRule, index: int):
        self.param, self.grad, self.rule = param, grad, rule
        self.second = _Moment(state["v_row"], state["v_col"])
        self.first = None if rule.beta is None else _Moment(state["m_row"], state["m_col"])
        self.signs = None if rule.beta is None else state["m_sign"]
        self.dtype = self.second.row.dtype
        step = int(state["step"])
        self.first_decay, self.second_decay = rule.moment_decays(step)
        noise = NoiseKey(rule.seed, step, index) if rule.rounding == "stochastic" else None
        self.rms = UpdateRms.of(rule, state, param.numel(), self.dtype)
        self.write_back = WriteBack(rule.lr, rule.weight_decay, noise, self.rms.step_size if self.rms else None)
        self.mask = CautiousMask(state["kept"], param.numel(), step, self.dtype) if rule.cautious else None

    def run(self) -> None:
        for tile in tiles(*near_square(self.param.numel(), published=self.rule.published)):
            if tile.start >= self.param.numel():
                break  # a tile of the missing tail alone
            grad = gradient_tile(self.grad, tile, self.dtype, maximize=self.rule.maximize)
            variance = (
                self.second.decompress(tile).mul_(self.second_decay).add_((grad * grad).mul_(1.0 - self.second_decay))
            )
            self._clear_tail(tile, variance)
            self.second.gather(tile, variance)
            update = grad.clone() if self.first is None else self._first_moment(self.first, tile, grad)
            if self.mask is not None:
                update = self.mask.apply(update, grad)
            update.div_(square_root_(variance).add_(self.rule.eps))
            if not self.rule.published:
                update.masked_fill_(grad == 0, 0.0)
            if self.rms is not None:
                self.rms.add(update)
            stop = min(tile.stop, self.param.numel())
            self.write_back.apply_(self.param, tile.start, stop, update.view(-1)[: stop - tile.start])
        self.second.finish_()
        if self.first is not None:
            self.first.finish_()
        if self.mask is not None:
            self.mask.finish_()
        if self.rms is not None:
            self.rms.finish_()

    def _first_moment(self, first: _Moment, tile: Tile, grad: Tensor) -> Tensor:
        assert self.signs is not None
        numel, stop = self.param.numel(), min(tile.stop, self.param.numel())
        magnitude = first.decompress(tile)
        positive = read_signs(self.signs, numel, tile.start, stop)
        flat = magnitude.view(-1)[: stop - tile.start]
        flat.copy_(torch.where(positive, flat, -flat))
        moment = magnitude.mul_(self.first_decay).add_(grad * (1.0 - self.first_decay))
        self._clear_tail(tile, moment)
        first.gather(tile, moment.abs())
        write_signs_(self.signs, numel, tile.start, stop, moment.view(-1)[: stop - tile.start] > 0)
        return moment

    def _clear_tail(self, tile: Tile, values: Tensor) -> None:
        """Elements past the tensor's end do not exist: they must not enter the sums."""
        if tile.stop > self.param.numel():
            values.view(-1)[self.param.numel() - tile.start :] = 0.0
