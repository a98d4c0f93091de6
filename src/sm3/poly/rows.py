"""The rows a model is fitted on, in a form that does not depend on how they came: sorted, each once, with a weight.

A row given twice and a row of weight 2 become the same thing here, and so do two orders of one table. Everything
after this file (folds, solvers, bootstrap) sees only that form, so a model depends on the data alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from sm3.errors import InputError, SettingError, explain

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """m distinct rows. `origin[i]` says which of them the i-th given row became; -1 where its weight was 0."""

    x: Array  # (m, d)
    y: Array  # (m, q)
    weight: Array  # (m,), positive
    origin: Integers  # (given,)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def site(self) -> Integers:
        """(m,): a number for each distinct point x, so that repeated measurements at one point are told."""
        changed = (self.x[1:] != self.x[:-1]).any(axis=1)
        return np.concatenate([[0], np.cumsum(changed)]).astype(np.int64)


def distinct_rows(x: Array, y: Array, weight: Array | None = None) -> Rows:
    """Rows of x (m, d) and y (m, q), merged where both agree, their weights added; rows of weight 0 are left out.

    Raises `InputError` when no row is left.

    >>> rows = distinct_rows(np.array([[2.0], [1.0], [2.0]]), np.array([[5.0], [4.0], [5.0]]))
    >>> rows.x.ravel().tolist(), rows.weight.tolist(), rows.origin.tolist()
    ([1.0, 2.0], [1.0, 2.0], [1, 0, 1])
    """
    weights = np.ones(len(x)) if weight is None else weight
    used = np.flatnonzero(weights > 0)
    if not len(used):
        raise InputError(
            explain(
                "no row has a weight.",
                got=f"{len(x)} rows, all of weight 0",
                accepted="at least one row of positive weight",
                do="pass sample_weight=None to weigh all rows alike",
            )
        )
    joined = np.column_stack([x[used], y[used]])
    order = np.lexsort(joined.T[::-1])  # by the first column, then the second, ...
    joined = joined[order]
    first = np.concatenate([[True], (joined[1:] != joined[:-1]).any(axis=1)])
    number = np.cumsum(first) - 1
    origin = np.full(len(x), -1, dtype=np.int64)
    origin[used[order]] = number
    total = np.bincount(number, weights=weights[used[order]]).astype(np.float64)
    kept = joined[first]
    return Rows(np.asfortranarray(kept[:, : x.shape[1]]), kept[:, x.shape[1] :].copy(), total, origin)


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: weights of the rows for fitting and for judging, 0 where a row has no part in it."""

    train: Array  # (m,)
    test: Array  # (m,)


def split(
    rows: Rows, cv: Any, rng: np.random.Generator, given: tuple[Array, Array, Array | None] | None = None
) -> list[Fold]:
    """Folds for the outer validation; an empty list for `cv=None` or fewer than two distinct points.

    A number: that many folds over the distinct points x, so that repeated measurements of one point stay together. A
    splitter of scikit-learn or a list of (train, test) refers to the rows as they were `given` to fit (x, y, weight).
    """
    if cv is None:
        return []
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return _random_folds(rows, int(cv), rng)
    if given is None:
        raise SettingError(_about(cv))
    x, y, weight = given
    weights = np.ones(len(x)) if weight is None else weight
    try:
        pairs = list(check_cv(cv, classifier=False).split(x, y))
    except (TypeError, ValueError) as error:
        raise SettingError(_about(cv)) from error
    return [fold for fold in (_fold(rows, pair, weights) for pair in pairs) if fold.train.any() and fold.test.any()]


def _random_folds(rows: Rows, cv: int, rng: np.random.Generator) -> list[Fold]:
    if cv < 2:
        raise SettingError(_about(cv))
    site = rows.site
    count = int(site[-1]) + 1
    folds = min(cv, count)
    if folds < 2:
        return []
    fold_of_site = np.empty(count, dtype=np.int64)
    fold_of_site[rng.permutation(count)] = np.arange(count) % folds
    fold_of_row = fold_of_site[site]
    return [
        Fold(np.where(fold_of_row == k, 0.0, rows.weight), np.where(fold_of_row == k, rows.weight, 0.0))
        for k in range(folds)
    ]


def _fold(rows: Rows, pair: Sequence[Any], weights: Array) -> Fold:
    def spread(indices: Any) -> Array:
        chosen = np.arange(len(weights))[indices]
        chosen = chosen[rows.origin[chosen] >= 0]
        return np.bincount(rows.origin[chosen], weights=weights[chosen], minlength=len(rows)).astype(np.float64)

    return Fold(spread(pair[0]), spread(pair[1]))


def _about(cv: Any) -> str:
    return explain(
        "cv has a value that gives no folds.",
        got=f"{cv!r}"[:120],
        accepted="a number of folds >= 2, a splitter of scikit-learn, a list of (train, test), or None",
        do="leave it at 5; None switches the outer validation off and leaves q2_ at nan",
    )
