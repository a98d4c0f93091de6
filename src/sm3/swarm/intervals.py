"""Exact intervals and plain measures of a classifier: what every table of results is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sm3.extras import require

Array = NDArray[np.float64]
BINS = 15  # of equal mass, for the calibration error


def clopper_pearson(found: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson 1934).

    >>> [round(end, 4) for end in clopper_pearson(488, 500)]
    [0.9585, 0.9875]
    >>> clopper_pearson(0, 0)
    (0.0, 1.0)
    """
    if total == 0:
        return 0.0, 1.0
    beta = require("scipy.stats").beta
    tail = (1 - confidence) / 2
    low = 0.0 if found == 0 else float(beta.ppf(tail, found, total - found + 1))
    high = 1.0 if found == total else float(beta.ppf(1 - tail, found + 1, total - found))
    return low, high


def area_under_curve(score: Array, positive: Array) -> float:
    """Probability that a positive scores above a negative, ties half: the area under the ROC curve.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    0.875
    """
    ranks = require("scipy.stats").rankdata(score)
    ones = int((positive == 1).sum())
    zeros = len(positive) - ones
    return float((ranks[positive == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def area_interval(score: Array, positive: Array, repeats: int = 400, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the area, resampling within each class."""
    random = np.random.default_rng(seed)
    ones, zeros = score[positive == 1], score[positive == 0]
    truth = np.r_[np.ones(len(ones)), np.zeros(len(zeros))]
    areas = [
        area_under_curve(np.r_[random.choice(ones, len(ones)), random.choice(zeros, len(zeros))], truth)
        for _ in range(repeats)
    ]
    low, high = np.percentile(areas, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(probability: Array, positive: Array) -> float:
    """Expected calibration error over 15 bins of equal mass: mean |mean probability - share of positives|."""
    mixed = np.random.default_rng(0).permutation(len(probability))  # equal probabilities must not be sorted by class
    order = mixed[np.argsort(probability[mixed], kind="stable")]
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(len(p) * abs(probability[p].mean() - positive[p].mean()) for p in parts) / len(probability))


def brier(probability: Array, positive: Array) -> float:
    """Mean squared difference of probability and outcome."""
    return float(((probability - positive) ** 2).mean())
