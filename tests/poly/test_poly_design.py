"""The design matrix against its definition, and its products against the matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sm3.errors import InputError, SettingError
from sm3.poly.basis.classical import Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import Discrete
from sm3.poly.design import matrix as design_file
from sm3.poly.design import matrix_free
from sm3.poly.design.matrix import Design
from sm3.poly.design.products import Products
from sm3.poly.index_sets.families import anchored, hyperbolic_cross, q_norm, tensor_product, total_degree
from sm3.poly.index_sets.multi_index import IndexSet

MIXED = [Legendre(), Hermite(), Laguerre(), Discrete(range(12)), Jacobi(1.0, -0.5), Chebyshev2()]
# Every shape, sets without their parents, in any order, without the constant, with a long chain, and of one index.
SETS = {
    "cross": hyperbolic_cross(6, 11),
    "degree": total_degree(6, 3),
    "box": tensor_product(6, [2, 1, 0, 3, 0, 1]),
    "q_norm": q_norm(6, 6, 0.5),
    "anchored": anchored(14, 6),
    "shuffled": hyperbolic_cross(6, 11).take(np.random.default_rng(0).permutation(327)[:200]),
    "orphans": IndexSet.from_pairs(6, [((0, 1), (2, 2), (5, 3)), ((1, 4), (5, 1)), ((3, 11),)]),
    "chain": IndexSet.from_dense(np.eye(6, dtype=int)[:1] * np.arange(30)[:, None]),
    "constant": hyperbolic_cross(6, 0),
}


def points_of(m, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([basis.draw(m, rng) for basis in MIXED], axis=1)


def by_definition(index_set, points, scale=1.0):
    degrees = index_set.dense()
    tables = [basis.table(points[:, j], int(degrees[:, j].max())) for j, basis in enumerate(MIXED)]
    factors = [table[degrees[:, j]] for j, table in enumerate(tables)]
    return np.prod(factors, axis=0).T * np.reshape(scale, (-1, 1))


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("m", [1, 7, 100, 2500])
@pytest.mark.parametrize("name", SETS)
def test_matrix_is_the_product_of_the_tables(name, m):
    """At widths below and above the one where the way of computing changes."""
    points = points_of(m)
    scale = np.linspace(0.5, 2, m)
    matrix = Design(MIXED, SETS[name], points, row_scale=scale).matrix()
    expected = by_definition(SETS[name], points, scale)
    assert matrix.shape == (m, len(SETS[name]))
    assert matrix.T.flags.c_contiguous
    # at most 7 factors in another order: 7 roundings
    assert np.abs(matrix - expected).max() <= 7 * 2.3e-16 * np.abs(expected).max()


@pytest.mark.parametrize("name", SETS)
def test_products_without_the_matrix_are_those_with_it(name, monkeypatch):
    """Also in several chunks, with factors kept and made anew, for one vector and for more than fit together."""
    points, scale = points_of(500), np.linspace(0.5, 2, 500)
    dense = by_definition(SETS[name], points, scale)
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(len(SETS[name]), 19)), rng.normal(size=(500, 19))
    for chunk, kept in ((10**9, 2**28), (1, 2**28), (1, 0)):
        monkeypatch.setattr(matrix_free, "_CHUNK", chunk)
        monkeypatch.setattr(matrix_free, "KEPT_BYTES", kept)
        free = Design(MIXED, SETS[name], points, row_scale=scale, store=False)
        for _ in range(2):
            # sums of at most 500 terms: 500 roundings of the largest sum are never reached, a tenth is ample
            assert relative(free.times(x), dense @ x) < 1e-14
            assert relative(free.transposed_times(r), dense.T @ r) < 1e-13
            assert relative(free.times(x[:, 0]), dense @ x[:, 0]) < 1e-14
            assert relative(free.transposed_times(r[:, 0]), dense.T @ r[:, 0]) < 1e-13
        assert free._matrix is None


def test_factors_and_inner_products_are_kept_between_products(monkeypatch):
    """An iteration of hundreds of products evaluates the polynomials once, where they fit."""
    calls = []
    factors = Products.factors
    monkeypatch.setattr(Products, "factors", lambda self, points: calls.append(1) or factors(self, points))
    design = Design(MIXED, SETS["cross"], points_of(100), store=False)
    for _ in range(5):
        design.transposed_times(design.times(np.ones(327)))
    assert len(calls) == 1


@pytest.mark.parametrize("store", [True, False])
def test_times_and_transposed_times_are_adjoint(store):
    """<A x, r> = <x, A^T r> for 64 variables and 2,017 functions."""
    rng = np.random.default_rng(2)
    cross = hyperbolic_cross(64, 5).take(np.arange(2017))
    design = Design([Legendre()] * 64, cross, rng.uniform(-1, 1, (300, 64)), store=store)
    x, r = rng.normal(size=2017), rng.normal(size=300)
    assert r @ design.times(x) == pytest.approx(x @ design.transposed_times(r), rel=1e-11)


@pytest.mark.parametrize("stored_first", [False, True])
def test_columns_are_those_of_the_matrix(stored_first):
    """Any positions in any order, repeated, negative or as a mask; the caller may write into the result."""
    design = Design(MIXED, SETS["cross"], points_of(50), row_scale=np.linspace(1, 2, 50))
    expected = by_definition(SETS["cross"], points_of(50), np.linspace(1, 2, 50))
    if stored_first:
        design.matrix()
    for chosen in ([5, 0, 200, 5], [-1], [], np.arange(327) % 7 == 3):
        columns = design.columns(chosen)
        chosen = np.arange(327)[np.asarray(chosen, dtype=bool if isinstance(chosen, np.ndarray) else int)]
        assert columns.shape == (50, len(chosen))
        assert columns.flags.f_contiguous
        assert np.allclose(columns, expected[:, chosen], rtol=1e-14, atol=1e-14)
        columns[:] = 0
    assert np.allclose(design.matrix(), expected, rtol=1e-14, atol=1e-14)


def test_norms_and_row_sums_of_squares(monkeypatch):
    """With the matrix and without, in one block and in many."""
    points = points_of(300)
    expected = by_definition(SETS["cross"], points)
    for store, limit in ((True, 2**28), (False, 2**28), (False, 2**15)):
        monkeypatch.setattr(design_file, "STORED_BYTES", limit)
        design = Design(MIXED, SETS["cross"], points, store=store)
        assert np.allclose(design.norms(), np.linalg.norm(expected, axis=0), rtol=1e-13)
        assert np.allclose(design.row_sums_of_squares(), (expected**2).sum(axis=1), rtol=1e-13)


def test_a_large_design_is_not_stored():
    """2,000 x 52,193 would take 835 MB; products with it stay below 150."""
    cross = hyperbolic_cross(64, 7)
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 64))
    tracemalloc.start()
    design = Design([Legendre()] * 64, cross, points)
    residual = np.ones(2000)
    gradient = design.transposed_times(residual)
    value = design.times(gradient)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not design.store
    assert peak < 150e6
    assert residual @ value == pytest.approx(gradient @ gradient, rel=1e-11)


def test_a_missing_value_stays_in_its_row_and_its_variable():
    """A NaN in column 1 makes only the functions of variable 1 NaN, in that row."""
    points = points_of(5)
    points[2, 1] = np.nan
    matrix = Design(MIXED, SETS["cross"], points).matrix()
    bad = np.isnan(matrix)
    assert not np.delete(bad, 2, axis=0).any()
    assert np.array_equal(bad[2], SETS["cross"].dense()[:, 1] > 0)


@pytest.mark.parametrize("store", [True, False])
def test_no_points_and_no_functions(store):
    """Shapes stay right."""
    nothing = Design(MIXED, SETS["cross"], np.empty((0, 6)), store=store)
    assert nothing.matrix().shape == (0, 327)
    assert nothing.times(np.ones(327)).shape == (0,)
    assert np.array_equal(nothing.transposed_times(np.empty(0)), np.zeros(327))
    empty = Design(MIXED, IndexSet.from_dense(np.empty((0, 6), dtype=int)), points_of(4), store=store)
    assert empty.matrix().shape == (4, 0)
    assert np.array_equal(empty.times(np.empty(0)), np.zeros(4))
    assert empty.transposed_times(np.ones(4)).shape == (0,)
    assert np.array_equal(empty.row_sums_of_squares(), np.zeros(4))


def test_single_precision_points_are_computed_in_double():
    """And lists are accepted."""
    points = points_of(3).astype(np.float32)
    single = Design(MIXED, SETS["cross"], points).matrix()
    assert single.dtype == np.float64
    assert np.array_equal(single, Design(MIXED, SETS["cross"], points.astype(np.float64).tolist()).matrix())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Design(MIXED[:5], SETS["cross"], points_of(3)), SettingError, "5 bases, 6 variables"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3)[:, :5]), SettingError, "same variables"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3)[0]), SettingError, "same variables"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3), row_scale=[1, 2]), SettingError, "row_scale"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3), chunk=0), SettingError, "chunk"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3)).times(np.ones(3)), InputError, r"\(327,\)"),
        (lambda: Design(MIXED, SETS["cross"], points_of(3)).transposed_times(np.ones(327)), InputError, r"\(3,\)"),
        (lambda: Design([Discrete([0, 1])], hyperbolic_cross(1, 2), [[0.0]]).matrix(), SettingError, "degree 2"),
    ],
)
def test_what_does_not_belong_together_is_refused(call, error, message):
    """With the shapes that were given."""
    with pytest.raises(error, match=message):
        call()
