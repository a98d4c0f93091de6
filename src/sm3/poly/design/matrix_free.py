"""Products with a design matrix that is never made, as dense products of much smaller matrices.

Every basis function is an inner product times a factor (products.py), so the functions form a table (inner x factor)
of which an index set fills some cells. With V (P, w) the inner products, T (F, w) the factors of a chunk of w points,
and X (P, F) the coefficients in their cells, zero elsewhere,

    A x   = column sums of V * (X T)            A^T r = the filled cells of (V * r) T^T

Inner products are grouped by like rows of the table, so that each group is a small rectangle, mostly filled, and its
product one call of BLAS. There are few inner products (2,143 for 52,193 functions of 64 variables): V and T take a
fraction of the memory of A, and are kept between products where they fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sm3.poly.design.products import Products

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# A rectangle may be larger than its filled cells by this factor, or by this many cells: a call of BLAS costs about as
# much. Measured: hyperbolic crosses and total degrees end at 1.1 to 1.6 in 10 to 40 rectangles.
_WASTE, _FREE_CELLS = 1.6, 512
# Chosen: most inner products of a rectangle, so that what is made of it stays in the cache.
_TALLEST = 512
# Chosen: doubles of V and T together for one chunk, 16 MB, between these numbers of points.
_CHUNK, _FEWEST, _MOST = 2_000_000, 64, 4096
# Chosen: V and T of all chunks are kept between products up to this size.
KEPT_BYTES = 2**28
# Chosen: right-hand sides worked on together.
_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Rectangle:
    """Some inner products and all factors that continue one of them."""

    inner: Ints  # (g,)
    factors: Ints  # (u,)
    rows: Ints  # (n,) the basis functions in it
    cells: Ints  # (n,) where they are in the flat (g, u) rectangle


class MatrixFree:
    """A x and A^T r for the functions of `products` at points (m, d), each row times its scale."""

    def __init__(self, products: Products, points: Array, scale: Array | None) -> None:
        self.products, self.points, self.scale = products, points, scale
        self.rectangles = list(_rectangles(products))
        height = len(products.inner_parent) + products.factor_count
        self.chunk = min(_MOST, max(_FEWEST, _CHUNK // height))
        self._kept: list[tuple[Array, Array]] = []
        self._keep = 8 * height * len(points) <= KEPT_BYTES

    def times(self, x: Array) -> Array:
        """(N, q) -> (m, q)."""
        out = np.empty((len(self.points), x.shape[1]))
        for some in _column_blocks(x.shape[1]):
            filled = [self._filled(rectangle, x[:, some]) for rectangle in self.rectangles]
            for rows, factors, inner in self._chunks():
                total = np.zeros((x[:0, some].shape[1], inner.shape[1]))
                for rectangle, coef in zip(self.rectangles, filled, strict=True):
                    count, height, width = coef.shape
                    inside = coef.reshape(-1, width) @ factors[rectangle.factors]
                    total += np.einsum("qgw,gw->qw", inside.reshape(count, height, -1), inner[rectangle.inner])
                out[rows, some] = total.T
        return out

    def transposed_times(self, r: Array) -> Array:
        """(m, q) -> (N, q)."""
        out = np.zeros((self.products.size, r.shape[1]))
        for some in _column_blocks(r.shape[1]):
            residual = np.ascontiguousarray(r[:, some].T)
            sums = [np.zeros((len(residual) * len(part.inner), len(part.factors))) for part in self.rectangles]
            for rows, factors, inner in self._chunks():
                for rectangle, total in zip(self.rectangles, sums, strict=True):
                    weighted = residual[:, None, rows] * inner[rectangle.inner]
                    total += weighted.reshape(len(total), -1) @ factors[rectangle.factors].T
            for rectangle, total in zip(self.rectangles, sums, strict=True):
                out[rectangle.rows, some] = total.reshape(len(residual), -1)[:, rectangle.cells].T
        return out

    def _filled(self, rectangle: Rectangle, x: Array) -> Array:
        """(q, g, u): the coefficients in their cells."""
        out = np.zeros((x.shape[1], len(rectangle.inner) * len(rectangle.factors)))
        out[:, rectangle.cells] = x[rectangle.rows].T
        return out.reshape(x.shape[1], len(rectangle.inner), len(rectangle.factors))

    def _chunks(self) -> Iterator[tuple[slice, Array, Array]]:
        """Rows of the matrix, with their factors and inner products."""
        for number, start in enumerate(range(0, len(self.points), self.chunk)):
            rows = slice(start, min(start + self.chunk, len(self.points)))
            if number < len(self._kept):
                yield rows, *self._kept[number]
                continue
            factors = self.products.factors(self.points[rows])
            inner = self.products.inner(factors, None if self.scale is None else self.scale[rows])
            if self._keep:
                self._kept.append((factors, inner))
            yield rows, factors, inner


def _rectangles(products: Products) -> Iterator[Rectangle]:
    """Walk through the inner products, alike ones side by side; begin a rectangle where the last gets too empty."""
    order = np.lexsort((products.factor_of_row, products.inner_of_row))
    inner, factor = products.inner_of_row[order], products.factor_of_row[order]
    starts = np.flatnonzero(np.diff(inner, prepend=-1))
    counts = np.diff(np.append(starts, len(inner)))
    degree, variable = products.degree_of_factor[factor], products.variable_of_factor[factor]
    if not len(starts):
        return
    alike = np.lexsort((variable[starts], counts, np.maximum.reduceat(degree, starts)))
    members: list[int] = []
    union, filled = 0, 0  # the factors as bits of an integer
    for i in alike.tolist():
        bits = 0
        for f in factor[starts[i] : starts[i] + counts[i]].tolist():
            bits |= 1 << f
        cells = (union | bits).bit_count() * (len(members) + 1)
        now = filled + int(counts[i])
        if members and (len(members) >= _TALLEST or (cells > _WASTE * now and cells > now + _FREE_CELLS)):
            yield _rectangle(order, inner, factor, starts[members], counts[members])
            members, union, now = [], 0, int(counts[i])
        members.append(i)
        union, filled = union | bits, now
    yield _rectangle(order, inner, factor, starts[members], counts[members])


def _rectangle(order: Ints, inner: Ints, factor: Ints, starts: Ints, counts: Ints) -> Rectangle:
    """The rectangle of some inner products, whose functions are `counts` entries from `starts` on."""
    before = np.concatenate(([0], np.cumsum(counts)[:-1]))
    at = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    factors, column = np.unique(factor[at], return_inverse=True)
    cells = np.repeat(np.arange(len(starts)), counts) * len(factors) + column
    return Rectangle(inner[starts], factors, order[at], cells)


def _column_blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _TOGETHER, count)) for start in range(0, count, _TOGETHER)]
