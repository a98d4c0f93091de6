"""Index sets against counting, against brute force, and on awkward inputs."""

from __future__ import annotations

import itertools
import tracemalloc
from math import comb

import numpy as np
import pytest

from sm3.errors import SettingError
from sm3.poly.basis.classical import Chebyshev1, Hermite, Legendre
from sm3.poly.index_sets.families import (
    KINDS,
    anchored,
    hyperbolic_cross,
    largest,
    largest_order,
    q_norm,
    tensor_product,
    total_degree,
)
from sm3.poly.index_sets.multi_index import IndexSet

# order -> size, dimension by dimension: counted independently, by the code published with arXiv 2208.09045.
CROSS_SIZES = [
    (1, 9999, 10_000),
    (2, 1356, 9998),
    (4, 202, 9929),
    (8, 46, 8391),
    (8, 47, 11_031),
    (16, 16, 8277),
    (16, 17, 10_453),
    (32, 10, 9249),
    (32, 11, 26_145),
    (64, 6, 6433),
    (64, 7, 52_193),
]


def rows_of(index_set):
    return {tuple(row) for row in index_set.dense().tolist()}


def brute_force(dimension, largest_degree, inside):
    return {nu for nu in itertools.product(range(largest_degree + 1), repeat=dimension) if inside(np.array(nu))}


@pytest.mark.parametrize(("dimension", "order", "size"), CROSS_SIZES)
def test_hyperbolic_crosses_have_their_known_sizes(dimension, order, size):
    """Each next order is beyond 10,000."""
    assert len(hyperbolic_cross(dimension, order)) == size


@pytest.mark.parametrize(("dimension", "order"), [(d, n) for d, n, size in CROSS_SIZES if size <= 10_000])
def test_the_largest_cross_of_ten_thousand_has_the_order_of_the_paper(dimension, order):
    """The same orders are used in all its experiments."""
    assert largest_order("hyperbolic_cross", dimension, 10_000) == order
    assert len(largest("hyperbolic_cross", dimension, 10_000)) <= 10_000


def test_a_large_cross_needs_no_dense_array():
    """52,193 indices of 64 variables would take 26.7 MB as a dense array of int64."""
    tracemalloc.start()
    cross = hyperbolic_cross(64, 7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cross) == 52_193
    assert peak < 16e6


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_sets_are_those_of_their_definitions(dimension):
    """Against all indices of a box, for integer and real prices: (0, 0, 0, 3) costs 3.9 but for a rounding."""
    prices = np.array([1.0, 0.5, 2.0, 1.3])[:dimension]
    cases = [
        (total_degree(dimension, 4), lambda nu: nu.sum() <= 4),
        (total_degree(dimension, 3.9, anisotropy=prices), lambda nu: prices @ nu <= 3.9 + 1e-12),
        (hyperbolic_cross(dimension, 6), lambda nu: np.prod(nu + 1) <= 7),
        (hyperbolic_cross(dimension, 3, anisotropy=prices), lambda nu: np.prod(prices * nu + 1) <= 4 + 1e-12),
        (q_norm(dimension, 5, 0.5), lambda nu: np.sqrt(nu).sum() <= np.sqrt(5) + 1e-12),
        (q_norm(dimension, 4, 0.7, anisotropy=prices), lambda nu: ((prices * nu) ** 0.7).sum() <= 4**0.7 + 1e-12),
        (tensor_product(dimension, 2), lambda nu: nu.max() <= 2),
    ]
    for index_set, inside in cases:
        assert rows_of(index_set) == brute_force(dimension, 9, inside)


def test_what_exceeds_its_budget_by_a_rounding_is_inside():
    """0.3 / 0.1 is below 3 in doubles, and three degrees at the price of 0.1 are meant to cost 0.3."""
    assert len(total_degree(1, 0.3, anisotropy=[0.1])) == 4
    assert len(hyperbolic_cross(1, 0.3, anisotropy=[0.1])) == 4
    assert len(q_norm(1, 0.3, 0.7, anisotropy=[0.1])) == 4


def test_tensor_products_may_have_an_order_for_each_variable():
    """Also zero: that variable takes no part."""
    assert rows_of(tensor_product(3, [2, 0, 1])) == brute_force(3, 2, lambda nu: (nu <= [2, 0, 1]).all())


def test_total_degree_has_the_binomial_number_of_indices():
    """C(order + d, d), also in 100 dimensions."""
    for dimension, order in [(1, 7), (5, 4), (10, 3), (100, 2)]:
        assert len(total_degree(dimension, order)) == comb(order + dimension, dimension)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_anchored_is_the_union_of_all_anchored_sets_of_that_size(size):
    """All of them are grown here one index at a time."""
    dimension = max(size - 1, 1)
    unit = [tuple(int(i == j) for i in range(dimension)) for j in range(dimension)]

    def may_enter(nu, inside):
        lower = all(nu[j] == 0 or (*nu[:j], nu[j] - 1, *nu[j + 1 :]) in inside for j in range(dimension))
        return lower and all(nu != unit[j] or unit[j - 1] in inside for j in range(1, dimension))

    layer = {frozenset({(0,) * dimension})}
    for _ in range(size - 1):
        grown = set()
        for inside in layer:
            around = {(*nu[:j], nu[j] + 1, *nu[j + 1 :]) for nu in inside for j in range(dimension)} - inside
            grown |= {inside | {nu} for nu in around if may_enter(nu, inside)}
        layer = grown
    union = set().union(*layer)
    assert rows_of(anchored(size)) == union


