"""The update's root mean square, held at a target by last step's value. One pass, 4 bytes of state per tensor, `rms`.

    rms_t  = sqrt(mean(u_t^2))                                u: the update before lr, after the cautious mask
    param -= lr * target / max(rms_(t-1), target / 10) * u    with 1 for the quotient while no update was measured

The mean is made of integers, so it has the same bits for any tile, thread, instruction set, backend or shard, and its
order needs no rule. With 2^e <= max(rms_(t-1), target / 10) < 2^(e+1), or e = 0 at first, and N elements:

    sum += round(min(|u| / 2^e, 2^10)^2 * 2^p)                u rounded to float32; half to even; NaN counts as 2^10
    p    = min(51, 62 - ceil(log2(N))) - 20                   the square fits a float64 exactly, the sum an int64

An update whose sum is 0 (zero, or below about 2^-(p/2) of what was last measured) keeps `rms`: a gradient that comes
back later is not blown up. Sources: arXiv 1804.04235, section 6, divides by max(1, rms); arXiv 2502.16982 scales Muon's
update to the root mean square of AdamW's, 0.2 to 0.4. Both by this step's value, which needs a pass before the write.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sm3.optim.kernels.eager.roots import square_root_
from sm3.optim.rules import Rule

# Chosen: an update that shrank by more than this is left short; when it comes back, one step is this much too long.
MAX_GAIN = 10.0
# Chosen: no element counts for more than 2^10 times last step's root mean square, which leaves p >= 8 bits below it in
# tensors of up to 2^34 elements.
CAP_BITS = 10
# Bits of an integer that is rounded as a float64 sum with 2^52, and of a sum of N of them.
SQUARE_BITS, SUM_BITS = 51, 62
# Chosen: far beyond any update; powers of two up to here and their inverses are float32 numbers.
MAX_EXPONENT = 100


def fraction_bits(numel: int) -> int:
    """Binary places of the squares, p."""
    return min(SQUARE_BITS, SUM_BITS - (numel - 1).bit_length()) - 2 * CAP_BITS


class UpdateRms:
    """The step size of one parameter, from last step; `add` measures this step's update, `finish_` stores it."""

    def __init__(self, rms: Tensor, numel: int, target: float, lr: float, dtype: torch.dtype):
        self._rms, self._numel, self._bits = rms, numel, fraction_bits(numel)
        self._sum = torch.zeros_like(rms, dtype=torch.int64)
        last = rms.double()
        one = torch.ones_like(last)
        bounded = torch.where(last > 0, last.clamp_min(target / MAX_GAIN), one)  # where, not `if`: no wait for a device
        self.step_size = (lr * torch.where(last > 0, target / bounded, one)).to(dtype)
        bounded = bounded.clamp(2.0**-MAX_EXPONENT, 2.0**MAX_EXPONENT)
        self._unit = bounded / (2.0 * torch.frexp(bounded).mantissa)  # exact: 2^e
        self._per_unit = (1.0 / self._unit).float()

    @classmethod
    def of(cls, rule: Rule, state: Mapping[str, Tensor], numel: int, dtype: torch.dtype) -> UpdateRms | None:
        """None where the rule does not ask for it."""
        target = rule.update_rms
        return None if target is None else cls(state["rms"], numel, target, rule.lr, dtype)

    def add(self, update: Tensor) -> None:
        """The update of a tile, before the learning rate; zeros past the tensor's end do no harm."""
        lengths = (update.float() * self._per_unit).abs_()
        lengths = torch.fmin(lengths, torch.full_like(self._per_unit, 2.0**CAP_BITS))  # fmin: NaN is the cap
        self._sum += lengths.double().square_().mul_(2.0**self._bits).round_().long().sum()

    def finish_(self) -> None:
        mean = self._sum.double() * 2.0**-self._bits / self._numel
        self._rms.copy_(torch.where(self._sum > 0, square_root_(mean) * self._unit, self._rms.double()))
