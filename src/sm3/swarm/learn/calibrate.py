"""From raw logits to a probability, a threshold, label sets and limits; everything from wells that trained nothing.

Slope and offset: Platt (1999), logistic regression on the mean logit. Label sets: split conformal prediction within
each
class (Vovk 2012): with exchangeable wells a set misses the true label with probability at most alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sm3.extras import require
from sm3.swarm.learn.prepare import Views
from sm3.swarm.network.classifier import Classifier, copies
from sm3.swarm.network.fold import round_weights

ALPHA = 0.05
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a classifier says of many views: `logit` (n,), `distance` (n,), `measures` (n, 3), as in `Judged`."""

    logit: Array
    distance: Array
    measures: Array


def answers(classifier: Classifier, views: Views) -> Answers:
    """The classifier's answers, each the mean over members and the eight copies; 20 ms a well on one core."""
    rows = []
    with torch.no_grad():
        for at in range(len(views)):
            cut, radius = views.cut[at].float()[None, None], views.radius_um[at : at + 1]
            seen, measures = classifier.view.normalise(cut, classifier.view.mask(radius))
            logits, _, distance = classifier.judge_view(seen)
            rows.append([float(logits.mean()), float(distance), *measures[0].tolist()])
    table = np.asarray(rows, dtype=float).reshape(-1, 5)
    return Answers(table[:, 0], table[:, 1], table[:, 2:])


def learn_distance(classifier: Classifier, views: Views, most: int = 1200) -> None:
    """Set the centre and the whitening matrices from the features of training views, with Ledoit and Wolf's
    shrinkage.
    """
    covariance = require("sklearn.covariance")
    chosen = np.linspace(0, len(views) - 1, min(most, len(views))).astype(int)
    part = views.of(chosen)
    features: list[list[NDArray[np.float32]]] = [[] for _ in classifier.members]
    with torch.no_grad():
        for at in range(len(part)):
            cut, radius = part.cut[at].float()[None, None], part.radius_um[at : at + 1]
            turned = copies(classifier.view.normalise(cut, classifier.view.mask(radius))[0])
            for rows, member in zip(features, classifier.members, strict=True):
                rows.append(member(turned)[2].mean(dim=0).numpy())
        for index, rows in enumerate(features):
            fitted = covariance.LedoitWolf().fit(np.asarray(rows, dtype=float))
            values, vectors = np.linalg.eigh(fitted.covariance_)
            whitening = vectors / np.sqrt(np.maximum(values, 1e-4 * values.max()))
            classifier.centre[index] = torch.from_numpy(fitted.location_).float()
            classifier.whitening[index] = torch.from_numpy(whitening).float()
    round_weights(classifier)


def platt(logit: Array, positive: Array) -> tuple[float, float]:
    """Slope and offset of the logistic regression of the class on the logit, nearly unpenalised.

    >>> slope, offset = platt(np.r_[-2.0, -1, 1, 2, 0.5], np.r_[0.0, 0, 1, 1, 0])
    >>> slope > 0
    True
    """
    linear = require("sklearn.linear_model")
    fitted = linear.LogisticRegression(C=100.0).fit(logit[:, None], positive)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def label_quantiles(probability: Array, positive: Array, alpha: float = ALPHA) -> dict[str, float]:
    """The largest 1 - p(label) at which a label stays in the set, for each class: the conformal quantile, at most 1."""
    found = {}
    for name, of_class, own in (("swarming", positive == 1, probability), ("swimming", positive == 0, 1 - probability)):
        score = np.sort(1 - own[of_class])
        rank = int(np.ceil((len(score) + 1) * (1 - alpha)))
        found[name] = float(score[rank - 1]) if rank <= len(score) else 1.0
    return found


def calibrate(found: Answers, positive: Array) -> dict[str, Any]:
    """The card's `calibration`: probability = 1 / (1 + exp(-(slope logit + offset))), threshold, label quantiles."""
    slope, offset = platt(found.logit, positive)
    probability = 1 / (1 + np.exp(-(slope * found.logit + offset)))
    return {
        "slope": slope,
        "offset": offset,
        "threshold": 0.5,
        "alpha": ALPHA,
        "wells": len(positive),
        "quantiles": label_quantiles(probability, positive),
    }


def limits(train: Answers, calibration: Answers, train_rim: Array, calibration_rim: Array) -> dict[str, Any]:
    """The card's `limits`: what good wells measure, widened, so that about one good well in two hundred is refused.

    Wells whose rim is uneven were cut in the wrong place: they are refused by their rim, and widen no other limit.
    """
    rim = max(0.3, float(np.quantile(calibration_rim, 0.01)) - 0.05)
    found = [(answers_, rims >= rim) for answers_, rims in ((train, train_rim), (calibration, calibration_rim))]
    measures = np.concatenate([answers_.measures[good] for answers_, good in found])
    low, high = np.quantile(measures, 0.001, axis=0), np.quantile(measures, 0.999, axis=0)
    return {
        "diameter_um": [55.0, 95.0],  # Chen et al. 2021: the phenotypes differ between 40 and 90 um, most at 74
        "rim": rim,
        "contrast": [float(low[0] * 0.7), float(high[0] * 1.5)],
        "sharpness": [float(low[1] * 0.9), float(high[1] * 1.05)],
        "unevenness": float(high[2] * 1.5),
        "clipped": 0.05,
        "distance": 1.05 * max(float(np.quantile(answers_.distance[good], 0.995)) for answers_, good in found),
        "colour": 0.15,
    }
