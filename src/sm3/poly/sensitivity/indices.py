"""Variance and Sobol' indices of a polynomial: sums of squared coefficients, exact, for one or many outputs.

The basis is orthonormal with respect to the distribution of the inputs, so Parseval's identity gives everything:

    variance     V   = sum of c_nu^2 over nu != 0
    first order  S_j = share of the nu that have variable j and no other
    total        T_j = share of the nu that have variable j
    closed       the nu whose variables all lie in a set u: what is explained by knowing u
    superset     the nu that have all variables of u: every interaction u takes part in

These are the indices of the *polynomial*. They add up to 1 even if it fits badly: read them beside Q2 (unexplained part
1 - Q2), and with the intervals of intervals.py. The inputs are independent; for dependent ones the sums mean nothing.
Nothing here has 2^d of anything: only sets of variables that occur in the index set exist.
Sources: Sobol' 1993 (indices), Homma & Saltelli 1996 (total), Liu & Owen 2006 (superset), Sudret 2008 (from
coefficients), Lamboni, Monod & Makowski 2011 (several outputs together).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from sm3.errors import InputError, SettingError, explain

if TYPE_CHECKING:
    from sm3.poly.index_sets.multi_index import IndexSet

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class FittedPolynomial(Protocol):
    """What is read of a fitted model; the names of its features where it has `feature_names_in_`."""

    index_set_: IndexSet
    coef_: Any  # (k,) or (k, q)


@dataclass(frozen=True, eq=False)
class SobolIndices:
    """Indices of a function of d variables with one output, or with q outputs and then a last axis of length q.

    `shares` (N, q): each term's part of the variance of each output; nan for an output that does not vary.
    """

    index_set: IndexSet
    shares: Array
    variance: Array  # () or (q,)
    names: tuple[str, ...]

    @cached_property
    def first(self) -> Array:
        """S_j, (d,) or (d, q): the part of the variance that variable j makes alone."""
        return self._shaped(_incidence(self.index_set, self.index_set.length == 1) @ self.shares)

    @cached_property
    def total(self) -> Array:
        """T_j, (d,) or (d, q): the part that would vanish if variable j were held fixed, averaged over the others."""
        return self._shaped(_incidence(self.index_set) @ self.shares)

    @property
    def pairs(self) -> Integers:
        """(p, 2): the pairs of variables i < j that occur together in a term, in ascending order."""
        return self._pairs[0]

    @cached_property
    def pair(self) -> Array:
        """S_ij, (p,) or (p, q), along `pairs`: the part made by i and j together and by no third variable."""
        _, incidence, sizes = self._pairs
        return self._shaped(incidence @ np.where((sizes == 2)[:, None], self.shares, 0.0))

    @cached_property
    def pair_superset(self) -> Array:
        """(p,) or (p, q), along `pairs`: the part of all terms with both i and j; 0 means i and j act additively."""
        return self._shaped(self._pairs[1] @ self.shares)

    def closed(self, variables: Sequence[int | str]) -> Array:
        """Part of the variance that is explained by knowing these variables: first order of the group. () or (q,)."""
        sizes = self.index_set.length
        return self._sum((self._held(variables) == sizes) & (sizes > 0))

    def group_total(self, variables: Sequence[int | str]) -> Array:
        """Part of the variance in which any of these variables has a hand: total index of the group. () or (q,)."""
        return self._sum(self._held(variables) > 0)

    def interaction(self, variables: Sequence[int | str]) -> Array:
        """S_u: the part made by exactly these variables together, lower interactions taken off. () or (q,)."""
        held, sizes = self._held(variables), self.index_set.length
        return self._sum((held == sizes) & (held == len(set(self.positions(variables)))))

    def superset(self, variables: Sequence[int | str]) -> Array:
        """The part of all terms that have every one of these variables. () or (q,)."""
        return self._sum(self._held(variables) == len(set(self.positions(variables))))

    def aggregated(self, weights: ArrayLike | None = None) -> SobolIndices:
        """One set of indices for all outputs: each output counts with its variance, times its weight.

        `weights` (q,), not negative; None: all 1, which asks for outputs in the same unit. Weights 1/variance make all
        outputs count alike.
        """
        variance = np.atleast_1d(self.variance)
        factors = np.ones_like(variance) if weights is None else np.asarray(weights, dtype=np.float64)
        if factors.shape != variance.shape or not (np.isfinite(factors).all() and (factors >= 0).all()):
            raise SettingError(
                explain(
                    "the weights of the outputs cannot be used.",
                    got=f"{weights!r}"[:120],
                    accepted=f"{len(variance)} finite numbers >= 0, one for each output",
                    do="leave them out to weigh each output by its variance",
                )
            )
        parts = np.where(variance > 0, self.shares, 0.0) @ (factors * variance)
        whole = float((factors * variance).sum())
        shares = parts / whole if whole > 0 else np.full_like(parts, np.nan)
        return SobolIndices(self.index_set, shares[:, None], np.asarray(whole), self.names)

    def effects(self) -> list[tuple[tuple[int, ...], Array]]:
        """(variables, S_u) for every set u that occurs, the largest share first (of several outputs: summed)."""
        groups: dict[tuple[int, ...], list[int]] = {}
        indptr, variable = self.index_set.indptr.tolist(), self.index_set.variable.tolist()
        for row, (start, end) in enumerate(pairwise(indptr)):
            if end > start:
                groups.setdefault(tuple(variable[start:end]), []).append(row)
        found = [(variables, self._shaped(self.shares[rows].sum(0))) for variables, rows in groups.items()]
        return sorted(found, key=lambda item: -float(np.nansum(item[1])))

    def positions(self, variables: Sequence[int | str]) -> list[int]:
        """Numbers of variables given by number or name. `SettingError` for one that is not there."""
        found = []
        for variable in [variables] if isinstance(variables, str) else variables:
            position = self.names.index(variable) if variable in self.names else variable
            if isinstance(position, str) or not 0 <= int(position) < self.index_set.dimension:
                raise SettingError(
                    explain(
                        "there is no such variable.",
                        got=repr(variable),
                        accepted=", ".join(self.names[:20])
                        + (", ..." if len(self.names) > 20 else "")
                        + f", or a number from 0 to {self.index_set.dimension - 1}",
                        do="name it as the model was fitted with it",
                    )
                )
            found.append(int(position))
        return found

    @cached_property
    def _pairs(self) -> tuple[Integers, csr_array, Integers]:
        """The pairs; the matrix (p, N) that says which term has which pair; the number of variables of each term."""
        indptr, variable, d = self.index_set.indptr, self.index_set.variable.astype(np.int64), self.index_set.dimension
        sizes = self.index_set.length
        keys, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for size in np.unique(sizes[sizes >= 2]):
            terms = np.flatnonzero(sizes == size)
            table = variable[indptr[terms][:, None] + np.arange(size)]
            one, other = np.triu_indices(size, 1)
            keys.append((table[:, one] * d + table[:, other]).ravel())
            rows.append(np.repeat(terms, len(one)))
        found, which = np.unique(np.concatenate(keys), return_inverse=True)
        entries = (np.ones(len(which)), (which, np.concatenate(rows)))
        incidence = csr_array(entries, shape=(len(found), len(sizes)))
        return np.column_stack([found // d, found % d]), incidence, sizes

    def _held(self, variables: Sequence[int | str]) -> Integers:
        """How many of these variables each term has, (N,)."""
        inside = np.zeros(self.index_set.dimension, dtype=np.int64)
        inside[self.positions(variables)] = 1
        before = np.zeros(len(self.index_set.variable) + 1, dtype=np.int64)
        np.cumsum(inside[self.index_set.variable], out=before[1:])
        held: Integers = before[self.index_set.indptr[1:]] - before[self.index_set.indptr[:-1]]
        return held

    def _sum(self, terms: NDArray[np.bool_]) -> Array:
        return self._shaped(self.shares[terms].sum(0))

    def _shaped(self, values: Array) -> Array:
        """nan for an output that does not vary; without the last axis where there is one output."""
        told = np.where(self.shares.sum(0) > 0, values, np.nan)
        return told if np.ndim(self.variance) else told[..., 0]


def sobol_indices(model: FittedPolynomial) -> SobolIndices:
    """Sobol' indices of a fitted polynomial, from its coefficients: nothing is sampled, nothing is rounded off.

    Takes 2 - 10 ms at 10,000 terms. How far data of this size fix them: `sobol_intervals` (sobol_intervals.py).
    """
    names = getattr(model, "feature_names_in_", None)
    return indices_of(model.index_set_, model.coef_, names=None if names is None else tuple(map(str, names)))


def indices_of(index_set: IndexSet, coef: ArrayLike, *, names: Sequence[str] | None = None) -> SobolIndices:
    """Sobol' indices from an index set of N terms and coefficients (N,) or (N, q) of an orthonormal basis.

    `names` of the d variables, default x0, x1, ... Raises `InputError` when the shapes do not fit, or a coefficient is
    not finite.

    >>> from sm3.poly.index_sets.multi_index import IndexSet
    >>> terms = IndexSet.from_dense([[0, 0], [1, 0], [0, 2], [1, 1]])  # 5 + 3 psi1(x0) + 2 psi2(x1) + psi1(x0) psi1(x1)
    >>> found = indices_of(terms, [5.0, 3.0, 2.0, 1.0])
    >>> float(found.variance), found.first.round(3).tolist(), found.total.round(3).tolist()
    (14.0, [0.643, 0.286], [0.714, 0.357])
    """
    coefficients = _checked(index_set, coef)
    squares, variance = _squares(index_set, coefficients)
    sums = squares.sum(0)
    shares = np.divide(squares, sums, out=np.full_like(squares, np.nan), where=sums > 0)
    chosen = tuple(f"x{j}" for j in range(index_set.dimension)) if names is None else tuple(names)
    return SobolIndices(index_set, shares, variance if np.ndim(coef) == 2 else variance[0], chosen)


def moments(index_set: IndexSet, coef: ArrayLike) -> tuple[Array, Array]:
    """(mean, variance) of the polynomial over the distribution of its inputs, each () or (q,)."""
    coefficients = _checked(index_set, coef)
    constant = index_set.length == 0
    mean, variance = coefficients[constant].sum(0), _squares(index_set, coefficients)[1]
    return (mean, variance) if np.ndim(coef) == 2 else (mean[0], variance[0])


def _squares(index_set: IndexSet, coefficients: Array) -> tuple[Array, Array]:
    """Squares (N, q) without the mean, in a unit in which they are neither too large nor too small; variance (q,)."""
    varying = np.where(index_set.length[:, None] > 0, coefficients, 0.0)
    largest = np.abs(varying).max(0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    squares = np.square(varying / unit)
    with np.errstate(over="ignore"):  # only the variance itself may be no double any more
        return squares, squares.sum(0) * unit**2


def _checked(index_set: IndexSet, coef: ArrayLike) -> Array:
    """Coefficients as (N, q)."""
    coefficients = np.asarray(coef, dtype=np.float64)
    if coefficients.ndim not in (1, 2) or len(coefficients) != len(index_set):
        raise InputError(
            explain(
                "coefficients and index set do not belong together.",
                got=f"coefficients of shape {coefficients.shape} and {len(index_set)} terms",
                accepted="one coefficient, or one row of them, for each term",
                do="pass coef_ and index_set_ of the same fitted model",
            )
        )
    if not np.isfinite(coefficients).all():
        raise InputError(
            explain(
                "a coefficient is not finite.",
                got=f"{int((~np.isfinite(coefficients)).sum())} of {coefficients.size}",
                accepted="finite numbers",
                do="fit again: the data or the solver made them",
            )
        )
    return coefficients.reshape(len(coefficients), -1)


def _incidence(index_set: IndexSet, terms: NDArray[np.bool_] | None = None) -> csr_array:
    """The matrix (d, N) that says which variable is in which term; only in these terms, where given."""
    sizes = index_set.length
    entries = np.ones(len(index_set.variable)) if terms is None else np.repeat(terms, sizes).astype(np.float64)
    matrix = csr_array((entries, index_set.variable, index_set.indptr), shape=(len(sizes), index_set.dimension))
    return matrix.T.tocsr()
