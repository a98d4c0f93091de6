"""scikit-learn's own checks of an estimator, all of them, none expected to fail."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from sm3.poly import PolynomialRegressor


# max_basis: the checks are about behaviour; a few candidates are as good as a few thousand
@parametrize_with_checks(
    [PolynomialRegressor(max_basis=40), PolynomialRegressor(solver="ls", cv=None, support="per_output")]
)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    """Weights equal repeated rows, clones, tags, dtypes, messages for bad input, ..."""
    check(estimator)
