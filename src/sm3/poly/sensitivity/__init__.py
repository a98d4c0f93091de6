"""Which inputs matter: Sobol' indices from coefficients, and how far they can be trusted.

    indices           variance and indices of a polynomial, exact
    intervals         what an interval holds, and which indices get one
    cross_fit         where the indices of the function lie, whatever the polynomial misses
    bootstrap         what another sample could have given for the polynomial
    sobol_intervals   either of them for a fitted model
    unseen            the models of its validation, with the rows they have not seen

`indices` knows index sets and coefficients alone; the others take a fitted model apart.
"""
