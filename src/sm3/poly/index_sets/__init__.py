"""Which products of one-variable polynomials there are: sets of multi-indices, stored sparsely.

    multi_index   IndexSet: the class
    families      hyperbolic cross, total degree, tensor product, q-norm, anchored; the largest of a given size
    shapes        the rules of these families
    prefix_tree   where an index stands, and which products follow from which
    margin        a lower set that grows, and what may enter next

Knows no values of polynomials; weights come from the bases it is given.
"""
