"""What the classifier looks at: 128 x 128 pixels of 0.65 um around the well, its background removed, normalised inside.

The rim owns most of an image's variance, so nothing outside the inner wall may enter a mean or a deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sm3.swarm.network.sampling import axis, enlarging, gaussian_kernel, sample, smoothing

SIDE = 128
UM_PER_PX = 0.65
OVER = 4  # samples per pixel and direction, so that images four times finer alias nothing
WALL_UM = 2.5  # the inner part of the rim that is left out
BACKGROUND_UM = 8.0
COARSE = 4  # the background is computed on pixels this many times larger
CLIP = 5.0


class View(nn.Module):
    """Cut and normalise. The two steps are separate, because training stores the first and repeats the second."""

    smooth: Tensor
    enlarge: Tensor
    radius: Tensor
    soft: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("smooth", smoothing(SIDE // COARSE, BACKGROUND_UM / UM_PER_PX / COARSE), persistent=False)
        self.register_buffer("enlarge", enlarging(SIDE // COARSE, COARSE), persistent=False)
        place = axis(SIDE) * (SIDE / 2 * UM_PER_PX)
        radius = (
            torch.sqrt(place[None, :] ** 2 + place[:, None] ** 2).half().float()
        )  # 0.02 um, half the bytes in the file
        self.register_buffer("radius", radius, persistent=False)
        self.register_buffer("soft", gaussian_kernel(1.0, 3), persistent=False)

    def cut(self, image: Tensor, circle: Tensor, um_per_px: Tensor) -> tuple[Tensor, Tensor]:
        """Image (1, 1, H, W), circle (3,) in pixels, um_per_px () -> view (1, 1, 128, 128) scaled to 0..1, clipped ().

        `clipped` is the share of the well at the darkest or brightest value of the image.
        """
        low, high = image.min(), image.max()
        places = axis(SIDE * OVER) * (SIDE / 2 * UM_PER_PX) / um_per_px
        x, y = circle[0] + places[None, :], circle[1] + places[:, None]
        fine = (sample(image, x + 0 * y, y + 0 * x) - low) / (high - low).clamp(min=1e-9)
        inside = (places[None, :] ** 2 + places[:, None] ** 2 < (circle[2] * 0.94) ** 2).float()[None, None]
        rail = ((fine <= 1e-4) | (fine >= 1 - 1e-4)).float()
        return functional.avg_pool2d(fine, OVER), (rail * inside).sum() / (inside.sum() + 1)

    def mask(self, radius_um: Tensor) -> Tensor:
        """(B,) radii in um -> (B, 1, 128, 128): 1 inside the wall, with an edge one pixel wide."""
        wall = (radius_um - WALL_UM)[:, None, None, None]
        return ((wall - self.radius[None, None]) / UM_PER_PX + 0.5).clamp(0, 1)

    def normalise(self, cut: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Views (B, 1, 128, 128) and masks -> normalised views, and measures (B, 3): contrast, sharpness, unevenness.

        contrast: deviation of the streaks over the brightness; sharpness: the share of it finer than about 2 um;
        unevenness: deviation of the background over the brightness.
        """
        area = mask.sum(dim=(1, 2, 3), keepdim=True) + 1e-6
        brightness = (cut * mask).sum(dim=(1, 2, 3), keepdim=True) / area
        around = self._background((cut - brightness) * mask) / (self._background(mask) + 1e-3)
        streaks = (cut - brightness - around) * mask
        streaks = (streaks - streaks.sum(dim=(1, 2, 3), keepdim=True) / area) * mask
        deviation = ((streaks**2).sum(dim=(1, 2, 3), keepdim=True) / area).sqrt()
        view = (streaks / (deviation + 1e-6)).clamp(-CLIP, CLIP)
        fine = (view - functional.conv2d(view, self.soft, padding=3)) * mask
        sharpness = ((fine**2).sum(dim=(1, 2, 3), keepdim=True) / area).sqrt()
        uneven = (((around * mask) ** 2).sum(dim=(1, 2, 3), keepdim=True) / area).sqrt()
        scale = brightness.abs() + 1e-3
        return view, torch.cat([deviation / scale, sharpness, uneven / scale], dim=1)[:, :, 0, 0]

    def _background(self, picture: Tensor) -> Tensor:
        small = functional.avg_pool2d(picture, COARSE)
        return self.enlarge @ (self.smooth @ small @ self.smooth.T) @ self.enlarge.T
