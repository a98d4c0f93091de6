"""A model on wells it never met: sensitivity and specificity with exact intervals, and the floor beside them.

Figures of simulated wells are figures of simulated wells: nothing here equals what a paper measured on real ones.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError
from sm3.run_record import cores
from sm3.swarm.dataset import LabelledWell
from sm3.swarm.intervals import area_interval, area_under_curve, brier, calibration_error, clopper_pearson
from sm3.swarm.judge import CANNOT_TELL, SWARMING
from sm3.swarm.predict import SwarmClassifier

Report = Callable[[str, int, int], None]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """One well after the model: probability of swarming, what was decided and why not."""

    well: LabelledWell
    probability: float
    decision: str
    reason: str
    labels: tuple[str, ...]


@cache
def _classifier(folder: Path) -> SwarmClassifier:
    return SwarmClassifier(folder)


def _score(task: tuple[Path, LabelledWell]) -> Scored:
    folder, well = task
    try:
        told = _classifier(folder).assess(well.path).judgement
    except InputError as error:
        return Scored(well, 0.5, CANNOT_TELL, str(error).splitlines()[0], ())
    return Scored(well, told.probability, told.decision, told.reason, told.labels)


def score(folder: Path, wells: Sequence[LabelledWell]) -> Iterator[Scored]:
    """Judge every well, on all cores, in order."""
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_score, [(folder, well) for well in wells], chunksize=16)


def proportion(found: int, total: int) -> dict[str, Any]:
    """A share with its counts and exact 95 % interval."""
    low, high = clopper_pearson(found, total)
    return {"found": found, "of": total, "share": found / total if total else None, "low": low, "high": high}


def figures(scored: Sequence[Scored], threshold: float) -> dict[str, Any]:
    """All figures of one set. Every well counts for sensitivity and specificity, also those that would be refused."""
    probability = np.array([one.probability for one in scored])
    positive = np.array([one.well.positive for one in scored], dtype=float)
    called = probability > threshold
    covered = [one.well.label in one.labels for one in scored]
    decided = [one for one in scored if one.decision != CANNOT_TELL]
    right = [(one.decision == SWARMING) == (one.well.positive == 1) for one in decided]
    odd = [one.well.vortex_order for one in scored if one.well.vortex_order is not None]
    contrary = sum((order > 0.5) != (one.well.positive == 1) for order, one in zip(odd, scored, strict=False))
    return {
        "sensitivity": proportion(int((called & (positive == 1)).sum()), int((positive == 1).sum())),
        "specificity": proportion(int((~called & (positive == 0)).sum()), int((positive == 0).sum())),
        "auc": area_under_curve(probability, positive),
        "auc_interval": area_interval(probability, positive),
        "calibration_error": calibration_error(probability, positive),
        "brier": brier(probability, positive),
        "coverage": proportion(sum(covered), len(scored)),
        "not_called": proportion(len(scored) - len(decided), len(scored)),
        "right_where_called": proportion(sum(right), len(decided)),
        "reasons": dict(Counter(one.reason for one in scored if one.reason)),
        "motion_contradicts_label": contrary,
        "reliability": reliability(probability, positive),
        "roc": roc(probability, positive),
    }


def reliability(probability: Array, positive: Array, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean probability, share of positives and wells of each tenth of the scale that holds any."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    rows = [(index == bin_) for bin_ in range(bins)]
    return [(float(probability[r].mean()), float(positive[r].mean()), int(r.sum())) for r in rows if r.any()]


def roc(probability: Array, positive: Array, points: int = 101) -> list[tuple[float, float]]:
    """(1 - specificity, sensitivity) at evenly spaced ranks of the probability."""
    cuts = np.r_[2.0, np.quantile(probability, np.linspace(1, 0, points)), -1.0]
    return [
        (float((probability[positive == 0] >= cut).mean()), float((probability[positive == 1] >= cut).mean()))
        for cut in cuts
    ]


def evaluate(
    folder: Path,
    sets: dict[str, list[LabelledWell]],
    *,
    floor_wells: list[LabelledWell] | None = None,
    store: Path | None = None,
    report: Report = lambda *_: None,
) -> dict[str, dict[str, Any]]:
    """`figures` of every set, and with `floor_wells` those of the classical floor trained on them, under "floor".

    `store` keeps the floor's views for another call.
    """
    threshold = _classifier(folder).model.card["calibration"]["threshold"]
    results = {}
    for name, wells in sets.items():
        scored = []
        for one in score(folder, wells):
            scored.append(one)
            report(name, len(scored), len(wells))
        results[name] = figures(scored, threshold)
    if floor_wells is not None:
        with tempfile.TemporaryDirectory() as made:
            for name, found in floors(sets, floor_wells, store or Path(made), report).items():
                results[name]["floor"] = found
    return results


def floors(
    sets: dict[str, list[LabelledWell]], train: list[LabelledWell], store: Path, report: Report
) -> dict[str, dict[str, Any]]:
    """The classical floor on every set: logistic regression on `features.NAMES`, trained on `train`."""
    from sm3.swarm.features import features, fit_floor
    from sm3.swarm.learn.prepare import prepare

    store.mkdir(parents=True, exist_ok=True)
    views = prepare(train, store, report)
    model = fit_floor(features(views), views.positive.numpy())
    found = {}
    for name, wells in sets.items():
        of_set = prepare(wells, store, report)
        value, positive = model.decision_function(features(of_set)), of_set.positive.numpy().astype(float)
        found[name] = {
            "sensitivity": proportion(int(((value > 0) & (positive == 1)).sum()), int((positive == 1).sum())),
            "specificity": proportion(int(((value <= 0) & (positive == 0)).sum()), int((positive == 0).sum())),
            "auc": area_under_curve(value, positive),
            "auc_interval": area_interval(value, positive),
        }
    return found
