"""Numbers a person would write down about a view, and the classical baseline made of them.

`NUISANCES` must tell the classes nothing: both draw from the same ranges. `STREAKS` may: how streaks lie is physics,
and a logistic regression on all of them is the floor that a network has to beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.learn.prepare import Views
from sm3.swarm.network.classifier import structure
from sm3.swarm.network.sampling import gaussian_kernel
from sm3.swarm.network.view import UM_PER_PX, View

NUISANCES = ("mean intensity", "contrast", "gradient energy", "rim intensity", "rim contrast")
STREAKS = (
    "global coherency",
    "local coherency",
    "fine coherency",
    "tangential score",
    "tangential spread",
    "sharpness",
)
NAMES = (*NUISANCES, *STREAKS)
Array = NDArray[np.float64]


def features(views: Views) -> Array:
    """(n, 11) in the order of `NAMES`."""
    eyes = View()
    with torch.no_grad():
        rows = [
            _of_one(eyes, views.cut[at].float()[None, None], views.radius_um[at : at + 1]) for at in range(len(views))
        ]
    return np.asarray(rows, dtype=float).reshape(-1, len(NAMES))


def _of_one(eyes: View, cut: torch.Tensor, radius_um: torch.Tensor) -> list[float]:
    mask = eyes.mask(radius_um)
    inside = mask[0, 0] > 0.99
    rim = ~(mask[0, 0] > 0) & (eyes.radius < radius_um + 4)
    view, measures = eyes.normalise(cut, mask)
    raw = cut[0, 0]
    energy = structure(cut, mask)[2]
    return [
        float(raw[inside].mean()),
        float(raw[inside].std()),
        float(energy.mean()) ** 0.5,
        float(raw[rim].mean()),
        float(raw[rim].std()),
        *_coherencies(view, mask),
        *_tangential(structure(view, mask)),
        float(measures[0, 1]),
    ]


def _coherencies(view: torch.Tensor, mask: torch.Tensor) -> tuple[float, float, float]:
    """Coherency of the whole well's structure tensor, and the mean over neighbourhoods of 3 and 1.5 pixels."""
    along, across, energy = (part.sum() for part in structure(view, mask))
    local = []
    gx = view[..., 1:-1, 2:] - view[..., 1:-1, :-2]
    gy = view[..., 2:, 1:-1] - view[..., :-2, 1:-1]
    parts = torch.cat([gx * gx - gy * gy, 2 * gx * gy, gx * gx + gy * gy]) * (mask[..., 1:-1, 1:-1] > 0.99)
    for sigma in (3.0, 1.5):
        kernel = gaussian_kernel(sigma, 8)
        smooth = torch.nn.functional.conv2d(parts, kernel, padding=8)[:, 0]
        filled = smooth[2] > 0.1 * smooth[2].max()
        local.append(float((torch.hypot(smooth[0], smooth[1])[filled] / smooth[2][filled]).mean()))
    return float(torch.hypot(along, across) / (energy + 1e-9)), local[0], local[1]


def _tangential(parts: torch.Tensor) -> tuple[float, float]:
    """Energy-weighted mean of cos 2(streak - tangent) over 16 x 16 places, and its deviation."""
    size = parts.shape[-1]
    place = (torch.arange(size) + 0.5 - size / 2) * (UM_PER_PX * 8)
    angle = torch.atan2(place[:, None].expand(size, size), place[None].expand(size, size))
    # streak = gradient + quarter turn and tangent = radius + quarter turn: the quarter turns cancel
    aligned = (parts[0] * torch.cos(2 * angle) + parts[1] * torch.sin(2 * angle)) / (parts[2] + 1e-9)
    weight = parts[2] / (parts[2].sum() + 1e-9)
    mean = (aligned * weight).sum()
    return float(mean), float((((aligned - mean) ** 2) * weight).sum().sqrt())


def fit_floor(found: Array, positive: Array) -> Any:
    """Logistic regression on standardised features: scikit-learn's pipeline, with `decision_function`."""
    linear, pipeline, scaling = (require(f"sklearn.{part}") for part in ("linear_model", "pipeline", "preprocessing"))
    model = pipeline.make_pipeline(scaling.StandardScaler(), linear.LogisticRegression(max_iter=2000))
    return model.fit(found, positive)
