"""Shape arithmetic: covers, near-square pairs, packed signs."""

from __future__ import annotations

from math import isqrt, prod

from hypothesis import given
from hypothesis import strategies as st

from sm3.optim.rules import SM3Rule, SMMFRule
from sm3.optim.rules.shapes import (
    PAD_FROM_ASPECT,
    PAD_FROM_NUMEL,
    cover_lengths,
    divisor_pair,
    near_square,
    packed_sign_shape,
    signs_follow_rows,
)

shapes = st.lists(st.integers(0, 200), max_size=5).map(tuple)
numels = st.one_of(st.integers(0, 10_000), st.integers(0, 2**33), st.sampled_from([4096, 4099, 1_000_003, 2**31 - 1]))


@given(numels)
def test_the_divisor_pair_is_the_nearest_to_a_square(numel):
    """n * m = numel, n >= m, and no divisor lies between m and the root."""
    rows, columns = divisor_pair(numel)
    assert rows * columns == numel
    assert rows >= columns or numel == 0
    assert all(numel % candidate for candidate in range(columns + 1, min(isqrt(numel), columns + 2000) + 1))


@given(numels)
def test_the_near_square_holds_every_element_and_is_never_thin_where_it_is_large(numel):
    """n * m >= numel, less than one row is missing, and the aspect is bounded from 4096 elements on."""
    rows, columns = near_square(numel)
    assert rows * columns >= numel
    assert rows * columns - numel < columns or numel == 0
    assert rows >= columns or numel == 0
    if numel >= PAD_FROM_NUMEL:
        assert rows <= PAD_FROM_ASPECT * columns
    assert near_square(numel, published=True) == divisor_pair(numel)


def test_known_pairs():
    """Shapes of well-known models, worked out by hand from their divisors."""
    assert near_square(50257 * 768) == (6932, 5568)
    assert near_square(32003 * 4096) == (32003, 4096)
    assert near_square(4096 * 11008) == (8192, 5504)
    assert near_square(768) == (32, 24)
    assert near_square(31) == (31, 1)
    assert near_square(1_000_003) == (1001, 1000)
    assert near_square(1_000_003, published=True) == (1_000_003, 1)
    assert near_square(1) == (1, 1)
    assert near_square(0) == (0, 1)


@given(shapes)
def test_packed_signs_have_a_bit_for_every_element_and_waste_at_most_an_eighth(shape):
    """Padded rows of 64 and more elements waste at most 7 bits each; flat vectors at most 7 in all."""
    bits, numel = 8 * prod(packed_sign_shape(shape)), prod(shape)
    assert bits >= numel
    assert bits - numel <= max(7, numel / 8)
    if signs_follow_rows(shape):
        assert packed_sign_shape(shape)[0] == (shape[0] if shape else 1)


@given(shapes)
def test_sm3_state_is_the_sum_of_the_dimensions(shape):
    """4 bytes per slice of each dimension, 4 for a scalar, 8 for the step, 4 per element with momentum."""
    expected = 8 + 4 * sum(cover_lengths(shape))
    assert SM3Rule(momentum=0.0).state_bytes(shape, "float32") == expected
    assert SM3Rule(momentum=0.9).state_bytes(shape, "bfloat16") == expected + 4 * prod(shape)
    assert SM3Rule(momentum=0.0).state_bytes(shape, "float64") == 2 * expected - 8


@given(shapes)
def test_smmf_state_is_factors_and_signs(shape):
    """8 bytes per row and column and moment, and the packed signs."""
    rows, columns = near_square(prod(shape))
    factors = 4 * (rows + columns)
    signs = prod(packed_sign_shape(shape))
    assert SMMFRule().state_bytes(shape, "float32") == 8 + 2 * factors + signs
    assert SMMFRule(beta=None).state_bytes(shape, "float32") == 8 + factors
    assert SMMFRule(cautious=True).state_bytes(shape, "float32") == 16 + 2 * factors + signs
    assert SMMFRule(update_rms=0.2).state_bytes(shape, "float32") == 12 + 2 * factors + signs


@given(shapes)
def test_state_names_are_unique_and_every_shared_tensor_says_how_ranks_agree(shape):
    """What is not cut with the parameter must be combined, except counters; what is cut has a dimension as long."""
    for rule in (SM3Rule(), SM3Rule(cautious=True, update_rms=0.2), SMMFRule(update_rms=1.0), SMMFRule(beta=None)):
        state = rule.state(shape, "float32")
        names = [tensor.name for tensor in state]
        assert len(set(names)) == len(names)
        assert names[0] == "step"
        for tensor in state[1:]:
            assert len(tensor.follows) in (0, len(tensor.shape))
            if not tensor.follows and tensor.name != "momentum":
                assert tensor.combine in ("max", "sum", "mean square")
            for length, axis in zip(tensor.shape, tensor.follows, strict=False):
                assert axis is None or length == shape[axis] or tensor.name == "m_sign"