def test_every_small_lower_set_is_in_its_hyperbolic_cross():
    """Lower sets of n + 1 indices, 200 of them grown at random, are in the cross of order n, and on its edge."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        inside = [(0, 0, 0)]
        while len(inside) < 9:
            nu = list(inside[rng.integers(len(inside))])
            nu[rng.integers(3)] += 1
            lower = all(nu[j] == 0 or tuple(nu[i] - (i == j) for i in range(3)) in inside for j in range(3))
            if lower and tuple(nu) not in inside:
                inside.append(tuple(nu))
        assert set(inside) <= rows_of(hyperbolic_cross(3, 8))
    assert (8, 0, 0) not in rows_of(hyperbolic_cross(3, 7))


@pytest.mark.parametrize("kind", KINDS)
def test_generated_sets_are_lower_and_list_parents_first(kind):
    """And the parent is the index without its last pair."""
    index_set = largest(kind, 5, 500)
    assert index_set.is_lower()
    assert index_set.parent[0] == -1
    assert (index_set.parent[1:] < np.arange(1, len(index_set))).all()
    for row in range(1, len(index_set)):
        assert index_set.pairs(int(index_set.parent[row])) == index_set.pairs(row)[:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_caps_limit_single_variables_only(kind):
    """A capped set is what the uncapped one leaves below the caps."""
    caps = [1, None, 0, 3]
    order = 6
    make = {
        "hyperbolic_cross": lambda **caps: hyperbolic_cross(4, order, **caps),
        "total_degree": lambda **caps: total_degree(4, order, **caps),
        "tensor_product": lambda **caps: tensor_product(4, order, **caps),
        "q_norm": lambda **caps: q_norm(4, order, 0.6, **caps),
        "anchored": lambda **caps: anchored(order, 4, **caps),
    }[kind]
    limit = np.array([1, 99, 0, 3])
    free = make().dense()
    assert rows_of(make(max_degree=caps)) == {tuple(nu) for nu in free[(free <= limit).all(axis=1)].tolist()}


def test_caps_may_leave_less_than_the_largest_size():
    """Then the largest set is all there is, and its order the least that holds it."""
    assert rows_of(largest("hyperbolic_cross", 3, 1000, max_degree=[2, 2, 1])) == rows_of(tensor_product(3, [2, 2, 1]))
    assert largest_order("hyperbolic_cross", 3, 1000, max_degree=[2, 2, 1]) == 17  # 3 * 3 * 2 = 17 + 1
    assert largest_order("total_degree", 3, 1000, max_degree=[0, 0, 0]) in (0, 1)


def test_a_price_of_zero_needs_a_cap():
    """Otherwise the set would be infinite."""
    free = total_degree(2, 2, anisotropy=[0.0, 1.0], max_degree=[3, None])
    assert rows_of(free) == brute_force(2, 3, lambda nu: nu[1] <= 2)
    with pytest.raises(SettingError, match="0 where max_degree caps"):
        total_degree(2, 2, anisotropy=[0.0, 1.0])


def test_rows_keep_the_order_they_are_given_in():
    """from_dense, from_pairs and take: coefficients stay with their indices; parents may come later, or be missing."""
    dense = np.array([[0, 2, 1], [1, 0, 0], [0, 0, 0], [0, 2, 0]])
    index_set = IndexSet.from_dense(dense)
    assert np.array_equal(index_set.dense(), dense)
    assert index_set.parent.tolist() == [3, 2, -1, 2]
    assert np.array_equal(index_set.take([3, 0]).dense(), dense[[3, 0]])
    assert np.array_equal(index_set.take([True, False, False, True]).dense(), dense[[0, 3]])
    assert index_set.take([3, 0]).parent.tolist() == [-1, 0]
    again = IndexSet.from_pairs(3, [index_set.pairs(row) for row in range(4)])
    assert np.array_equal(again.dense(), dense)
    assert not index_set.is_lower()


def test_find_and_position_tell_where_an_index_stands():
    """Also for degrees and variables beyond those of the set, and for every permutation of it."""
    cross = hyperbolic_cross(6, 12)
    order = np.random.default_rng(0).permutation(len(cross))
    assert np.array_equal(cross.take(order).find(cross), np.argsort(order))
    assert cross.position([]) == 0
    assert cross.position([(5, 13)]) == -1
    assert cross.position([(0, 1), (1, 1), (2, 1), (3, 1)]) == -1
    smaller = hyperbolic_cross(6, 3)
    position = smaller.find(cross)
    inside = position >= 0
    assert inside.sum() == len(smaller)
    assert np.array_equal(smaller.take(position[inside]).dense(), cross.dense()[inside])


def test_lower_is_seen_against_brute_force():
    """All 2^8 sets of indices of {0, 1, 2} x {0, 1, 2} that hold (0, 0)."""
    rest = [nu for nu in itertools.product(range(3), repeat=2) if nu != (0, 0)]
    for chosen in itertools.product([False, True], repeat=len(rest)):
        rows = [(0, 0)] + [nu for nu, kept in zip(rest, chosen, strict=True) if kept]
        expected = all((i - 1, j) in rows or not i for i, j in rows) and all(
            (i, j - 1) in rows or not j for i, j in rows
        )
        assert IndexSet.from_dense(rows).is_lower() == expected


def test_supports_group_rows_by_their_active_variables():
    """Against the dense array."""
    cross = hyperbolic_cross(4, 11)
    group, variables = cross.supports()
    assert len(set(variables)) == len(variables) == group.max() + 1
    for row, nu in enumerate(cross.dense()):
        assert variables[group[row]] == tuple(np.flatnonzero(nu).tolist())


def test_weights_are_products_of_sup_norms():
    """prod sqrt(2 nu_j + 1) for Legendre, 2^(active / 2) for Chebyshev, sqrt(nu_j + 1) for Hermite."""
    cross = hyperbolic_cross(3, 9)
    dense = cross.dense()
    assert np.allclose(cross.weights([Legendre()] * 3), np.sqrt(2 * dense + 1).prod(axis=1), rtol=1e-14)
    assert np.allclose(cross.weights([Chebyshev1()] * 3), 2 ** (0.5 * cross.length), rtol=1e-14)
    mixed = cross.weights([Legendre(), Hermite(), Chebyshev1()])
    expected = np.sqrt(2 * dense[:, 0] + 1) * np.sqrt(dense[:, 1] + 1) * np.where(dense[:, 2] > 0, np.sqrt(2), 1)
    assert np.allclose(mixed, expected, rtol=1e-14)


def test_an_empty_set_and_the_constant_alone_work():
    """No index at all, and the zero index only."""
    empty = IndexSet.from_dense(np.empty((0, 3), dtype=int))
    assert len(empty) == 0
    assert empty.is_lower()
    assert empty.dense().shape == (0, 3)
    assert empty.parent.shape == (0,)
    assert empty.weights([Legendre()] * 3).shape == (0,)
    constant = hyperbolic_cross(3, 0)
    assert constant.dense().tolist() == [[0, 0, 0]]
    assert constant.max_degrees().tolist() == [0, 0, 0]
    assert constant.supports()[1] == [()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: IndexSet.from_dense([[0, -1]]), "integers >= 0"),
        (lambda: IndexSet.from_dense([[0.5, 1.0]]), "float64"),
        (lambda: IndexSet.from_dense([0, 1]), r"shape \(2,\)"),
        (lambda: IndexSet.from_dense([[1, 0], [1, 0]]), "given twice"),
        (lambda: IndexSet.from_pairs(2, [((1, 1), (0, 1))]), "ascending"),
        (lambda: IndexSet.from_pairs(2, [((0, 1), (0, 1))]), "ascending"),
        (lambda: IndexSet.from_pairs(2, [((2, 1),)]), "no multi-index"),
        (lambda: IndexSet.from_pairs(2, [((0, 0),)]), "degrees >= 1"),
        (lambda: hyperbolic_cross(0, 3), "dimension is out of range"),
        (lambda: hyperbolic_cross(3, -1), "order is out of range"),
        (lambda: hyperbolic_cross(3, np.nan), "order is out of range"),
        (lambda: hyperbolic_cross(3, 3, anisotropy=[1, 2]), "anisotropy is not accepted"),
        (lambda: hyperbolic_cross(3, 3, anisotropy=[1, 2, -1]), "anisotropy is not accepted"),
        (lambda: hyperbolic_cross(3, 3, max_degree=[1, 2]), "max_degree is not accepted"),
        (lambda: tensor_product(3, [1, 2]), "orders is not accepted"),
        (lambda: tensor_product(3, [1, 2, -1]), "orders is not accepted"),
        (lambda: q_norm(3, 3, 0.0), "q is out of range"),
        (lambda: largest("hyperbolic", 3, 10), "hyperbolic_cross, total_degree"),
        (lambda: largest("anchored", 3, 0), "max_size is out of range"),
        (lambda: total_degree(1000, 100), "too large"),
        (lambda: hyperbolic_cross(3, 3).find(hyperbolic_cross(2, 3)), "different variables"),
    ],
)
def test_mistakes_are_explained(call, message):
    """What happened, what was given, what is accepted."""
    with pytest.raises(SettingError, match=message):
        call()
