"""Where the well is: a Hough transform for rings, then three circle fits. Fixed arithmetic; nothing is trained.

A rim is a thin ring, darker or brighter than both its sides. The coarse step correlates the image, shrunk to 32 x 32,
with rings of 18 radii and takes the strongest answer of either sign. Each fit then looks along 128 rays for the ring's
exact distance and solves distance(angle) = r + a cos(angle) + b sin(angle) by weighted least squares.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sm3.swarm.network.sampling import TAU, axis, sample

SIDE = 32  # pixels of the coarse image
OVER = 6  # samples per coarse pixel and direction
RADII = torch.linspace(0.21, 0.52, 18) * SIDE  # in coarse pixels: a well fills 42 to 100 % of its image
WINDOWS = (0.16, 0.08, 0.05)  # reach of each fit, as a share of the radius
RAYS, STEPS = 128, 33
STAY = 1e-4
LEAST = 1e-9  # of what is divided by; by clamp, because exporters take a sum with so little for a sum with zero


class Finder(nn.Module):
    """`forward(image)`: image (1, 1, H, W) of any size and scale -> circle (3,) as x, y, radius in pixels, and rim ().

    `rim` is 1 where the ring is equally strong all around, and near 0 where there is none.
    """

    rings: Tensor
    rays: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rings", _ring_kernels().half().float(), persistent=False)  # half the bytes in the file
        angle = torch.arange(RAYS) * (TAU / RAYS)
        self.register_buffer("rays", torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The circle and the evenness of its rim."""
        scaled = _scaled(image)
        circle = self._coarse(scaled)
        rim = circle[:1]
        for window in WINDOWS:
            circle, rim = self._fit(scaled, circle, window)
        return circle, rim[0]

    def _coarse(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2], image.shape[-1]
        reach = torch.maximum(torch.scalar_tensor(height), torch.scalar_tensor(width)) / 2
        places = axis(SIDE * OVER) * reach
        x = places[None, :] + (width - 1) / 2
        y = places[:, None] + (height - 1) / 2
        fine = sample(image, x + 0 * y, y + 0 * x)
        small = functional.avg_pool2d(fine, OVER)
        small = small - small.mean()
        small = small / (small.square().mean().sqrt().clamp(min=LEAST))
        small = small.clamp(-3, 3)  # a lamp's reflection must not outvote a rim
        answer = functional.conv2d(small, self.rings, padding=(self.rings.shape[-1] - 1) // 2).abs()
        best = answer.reshape(-1).argmax()
        layer, row, column = best // (SIDE * SIDE), (best // SIDE) % SIDE, best % SIDE
        pixel = 2 * reach / SIDE
        centre_x = (column + 0.5 - SIDE / 2) * pixel + (width - 1) / 2
        centre_y = (row + 0.5 - SIDE / 2) * pixel + (height - 1) / 2
        radius = (RADII[0] + layer * (RADII[1] - RADII[0])) * pixel
        return torch.stack([centre_x.reshape(()), centre_y.reshape(()), radius.reshape(())])

    def _fit(self, image: Tensor, circle: Tensor, window: float) -> tuple[Tensor, Tensor]:
        span = torch.linspace(1 - window - 0.06, 1 + window + 0.06, STEPS + 12)
        distance = circle[2] * span[None, :]
        x = circle[0] + self.rays[0][:, None] * distance
        y = circle[1] + self.rays[1][:, None] * distance
        profile = sample(image, x, y)[0, 0]
        # second difference over 6 steps: a line's answer, blind to a slope
        line = profile[:, 6:-6] - 0.5 * (profile[:, :-12] + profile[:, 12:])
        mean = line.mean(dim=0)
        # a rim is even: where rays differ, it is streaks
        even = mean.square() / line.square().mean(dim=0).sqrt().clamp(min=LEAST)
        best = even.argmax()
        strength = (line * torch.sign(mean[best])).clamp(min=0)
        strength = strength / strength.max().clamp(min=LEAST)  # one hot pixel may have made everything else faint
        centre = (best.float() / (STEPS - 1) * 2 - 1) * window
        near = torch.exp(-(((span[6:-6] - 1 - centre) / (0.5 * window)) ** 2))
        weight = (strength * near[None]) ** 3
        total = weight.sum(dim=1)
        # a ray that sees nothing stays where it was, so that a blank image has a circle, too
        found = circle[2] * ((weight * span[6:-6][None]).sum(dim=1) + STAY) / (total + STAY)
        confidence = total / (total + total.mean() + STAY) + STAY
        shift = _least_squares(self.rays, found, confidence)
        moved = torch.stack([circle[0] + shift[1], circle[1] + shift[2], shift[0]])
        ring = line[:, (best + torch.arange(-2, 3)).clamp(0, STEPS - 1)].mean(dim=1)
        return moved, (ring.mean().abs() / ring.square().mean().sqrt().clamp(min=LEAST)).reshape(1)


def _scaled(image: Tensor) -> Tensor:
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp(min=LEAST)


def _ring_kernels() -> Tensor:
    """(radii, 1, n, n): the mean on a ring minus the mean of its two neighbours, 1.6 coarse pixels in and out."""
    reach = math.ceil(float(RADII[-1]) + 4)
    index = torch.arange(-reach, reach + 1, dtype=torch.float64)
    distance = torch.sqrt(index[:, None] ** 2 + index[None] ** 2)
    kernels = []
    for radius in RADII.tolist():
        rings = [torch.exp(-(((distance - radius - change) / 0.8) ** 2)) for change in (0.0, -1.6, 1.6)]
        on, inside, outside = (ring / ring.sum() for ring in rings)
        kernels.append((on - 0.5 * inside - 0.5 * outside).float()[None])
    return torch.stack(kernels)


def _least_squares(rays: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """r, a, b of found = r + a cos + b sin; the rays are even, so a nearly diagonal 3 x 3 system solved by Cramer's
    rule.
    """
    columns = torch.stack([torch.ones_like(found), rays[0], rays[1]])
    matrix = (columns * weight[None]) @ columns.T + 1e-6 * torch.eye(3)
    right = (columns * weight[None]) @ found
    first = torch.linalg.cross(matrix[1], matrix[2], dim=0)
    second = torch.linalg.cross(matrix[2], matrix[0], dim=0)
    third = torch.linalg.cross(matrix[0], matrix[1], dim=0)
    determinant = (matrix[0] * first).sum()
    solved: Tensor = (right[0] * first + right[1] * second + right[2] * third) / determinant
    return solved
