"""Orthonormal polynomials of one variable from their three-term recurrence: values, derivatives, Gauss rules, extrema.

    sqrt(beta_{k+1}) psi_{k+1}(y) = (y - alpha_k) psi_k(y) - sqrt(beta_k) psi_{k-1}(y),     psi_0 = 1, psi_{-1} = 0

with alpha, beta those of the monic polynomials of a probability measure (beta_0 = 1). Nothing here knows a family: the
families are in classical.py and density.py. Source: Gautschi, Orthogonal Polynomials: Computation and Approximation,
2004.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal

Array = NDArray[np.float64]
# Halvings of a bracket between two zeros: an extremum found to 2^-27 of the bracket has its value to 2^-54.
_BISECTIONS = 30


def values(
    alpha: Array,  # (degree + 1,)
    beta: Array,  # (degree + 1,)
    y: Array,  # (m,)
    out: Array,  # (degree + 1, m), overwritten
) -> Array:
    """psi_0 .. psi_degree at y, one contiguous row each; returns `out`."""
    root = np.sqrt(beta)
    scratch = np.empty_like(y)
    out[0] = 1.0
    for k in range(len(out) - 1):
        row = out[k + 1]
        np.subtract(y, alpha[k], out=row)
        row *= out[k]
        if k:
            np.multiply(out[k - 1], root[k], out=scratch)
            row -= scratch
        row /= root[k + 1]
    return out


def derivatives(alpha: Array, beta: Array, y: Array, psi: Array) -> Array:
    """d psi_k / dy in the shape of `psi`, the values at the same points: the recurrence, differentiated."""
    root = np.sqrt(beta)
    out = np.zeros_like(psi)
    for k in range(len(psi) - 1):
        row = (y - alpha[k]) * out[k] + psi[k]
        if k:
            row -= root[k] * out[k - 1]
        out[k + 1] = row / root[k + 1]
    return out


def own_degree(alpha: Array, beta: Array, y: Array, degrees: NDArray[np.int64]) -> Array:
    """psi_{degrees[i]}(y[i]), shape (m,): every point its own degree, at sum(degrees) steps of the recurrence."""
    order = np.argsort(-degrees, kind="stable")
    y, sorted_degrees = y[order], degrees[order]
    root = np.sqrt(beta)
    before, now = np.zeros_like(y), np.ones_like(y)
    for k in range(int(sorted_degrees[0]) if len(y) else 0):
        active = np.searchsorted(-sorted_degrees, -k, side="left")  # points whose degree is above k
        after = ((y[:active] - alpha[k]) * now[:active] - root[k] * before[:active]) / root[k + 1]
        before[:active], now[:active] = now[:active], after
    out = np.empty_like(now)
    out[order] = now
    return out


def zeros(alpha: Array, beta: Array) -> Array:
    """Zeros of psi_n, ascending, from n coefficients: eigenvalues of the Jacobi matrix (Golub & Welsch 1969)."""
    return np.asarray(eigvalsh_tridiagonal(alpha, np.sqrt(beta[1:])), dtype=np.float64)


def gauss_rule(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Nodes and weights of the n-point Gauss rule, from n + 1 coefficients. The weights sum to 1.

    The weights are 1 / sum_k psi_k(node)^2, not squared components of eigenvectors: those have an absolute error of one
    rounding, and a weight of 1e-30 at the far nodes of Hermite would be lost, where psi_k^2 is 1e28.
    """
    n = len(alpha) - 1
    nodes = zeros(alpha[:n], beta[:n])
    with np.errstate(over="ignore", invalid="ignore"):
        psi = values(alpha, beta, nodes, np.empty((n + 1, n)))
        step = psi[n] / derivatives(alpha, beta, nodes, psi)[n]
        # Newton: the eigenvalues are good to a rounding of the largest, the far weights want better. A step that is no
        # number belongs to a node where psi_n overflows; its weight is below the smallest double.
        nodes = nodes - np.where(np.isfinite(step), step, 0.0)
        psi = values(alpha[:n], beta[:n], nodes, psi[:n])
        largest = np.abs(psi).max(axis=0)
        weights = (1.0 / largest) / (np.square(psi / largest).sum(axis=0) * largest)
    weights = np.where(np.isfinite(weights), weights, 0.0)
    return nodes, np.asarray(weights / weights.sum())


def extrema(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Zeros (n,) of psi_n and the one point (n - 1,) between each two where |psi_n| is largest; n + 1 coefficients."""
    n = len(alpha) - 1
    roots = zeros(alpha[:n], beta[:n])
    low, high = roots[:-1].copy(), roots[1:].copy()

    def slope(y: Array) -> Array:
        psi = values(alpha, beta, y, np.empty((n + 1, len(y))))
        return np.asarray(derivatives(alpha, beta, y, psi)[n])

    rising = slope(low) > 0
    for _ in range(_BISECTIONS if n > 1 else 0):
        middle = 0.5 * (low + high)
        before = (slope(middle) > 0) == rising
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return roots, 0.5 * (low + high)


def sup_norms(alpha: Array, beta: Array, bounds: tuple[float, float], degree: int) -> Array:
    """max |psi_k| over a bounded interval, k = 0 .. degree, from its ends and all extrema; degree + 1 coefficients."""
    out = np.ones(degree + 1)
    for k in range(1, degree + 1):
        _, inside = extrema(alpha[: k + 1], beta[: k + 1])
        y = np.concatenate((inside, bounds))
        out[k] = np.abs(values(alpha[: k + 1], beta[: k + 1], y, np.empty((k + 1, len(y))))[k]).max()
    return out
