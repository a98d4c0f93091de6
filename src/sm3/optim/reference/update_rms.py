"""The update's root mean square, held at a target by the root mean square of one step earlier.

    u_t      the update before the learning rate, after the cautious mask
    last_t   max(rms_(t-1), target / 10), or 1 where nothing was measured yet (rms_(t-1) = 0; rms_0 = 0)
    scale_t  target / last_t, or 1 where nothing was measured yet; the step is w - alpha scale_t u_t
    unit_t   the power of two at or below last_t, or 1/4 where nothing was measured yet
             quantum_t = unit_t^2 / 2^9
    count_t  sum over all entries of min(u_t^2 / quantum_t, 2^23), each rounded to an integer, half to even
    rms_t    sqrt(count_t quantum_t / entries); where count_t is 0: unit_t / 32, which no entry is above, or rms_(t-1)
             where u_t is 0 throughout; rms_0 = 0; kept in float32

So rms_t is the root mean square of u_t, as exact as a count of quanta is: integers, so that it has the same bits in
whatever order they are summed. u_t and its square are rounded to float32 first. A NaN counts as 2^23: it shows where it
is, and does not spread by way of rms.

Ours, after Shazeer & Stern 2018, arXiv 1804.04235, section 6: u_t / max(1, rms_t / d); and Liu et al. 2025, arXiv
2502.16982, section 2.2: an update's root mean square as what makes one learning rate fit, 0.2 to 0.4 for AdamW.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

# Chosen: a small update is enlarged at most so many times.
MAX_GAIN = 10.0
# Chosen: quanta in the square of unit_t, and the most that an entry can count for: 2^7 unit_t.
PLACES = 9
CAP = 2.0**23
# Chosen: far beyond any update.
MAX_EXPONENT = 45


class UpdateRms:
    """The scale of one tensor; `rms` is what was measured last.

    An update half as long as the target is doubled from the second step on:

    >>> held = UpdateRms(0.25)
    >>> u = np.array([0.125, -0.125])
    >>> held.scale_and_measure(u), held.scale_and_measure(u)
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
            exponent = math.floor(math.log2(last)) if self.rms > 0 else -2
            quantum = 4.0 ** min(max(exponent, -MAX_EXPONENT), MAX_EXPONENT) / 2**PLACES
            squares = np.square(u.astype(np.float32)).astype(np.float64)
            count = float(np.fmin(np.rint(squares / quantum), CAP).sum())  # exact: integers below 2^53
            if count > 0:
                self.rms = float(np.float32(math.sqrt(count / u.size * quantum)))
            elif squares.any():
                self.rms = math.sqrt(quantum * 2**PLACES) / 32
        return scale
