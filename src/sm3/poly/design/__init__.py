"""Points, and the values of all basis functions at them.

    matrix        Design: the matrix, stored or as products with it
    products      how a basis function is made of one that is there by one multiplication
    matrix_free   products with a matrix that is never made
    sampling      where the points should be: random, space-filling, Christoffel; where to evaluate next

In canonical variables; the units of the inputs are inputs/ and estimator/points.
"""
