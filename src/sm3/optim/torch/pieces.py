"""What a rank brings to one step of sharded parameters: local tensors of parameter, gradient and state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sm3.optim.kernels.dispatch import Kernel
from sm3.optim.rules import Rule, StateTensor
from sm3.optim.torch import inputs
from sm3.optim.torch.boxes import Box, to_local
from sm3.optim.torch.exchange import Ranks
from sm3.optim.torch.state import declared_for, layout_of, place_of
from sm3.optim.torch.work import Work

if TYPE_CHECKING:
    from sm3.optim.torch.loop import RuleOptimizer


@dataclass
class Piece:
    """What this rank holds of one parameter, as the kernels see it.

    Where this rank has no gradient (`present` is False), another may have one. Then its own counts as zero, which is a
    step, too: momentum decays, maxima go on. So it is stepped on copies, and they are kept if another rank had one.
    """

    param: Tensor  # the DTensor
    name: str
    group: int
    box: Box
    rule: Rule
    index: int
    present: bool
    local: Tensor
    grad: Tensor
    state: dict[str, Tensor]
    declared: Sequence[StateTensor]

    def settle(self, optimizer: RuleOptimizer) -> None:
        """Take over what was stepped on copies."""
        for name, tensor in optimizer._state_of(self.param, layout_of(self.rule)).items():
            to_local(tensor).copy_(self.state[name])
        to_local(self.param).copy_(self.local)


@dataclass(frozen=True)
class Part:
    """The pieces of one parameter group."""

    rule: Rule
    kernel: Kernel  # for whole parameters
    pieces: list[Piece]


@dataclass(frozen=True)
class Meeting:
    """Ranks that share some parameters, and what this one brings of them."""

    ranks: Ranks
    axes: tuple[int, ...]  # the mesh dimensions along which they differ
    members: list[Piece]

    def speaks_for(self, piece: Piece) -> bool:
        """Whether this rank is the first of those that hold this very piece."""
        place = self.ranks.coordinates[self.ranks.me]
        return all(place[axis] == 0 for axis in self.axes if axis not in piece.box.cut_by)


def local_gradient(param: Tensor) -> Tensor:
    """This rank's piece of a sharded parameter's gradient; zeros where it has none."""
    grad: Any = param.grad
    if grad is None:
        return torch.zeros_like(to_local(param))
    placements = param.placements  # type: ignore[attr-defined]
    if grad.placements != placements:
        # A gradient that autograd left in another place, as partial sums of a replicated parameter, say.
        grad = grad.redistribute(placements=placements)
    return to_local(grad)


def pieces_of(optimizer: RuleOptimizer, work: Work) -> list[Piece]:
    """The pieces of a group's sharded parameters; state that is missing is allocated where there is a gradient."""
    group, layout, pieces = optimizer.param_groups[work.number], layout_of(work.rule), []
    for param, grad, position, present in zip(work.params, work.grads, work.positions, work.present or (), strict=True):
        name = inputs.parameter_name(group, position, work.number)
        box = optimizer._together.box(name, param)
        local, declared = to_local(param), declared_for(param, layout)
        if present:
            state = {key: to_local(tensor) for key, tensor in optimizer._state_of(param, layout).items()}
        else:
            local, state = local.clone(), _copied(optimizer.state.get(param, {}), param, box, declared)
        index = work.first + position
        pieces.append(Piece(param, name, work.number, box, work.rule, index, present, local, grad, state, declared))
    return pieces


def _copied(known: Mapping[str, Tensor], param: Tensor, box: Box, declared: Sequence[StateTensor]) -> dict[str, Tensor]:
    """Copies of this rank's part of a parameter's state, zeros where it has none."""
    copies = {}
    for tensor in declared:
        shape, dtype = box.lengths_of(tensor), getattr(torch, tensor.dtype)
        copies[tensor.name] = (
            to_local(known[tensor.name]).clone()
            if tensor.name in known
            else torch.zeros(shape, dtype=dtype, device=place_of(tensor, param))
        )
    return copies
