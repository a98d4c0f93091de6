"""The reduced margin against its definition."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from sm3.errors import SettingError
from sm3.poly.index_sets.families import hyperbolic_cross
from sm3.poly.index_sets.margin import ReducedMargin


def dense(nu, dimension):
    out = [0] * dimension
    for variable, degree in nu:
        out[variable] = degree
    return tuple(out)


def margin_by_definition(inside, dimension):
    """All indices outside whose every predecessor is inside; the zero index for the empty set."""
    around = {tuple(v + (i == j) for i, v in enumerate(nu)) for nu in inside for j in range(dimension)} - inside
    if not inside:
        return {(0,) * dimension}
    return {
        nu
        for nu in around
        if all(nu[j] == 0 or tuple(v - (i == j) for i, v in enumerate(nu)) in inside for j in range(dimension))
    }


def test_margin_is_the_definition_on_1000_random_lower_sets():
    """Of 1 to 5 variables and up to 30 indices, checked at the end of each growth."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        dimension = int(rng.integers(1, 6))
        margin = ReducedMargin(dimension)
        for _ in range(int(rng.integers(0, 31))):
            margin.add([margin.candidates[rng.integers(len(margin.candidates))]])
        inside = {dense(nu, dimension) for nu in margin.members}
        assert {dense(nu, dimension) for nu in margin.candidates} == margin_by_definition(inside, dimension)
        assert margin.index_set().is_lower()


def test_what_add_returns_is_what_became_a_candidate():
    """In order, and nothing twice; the candidates keep their age."""
    rng = np.random.default_rng(1)
    margin = ReducedMargin(3)
    for _ in range(40):
        before = margin.candidates
        chosen = before[rng.integers(len(before))]
        new = margin.add([chosen])
        assert margin.candidates == [nu for nu in before if nu != chosen] + new


def test_caps_keep_indices_out():
    """A variable of two values has no second degree, one of a single value none at all."""
    margin = ReducedMargin(3, max_degree=[1, 0, None])
    for _ in range(20):
        margin.add(margin.candidates[:1])
    assert margin.index_set().max_degrees()[:2].tolist() == [1, 0]
    finite = ReducedMargin(2, max_degree=[1, 2])
    while finite.candidates:
        finite.add(finite.candidates)
    assert {dense(nu, 2) for nu in finite.members} == set(itertools.product(range(2), range(3)))


def test_the_margin_of_a_set_that_is_there_already():
    """As if it had been grown, whatever the order of its rows."""
    cross = hyperbolic_cross(4, 9)
    shuffled = cross.take(np.random.default_rng(0).permutation(len(cross)))
    margin = ReducedMargin.of(shuffled)
    inside = {tuple(nu) for nu in cross.dense().tolist()}
    assert {dense(nu, 4) for nu in margin.candidates} == margin_by_definition(inside, 4)
    assert len(margin) == len(cross)
    assert ((0, 1), (3, 2)) in margin
    assert np.array_equal(margin.candidate_set().dense(), [dense(nu, 4) for nu in margin.candidates])


def test_growing_costs_the_same_at_the_end_as_at_the_beginning():
    """20,000 indices of 2 variables, 200 at a time.

    A margin that looks at the whole set again would be 100 times slower by then; a factor 10 is left to the machine.
    """
    margin = ReducedMargin(2)
    seconds = []
    for _ in range(100):
        start = time.process_time()
        for _ in range(200):
            margin.add([next(iter(margin._candidates))])
        seconds.append(time.process_time() - start)
    assert np.median(seconds[-10:]) < 10 * np.median(seconds[:10]) + 0.01


def test_an_index_that_cannot_enter_is_refused_and_the_rest_stays():
    """Not a candidate, or inside already; what came before it in the call has entered."""
    margin = ReducedMargin(2)
    with pytest.raises(SettingError, match="add its predecessors first"):
        margin.add([(), ((0, 2),)])
    assert margin.members == [()]
    with pytest.raises(SettingError, match="inside already"):
        margin.add([()])
    with pytest.raises(SettingError, match="cannot enter"):
        ReducedMargin.of(hyperbolic_cross(2, 3).take([0, 2]))
