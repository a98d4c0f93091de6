"""The trials of a study by the hyper-parameters they have. Indices are defined within a branch, not across branches.

Where a hyper-parameter exists only beside some values of another, trials fall into branches. Within one, a choice that
leads there keeps the values that lead there, with their chances to each other; a choice with one value left is no axis.
A condition on a range (`if lr > 0.1`) cuts it; the branch then is no box, and the test of its ranges refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, explain
from sm3.poly.basis.density import Discrete
from sm3.tune.axes import Axis, axis_of
from sm3.tune.outcomes import Outcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# More branches than these are not a conditional space but ranges that move from trial to trial. Chosen.
MOST_BRANCHES = 32
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Branch:
    """Trials with the same hyper-parameters in the same ranges."""

    label: str  # "" where it is the only one
    axes: tuple[Axis, ...]  # what can matter within it
    constant: tuple[str, ...]  # hyper-parameters with one value here
    outcomes: tuple[Outcome, ...]

    def columns(self, outcomes: Sequence[Outcome] | None = None) -> Vector:  # (n, d) coordinates
        chosen = self.outcomes if outcomes is None else outcomes
        columns = [axis.coordinate([outcome.settings[axis.name] for outcome in chosen]) for axis in self.axes]
        return np.column_stack(columns) if columns else np.empty((len(chosen), 0))


def branches(outcomes: Sequence[Outcome]) -> list[Branch]:
    """The branches, the one with the most trials first. Raises `InputError` where ranges move from trial to trial."""
    groups: dict[frozenset[tuple[str, BaseDistribution]], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(frozenset(outcome.distributions.items()), []).append(outcome)
    if len(groups) > MOST_BRANCHES:
        raise InputError(
            explain(
                "the hyper-parameters of this study cannot be ranked: their names or ranges change between trials.",
                got=f"{len(groups)} different sets of hyper-parameters and ranges in {len(outcomes)} trials",
                accepted=f"at most {MOST_BRANCHES}: the branches of a conditional space",
                do="draw each hyper-parameter from a range that depends on no other, for example a share of the other",
            )
        )
    several = len(groups) > 1
    found = [_branch(dict(key), trials, outcomes if several else ()) for key, trials in groups.items()]
    return sorted(found, key=lambda branch: -len(branch.outcomes))


def _branch(distributions: dict[str, BaseDistribution], trials: Sequence[Outcome], every: Sequence[Outcome]) -> Branch:
    axes: list[Axis] = []
    constant, label = [], []
    for name in sorted(distributions):
        axis = axis_of(name, distributions[name])
        if axis is not None and every:
            values = [trial.settings[name] for trial in trials]
            axis, words = _restricted(axis, values)
            label += words
        if axis is None:
            constant.append(name)
        else:
            axes.append(axis)
    label += _moved_ranges(distributions, every)
    names = ", ".join(sorted(distributions)) or "none"
    only = label or ([f"with {names}"] if every else [])
    return Branch("; ".join(only), tuple(axes), tuple(constant), tuple(trials))


def _restricted(axis: Axis, values: Sequence[object]) -> tuple[Axis | None, list[str]]:
    """The axis with the points that occur, and in words what that excludes."""
    if axis.points is None or axis.probabilities is None:
        return axis, []
    coordinates = axis.coordinate(list(values))
    held = np.isclose(coordinates[:, None], axis.points[None, :], rtol=0, atol=1e-9 * np.ptp(axis.points)).any(0)
    if held.all():
        return axis, []
    seen = sorted({str(value) for value in values})
    words = [f"{axis.name} = {' or '.join(seen)}"] if len(seen) <= 4 else [f"{axis.name} in {len(seen)} values"]
    if held.sum() == 1:
        return None, words
    points, chances = axis.points[held], axis.probabilities[held] / axis.probabilities[held].sum()
    return replace(axis, input=Discrete(points, chances), points=points, probabilities=chances), words


def _moved_ranges(distributions: dict[str, BaseDistribution], every: Sequence[Outcome]) -> list[str]:
    """In words, the ranges of this branch that are others elsewhere: the user has changed them while the study ran."""
    moved = []
    for name, distribution in sorted(distributions.items()):
        if any(name in other.distributions and other.distributions[name] != distribution for other in every):
            low, high = getattr(distribution, "low", None), getattr(distribution, "high", None)
            moved.append(
                f"{name} from {low:g} to {high:g}" if low is not None and high is not None else f"{name} as here"
            )
    return moved
