"""The factorisation that grows: equal to one made at once, whatever the order of events."""

from __future__ import annotations

import numpy as np
import pytest

from sm3.errors import InputError
from sm3.poly.solvers.condition import condition
from sm3.poly.solvers.updated_qr import UpdatedQR

EPS = np.finfo(float).eps


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def vandermonde(m: int, n: int) -> np.ndarray:
    """Monomials on [0, 1]: condition 1e8 at 12 columns, where normal equations have no digit left."""
    return np.linspace(0, 1, m)[:, None] ** np.arange(n)


@pytest.mark.parametrize("blocks", [[12], [1] * 12, [3, 4, 5], [11, 1]])
def test_columns_are_orthonormal_and_span_what_was_appended(blocks):
    """Q^T Q = 1 and Q R = A to rounding, at condition 1e8, whatever the blocks."""
    columns = vandermonde(60, 12)
    qr = UpdatedQR(np.zeros((60, 1)), capacity=1)
    ends = np.cumsum(blocks)
    for start, end in zip(ends - blocks, ends, strict=True):
        assert qr.append(columns[:, start:end]).all()

    # Twice is enough: the loss is a few eps per column, not eps times the condition (2e-8).
    assert np.abs(qr.q.T @ qr.q - np.eye(12)).max() < 20 * EPS
    assert np.abs(qr.q @ qr.triangle - columns).max() < 20 * EPS
    assert np.array_equal(qr.triangle, np.triu(qr.triangle))


def test_solution_survives_a_condition_that_normal_equations_do_not(rng):
    """The coefficients of an exact polynomial come back to eps times the condition."""
    columns, coef = vandermonde(60, 12), rng.standard_normal((12, 2))
    qr = UpdatedQR(columns @ coef)
    qr.append(columns)

    error = np.abs(qr.solve() - coef).max()
    normal = np.abs(np.linalg.solve(columns.T @ columns, columns.T @ columns @ coef) - coef).max()
    assert error < 10 * EPS * np.linalg.cond(columns)  # 3e-7
    assert normal > 100 * error


def test_dependent_columns_are_dropped_wherever_they_stand(rng):
    """A repeat, a sum and a zero column inside a block leave exactly the others, and the fit is that of the others."""
    a, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 1))
    block = np.column_stack([a[:, 0], a[:, 0], a[:, 1], a[:, 0] + a[:, 1], np.zeros(30), a[:, 2], a[:, 3]])
    qr = UpdatedQR(y)

    assert qr.append(block).tolist() == [True, False, True, False, False, True, True]
    assert qr.append(block).tolist() == [False] * 7
    expected = np.linalg.lstsq(a, y, rcond=None)[0]
    assert np.allclose(qr.solve(), expected, atol=1e-12)


def test_columns_beyond_the_number_of_rows_are_dropped(rng):
    """Five rows have room for five directions, then the fit is exact."""
    qr = UpdatedQR(rng.standard_normal((5, 1)))

    assert qr.append(rng.standard_normal((5, 9))).sum() == 5
    assert np.abs(qr.residual).max() < 1e-14
    assert qr.append(rng.standard_normal((5, 1))).tolist() == [False]


def test_nearly_dependent_column_is_kept_or_dropped_by_the_tolerance():
    """1e-8 of the norm is outside the span: above the default of 1e-9, below 1e-7."""
    columns = np.array([[1.0, 1.0], [0.0, 1e-8], [0.0, 0.0]])

    assert UpdatedQR(np.zeros((3, 1))).append(columns).tolist() == [True, True]
    assert UpdatedQR(np.zeros((3, 1)), tolerance=1e-7).append(columns).tolist() == [True, False]


@pytest.mark.parametrize("position", [0, 3, 7])
@pytest.mark.parametrize("rows", [8, 40])  # eight columns: a square Q, and a tall one
def test_removing_a_column_is_never_having_had_it(rng, position, rows):
    """All that is kept on the side agrees with a factorisation of the other columns."""
    columns, y = rng.standard_normal((rows, 8)), rng.standard_normal((rows, 2))
    qr, other = UpdatedQR(y), UpdatedQR(y)
    qr.append(columns)
    qr.remove(position)
    other.append(np.delete(columns, position, axis=1))

    assert qr.size == 7
    for name in ("residual", "leverage"):
        assert np.allclose(getattr(qr, name), getattr(other, name), atol=1e-13), name
    assert np.allclose(qr.solve(), other.solve(), atol=1e-11)
    assert np.allclose(qr.q.T @ qr.q, np.eye(7), atol=1e-14)
    assert qr.append(columns[:, [position]]).all()  # and it may come back
    assert np.allclose(qr.residual, factored(columns, y).residual, atol=1e-13)


