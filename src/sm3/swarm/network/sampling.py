"""Pixels at places between pixels, and smoothing as products of matrices: operations every runtime has.

Places are in pixels, x to the right and y downwards; whole numbers are the centres of pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def sample(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear values of `image` (1, 1, H, W) at places `x`, `y` (rows, columns); the border's values go on outside.

    >>> ramp = torch.arange(4.0).repeat(4, 1)[None, None]
    >>> sample(ramp, torch.tensor([[0.0, 1.5, 9.0]]), torch.tensor([[0.0, 2.0, 1.0]]))[0, 0]
    tensor([[0.0000, 1.5000, 3.0000]])
    """
    height, width = image.shape[-2], image.shape[-1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def smoothing(size: int, sigma: float) -> Tensor:
    """The matrix (size, size) that smooths a column by a Gaussian of `sigma` pixels; each row sums to one."""
    index = torch.arange(size, dtype=torch.float64)
    weight = torch.exp(-((index[:, None] - index[None]) ** 2) / (2 * sigma**2))
    return (weight / weight.sum(dim=1, keepdim=True)).float()


def enlarging(small: int, factor: int) -> Tensor:
    """The matrix (small * factor, small) that enlarges a column linearly."""
    place = (torch.arange(small * factor, dtype=torch.float64) + 0.5) / factor - 0.5
    distance = (place.clamp(0, small - 1)[:, None] - torch.arange(small, dtype=torch.float64)[None]).abs()
    return (1 - distance).clamp(min=0).float()


def gaussian_kernel(sigma: float, reach: int) -> Tensor:
    """A square kernel (1, 1, 2 reach + 1, 2 reach + 1) that sums to one."""
    index = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-(index**2) / (2 * sigma**2))
    square = line[:, None] * line[None]
    return (square / square.sum()).float()[None, None]


def axis(size: int) -> Tensor:
    """Places -1 .. 1 of the centres of `size` pixels."""
    return (torch.arange(size, dtype=torch.float64) * 2 + 1).sub(size).div(size).float()


def places(size: int) -> Tensor:
    """(1, 2, size, size): x and y of every place, -1 .. 1."""
    line = axis(size)
    return torch.stack([line[None].expand(size, size), line[:, None].expand(size, size)])[None].clone()


TAU = 2 * math.pi
