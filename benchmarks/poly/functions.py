"""The functions of Adcock & Brugiapaglia, arXiv 2208.09045, section 4 and supplement SM3.3, on [-1, 1]^d.

Each takes y of shape (m, d) and returns (m,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


def f1(y: Array) -> Array:
    """exp(-sum_j y_j / (2 d)), eq. 4.2: every variable counts the same."""
    return np.asarray(np.exp(-y.sum(axis=1) / (2 * y.shape[1])))


def f2(y: Array) -> Array:
    """sum_j 0.3 + sin(16 y_j / 15 - 0.7) + sin^2(16 y_j / 15 - 0.7), eq. 4.3: additive."""
    s = np.sin(16.0 / 15.0 * y - 0.7)
    return np.asarray((0.3 + s + s * s).sum(axis=1))


def f3(y: Array) -> Array:
    """1 / (1 + sum_j q_j y_j / (2 d)), q_j from 1 down to 10^-3, eq. 4.4: anisotropic."""
    d = y.shape[1]
    q = 10.0 ** (-3.0 * np.arange(d) / max(d - 1, 1))
    return np.asarray(1.0 / (1.0 + (y @ q) / (2 * d)))


def one_variable(y: Array) -> Array:
    """1 / (10 - 9 y_1): one variable of d, the case in which Monte Carlo samples lose."""
    return np.asarray(1.0 / (10.0 - 9.0 * y[:, 0]))


CELLS = 1024  # of the finite elements: 1023 interior nodes
BETA = 1.0 / 8.0  # correlation length, and 1 for the period: max(1, 2 beta)


def pde(y: Array) -> Array:
    """u(1/2) of -(a u')' = 10 on (0, 1), u = 0 at both ends, a log-transformed random field, SM3.3.

    Linear elements, a averaged over the ends of each cell. In one dimension the flux is a u' = c - 10 x, so the system
    of elements is solved by sums over cells: no linear solver, and (m, cells) numbers at a time.
    """
    out = np.empty(len(y))
    for start in range(0, len(y), 1024):
        out[start : start + 1024] = _middle(_coefficient(y[start : start + 1024]))
    return out


def _coefficient(y: Array) -> Array:
    """a at the 1025 nodes, (m, CELLS + 1): exp(1 + y_1 s + sum_i zeta_i theta_i(x) y_i)."""
    x = np.linspace(0.0, 1.0, CELLS + 1)
    root = math.sqrt(math.sqrt(math.pi) * BETA)
    modes = [np.full(CELLS + 1, root / math.sqrt(2.0))]
    for i in range(2, y.shape[1] + 1):
        k = i // 2
        theta = np.sin(k * math.pi * x) if i % 2 == 0 else np.cos(k * math.pi * x)
        modes.append(root * math.exp(-((k * math.pi * BETA) ** 2) / 8.0) * theta)
    return np.asarray(np.exp(1.0 + y @ np.array(modes)))


def _middle(a: Array) -> Array:
    """The elements' u at x = 1/2.

    Of node values u_k: a_k (u_k - u_(k-1)) / h - a_(k+1) (u_(k+1) - u_k) / h = 10 h. Hence the flux over cell k is
    c - 10 h k up to a constant, u is its sum over cells, and c makes u(1) zero.
    """
    h = 1.0 / CELLS
    resistance = h / (0.5 * (a[:, 1:] + a[:, :-1]))  # of each cell
    load = 10.0 * h * np.arange(CELLS)
    c = (resistance * load).sum(axis=1) / resistance.sum(axis=1)
    half = slice(0, CELLS // 2)
    return np.asarray(c * resistance[:, half].sum(axis=1) - (resistance[:, half] * load[half]).sum(axis=1))


FUNCTIONS: Mapping[str, Function] = {"f1": f1, "f2": f2, "f3": f3, "one variable": one_variable, "pde": pde}