def factored(columns: np.ndarray, y: np.ndarray) -> UpdatedQR:
    qr = UpdatedQR(y)
    qr.append(columns)
    return qr


def test_a_small_residual_stays_orthogonal_after_a_column_has_gone(rng):
    """y is in the span but for 1e-9 of it: projected once, rounding of y would be 1e-7 of what is left."""
    columns = np.linalg.qr(rng.standard_normal((40, 6)))[0]
    y = columns[:, :5] @ rng.standard_normal((5, 1)) + 1e-9 * rng.standard_normal((40, 1))
    qr = factored(columns, y)
    qr.remove(5)

    assert np.abs(qr.q.T @ qr.residual).max() < 1e-13 * np.linalg.norm(qr.residual)


def test_appending_rows_equals_starting_with_all_rows(rng):
    """Also where columns follow the rows, and rows follow again."""
    columns, y = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))
    qr = factored(columns[:20, :4], y[:20])
    qr.append_rows(columns[20:45, :4], y[20:45])
    qr.append(columns[:45, 4:])
    qr.append_rows(columns[45:], y[45:])

    whole = factored(columns, y)
    assert np.allclose(qr.solve(), whole.solve(), atol=1e-13)
    assert np.allclose(qr.residual, whole.residual, atol=1e-13)
    assert np.allclose(qr.loo(), whole.loo(), rtol=1e-12)


def test_rows_of_another_width_are_refused(rng):
    """With the shape that is accepted."""
    qr = factored(rng.standard_normal((5, 2)), np.zeros((5, 1)))
    with pytest.raises(InputError, match=r"\(p, 2\) and \(p, 1\)"):
        qr.append_rows(np.zeros((1, 3)), np.zeros((1, 1)))


def test_leverage_sums_to_the_number_of_columns(rng):
    """It is the diagonal of a projection, so it lies in [0, 1] and its sum is the rank."""
    qr = factored(rng.standard_normal((30, 9)), np.zeros((30, 1)))

    assert qr.leverage.sum() == pytest.approx(9, rel=1e-13)
    assert 0 <= qr.leverage.min() <= qr.leverage.max() <= 1


def test_leave_one_out_is_what_leaving_out_each_row_gives(rng):
    """Refitted without each row in turn."""
    columns, y = rng.standard_normal((15, 4)), rng.standard_normal((15, 2))
    by_hand = np.zeros(2)
    for i in range(15):
        rest = np.delete(np.arange(15), i)
        by_hand += (y[i] - columns[i] @ np.linalg.lstsq(columns[rest], y[rest], rcond=None)[0]) ** 2

    assert np.allclose(factored(columns, y).loo(), by_hand, rtol=1e-12)


def test_leave_one_out_of_an_interpolated_row_is_infinite():
    """A function that lives on one row alone is not determined without it."""
    columns = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])

    assert np.isinf(factored(columns, np.ones((3, 1))).loo()).all()


def test_copies_do_not_share_anything(rng):
    """Appending to one leaves the other as it was."""
    columns, y = rng.standard_normal((20, 5)), rng.standard_normal((20, 1))
    qr = factored(columns[:, :3], y)
    other = qr.copy()
    qr.append(columns[:, 3:])
    qr.remove(0)

    assert other.size == 3
    assert np.allclose(other.solve(), np.linalg.lstsq(columns[:, :3], y, rcond=None)[0], atol=1e-13)


def test_nothing_appended_is_a_fit_of_nothing():
    """No columns: residual y, no coefficients, condition 1."""
    y = np.array([[1.0], [2.0]])
    qr = UpdatedQR(y)

    assert qr.append(np.zeros((2, 0))).shape == (0,)
    assert qr.solve().shape == (0, 1)
    assert qr.condition() == 1.0
    assert np.array_equal(qr.residual, y)


@pytest.mark.parametrize("size", [1, 64, 65, 200])
def test_condition_is_that_of_the_singular_values(rng, size):
    """Exact for small ones, from below within five percent beyond; the spectrum is that of a random design."""
    triangle = np.linalg.qr(rng.standard_normal((3 * size, size)), mode="r")
    exact = np.linalg.cond(triangle)

    found = condition(np.asfortranarray(triangle))
    assert found <= exact * (1 + 1e-10)
    assert found >= exact * (1 - 1e-10 if size <= 64 else 0.95)


def test_condition_of_a_singular_triangle_is_infinite():
    """A zero on the diagonal, small or large."""
    for size in (2, 100):
        triangle = np.eye(size)
        triangle[1, 1] = 0.0
        assert np.isinf(condition(triangle))
