"""Solvers: coefficients of a polynomial from a design matrix that need not be stored, one method a file.

    linear_map      what a solver asks of the matrix; a plain array as one; some rows of one
    solution        what every solver returns
    least_squares   all functions, by LAPACK's QR
    omp             greedy, one function or a bulk at a time; several row sets in step
    srlasso         weighted square-root LASSO with a certificate: lasso_path (one output, exact), joint_support
                    (several outputs) and primal_dual (steps that need products only)
    adaptive        least squares on a lower set that grows: on given data, or drawing its own as in the paper
    choose          the one that predicts held-out rows best
    updated_qr      a QR factorisation to which columns and rows are added
    condition       of a triangular factor
    noise           how much of the data is noise

All but `adaptive` and `choose` know nothing of polynomials.
"""
