"""The rows a model is fitted on, in a form that does not depend on how they came: sorted, each once, with a weight.

A row given twice and a row of weight 2 become the same thing here, and so do two orders of one table. Everything
after this file (folds, solvers, bootstrap) sees only that form, so a model depends on the data alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from sm3.errors import InputError, SettingError, explain

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
# Folds where the user names no number: 4000 over the rows, at least 5, at most 20. Measured (60 fits of
# benchmarks.poly.acceptance with 100 and 200 rows): without noise the error falls so steeply with the rows that models
# with four fifths of them have up to three times the error of the final one, models with 19 of 20 less than twice.
PER_ROW, FEWEST, MOST = 4000, 5, 20


@dataclass(frozen=True, eq=False)
class Rows:
    """m distinct rows, in ascending order of x, then y."""

    x: Array  # (m, d)
    y: Array  # (m, q)
    weight: Array  # (m,), positive

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def site(self) -> Ints:
        """(m,): a number for each distinct point x, so that repeated measurements at one point are told."""
        changed = (self.x[1:] != self.x[:-1]).any(axis=1)
        return np.concatenate([[0], np.cumsum(changed)]).astype(np.int64)

    def row_scale(self, rows: Ints | None = None) -> Array:
        """Factors sqrt(weight / sum of weights) of these rows, all by default: sums over rows become means."""
        weight = self.weight if rows is None else self.weight[rows]
        return np.asarray(np.sqrt(weight / weight.sum()))

    def joined(self, other: Rows) -> Rows:
        """Both together, equal rows merged."""
        x, y = np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y])
        return distinct_rows(x, y, np.concatenate([self.weight, other.weight]))[0]


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: positions of the rows for fitting and of those for judging."""

    train: Ints
    test: Ints


def distinct_rows(x: Array, y: Array, weight: Array | None = None, key: Flags | None = None) -> tuple[Rows, Ints]:
    """Rows of x (m, d) and y (m, q), merged where both agree and their weights added; rows of weight 0 are left out.

    `key` (m, s): rows that differ in it stay apart. Also returns for each row the position of one that became it.
    Raises `InputError` when no row is left.

    >>> rows, given = distinct_rows(np.array([[2.0], [1.0], [2.0]]), np.array([[5.0], [4.0], [5.0]]))
    >>> rows.x.ravel().tolist(), rows.weight.tolist(), given.tolist()
    ([1.0, 2.0], [1.0, 2.0], [1, 0])
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
    joined = np.column_stack([x[used], y[used]] + ([] if key is None else [key[used]]))
    order = np.lexsort(joined.T[::-1])  # by the first column, then the second, ...
    joined, given = joined[order], used[order]
    first = np.concatenate([[True], (joined[1:] != joined[:-1]).any(axis=1)])
    total = np.bincount(np.cumsum(first) - 1, weights=weights[given]).astype(np.float64)
    return Rows(np.asfortranarray(x[given[first]]), y[given[first]], total), given[first]


def rows_and_splits(x: Array, y: Array, weight: Array | None, cv: Any) -> tuple[Rows, list[Fold] | None]:
    """The distinct rows of a table; and its folds where `cv` is a splitter of scikit-learn or a list of (train, test),
    which refer to the rows as given. None where it is None, "auto" or a number. `SettingError` for anything else.
    """
    if (
        cv is None
        or (isinstance(cv, str) and cv == "auto")
        or (isinstance(cv, int | np.integer) and not isinstance(cv, bool))
    ):
        return distinct_rows(x, y, weight)[0], None
    train, test = _memberships(cv, x, y)
    rows, given = distinct_rows(x, y, weight, np.hstack([train, test]))
    folds = [Fold(np.flatnonzero(train[given, k]), np.flatnonzero(test[given, k])) for k in range(train.shape[1])]
    return rows, [fold for fold in folds if len(fold.train) and len(fold.test)]


def usual_number(rows: int) -> int:
    """Folds for `cv="auto"`: see MOST.

    >>> usual_number(50), usual_number(400), usual_number(5000)
    (20, 10, 5)
    """
    return int(min(max(PER_ROW // max(rows, 1), FEWEST), MOST))


def random_folds(rows: Rows, count: int, rng: np.random.Generator, *, by_site: bool = True) -> list[Fold]:
    """`count` random folds, or one for each row where these are fewer; none for a single row.

    `by_site`: rows with equal x stay together. A future row never has the x of a measured one if an input is
    continuous, so a row whose twin was fitted says nothing about it.
    """
    if count < 2:
        raise SettingError(_about(count))
    site = rows.site if by_site else np.arange(len(rows))
    points = int(site[-1]) + 1
    folds = min(count, points)
    if folds < 2:
        return []
    fold_of_site = np.empty(points, dtype=np.int64)
    fold_of_site[rng.permutation(points)] = np.arange(points) % folds
    fold_of_row = fold_of_site[site]
    return [Fold(np.flatnonzero(fold_of_row != k), np.flatnonzero(fold_of_row == k)) for k in range(folds)]


def _memberships(cv: Any, x: Array, y: Array) -> tuple[Flags, Flags]:
    """Which given row trains and which judges in which split: two arrays (m, splits)."""
    try:
        pairs = list(check_cv(cv, classifier=False).split(x, y))
        train, test = np.zeros((2, len(x), len(pairs)), dtype=np.bool_)
        for k, (fitted, judged) in enumerate(pairs):
            train[fitted, k] = True
            test[judged, k] = True
    except (TypeError, ValueError, IndexError) as error:
        raise SettingError(_about(cv)) from error
    return train, test


def _about(cv: Any) -> str:
    return explain(
        "cv has a value that gives no folds.",
        got=f"{cv!r}"[:120],
        accepted='"auto", a number of folds >= 2, a splitter of scikit-learn, a list of (train, test), or None',
        do='leave it at "auto"; None switches the outer validation off and leaves q2_ at nan',
    )
