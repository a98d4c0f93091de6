"""Figures of arXiv 2208.09045 as data: geometric means over 50 trials of the relative discrete L2 error.

Computed from the results its authors publish beside their code (github.com/benadcock/is-MC-bad, file by file).
"""

from __future__ import annotations

from collections.abc import Mapping

# Adaptive least squares, m = 1000 samples: (function, d) -> (Monte Carlo, Christoffel). Figures 2 and 4.
ALS: Mapping[tuple[str, int], tuple[float, float]] = {
    ("f1", 8): (2.0e-5, 2.0e-5),
    ("f1", 16): (1.9e-4, 1.7e-4),
    ("f1", 32): (1.8e-3, 1.8e-3),
    ("f3", 8): (2.3e-8, 2.0e-8),
    ("f3", 16): (1.9e-6, 1.6e-6),
    ("f3", 32): (2.8e-5, 2.6e-5),
}
# The paradox: one variable, m = 1000; the condition number of the last least-squares problem.
ALS_ONE_VARIABLE = (9e-9, 4.6e-16)
CONDITION_ONE_VARIABLE = (4e15, 4.4)
# kappa(P_S) / n at n of about 470 (figure 5, f1, Monte Carlo): d -> (n, kappa / n).
KAPPA: Mapping[int, tuple[int, float]] = {4: (470, 140.0), 8: (470, 38.0), 16: (415, 19.0), 32: (431, 9.3)}

# Compressed sensing (weighted square-root LASSO) from Monte Carlo samples: (function, d) -> {m: error}. Figures 7 to 9.
CS: Mapping[tuple[str, int], Mapping[int, float]] = {
    ("f1", 8): {211: 4.8e-4, 527: 5.0e-5, 1000: 1.9e-5},
    ("f1", 16): {211: 3.3e-3, 527: 2.5e-4, 1000: 1.7e-4},
    ("f1", 32): {211: 2.3e-3, 527: 1.8e-3, 1000: 1.5e-3},
    ("f2", 8): {211: 4.9e-8, 316: 1.4e-12, 527: 1.9e-15, 1000: 1.4e-15},
    ("f2", 16): {211: 4.7e-3, 316: 7.8e-5, 527: 1.4e-8, 1000: 1.0e-14},
    ("f2", 32): {211: 7.0e-2, 527: 9.5e-4, 1000: 8.0e-7},
    ("f3", 8): {211: 2.6e-6, 527: 1.5e-7, 1000: 1.8e-8},
    ("f3", 16): {211: 3.3e-5, 527: 4.1e-6, 1000: 7.9e-7},
    ("f3", 32): {211: 1.8e-4, 527: 2.7e-5, 1000: 8.3e-6},
}
# The diffusion equation, figure 10, m = 1000.
CS_PDE: Mapping[int, float] = {4: 6.3e-7, 8: 1.8e-3}
