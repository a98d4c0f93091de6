"""Could a model answer without looking at the motion? Shortcuts of a set of wells, each as an area under the curve.

An area of 0.5 means that the shortcut tells nothing. `features` says what each number is; the last rows are not
leaks but
what the streaks themselves carry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sm3.swarm.dataset import LabelledWell, split_by_chip
from sm3.swarm.features import NAMES, NUISANCES, features, fit_floor
from sm3.swarm.images import sidecar_of
from sm3.swarm.intervals import area_interval, area_under_curve
from sm3.swarm.learn.prepare import Views, prepare

Report = Callable[[str, int, int], None]
Array = NDArray[np.float64]
TOLERANCE = 0.05  # of an area from 0.5, for what must tell nothing


def audit(
    wells: Sequence[LabelledWell],
    store: Path,
    *,
    model: Path | None = None,
    report: Report = lambda *_: None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row a check: name, area, interval, wells, whether it must be 0.5, and whether it holds.

    Single numbers are tested on all wells; what is trained (the rim, shuffled labels, the floor) is tested on the
    half of
    the chips that did not train it. With `model`, wells that are blanked or whose phases are
    scrambled go through it, and, where sidecars allow it, wells made again with one sharp frame.
    """
    store.mkdir(parents=True, exist_ok=True)
    halves = split_by_chip(wells, (0.5, 0.5), seed)
    first, second = (prepare(half, store, report) for half in halves)
    found = [features(first), features(second)]
    truth = [views.positive.numpy().astype(float) for views in (first, second)]
    every, positive = np.concatenate(found), np.concatenate(truth)
    rows = [_row(name, every[:, at], positive, name in NUISANCES) for at, name in enumerate(NAMES)]
    rim = [NAMES.index("rim intensity"), NAMES.index("rim contrast")]
    alone = list(range(len(NUISANCES)))
    random = np.random.default_rng(seed)
    rows.append(_trained("rim only, trained", found, truth, rim, must=True))
    rows.append(_trained("nuisances jointly, trained", found, truth, alone, must=False))
    shuffled = [random.permutation(part) for part in truth]
    rows.append(_trained("labels shuffled, trained", found, shuffled, list(range(len(NAMES))), must=True))
    rows.append(_trained("classical floor, trained", found, truth, list(range(len(NAMES))), must=False))
    if model is not None:
        rows += _through_model(second, truth[1], model, random)
        rows += _single_frames(halves[1], model)
    return rows


def _row(name: str, score: Array, positive: Array, must: bool) -> dict[str, Any]:
    area, (low, high) = area_under_curve(score, positive), area_interval(score, positive)
    # on few wells an area strays from 0.5 by chance: an interval that holds 0.5 is no finding
    holds = not must or abs(area - 0.5) <= TOLERANCE or low <= 0.5 <= high
    return {
        "check": name,
        "auc": area,
        "low": low,
        "high": high,
        "wells": len(positive),
        "must_be_half": must,
        "holds": holds,
    }


def _trained(name: str, found: list[Array], truth: list[Array], columns: list[int], *, must: bool) -> dict[str, Any]:
    model = fit_floor(found[0][:, columns], truth[0])
    return _row(name, model.decision_function(found[1][:, columns]), truth[1], must)


def _through_model(views: Views, positive: Array, model: Path, random: np.random.Generator) -> list[dict[str, Any]]:
    from sm3.swarm.learn.calibrate import answers
    from sm3.swarm.learn.fit import load_classifier
    from sm3.swarm.model_file import open_model

    classifier = load_classifier(open_model(model))
    some = np.sort(random.permutation(len(views))[:400])
    part, truth = views.of(some), positive[some]
    rows = []
    for name, changed, must in (
        ("model, as it is", part.cut, False),
        ("model, well blanked", _blanked(part, classifier.view.radius), True),
        ("model, phases scrambled", _scrambled(part.cut, random), False),
    ):
        told = answers(classifier, Views(changed, part.radius_um, part.clipped, part.rim, part.positive))
        rows.append(_row(name, told.logit, truth, must))
    return rows


def _single_frames(wells: Sequence[LabelledWell], model: Path, most: int = 120) -> list[dict[str, Any]]:
    """Simulated wells made again with one sharp frame: without streaks a model that reads motion has less to read."""
    from sm3.swarm.images import from_array
    from sm3.swarm.predict import SwarmClassifier

    sidecars = [path for path in (sidecar_of(well.path) for well in wells) if path is not None][:most]
    if len(sidecars) < 4:
        return []
    from sm3.swarm.simulate.wells import make_well

    classifier = SwarmClassifier(model)
    told, truth = [], []
    for path in sidecars:
        sidecar = {**json.loads(path.read_text(encoding="utf-8")), "single_frame": True}
        image = from_array(make_well(sidecar).pixels, um_per_px=sidecar["um_per_px"])
        told.append(classifier.assess(image).judgement.probability)
        truth.append(float(sidecar["label"] == "swarming"))
    if not 0 < sum(truth) < len(truth):
        return []
    return [_row("model, one sharp frame", np.array(told), np.array(truth), False)]


def _blanked(views: Views, radius: torch.Tensor) -> torch.Tensor:
    inside = radius[None] < (views.radius_um[:, None, None] - 2)
    mean = (views.cut.float() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2))
    return torch.where(inside, mean[:, None, None], views.cut.float()).half()


def _scrambled(cut: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """The same power at every wave number, random phases: what is left is texture."""
    spectrum = np.fft.rfft2(cut.float().numpy())
    phase = np.angle(np.fft.rfft2(random.standard_normal(cut.shape)))
    mean = spectrum[:, :1, :1].copy()
    changed = np.abs(spectrum) * np.exp(1j * phase)
    changed[:, :1, :1] = mean
    return torch.from_numpy(np.fft.irfft2(changed, s=cut.shape[1:]).astype(np.float16))
