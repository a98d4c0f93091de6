"""Everything the report says about a fitted model, as numbers: moments, Q2, indices with intervals, who is who.

All arrays have the outputs as their last axis, one output included. Sentences are verdict.py, tables summary.py, the
page page.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sm3.poly.inputs.distributions import frozen_of, parameters
from sm3.poly.sensitivity.indices import SobolIndices, sobol_indices
from sm3.poly.sensitivity.intervals import LEVEL, SobolIntervals, Wanted
from sm3.poly.sensitivity.sobol_intervals import sobol_intervals
from sm3.poly.sensitivity.unseen import unseen_folds
from sm3.poly.tables.from_table import input_names, output_names

if TYPE_CHECKING:
    from sm3.poly.estimator.regressor import PolynomialRegressor
    from sm3.poly.inputs.one_input import Input
    from sm3.poly.report.learning_curve import LearningCurve

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """Several inputs taken together: what knowing them explains, and what any of them has a hand in."""

    name: str
    members: tuple[str, ...]
    closed: Array  # (q,)
    total: Array  # (q,)


@dataclass(frozen=True, eq=False)
class Analysis:
    """A fitted model in numbers; q outputs, d inputs, p pairs of inputs."""

    model: PolynomialRegressor
    source: str  # where the rows came from, "" where that is not known
    inputs: tuple[str, ...]  # d
    outputs: tuple[str, ...]  # q
    distributions: tuple[str, ...]  # d, in words
    mean: Array  # (q,)
    variance: Array  # (q,)
    q2: Array  # (q,) nan where nothing was held out
    q2_ends: Array  # (2, q)
    first: Array  # (d, q)
    total: Array  # (d, q)
    pairs: Integers  # (p, 2) the largest ones
    pair: Array  # (p, q)
    kind: str | None  # of the intervals; None without any
    level: float
    first_ends: Array | None  # (2, d, q)
    total_ends: Array | None  # (2, d, q)
    pair_ends: Array | None  # (2, p, q)
    groups: tuple[Group, ...] = ()
    together: SobolIndices | None = None  # all outputs as one, where there are several
    curve: LearningCurve | None = None

    @property
    def unexplained(self) -> Array:
        """1 - Q2, (q,)."""
        return 1.0 - self.q2

    @property
    def order(self) -> Integers:
        """Inputs by their total index, the largest first; of several outputs by that of all together."""
        total = self.total[:, 0] if self.together is None else self.together.total
        return np.argsort(-np.nan_to_num(total), kind="stable")


def analyse(
    model: PolynomialRegressor,
    *,
    source: str = "",
    method: str | None = None,
    level: float = LEVEL,
    groups: Sequence[tuple[str, Sequence[str]]] = (),
    curve: LearningCurve | None = None,
    random_state: Any = 0,
) -> Analysis:
    """The numbers of a fitted model. `method` of the intervals: as in `sobol_intervals`; None: "cross-fit" where the
    model was validated, else no intervals. Raises `SettingError` for an unknown input in a group."""
    found = sobol_indices(model)
    if not hasattr(model, "feature_names_in_"):
        found = SobolIndices(found.index_set, found.shares, found.variance, input_names(model))
    if method is None:
        method = "cross-fit" if unseen_folds(model) else None
    ends = None if method is None else sobol_intervals(model, method=method, level=level, random_state=random_state)
    outputs = output_names(model)
    pairs = Wanted.of(found).pairs if ends is None else ends.pairs
    return Analysis(
        model,
        source,
        input_names(model),
        outputs,
        tuple(describe(one) for one in model.inputs_),
        np.atleast_1d(model.mean_),
        np.atleast_1d(model.variance_),
        np.atleast_1d(model.q2_),
        np.asarray(model.q2_interval_).reshape(-1, 2).T,
        _by_output(found.first, 1),
        _by_output(found.total, 1),
        pairs,
        np.array([found.interaction(pair) for pair in pairs.tolist()]).reshape(len(pairs), len(outputs)),
        None if ends is None else ends.kind,
        level,
        *_ends(ends),
        groups=tuple(_group(found, name, members) for name, members in groups),
        together=found.aggregated() if len(outputs) > 1 else None,
        curve=curve,
    )


def describe(one: Input) -> str:
    """The distribution of an input in a few words.

    >>> from sm3.poly.inputs.one_input import Categorical, box, categories
    >>> describe(box(0, 2.5)), describe(categories(Categorical(["a", "b"])))
    ('uniform, 0 to 2.5', 'one of a, b')
    >>> from scipy import stats
    >>> from sm3.poly.inputs.one_input import from_scipy
    >>> describe(from_scipy(stats.triang(0.25, loc=-1, scale=4))), describe(from_scipy(stats.expon(scale=3)))
    ('triangular, -1 to 3, mode 0', 'expon, loc 0, scale 3')
    """
    record = one.record
    lo, hi = one.domain
    if one.fixed:
        return f"always {lo:.6g}"
    if one.levels is not None:
        shown = ", ".join(map(str, one.levels[:6]))
        return f"one of {shown}" + (", ..." if len(one.levels) > 6 else "")
    if one.values is not None:
        return f"one of {len(one.values)} numbers, {lo:.6g} to {hi:.6g}"
    if record["kind"] == "uniform":
        return f"uniform, {lo:.6g} to {hi:.6g}" + (" (range of the data)" if one.learned else "")
    return _law(str(record["name"]), parameters(frozen_of(record)))


def _law(name: str, values: Mapping[str, float]) -> str:
    """A distribution of scipy.stats in the words of inputs.toml where it has them, else in scipy's."""
    loc, scale = values["loc"], values["scale"]
    match name:
        case "uniform":
            return f"uniform, {loc:.6g} to {loc + scale:.6g}"
        case "norm":
            return f"normal, mean {loc:.6g}, std {scale:.6g}"
        case "lognorm" if loc == 0:
            return f"lognormal, median {scale:.6g}, log_std {values['s']:.6g}"
        case "loguniform" | "reciprocal" if loc == 0:
            return f"log_uniform, {values['a'] * scale:.6g} to {values['b'] * scale:.6g}"
        case "triang":
            return f"triangular, {loc:.6g} to {loc + scale:.6g}, mode {loc + values['c'] * scale:.6g}"
        case "beta":
            return f"beta, {values['a']:.6g}, {values['b']:.6g}, from {loc:.6g} to {loc + scale:.6g}"
        case "gamma" if loc == 0:
            return f"gamma, shape {values['a']:.6g}, scale {scale:.6g}"
    return ", ".join([name, *(f"{key} {value:.6g}" for key, value in values.items())])


def _group(found: SobolIndices, name: str, members: Sequence[str]) -> Group:
    closed, total = found.closed(members), found.group_total(members)
    return Group(name, tuple(members), np.atleast_1d(closed), np.atleast_1d(total))


def _by_output(values: Array, axes: int) -> Array:
    """With a last axis for the outputs."""
    return values if values.ndim == axes + 1 else values[..., None]


def _ends(ends: SobolIntervals | None) -> tuple[Array | None, Array | None, Array | None]:
    if ends is None:
        return None, None, None
    return _by_output(ends.first, 2), _by_output(ends.total, 2), _by_output(ends.pair, 2)
