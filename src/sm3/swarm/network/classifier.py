"""The ensemble as one graph: image, circle and pixel size in; logits, evidence, streaks and measures out.

Each member sees the eight rotations and mirror images of the view. Its head is a mean over places and one linear layer,
so the mean of the map `evidence` *is* the logit: nothing about the map is an approximation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sm3.swarm.network.dense import Dense
from sm3.swarm.network.small import Small
from sm3.swarm.network.view import View

ARCHITECTURES: dict[str, type[Small] | type[Dense]] = {"small": Small, "dense": Dense}
MAP = 16  # places of the evidence along each side
COPIES = 8


class Judged(NamedTuple):
    """What the graph returns, in the order of its outputs; `NAMES` are theirs."""

    logits: Tensor  # (members, 8), uncalibrated
    evidence: Tensor  # (16, 16), its mean is the mean logit
    distance: Tensor  # (1,), Mahalanobis distance of the features from the training wells'
    measures: Tensor  # (4,): contrast, sharpness, unevenness, clipped
    streaks: Tensor  # (3, 16, 16): structure tensor xx - yy, 2 xy, xx + yy
    normalised: Tensor  # (128, 128), what the members saw


NAMES = Judged._fields


class Member(nn.Module):
    """One network of the ensemble: features and the linear head."""

    def __init__(self, architecture: str = "small") -> None:
        super().__init__()
        self.network = ARCHITECTURES[architecture]()
        self.head = nn.Linear(self.network.channels, 1)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1, 128, 128) -> logits (B,), evidence (B, 16, 16), mean features (B, C)."""
        features = self.network(view)
        evidence = torch.einsum("bchw,c->bhw", features, self.head.weight[0]) + self.head.bias
        return evidence.mean(dim=(1, 2)), evidence, features.mean(dim=(2, 3))


def copies(picture: Tensor) -> Tensor:
    """(1, C, N, N) -> (8, C, N, N): four quarter turns, and the same of the mirror image."""
    both = torch.cat([picture, picture.flip(3)])
    half = torch.cat([both, both.flip((2, 3))])
    return torch.cat([half, half.transpose(2, 3)])


def undo(maps: Tensor) -> Tensor:
    """(8, N, N) maps of `copies` -> the same maps, turned back to lie over the picture."""
    straight = torch.cat([maps[:4], maps[4:].transpose(1, 2)])
    plain = torch.cat([straight[:2], straight[2:4].flip((1, 2)), straight[4:6], straight[6:].flip((1, 2))])
    return torch.stack([plain[0], plain[1].flip(1), plain[2], plain[3].flip(1), plain[4], plain[5].flip(1), plain[6],
                        plain[7].flip(1)])  # fmt: skip


class Classifier(nn.Module):
    """`forward(image, circle, um_per_px)` -> `Judged`: image (1, 1, H, W), circle (3,) pixels, um_per_px (1,)."""

    centre: Tensor
    whitening: Tensor

    def __init__(self, members: list[Member]) -> None:
        super().__init__()
        self.view = View()
        self.members = nn.ModuleList(members)
        width = members[0].network.channels
        self.register_buffer("centre", torch.zeros(len(members), width))
        self.register_buffer("whitening", torch.eye(width).repeat(len(members), 1, 1))

    def forward(self, image: Tensor, circle: Tensor, um_per_px: Tensor) -> Judged:
        """Judge one well."""
        um_per_px = um_per_px.reshape(())
        cut, clipped = self.view.cut(image, circle, um_per_px)
        mask = self.view.mask((circle[2] * um_per_px).reshape(1))
        view, measures = self.view.normalise(cut, mask)
        logits, evidence, distance = self.judge_view(view)
        return Judged(
            logits, evidence, distance, torch.cat([measures[0], clipped.reshape(1)]), structure(view, mask), view[0, 0]
        )

    def judge_view(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A normalised view (1, 1, 128, 128) -> logits (members, 8), evidence (16, 16), distance (1,)."""
        turned = copies(view)
        logits, maps, distances = [], [], []
        for index, member in enumerate(self.members):
            logit, evidence, features = member(turned)
            logits.append(logit)
            maps.append(undo(evidence).mean(dim=0))
            apart = (features.mean(dim=0) - self.centre[index]) @ self.whitening[index]
            distances.append(apart.square().mean().sqrt())
        return torch.stack(logits), torch.stack(maps).mean(dim=0), torch.stack(distances).mean().reshape(1)


def structure(view: Tensor, mask: Tensor) -> Tensor:
    """Structure tensor of a view on 16 x 16 places, (3, 16, 16): xx - yy, 2 xy, xx + yy of the gradient inside the
    well.
    """
    across = functional.pad(view, (1, 1, 0, 0))
    down = functional.pad(view, (0, 0, 1, 1))
    gx = across[..., 2:] - across[..., :-2]
    gy = down[..., 2:, :] - down[..., :-2, :]
    inside = (mask > 0.99).float()
    parts = torch.cat([gx * gx - gy * gy, 2 * gx * gy, gx * gx + gy * gy]) * inside
    return functional.avg_pool2d(parts, view.shape[-1] // MAP)[:, 0]
