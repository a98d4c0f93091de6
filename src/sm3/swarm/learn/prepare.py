"""Images to views, once: found, cut to 128 x 128 and stored as half-precision numbers, 33 kB a well."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sm3.run_record import cores
from sm3.swarm.dataset import LabelledWell
from sm3.swarm.images import read_image
from sm3.swarm.network.finder import Finder
from sm3.swarm.network.view import View

Report = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Views:
    """`cut` (n, 128, 128) float16, `radius_um` (n,), `clipped` (n,), `rim` (n,), `positive` (n,) 0 or 1."""

    cut: Tensor
    radius_um: Tensor
    clipped: Tensor
    rim: Tensor
    positive: Tensor

    def __len__(self) -> int:
        return len(self.positive)

    def of(self, index: Sequence[int] | NDArray[np.int64]) -> Views:
        """The wells at these places."""
        at = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return Views(self.cut[at], self.radius_um[at], self.clipped[at], self.rim[at], self.positive[at])


_PARTS = ("cut", "radius", "clipped", "rim")


def cut_well(path: Path, um_per_px: float | None = None) -> tuple[NDArray[np.float16], float, float, float]:
    """One image -> view before normalisation, radius in um, share clipped, evenness of the rim."""
    torch.set_num_threads(1)
    image = read_image(path, um_per_px=um_per_px)
    with torch.no_grad():
        pixels = torch.from_numpy(image.pixels)[None, None]
        circle, rim = _FINDER(pixels)
        scale = torch.tensor(image.um_per_px_or(float(circle[2])), dtype=torch.float32)
        cut, clipped = _VIEW.cut(pixels, circle, scale)
    return cut[0, 0].numpy().astype(np.float16), float(circle[2] * scale), float(clipped), float(rim)


_FINDER, _VIEW = Finder().eval(), View().eval()


def _cut_listed(well: LabelledWell) -> tuple[NDArray[np.float16], float, float, float]:
    return cut_well(well.path, well.um_per_px)


def prepare(wells: Sequence[LabelledWell], store: Path, report: Report = lambda *_: None) -> Views:
    """Views of `wells`, from `store` where it holds just these, else made by all cores and stored there."""
    listed = "\n".join(f"{well.path} {well.label} {well.path.stat().st_size}" for well in wells)
    wanted = hashlib.sha256(listed.encode()).hexdigest()
    file = store / f"views-{wanted[:16]}.npz"
    if not file.exists():
        rows = []
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            for row in pool.map(_cut_listed, wells, chunksize=16):
                rows.append(row)
                report("views", len(rows), len(wells))
        parts = {name: np.stack([np.asarray(row[at]) for row in rows]) for at, name in enumerate(_PARTS)}
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, allow_pickle=False, **parts)
        os.replace(unfinished, file)
    held = np.load(file)
    positive = torch.tensor([well.positive for well in wells], dtype=torch.float32)
    radius, clipped, rim = (torch.from_numpy(held[name].astype(np.float32)) for name in _PARTS[1:])
    return Views(torch.from_numpy(held["cut"]), radius, clipped, rim, positive)
