"""What a solver asks of a design matrix: its shape, some of its columns, and products with it and its transpose.

`Design` (design/matrix.py) offers this, stored or not. Here are a plain array as such a map, and some rows of another
map without a copy, which is how the folds of a cross-validation share one matrix.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import InputError, SettingError, explain

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class LinearMap(Protocol):
    """A matrix A of shape (m, N) that need not be stored."""

    @property
    def shape(self) -> tuple[int, int]:
        """(m, N): samples, basis functions."""

    def columns(self, rows: ArrayLike) -> Array:
        """The basis functions at these positions of the index set, (m, k), Fortran order, a new array."""

    def times(self, x: ArrayLike) -> Array:
        """A x: (N,) gives (m,), (N, q) gives (m, q)."""

    def transposed_times(self, r: ArrayLike) -> Array:
        """A^T r: (m,) gives (N,), (m, q) gives (N, q)."""


class DenseMap:
    """A plain array as a `LinearMap`; kept as float64, each column contiguous.

    >>> DenseMap([[1.0, 2.0], [3.0, 4.0]]).transposed_times([1.0, 1.0]).tolist()
    [4.0, 6.0]
    """

    def __init__(self, matrix: ArrayLike) -> None:
        self.matrix = np.asfortranarray(matrix, dtype=np.float64)
        if self.matrix.ndim != 2:
            raise InputError(
                explain(
                    "this is no matrix.",
                    got=f"an array of shape {self.matrix.shape}",
                    accepted="shape (m, N)",
                    do="pass one row per sample and one column per basis function",
                )
            )

    @property
    def shape(self) -> tuple[int, int]:
        return (self.matrix.shape[0], self.matrix.shape[1])

    def columns(self, rows: ArrayLike) -> Array:
        # The transpose is contiguous: whole rows of it are copied.
        return np.asarray(self.matrix.T[np.asarray(rows)].T)

    def times(self, x: ArrayLike) -> Array:
        return np.asarray(self.matrix @ np.asarray(x))

    def transposed_times(self, r: ArrayLike) -> Array:
        return np.asarray(self.matrix.T @ np.asarray(r))


class RowsOf:
    """Some rows of a map, without a copy: products run over all of its rows.

    A fold of K keeps (K - 1)/K of the rows, so the detour costs 1/(K - 1) more than a copy would, and no memory.

    >>> RowsOf(DenseMap([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [0, 2]).times([1.0, 1.0]).tolist()
    [3.0, 11.0]
    """

    def __init__(self, whole: LinearMap, rows: ArrayLike) -> None:
        self.whole = whole
        self.rows: Ints = np.asarray(rows, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.rows), self.whole.shape[1])

    def columns(self, rows: ArrayLike) -> Array:
        return np.asarray(np.take(self.whole.columns(rows).T, self.rows, axis=1).T)

    def times(self, x: ArrayLike) -> Array:
        return np.asarray(self.whole.times(x)[self.rows])

    def transposed_times(self, r: ArrayLike) -> Array:
        values = np.asarray(r, dtype=np.float64)
        padded = np.zeros((self.whole.shape[0], *values.shape[1:]))
        padded[self.rows] = values
        return self.whole.transposed_times(padded)


def targets(A: LinearMap, y: ArrayLike) -> Array:
    """y as float64 of shape (m, q), q >= 1, checked against the rows of A."""
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 2 or len(values) != A.shape[0] or not values.shape[1] or not np.isfinite(values).all():
        finite = "finite" if np.isfinite(values).all() else "not all finite"
        raise InputError(
            explain(
                "y does not fit the design matrix.",
                got=f"shape {values.shape}, {finite}",
                accepted=f"finite numbers of shape ({A.shape[0]}, q), for a matrix of shape {A.shape}",
                do="pass one row per sample and one column per output; y[:, None] for a single output",
            )
        )
    return values


def weights(A: LinearMap, u: ArrayLike) -> Array:
    """u as float64 of shape (N,), checked."""
    values = np.asarray(u, dtype=np.float64)
    if values.shape != A.shape[1:] or not (np.isfinite(values) & (values > 0)).all():
        raise SettingError(
            explain(
                "the weights u are not accepted.",
                got=f"shape {values.shape}, smallest {values.min(initial=np.inf)}",
                accepted=f"finite numbers > 0 of shape ({A.shape[1]},)",
                do="pass index_set.weights(bases), or ones for no preference",
            )
        )
    return values
