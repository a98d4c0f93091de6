"""The update's root mean square, held at a target by last step's value. One pass, 4 bytes of state per tensor, `rms`.

    rms_t  = sqrt(mean(u_t^2))                                u: the update before lr, after the cautious mask
    param -= lr * target / max(rms_(t-1), target / 10) * u    with 1 for the quotient while no update was measured

The mean is made of integers, so it has the same bits for any tile, thread, instruction set, backend or shard, and its
order needs no rule. With 2^e <= max(rms_(t-1), target / 10) < 2^(e+1), or e = -2 at first:

    count += min(round(u^2 / quantum), 2^23)                  quantum = 2^(2e - 9); half to even; NaN counts as 2^23
    rms_t  = sqrt(count / numel * quantum)                    u and u^2 rounded to float32

So an update as long as the last one is measured to 1 in 2000, and an element counts for 64 to 128 times that length at
most. If all count 0, none is above 2^e / 32, which then is `rms`; and if all are 0, `rms` stays: a gradient that comes
back after a pause is not blown up. Kernels add 2^23 quanta to a square: the last bits of that float are its count.

Sources: Shazeer & Stern 2018, arXiv 1804.04235, section 6, divide by max(1, rms_t / d), this step's value, which needs
a pass before the write. Liu et al. 2025, arXiv 2502.16982, section 2.2, find 0.2 to 0.4 for AdamW, and scale Muon's
update to 0.2 by what its shape says. Holding any update by last step's value is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sm3.optim.kernels.eager.roots import square_root_
from sm3.optim.rules import Rule

# Chosen: an update that shrank by more than this is left short; when it comes back, one step is this much too long.
MAX_GAIN = 10.0
# Bits of a float32 behind its first, which hold a count; of them, those behind the binary point where a square is 4^e.
# Chosen: one bit more below would be one less above.
COUNT_BITS, PLACES = 23, 9
# The largest update, in units, whose square is rounded to 0 quanta.
LEAST = 2.0**-5
# Chosen: first updates are (1 - momentum) long in every entry, 0.1 to 1; up to 32 for an exponential mean at its start.
FIRST_UNIT = 0.25
# Chosen: far beyond any update, and all float32 numbers above stay normal.
MAX_EXPONENT = 45


class UpdateRms:
    """The step size of one parameter, from last step; `add` measures this step's update, `finish_` stores it.

    `count` and `moved` (any update is not 0) are what was measured: whoever saw another part of the update adds theirs.
    """

    def __init__(self, rms: Tensor, numel: int, target: float, lr: float, dtype: torch.dtype):
        self._rms, self._numel = rms, numel
        self.count = torch.zeros_like(rms, dtype=torch.int64)
        self.moved = torch.zeros_like(rms, dtype=torch.bool)
        last = rms.double()
        one = torch.ones_like(last)
        bounded = torch.where(last > 0, last.clamp_min(target / MAX_GAIN), one)  # where, not `if`: no wait for a device
        # A quotient of two tensors rounds once; of a number and a tensor PyTorch makes a reciprocal and a product.
        scale = torch.where(last > 0, torch.full_like(last, target) / bounded, one)
        self.step_size = (lr * scale).to(dtype)
        bounded = torch.where(last > 0, bounded, FIRST_UNIT * one).clamp(2.0**-MAX_EXPONENT, 2.0**MAX_EXPONENT)
        self._unit = bounded / (2.0 * torch.frexp(bounded).mantissa)  # exact: 2^e
        self._quantum = self._unit.square() * 2.0**-PLACES
        self._per_quantum = (1.0 / self._quantum).float()
        self._most = torch.full_like(self._per_quantum, 2.0**COUNT_BITS)

    @classmethod
    def of(cls, rule: Rule, state: Mapping[str, Tensor], numel: int, dtype: torch.dtype) -> UpdateRms | None:
        """None where the rule does not ask for it."""
        target = rule.update_rms
        return None if target is None else cls(state["rms"], numel, target, rule.lr, dtype)

    def add(self, update: Tensor) -> None:
        """The update of a tile, before the learning rate; zeros past the tensor's end do no harm."""
        squares = update.float().square()
        self.moved |= (squares > 0).any()
        counts = squares.mul_(self._per_quantum).round_()
        self.count += torch.fmin(counts, self._most).long().sum()  # fmin: NaN is the cap

    def finish_(self) -> None:
        measured = square_root_(self.count.double() / self._numel * self._quantum)
        unmeasured = torch.where(self.moved, self._unit * LEAST, self._rms.double())
        self._rms.copy_(torch.where(self.count > 0, measured, unmeasured))
