"""PolynomialRegressor: from rows of a table to a fitted model that says how far it can be trusted.

In the order data passes:

    regressor     the scikit-learn estimator
    rows          distinct rows with weights, and folds
    terms         which terms a fit may choose from
    fitting       scaling, choice of a solver, coefficients in the units of y
    learned       what a fit found, of all rows and of each fold
    accuracy      Q2 on held-out rows, with its interval
    notes         what a reader of a fitted model should know
    gradient      derivatives
    updating      more rows for the same terms
    points        where to evaluate next, in the units of the inputs
    refit         the same fit with other weights of the rows
    persistence   models as files without executable content; model_state: what is in them
"""
