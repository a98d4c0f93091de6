"""Polynomials of one variable, orthonormal for a probability measure.

one_variable   Basis: what every one of them offers
classical      Legendre, Chebyshev, Jacobi, Hermite, Laguerre
density        any distribution of scipy.stats, and finitely many values
recurrence     values, derivatives, Gauss rules and extrema from the three-term recurrence
stieltjes      the recurrence of points with probabilities
discretise     a density as such points
induced        draws with density psi_k^2, for Christoffel samples
"""
