"""How much of the data is noise, and what a fit's own error says when it is corrected for the terms it spent.

All in the scale of the rows: where these carry sqrt(weight / m), as the regressor makes them, a sum of squares over
rows is a mean over samples, and the results are per sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sm3.poly.solvers.updated_qr import UpdatedQR, back_substitute

Array = NDArray[np.float64]


def noise_variance(residual: Array, n_terms: int) -> Array:
    """Unbiased variance of independent noise per output, (q,), from a residual (m, q) of least squares on n terms.

    ||r||^2 / (1 - n / m) in the scale of the rows: the usual ||r||^2 / (m - n) for unscaled ones. What the terms cannot
    express counts as noise. Infinite where n >= m: nothing is left to judge by.

    >>> noise_variance(np.array([[0.5], [-0.5], [0.5], [-0.5]]), n_terms=2)
    array([2.])
    """
    m = len(residual)
    if n_terms >= m:
        return np.full(residual.shape[1], np.inf)
    return np.asarray(np.square(residual).sum(axis=0) * (m / (m - n_terms)))


def correction(m: int, n_terms: int, inverse_trace: float) -> float:
    """Factor on the leave-one-out error that makes up for a basis chosen with the same m samples.

    m / (m - n) * (1 + tr(C^{-1}) / m), C the Gram matrix of the basis over the samples (identity in the mean); infinite
    where n >= m. Chapelle, Vapnik & Bengio, Machine Learning 48 (2002); in polynomial chaos Blatman & Sudret,
    J. Comput. Phys. 230 (2011).

    >>> correction(100, 20, inverse_trace=25.0)
    1.5625
    """
    return float("inf") if n_terms >= m else m / (m - n_terms) * (1 + inverse_trace / m)


def inverse_trace(qr: UpdatedQR) -> float:
    """tr((A^T A)^{-1}) = ||R^{-1}||_F^2 for the columns A of `qr`: tr(C^{-1}) where rows carry 1/sqrt(m)."""
    inverse = back_substitute(qr.triangle, np.eye(qr.size))
    return float(np.square(inverse).sum())


def corrected_loo(qr: UpdatedQR) -> float:
    """Leave-one-out error of the columns of `qr`, summed over outputs, times `correction`.

    >>> rng = np.random.default_rng(0)
    >>> qr = UpdatedQR(rng.standard_normal((50, 1)) / 50**0.5)
    >>> _ = qr.append(rng.standard_normal((50, 20)) / 50**0.5)
    >>> bool(corrected_loo(qr) > 2 * qr.loo().sum())
    True
    """
    return float(qr.loo().sum()) * correction(len(qr.y), qr.size, inverse_trace(qr))


def is_noise(energy: float, residual: float, n_candidates: int, m: int) -> bool:
    """Whether candidates correlate with a residual no more than they would with noise of its size.

    energy: sum over the candidates of <r, psi>^2. residual: ||r||^2, from m rows. For noise and orthonormal functions
    the sum is residual n_candidates / m in the mean, and two standard deviations more are allowed for.

    >>> is_noise(0.01, 1.0, n_candidates=10, m=1000), is_noise(0.03, 1.0, n_candidates=10, m=1000)
    (True, False)
    """
    # A sum of n squares of normal numbers has mean n and variance 2 n.
    return bool(energy <= residual / m * (n_candidates + 2 * (2 * n_candidates) ** 0.5))


def largest_of_noise(residual: float, n_candidates: int, m: int) -> float:
    """What the largest of many <r, psi>^2 reaches, one time in twenty at most, if r is noise with ||r||^2 = residual.

    residual / m * 2 log(20 n): the union bound over n squares of normal numbers, P(z^2 > t) < exp(-t / 2).

    >>> round(largest_of_noise(1.0, n_candidates=1000, m=100), 3)
    0.198
    """
    return residual / m * 2 * float(np.log(20 * max(n_candidates, 1)))
