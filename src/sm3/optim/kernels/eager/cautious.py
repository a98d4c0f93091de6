"""The cautious mask: apply only entries whose momentum and gradient agree in sign. Liang et al. 2024, arXiv 2411.16085.

The published form divides by the kept fraction of *this* step, which needs a pass before the write. Ours divides by
the fraction of the last step (8 bytes of state, `kept`), so that one pass suffices; at step 1 nothing is scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Chosen: at most twice the update. The published floor, 1e-3, is safe with this step's fraction, which masks most of
# what it enlarges. With last step's fraction it is not: a mask that kept nothing made the next, full step 1000 times
# too long (8 x 8 quadratic, LOG 2026-11-24). Agreeing signs are the majority by construction, so 0.5 seldom binds.
SMALLEST_FRACTION = 0.5


class CautiousMask:
    """The mask of one parameter for one step; `finish_` stores `count`, how many entries it kept."""

    def __init__(self, kept: Tensor, numel: int, step: int, dtype: torch.dtype):
        self._kept = kept
        self.count = torch.zeros_like(kept)
        fraction = kept.double() / numel if step > 1 else torch.ones_like(kept, dtype=torch.float64)
        self._scale = (1.0 / fraction.clamp_min(SMALLEST_FRACTION)).to(dtype)

    def apply(self, update: Tensor, grad: Tensor) -> Tensor:
        """The masked and rescaled update of a tile."""
        keep = update.sign() * grad.sign() > 0  # the product of two tiny numbers would underflow
        self.count += keep.sum()
        # NaN fails every comparison, and must not be hidden by that.
        keep |= update.isnan()
        return torch.where(keep, update * self._scale, torch.zeros_like(update))

    def finish_(self) -> None:
        self._kept.copy_(self.count)
