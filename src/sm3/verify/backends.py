"""C++ gives what plain PyTorch gives: SM3 and all parameters to the bit, SMMF's sums to the rounding of another order.

One step at a time from the same state, so that a bound for one step is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.rules import SMMFRule
from sm3.optim.rules.shapes import near_square
from sm3.verify.difference import Difference, difference, snapshot
from sm3.verify.outcome import BROKEN, HOLDS, SKIPPED, Outcome
from sm3.verify.record import Record

PROMISE = "C++ == PyTorch"
FACTORS = ("m_row", "m_col", "v_row", "v_col")


def backends(record: Record) -> Outcome:
    """Two optimizers on the same gradients; after each step the first goes on from the second's state."""
    variant = record.variant
    if not library.available():
        return Outcome(PROMISE, variant.label, SKIPPED, reason=library.why_not())
    pair = [record.leaves(), record.leaves()]
    native, eager = (
        variant.make(leaves.items(), backend=backend) for leaves, backend in zip(pair, ("cpu", "eager"), strict=True)
    )
    exact, rounded = Difference(), Rounded()
    for step in range(record.steps):
        for leaves, optimizer in zip(pair, (native, eager), strict=True):
            record.set_gradients(leaves, step)
            optimizer.step()
        ours, theirs = snapshot(pair[0], native), snapshot(pair[1], eager)
        exact = exact.and_(difference(without_factors(ours), without_factors(theirs)))
        for name, leaf in pair[0].items():
            rounded.compare(name, leaf, ours, theirs, variant.rule())
            for key, value in native.state.get(leaf, {}).items():
                value.copy_(eager.state[pair[1][name]][key])
    return outcome(PROMISE, record, exact, rounded)


def outcome(promise: str, record: Record, exact: Difference, rounded: Rounded) -> Outcome:
    """Broken where a bit differs that must not, or a sum by more than its bound."""
    compared = f"{exact.tensors + rounded.tensors} tensors after each of {record.steps} steps"
    label = record.variant.label
    if exact.unequal:
        return Outcome(promise, label, BROKEN, exact.largest, 0.0, exact.where, compared)
    verdict = BROKEN if rounded.share > 1.0 else HOLDS
    if rounded.tensors:
        compared += ": equal bits but for the factors, whose sums are in another order"
    return Outcome(promise, label, verdict, rounded.largest, rounded.bound, rounded.where, compared)


def without_factors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is promised to the bit."""
    return {name: value for name, value in tensors.items() if not name.endswith(FACTORS)}


class Rounded:
    """SMMF's factors: relative differences, held against the bound of their own shape.

    A sum of k non-negative terms in any order is off by at most (k - 1) u of the exact sum, u = 2^-24 (Higham 2002,
    section 4.2), so two orders differ by twice that. A row factor is a sum of m terms; a column factor a sum of n terms
    over a sum of m such sums: n - 1 + m - 1 + 1 roundings. 2.02 instead of 2 takes in the second order.
    """

    def __init__(self) -> None:
        self.largest = self.bound = self.share = 0.0
        self.where, self.tensors = "", 0
        self._seen: set[str] = set()

    def compare(
        self, name: str, leaf: Tensor, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], rule: object
    ) -> None:
        """The factors of one parameter; the worst is kept by its share of what is allowed."""
        if not isinstance(rule, SMMFRule):
            return
        rows, columns = near_square(leaf.numel(), published=rule.published)
        for key in FACTORS:
            one, other = ours.get(f"{name}: {key}"), theirs.get(f"{name}: {key}")
            if one is None or other is None or one.numel() == 0:
                continue
            self._seen.add(f"{name}: {key}")
            self.tensors = len(self._seen)
            bound = 2.02 * 2.0**-24 * (columns if key.endswith("row") else rows + columns)
            size = other.double().abs()
            # A denormal sum is exact to half its spacing per term, not relatively: 2^-149 for each term.
            apart = ((one.double() - other.double()).abs() - (rows + columns) * 2.0**-149).clamp(min=0.0)
            relative = float((apart / size.clamp(min=2.0**-149)).nan_to_num(nan=math.inf).max())
            if relative / bound > self.share or not self.where:
                self.largest, self.bound, self.share = relative, bound, relative / bound
                self.where = f"{name}: {key}"
