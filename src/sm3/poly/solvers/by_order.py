"""Least squares on whole sets of rising order: nothing is selected but the order.

The classical way to fit a polynomial chaos, and the best one where samples are many and terms are few. One
factorisation grows from order to order, so that all of them cost as much as the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.growing_fit import GrowingFit, Rows
from sm3.poly.solvers.linear_map import LinearMap, targets

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def total_degrees(index_set: IndexSet) -> Ints:
    """(N,) sum of the degrees of each index: the order from which on a total-degree set holds it."""
    out = np.zeros(len(index_set), dtype=np.int64)
    np.add.at(out, index_set.row_of_pair, index_set.degree)
    return out


def cross_orders(index_set: IndexSet) -> Ints:
    """(N,) prod (nu_j + 1) - 1 of each index: the order from which on a hyperbolic cross holds it."""
    out = np.ones(len(index_set), dtype=np.int64)
    np.multiply.at(out, index_set.row_of_pair, index_set.degree + np.int64(1))
    return out - 1


def by_order(
    A: LinearMap, y: ArrayLike, order: ArrayLike, row_sets: Sequence[Rows], *, max_terms: int | None = None
) -> list[GrowingFit]:
    """Fits of y (m, q) on all functions up to each order, on each set of rows; every order is a step of the fit.

    order: (N,) of each function, any numbers. max_terms: orders with more functions are not tried, but for the lowest;
    default: one function less than there are rows.
    Raises `SettingError` where order does not fit, `InputError` where y does not fit or is not finite.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> line = DenseMap([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 2.0, 4.0], [1.0, 3.0, 9.0]])
    >>> fit = by_order(line, [[1.0], [3.0], [5.0], [7.0]], [0, 1, 2], [Rows.all(4)])[0]
    >>> [round(step["residual"], 3) for step in fit.path]  # of nothing, the mean, the line, the parabola
    [1.0, 0.488, 0.0, 0.0]
    """
    values, orders = targets(A, y), np.asarray(order)
    if orders.shape != A.shape[1:]:
        raise SettingError(
            explain(
                "order does not fit the design matrix.",
                got=f"shape {orders.shape}",
                accepted=f"({A.shape[1]},), one number per function",
                do="pass total_degrees(index_set)",
            )
        )
    levels = [np.flatnonzero(orders == level) for level in np.unique(orders)]
    fits = []
    for rows in row_sets:
        fit = GrowingFit(A, values, rows)
        limit = len(rows.fit) - 1 if max_terms is None else max_terms
        for functions in levels:
            if fit.size and fit.size + len(functions) > limit:
                break
            fit.append(functions)
        fits.append(fit)
    return fits
