"""Recurrence coefficients of a measure given by points and probabilities: the Stieltjes procedure.

For a discrete measure they are exact; for a density the points come from discretise.py. Every new polynomial is made
orthogonal to all before it, twice, so that no digits are lost to the number of points. Source: Gautschi 2004, 2.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def stieltjes(
    points: Array,  # (K,) distinct
    probabilities: Array,  # (K,) > 0, sum 1
    n: int,  # 1 <= n <= K
) -> tuple[Array, Array, Array]:
    """alpha (n,), beta (n,) and psi_0 .. psi_{n-1} at the points (n, K)."""
    centre = float(probabilities @ points)
    scale = float(np.sqrt(probabilities @ (points - centre) ** 2)) or 1.0
    x = (points - centre) / scale
    root = np.sqrt(probabilities)
    # Rows are psi_k times the roots of the probabilities: orthonormal vectors in the usual sense.
    rows = np.empty((n, len(points)))
    rows[0] = root
    alpha, beta = np.empty(n), np.ones(n)
    for k in range(n):
        alpha[k] = float(rows[k] @ (x * rows[k]))
        if k + 1 == n:
            break
        following = (x - alpha[k]) * rows[k]
        for _ in range(2):
            following -= (rows[: k + 1] @ following) @ rows[: k + 1]
        norm = float(np.linalg.norm(following))
        beta[k + 1] = norm**2
        rows[k + 1] = following / norm
    beta[1:] *= scale**2
    return centre + scale * alpha, beta, rows / root
