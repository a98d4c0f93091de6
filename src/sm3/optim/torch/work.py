"""What a group of parameters brings to one step of the loop, and what of it is remembered until the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_

from torch import Tensor

from sm3.optim.rules import Rule
from sm3.optim.torch import inputs


@dataclass
class Work:
    """What one group contributes to one step."""

    rule: Rule
    number: int  # of the group
    first: int  # index of the group's first parameter among all parameters of the optimizer
    params: Sequence[Tensor]
    grads: Sequence[Tensor]
    positions: Sequence[int]  # of each parameter in its group
    look: inputs.Look  # of the parameters
    # Of sharded parameters, which are DTensors while `grads` are this rank's pieces: whether this rank has a gradient.
    present: Sequence[bool] | None = None

    @property
    def is_sharded(self) -> bool:
        return self.present is not None

    @property
    def key(self) -> int:
        """A number of its own for the sharded part of a group."""
        return self.number if self.present is None else -1 - self.number

    @property
    def indices(self) -> list[int]:
        return [self.first + position for position in self.positions]


@dataclass
class Seen:
    """What a group was at its last step, when its state was held against the rule.

    A step has microseconds for each parameter, and these checks would be most of it.
    """

    layout: Rule
    params: list[Tensor]
    states: list[dict[str, Tensor]]
    look: inputs.Look

    def still(self, layout: Rule, work: Work, states: Mapping[Tensor, dict[str, Tensor]]) -> bool:
        """Whether nothing has changed since that a check could find."""
        params = work.params
        return (
            layout is self.layout
            and len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and all(map(is_, map(states.get, params), self.states))
            and work.look == self.look
        )
