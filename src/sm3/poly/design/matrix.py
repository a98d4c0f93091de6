"""The design matrix A_{i nu} = row_scale_i prod_j psi_{nu_j}(y_ij): stored, or only as products with vectors.

A basis function is its parent (without its last pair) times one one-variable polynomial: one multiplication per entry,
whatever the dimension. The matrix is kept transposed, each basis function contiguous, in chunks of rows that fit the
cache. Where it is too large to store, products need only the functions that have children (matrix_free.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.poly.basis.one_variable import Basis
from sm3.poly.design.matrix_free import MatrixFree
from sm3.poly.design.products import Products
from sm3.poly.index_sets.multi_index import IndexSet, positions

Array = NDArray[np.float64]
# A matrix up to this size is kept. Measured (8391 functions, 1 thread of an AMD EPYC): products of larger ones are no
# slower without the matrix for one vector, and half as fast for sixteen.
STORED_BYTES = 2**28


class Design:
    """Values of N basis functions at m points, shape (m, N), as a matrix or as products with it.

    bases: one `Basis` per variable. points: (m, d), canonical variables, any float dtype (computed in float64); NaN
    gives NaN in the functions of that variable. row_scale: (m,) factor of each row, default 1. store: keep the matrix
    from its first use on; default: where it is at most STORED_BYTES. chunk: rows worked on together.
    Raises `SettingError` where bases, index set and points do not belong together, or a degree does not exist.

    >>> from sm3.poly.basis.classical import Legendre
    >>> from sm3.poly.index_sets.families import total_degree
    >>> design = Design([Legendre(), Legendre()], total_degree(2, 1), [[1.0, 1.0], [0.0, -1.0]])
    >>> design.matrix().round(3).tolist()
    [[1.0, 1.732, 1.732], [1.0, 0.0, -1.732]]
    >>> design.times([1.0, 0.0, 0.0]).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        bases: Sequence[Basis],
        index_set: IndexSet,
        points: ArrayLike,
        *,
        row_scale: ArrayLike | None = None,
        store: bool | None = None,
        chunk: int = 4096,
    ) -> None:
        self.bases = tuple(bases)
        self.index_set = index_set
        self.points = np.asarray(points, dtype=np.float64)
        if self.points.ndim != 2 or not self.points.shape[1] == len(self.bases) == index_set.dimension:
            raise _refuse(
                "bases, index set and points do not have the same variables.",
                f"{len(self.bases)} bases, {index_set.dimension} variables, points {self.points.shape}",
                "d bases, an index set of dimension d, points of shape (m, d)",
                "pass one basis and one column of points per variable",
            )
        self.row_scale = None if row_scale is None else np.asarray(row_scale, dtype=np.float64)
        if self.row_scale is not None and self.row_scale.shape != self.points.shape[:1]:
            raise _refuse(
                "row_scale does not belong to these points.",
                f"shape {self.row_scale.shape}",
                f"shape ({len(self.points)},)",
                "pass one factor per row",
            )
        if chunk < 1:
            raise _refuse("chunk is out of range.", chunk, "an integer >= 1", "leave it out")
        self.shape = (len(self.points), len(index_set))
        self.store = 8 * self.shape[0] * self.shape[1] <= STORED_BYTES if store is None else store
        self.chunk = chunk
        self._products = Products(self.bases, index_set)
        self._matrix: Array | None = None

    def matrix(self) -> Array:
        """All of it, shape (m, N), Fortran order: each basis function is contiguous. Kept if `store`; do not write."""
        if self._matrix is not None:
            return self._matrix
        out = np.empty(self.shape[::-1])
        for rows in self._chunks(self.chunk):
            self._products.fill(self.points[rows], self._scale(rows), out[:, rows])
        if self.store:
            self._matrix = out.T
        return out.T

    def columns(self, rows: ArrayLike) -> Array:
        """The basis functions at these positions of the index set, shape (m, k), Fortran order, a new array."""
        chosen = positions(rows, self.shape[1])
        out = np.empty((len(chosen), self.shape[0]))
        if self._matrix is not None:
            np.take(self._matrix.T, chosen, axis=0, out=out, mode="clip")
            return out.T
        some = Products(self.bases, self.index_set.take(chosen))
        for part in self._chunks(self.chunk):
            some.fill(self.points[part], self._scale(part), out[:, part])
        return out.T

    def times(self, x: ArrayLike) -> Array:
        """A x: (N,) gives (m,), (N, q) gives (m, q)."""
        coef = self._operand(x, self.shape[1])
        if self.store:
            return np.asarray(self.matrix() @ coef)
        return self._free.times(coef) if coef.ndim == 2 else self._free.times(coef[:, None])[:, 0]

    def transposed_times(self, r: ArrayLike) -> Array:
        """A^T r: (m,) gives (N,), (m, q) gives (N, q)."""
        values = self._operand(r, self.shape[0])
        if self.store:
            # Measured: for several vectors 1.2 to 1.9 times faster than matrix().T @ values.
            return np.asarray((values.T @ self.matrix()).T)
        if values.ndim == 2:
            return self._free.transposed_times(values)
        return self._free.transposed_times(values[:, None])[:, 0]

    def norms(self) -> Array:
        """Euclidean norms of the columns, shape (N,)."""
        out = np.zeros(self.shape[1])
        if self.store:
            return np.asarray(np.sqrt(np.einsum("im,im->i", self.matrix().T, self.matrix().T)))
        for block in self._blocks():
            out += np.einsum("im,im->i", block, block)
        return np.sqrt(out)

    def row_sums_of_squares(self) -> Array:
        """sum_nu A_{i nu}^2 of each row, shape (m,): without row_scale the reciprocal of the Christoffel function."""
        out = np.empty(self.shape[0])
        if self._matrix is not None:
            return np.asarray(np.einsum("im,im->m", self._matrix.T, self._matrix.T))
        start = 0
        for block in self._blocks():
            np.einsum("im,im->m", block, block, out=out[start : start + block.shape[1]])
            start += block.shape[1]
        return out

    def _blocks(self) -> Iterator[Array]:
        """The transposed matrix in groups of its columns, (N, rows): views of one buffer, valid until the next."""
        rows = max(1, min(self.chunk, STORED_BYTES // 4 // (8 * max(self.shape[1], 1))))
        buffer = np.empty((self.shape[1], min(rows, self.shape[0])))
        for part in self._chunks(rows):
            points = self.points[part]
            self._products.fill(points, self._scale(part), buffer[:, : len(points)])
            yield buffer[:, : len(points)]

    @cached_property
    def _free(self) -> MatrixFree:
        return MatrixFree(self._products, self.points, self.row_scale)

    def _chunks(self, size: int) -> Iterator[slice]:
        return (slice(start, min(start + size, self.shape[0])) for start in range(0, self.shape[0], size))

    def _scale(self, rows: slice) -> Array | None:
        return None if self.row_scale is None else self.row_scale[rows]

    def _operand(self, given: ArrayLike, length: int) -> Array:
        operand = np.asarray(given, dtype=np.float64)
        if operand.ndim not in (1, 2) or len(operand) != length:
            raise InputError(
                explain(
                    "this array does not fit the design matrix.",
                    got=f"shape {operand.shape}",
                    accepted=f"({length},) or ({length}, q), for a matrix of shape {self.shape}",
                    do="x has one entry per basis function, r one per point",
                )
            )
        return operand


def _refuse(happened: str, got: object, accepted: str, do: str) -> SettingError:
    return SettingError(explain(happened, got=got, accepted=accepted, do=do))
