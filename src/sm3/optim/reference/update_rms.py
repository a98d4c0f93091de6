"""The update's root mean square, held at a target by the root mean square of one step earlier.

    u_t      the update before the learning rate, after the cautious mask
    last_t   max(rms_(t-1), target / 10), or 1 where nothing was measured yet (rms_(t-1) = 0; rms_0 = 0)
    scale_t  target / last_t, or 1 where nothing was measured yet; the step is w - alpha scale_t u_t
    unit_t   the power of two at or below last_t
    rms_t    sqrt(mean over all entries of min(|u_t|, 2^10 unit_t)^2), or rms_(t-1) where that is 0

A NaN counts as 2^10 unit_t: it shows where it is, and does not spread by way of rms. The mean is one of integers, so
that it has the same bits in whatever order it is summed: u_t is rounded to float32, each square to a multiple of
2^-p unit_t^2, with p such that a square has at most 51 bits and their sum at most 62. rms_t is rounded to float32.

Ours, after Shazeer & Stern 2018, arXiv 1804.04235, section 6 (divide by max(1, rms of this step)), and Liu et al. 2025,
arXiv 2502.16982, section 2.2 (scale to the root mean square of AdamW's update).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

# Chosen: a small update is enlarged at most so many times.
MAX_GAIN = 10.0
# Chosen: no entry counts for more than 2^CAP_BITS times the last root mean square.
CAP_BITS = 10


class UpdateRms:
    """The scale of one tensor; `rms` is what was measured last.

    An update half as long as the target is doubled from the second step on:

    >>> held = UpdateRms(0.2)
    >>> u = np.array([0.1, -0.1])
    >>> held.scale_and_measure(u), round(held.scale_and_measure(u), 6)
    (1.0, 2.0)
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self.rms = 0.0

    def scale_and_measure(self, u: npt.NDArray[np.floating[Any]]) -> float:
        """scale_t; `rms` becomes rms_t."""
        last = max(self.rms, self.target / MAX_GAIN) if self.rms > 0 else 1.0
        scale = self.target / last if self.rms > 0 else 1.0
        if u.size:
            unit = 2.0 ** math.floor(math.log2(last))
            bits = min(51, 62 - math.ceil(math.log2(u.size))) - 2 * CAP_BITS
            capped = np.fmin(np.abs(u.astype(np.float32).astype(np.float64)) / unit, 2.0**CAP_BITS)
            mean = int(np.rint(np.square(capped) * 2.0**bits).astype(np.int64).sum()) / 2**bits / u.size
            self.rms = float(np.float32(math.sqrt(mean) * unit)) or self.rms
        return scale
