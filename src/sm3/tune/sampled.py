"""Were the trials drawn as their distributions say, independently of one another and of the scores?

Sobol' indices are averages over the stated ranges. A guided search (TPE, CMA-ES, GP) spends its trials where the score
is good, and a polynomial fitted there says nothing about the rest. Four tests, none of which needs to know the sampler:

    ranges     each hyper-parameter alone: Kolmogorov-Smirnov; for points, an exact binomial test of each
    pairs      Spearman's rank correlation of each two hyper-parameters
    order      Spearman's rank correlation of trial number and score: independent draws do not improve with time
    marks      what TPE, CMA-ES, GP and the genetic samplers of Optuna write into their trials

A Sobol' sequence is more even than independent draws, and passes. All trials take part, also those that ended badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sm3.tune.axes import Axis

# One honest study in a thousand is refused; shared out among the tests (Bonferroni). Chosen: a wrong refusal costs a
# user one look, a wrong ranking costs him the next study.
LEVEL = 1e-3
Vector = NDArray[np.float64]
# Words before the colon in what a sampler of Optuna 5 stores with a trial; genetic ones use the name of their class.
GUIDED = ("cma", "cmawm", "gp", "sepcma", "tpe")


@dataclass(frozen=True)
class Deviation:
    """One sign of a guided search."""

    text: str
    p: float  # of independent draws to look like this or worse


def deviations(axes: Sequence[Axis], columns: Vector, badness: Vector) -> list[Deviation]:
    """The tests that independent draws would fail once in a thousand studies, the clearest first.

    `columns` (n, d) are coordinates in the order of the trials, `badness` (n,) their target.
    """
    found = [
        Deviation(f"{axis.name} is not spread over its range", _range(axis, columns[:, j]))
        for j, axis in enumerate(axes)
    ]
    found += [
        Deviation(f"{axes[i].name} and {axes[j].name} move together", _correlated(columns[:, i], columns[:, j]))
        for i, j in combinations(range(len(axes)), 2)
    ]
    found.append(
        Deviation("the score depends on when a trial ran", _correlated(np.arange(float(len(badness))), badness))
    )
    return sorted((one for one in found if one.p * len(found) < LEVEL), key=lambda one: one.p)


def guided(marks: Sequence[str]) -> list[str]:
    """The marks of samplers that look at the scores.

    >>> guided(["qmc", "tpe", "NSGAIISampler"])
    ['tpe', 'NSGAIISampler']
    """
    return [mark for mark in marks if mark in GUIDED or mark.endswith("Sampler")]


def _range(axis: Axis, column: Vector) -> float:
    if axis.points is None or axis.probabilities is None:
        return float(stats.kstest(axis.distribution(column), "uniform").pvalue)
    counts = np.isclose(column[:, None], axis.points[None, :], rtol=0, atol=1e-9 * np.ptp(axis.points)).sum(0)
    tests = [
        stats.binomtest(int(count), len(column), float(p)).pvalue
        for count, p in zip(counts, axis.probabilities, strict=True)
    ]
    return float(min(1.0, len(tests) * min(tests)))


def _correlated(one: Vector, other: Vector) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0 or len(one) < 4:
        return 1.0
    return float(stats.spearmanr(one, other).pvalue)
