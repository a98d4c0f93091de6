"""One step of SM3-II on pieces of parameters that are cut over ranks; what ranks must agree on is left to the caller.

An element's update depends on old accumulators, momentum and gradient alone, so a rank steps what it holds with the
ordinary kernel. Its accumulators are then the maxima over what it holds: the caller raises them to the maxima over all
ranks, which max, being associative, makes exact. Two things differ from a whole tensor:

    one row     a kernel leaves out leading dimensions of size 1, whose accumulator is the largest of all. That of one
                row of many is not, so there the dimension is put last.
    counts      the cautious mask, the update's root mean square and stochastic rounding depend on the whole tensor.
                These options are stepped by the eager kernel, whose counts the caller adds up for `finish_`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sm3.optim.kernels.eager.sm3 import Sm3Step
from sm3.optim.kernels.eager.update_rms import UpdateRms
from sm3.optim.rules.panels import Runs
from sm3.optim.rules.sm3 import SM3Rule

_SIXTEEN_BITS = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Sm3Piece:
    """What a rank holds of one parameter."""

    param: Tensor  # the block, updated in place
    grad: Tensor
    state: dict[str, Tensor]  # accumulators and momentum of the block, the rest whole; updated in place
    shape: tuple[int, ...]  # of the whole parameter
    holding: tuple[Runs, ...]  # where the block's elements are in it
    index: int

    @property
    def numel(self) -> int:
        return prod(self.shape)


def step_(
    pieces: Sequence[Sm3Piece],
    rule: SM3Rule,
    kernel: Callable[..., None],  # the ordinary one
) -> Tensor:
    """Step all pieces; (pieces, 3) int64 counts: entries kept, squares, whether any update is not 0."""
    counts = [torch.zeros(3, dtype=torch.int64, device=piece.param.device) for piece in pieces]
    ordinary = []
    for number, piece in enumerate(pieces):
        if rule.cautious or rule.update_rms is not None or _is_drawn(piece.param, rule):
            if piece.param.numel():
                counts[number] = _step_counted(piece, rule)
        else:
            ordinary.append(piece)
    turned = [_turned(piece) for piece in ordinary]
    if turned:
        kernel(
            [piece.param for piece in turned],
            [piece.grad for piece in turned],
            [piece.state for piece in turned],
            rule,
            [piece.index for piece in turned],
        )
    for before, after in zip(ordinary, turned, strict=True):
        _spread(before, after)
    return torch.stack(counts) if counts else torch.zeros(0, 3, dtype=torch.int64)


def finish_(pieces: Sequence[Sm3Piece], rule: SM3Rule, counts: Tensor) -> None:
    """Store what the options remember, from the counts of all ranks together."""
    for piece, counted in zip(pieces, counts, strict=True):
        if piece.numel == 0:
            continue
        if rule.cautious:
            piece.state["kept"].copy_(counted[0])
        rms = UpdateRms.of(rule, piece.state, piece.numel, piece.state["accumulator_0"].dtype)
        if rms is not None:
            rms.count, rms.moved = counted[1], counted[2] > 0
            rms.finish_()


def _is_drawn(param: Tensor, rule: SM3Rule) -> bool:
    return rule.rounding == "stochastic" and param.dtype in _SIXTEEN_BITS


def _step_counted(piece: Sm3Piece, rule: SM3Rule) -> Tensor:
    turned = _turned(piece)
    step = Sm3Step(turned.param, turned.grad, turned.state, rule, piece.index, piece.holding, piece.numel)
    step.run()
    _spread(piece, turned)
    return step.counts()


def _turned(piece: Sm3Piece) -> Sm3Piece:
    """The same numbers in an order of dimensions in which no kernel leaves out an accumulator that counts.

    Leading dimensions of which the piece has one slice go last; the flat order stays. A single element is a vector of
    one, under the smallest of its accumulators.
    """
    lengths = piece.param.shape
    ones = next((axis for axis, length in enumerate(lengths) if length != 1), len(lengths))
    if all(length == 1 for length in piece.shape[:ones]):
        return piece
    names = [f"accumulator_{axis}" for axis in range(len(lengths))]
    accumulators = [piece.state[name] for name in names]
    others = {name: tensor for name, tensor in piece.state.items() if name not in names}
    if ones == len(lengths):
        smallest = torch.stack(accumulators).amin(0)  # NaN wins, as in the kernels
        order, accumulators = None, [smallest]
    else:
        order = [*range(ones, len(lengths)), *range(ones)]
        accumulators = [accumulators[axis] for axis in order]

    def turn(tensor: Tensor) -> Tensor:
        return tensor.reshape(1) if order is None else tensor.permute(order)

    state = {**others, **dict(zip(names, accumulators, strict=False))}
    if "momentum" in state:
        state["momentum"] = turn(state["momentum"])
    return Sm3Piece(
        turn(piece.param.detach()), turn(piece.grad.detach()), state, piece.shape, piece.holding, piece.index
    )


def _spread(piece: Sm3Piece, turned: Sm3Piece) -> None:
    """A single element's new accumulator is that of all its dimensions."""
    if turned.param.dim() < piece.param.dim():
        for axis in range(piece.param.dim()):
            piece.state[f"accumulator_{axis}"].copy_(turned.state["accumulator_0"])
