"""The largest difference between two sets of tensors, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sm3.optim.torch.loop import RuleOptimizer


@dataclass(frozen=True)
class Difference:
    """`unequal` tensors of `tensors` differ in at least one bit; the largest distance of two numbers is `largest`."""

    largest: float = 0.0
    where: str = ""
    unequal: int = 0
    tensors: int = 0

    def and_(self, other: Difference) -> Difference:
        """The worse of two comparisons of the same tensors."""
        worse = self if (self.largest, self.unequal) >= (other.largest, other.unequal) else other
        return Difference(
            worse.largest, worse.where, max(self.unequal, other.unequal), max(self.tensors, other.tensors)
        )


def snapshot(leaves: Mapping[str, Tensor], optimizer: RuleOptimizer) -> dict[str, Tensor]:
    """Copies of all parameters, by name, and of their state, by name and key."""
    found = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    for name, leaf in leaves.items():
        found |= {f"{name}: {key}": value.clone() for key, value in optimizer.state.get(leaf, {}).items()}
    return found


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Difference:
    """Bit by bit; any NaN equals any NaN. A tensor that one side lacks, or of another shape or dtype, is infinite.

    >>> difference({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.0, 2.5])})
    Difference(largest=0.5, where='w', unequal=1, tensors=1)
    """
    found = Difference(tensors=len(ours.keys() | theirs.keys()))
    unequal = 0
    for name in sorted(ours.keys() | theirs.keys()):
        distance = _distance(ours.get(name), theirs.get(name))
        if distance is None:
            continue
        unequal += 1
        if unequal == 1 or distance > found.largest:
            found = Difference(distance, name, unequal, found.tensors)
    return Difference(found.largest, found.where, unequal, found.tensors)


def _distance(one: Tensor | None, other: Tensor | None) -> float | None:
    """Largest distance of two entries; None where all bits are equal."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if one.numel() == 0:
        return None
    if not one.is_floating_point():
        return None if torch.equal(one, other) else float((one.long() - other.long()).abs().max())
    both = one.isnan() & other.isnan()
    integers = {8: torch.int64, 4: torch.int32, 2: torch.int16}[one.element_size()]
    equal = both | (one.contiguous().view(integers) == other.contiguous().view(integers))
    if bool(equal.all()):
        return None
    apart = torch.where(equal, 0.0, (one.double() - other.double()).abs())
    return float(apart.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
