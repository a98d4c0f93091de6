"""What a view may undergo without changing its class: turns, mirrors, a little scale and shift, blur, noise,
brightness.

The distance to the wall is kept: the mask moves and grows with the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sm3.swarm.network.view import UM_PER_PX

SIDE_UM = 128 * UM_PER_PX / 2  # half the width of a view


def augment(cut: Tensor, radius_um: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Views before normalisation (B, 1, 128, 128) and radii (B,) -> the same, changed; `random` alone decides how."""
    batch = len(cut)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=random) * (high - low) + low

    angle, scale = draw(-math.pi, math.pi), draw(0.96, 1.04)
    mirror = torch.sign(draw(-1, 1))
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    shift_x, shift_y = draw(-0.8, 0.8) / SIDE_UM, draw(-0.8, 0.8) / SIDE_UM
    affine = torch.stack(
        [torch.stack([cosine * mirror, -sine, shift_x], 1), torch.stack([sine * mirror, cosine, shift_y], 1)], 1
    )
    grid = functional.affine_grid(affine, list(cut.shape), align_corners=False)
    moved = functional.grid_sample(cut, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    soft = 0.25 * (functional.avg_pool2d(moved, 3, 1, 1) * 3 + moved)
    moved = torch.lerp(moved, soft, (draw(-0.5, 1.0).clamp(min=0))[:, None, None, None])
    moved = moved.clamp(min=1e-3) ** torch.exp(draw(-0.3, 0.3))[:, None, None, None]
    spread = moved.flatten(1).std(dim=1) * draw(-0.04, 0.10).clamp(min=0)
    noise = torch.randn(moved.shape, generator=random)
    sign = torch.sign(draw(-0.6, 1.0))[:, None, None, None]  # negative phase contrast: dark and bright exchanged
    return sign * (moved + noise * spread[:, None, None, None]), radius_um * scale * torch.exp(draw(-0.01, 0.01))
