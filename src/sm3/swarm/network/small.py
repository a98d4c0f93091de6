"""The default network: 128 x 128 view -> 64 features on 16 x 16 places, in 53 thousand parameters.

A swirl is a relation between a streak's direction and where it lies, so the place enters as two channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sm3.swarm.network.sampling import places


class Bottleneck(nn.Module):
    """x + expand(3 x 3(reduce(x))), normalised after each convolution."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return torch.relu(x + self.body(x))


def convolution(entering: int, leaving: int, size: int, stride: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(entering, leaving, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(leaving),
        nn.ReLU(),
    )


class Small(nn.Module):
    """`forward(view)`: (B, 1, 128, 128) -> features (B, 64, 16, 16)."""

    channels = 64
    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place", places(32), persistent=False)
        self.stem = nn.Sequential(convolution(1, 16, 5, 2), convolution(16, 32, 3, 2))
        self.placed = convolution(34, 32, 1, 1)
        self.middle = nn.Sequential(Bottleneck(32, 16), Bottleneck(32, 16))
        self.deep = nn.Sequential(convolution(32, 64, 3, 2), Bottleneck(64, 32), Bottleneck(64, 32))

    def forward(self, view: Tensor) -> Tensor:
        """The last feature map."""
        x = self.stem(view)
        x = self.placed(torch.cat([x, self.place + 0 * x[:, :2]], dim=1))
        return self.deep(self.middle(x))  # type: ignore[no-any-return]
