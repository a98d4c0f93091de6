"""More rows for a model whose terms stay: least squares on all rows from a triangular factor of those before.

The factor is R of the QR of [A, y], every row times the root of its weight: it holds all that least squares needs of
the rows seen so far, (k + q)^2 numbers however many there were. New rows are put below it and it is made triangular
again, O(k^2) for each (Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012). Never normal equations: they
square the condition number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from sm3.poly.basis.one_variable import Basis
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.condition import condition

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Rows of the design matrix made at a time, at least. Chosen: some hundred, so that a QR is matrix products.
_LEAST_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Factor:
    """Outputs that share their terms, and the triangle of their least-squares problem."""

    outputs: Ints  # (q',) columns of y
    terms: Ints  # (k',) positions in the index set
    triangle: Array  # (k' + q', k' + q'), fewer rows before there are as many

    def coef(self) -> Array:
        """(k', q') least-squares coefficients on all rows so far."""
        k = len(self.terms)
        return np.asarray(solve_triangular(self.triangle[:k, :k], self.triangle[:k, k:]))

    def condition(self) -> float:
        """Of the weighted design matrix of all rows so far."""
        k = len(self.terms)
        return condition(np.asfortranarray(self.triangle[:k, :k]))


def empty_factors(coef: Array) -> list[Factor]:
    """No rows yet: outputs with the same nonzero coefficients (k, q) go together; the constant, row 0, is in all."""
    used = coef != 0
    used[0] = True
    groups: dict[bytes, list[int]] = {}
    for output in range(coef.shape[1]):
        groups.setdefault(used[:, output].tobytes(), []).append(output)
    factors = []
    for outputs in groups.values():
        terms = np.flatnonzero(used[:, outputs[0]])
        factors.append(Factor(np.array(outputs), terms, np.empty((0, len(terms) + len(outputs)))))
    return factors


def appended(
    factors: Sequence[Factor],
    bases: Sequence[Basis],
    index_set: IndexSet,
    points: Array,  # (p, d) canonical
    y: Array,  # (p, q)
    weight: Array,  # (p,)
) -> list[Factor]:
    """The factors with these rows in them; those given are unchanged."""
    root = np.sqrt(weight)
    block = max(_LEAST_BLOCK, 4 * len(index_set))
    triangles = [factor.triangle for factor in factors]
    for start in range(0, len(points), block):
        part = slice(start, start + block)
        columns = Design(bases, index_set, points[part], row_scale=root[part]).matrix()
        scaled = y[part] * root[part, None]
        for i, factor in enumerate(factors):
            below = np.column_stack([columns[:, factor.terms], scaled[:, factor.outputs]])
            triangles[i] = np.asarray(np.linalg.qr(np.concatenate([triangles[i], below]), mode="r"))
    return [Factor(factor.outputs, factor.terms, triangle) for factor, triangle in zip(factors, triangles, strict=True)]


def coefficients(factors: Sequence[Factor], shape: tuple[int, ...]) -> Array:
    """All coefficients (k, q) of the factors together."""
    coef = np.zeros(shape)
    for factor in factors:
        coef[np.ix_(factor.terms, factor.outputs)] = factor.coef()
    return coef
