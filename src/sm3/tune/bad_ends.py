"""Trials that ended badly, as a question of their own: yes or no, and where in the ranges they lie.

Each hyper-parameter alone: do its values differ between the trials that ended badly and the others? For ranges the
rank-sum test of Mann & Whitney 1947, for choices Fisher's exact test of each against the rest; at 1 % over all of them
(Bonferroni). It sees a limit (`lr` too high) with few bad ends, where a polynomial through zeros and ones sees nothing;
the latter is fitted besides, by `rank`, where there are enough of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sm3.tune.axes import Axis
from sm3.tune.branches import Branch
from sm3.tune.score import Target

LEVEL = 0.01
LEAST = 3  # bad ends, and others, for a test; chosen
LEAST_BOTH = 10  # and for a polynomial through zeros and ones; chosen
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Sign:
    """A hyper-parameter whose values differ between bad ends and the others."""

    name: str
    text: str
    p: float


def sentence(target: Target) -> str:
    """How many ended badly, and how. Empty where none did."""
    count = int(target.bad.sum())
    if not count:
        return ""
    how = ", ".join(f"{number} {ending}" for ending, number in target.endings.items())
    return f"{count} of {len(target.bad)} trials ended badly ({how}); each counts as the worst score."


def signs(branch: Branch, target: Target) -> list[Sign]:
    """The hyper-parameters that tell bad ends from the others, the clearest first."""
    bad, columns = target.bad, branch.columns()
    if min(bad.sum(), (~bad).sum()) < LEAST:
        return []
    found = [
        _of_choices(axis, columns[:, j], bad) if axis.choices else _of_range(axis, columns[:, j], bad)
        for j, axis in enumerate(branch.axes)
    ]
    return sorted((sign for sign in found if sign.p * len(found) < LEVEL), key=lambda sign: sign.p)


def _of_range(axis: Axis, column: Vector, bad: NDArray[np.bool_]) -> Sign:
    p = float(stats.mannwhitneyu(column[bad], column[~bad]).pvalue) if np.ptp(column) else 1.0
    middles = [float(np.median(column[part])) for part in (bad, ~bad)]
    told = [f"{np.exp(middle) if axis.log else middle:.3g}" for middle in middles]
    return Sign(
        axis.name,
        f"{axis.name} {'higher' if middles[0] > middles[1] else 'lower'}: half of the bad ends lie "
        f"above {told[0]}, half of the others above {told[1]}",
        p,
    )


def _of_choices(axis: Axis, column: Vector, bad: NDArray[np.bool_]) -> Sign:
    best = Sign(axis.name, "", 1.0)
    for position in np.unique(column):
        here = column == position
        table = [
            [int((here & bad).sum()), int((here & ~bad).sum())],
            [int((~here & bad).sum()), int((~here & ~bad).sum())],
        ]
        p = min(1.0, len(np.unique(column)) * float(stats.fisher_exact(table).pvalue))
        if p < best.p:
            share = [row[0] / max(1, sum(row)) for row in table]
            text = f"{axis.name} = {axis.choices[int(position)]}: {100 * share[0]:.0f} % end badly, of the others "
            best = Sign(axis.name, f"{text}{100 * share[1]:.0f} %", p)
    return best


def told(found: Sequence[Sign], target: Target) -> str:
    """The signs as a sentence; empty where nothing ended badly."""
    if not target.bad.any():
        return ""
    if not found:
        return "Where they lie cannot be told from any hyper-parameter alone."
    return "Bad ends have " + "; ".join(sign.text for sign in found) + "."
