"""A densely connected network with channel attention, the nearest kin of the paper's that we know how to build.

Li et al. name an attention-enhanced DenseNet (Huang et al., CVPR 2017); depth, width and the kind of attention are
ours:
three blocks of growth 12 and squeeze-and-excitation (Hu et al., CVPR 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sm3.swarm.network.sampling import places
from sm3.swarm.network.small import convolution


class DenseBlock(nn.Module):
    """`layers` convolutions, each seeing the outputs of all before it; channels grow by `growth` a layer."""

    def __init__(self, entering: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                convolution(entering + index * growth, 2 * growth, 1, 1), convolution(2 * growth, growth, 3, 1)
            )
            for index in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, entering, H, W) -> (B, entering + layers * growth, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Attention(nn.Module):
    """Squeeze-and-excitation: each channel scaled by a number in 0..1 computed from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        weight: Tensor = self.weigh(x.mean(dim=(2, 3)))
        return x * weight[:, :, None, None]


class Dense(nn.Module):
    """`forward(view)`: (B, 1, 128, 128) -> features (B, 96, 16, 16)."""

    channels = 96
    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place", places(32), persistent=False)
        self.stem = nn.Sequential(convolution(1, 16, 5, 2), nn.MaxPool2d(2))
        self.first = nn.Sequential(DenseBlock(18, 4, 12), Attention(66), convolution(66, 36, 1, 1), nn.AvgPool2d(2))
        self.second = nn.Sequential(DenseBlock(36, 4, 12), Attention(84), convolution(84, 48, 1, 1))
        self.third = nn.Sequential(DenseBlock(48, 4, 12), Attention(96))

    def forward(self, view: Tensor) -> Tensor:
        """The last feature map."""
        x = self.stem(view)
        x = torch.cat([x, self.place + 0 * x[:, :2]], dim=1)
        return self.third(self.second(self.first(x)))  # type: ignore[no-any-return]
