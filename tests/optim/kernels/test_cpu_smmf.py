"""SMMF in C++: one step from the same state gives the eager kernel's parameters and signs bit for bit, and its factors
to the rounding of their sums; every instruction set and number of threads gives the same bits of everything."""

from __future__ import annotations

import math

import pytest
import torch

from cases import CASES, DTYPES, SHAPES, gradient_stream, parameters
from native import (
    FLAT,
    MATRICES,
    available_isas,
    equal_bits,
    every_isa,
    fresh_state,
    needs_library,
    rule_of,
    with_threads,
)
from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.smmf import smmf_step_
from sm3.optim.kernels.eager.smmf import smmf_step_ as eager_step_
from sm3.optim.rules import SMMFRule
from sm3.optim.rules.shapes import near_square

pytestmark = needs_library
__all__ = ["every_isa"]  # a fixture

SMMF_CASES = [case for case in CASES if case.name.startswith("smmf")]
EVERY_CASE = pytest.mark.parametrize("case", SMMF_CASES, ids=str)
# Signs: rows padded to whole bytes, one stream, a flat vector; matrices with and without a missing tail.
SIGNS = [(3, 67), (70, 130), (65, 3, 7, 7), (129, 65), (1000, 5), (7, 8), (5003,), (2, 2503), (67, 67)]
ALL = list(SHAPES.values()) + FLAT + MATRICES + SIGNS


def factor_bounds(shape, dtype, *, published):
    """Relative distance of two sums of the same non-negative terms in different orders, rows and columns.

    A sum of k terms in any order is off by at most (k - 1) u of the exact sum, u = 2^-24 or 2^-53; two of them differ
    by twice that. A column factor is a sum of n terms divided by a sum of m such sums: n - 1 + m - 1 + 1 roundings.
    """
    rows, columns = near_square(math.prod(shape), published=published)
    unit = 2.0 ** (-53 if dtype == torch.float64 else -24)
    return 2.02 * unit * columns, 2.02 * unit * (rows + columns)


def assert_factors_close(ours, theirs, bounds):
    """Row and column factors within their derived bounds; zeros exactly zero."""
    for name in ("m_row", "m_col", "v_row", "v_col"):
        if name in ours and ours[name].numel():
            bound = bounds[0] if name.endswith("row") else bounds[1]
            difference = (ours[name].double() - theirs[name].double()).abs()
            # Denormal sums are exact to half their spacing per term, not relatively.
            slack = 1e-43 if ours[name].dtype == torch.float32 else 0.0
            assert (difference <= bound * theirs[name].double().abs() + slack).all(), name


def compare(rule, shapes, dtype, *, steps=3, grad_dtype=None, change=None, step=smmf_step_):
    """One step at a time from identical state: after each, ours goes on from the eager kernel's factors."""
    ours, theirs = ([p.detach() for p in parameters(shapes, dtype)] for _ in range(2))
    states = [[fresh_state(rule, param) for param in params] for params in (ours, theirs)]
    for number in range(steps):
        grads = [
            gradient_stream(shape, seed=i, zeros=True)(number).to(grad_dtype or dtype) for i, shape in enumerate(shapes)
        ]
        if change is not None:
            change(number, grads)
        for state in states[0] + states[1]:
            state["step"] += 1
        indices = list(range(3, 3 + len(shapes)))
        step(ours, grads, states[0], rule, indices)
        eager_step_(theirs, grads, states[1], rule, indices)
        for i, shape in enumerate(shapes):
            mine, other = states[0][i], states[1][i]
            assert equal_bits(ours[i], theirs[i]), (shape, number, "parameter")
            for name in ("m_sign", "kept", "rms"):
                assert name not in mine or torch.equal(mine[name], other[name]), (shape, number, name)
            if change is None:
                assert_factors_close(mine, other, factor_bounds(shape, dtype, published=rule.published))
            for name in mine:
                mine[name].copy_(other[name])


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_from_the_same_state_equals_eager(every_isa, case, dtype):
    """Parameters and signs to the bit, factors to the derived bound, on every shape."""
    compare(rule_of(case), ALL, dtype)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_stochastic_rounding_draws_the_same_bits(every_isa, case, dtype):
    """The noise is that of (seed, step, parameter, element), also where rows start at odd elements."""
    compare(rule_of(case, rounding="stochastic", seed=2**62 + 5), ALL, dtype)


@pytest.mark.parametrize("columns", range(1, 34))
def test_every_width_from_one_lane_to_two_registers_and_one(every_isa, columns):
    """Tails are masked: nothing beyond a row is summed, read or written."""
    compare(rule_of(SMMF_CASES[0]), [(columns, columns), (columns, 40), (columns * (columns + 3),)], torch.float32)


@pytest.mark.parametrize("per_row", [64, 65, 66, 67, 71, 72, 79, 127, 129])
def test_rows_of_signs_with_padding(every_isa, per_row):
    """A matricized row starts anywhere in a byte, and crosses paddings; padding bits stay zero."""
    compare(rule_of(SMMF_CASES[0]), [(rows, per_row) for rows in (1, 2, 9, 64, 201)], torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_float32_gradients_of_16_bit_parameters(every_isa, dtype):
    """As an accumulating wrapper hands them over."""
    compare(rule_of(SMMF_CASES[0]), [(33, 47), (31,), (6, 3, 3, 3)], dtype, grad_dtype=torch.float32)


@EVERY_CASE
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_a_non_finite_gradient_shows_where_it_does_in_eager(every_isa, case, poison):
    """The entry itself at once; the whole tensor from the next step on, as the sums carry it."""

    def change(number, grads):
        if number == 1:
            for grad in grads:
                grad.view(-1)[grad.numel() // 2] = poison

    compare(rule_of(case), [(33, 47), (31,), (6, 3, 3, 3), (4099,)], torch.float32, steps=3, change=change)


@EVERY_CASE
def test_tiny_and_huge_gradients(every_isa, case):
    """Squares that underflow to denormals or to zero, or come near infinity."""

    def change(number, grads):
        for grad in grads:
            scales = torch.tensor([1e-45, 1e-30, 1e-22, 1e-19, 1.0, 1e8])
            grad.copy_(scales[torch.arange(grad.numel()) % 6].view_as(grad) * grad.sign())

    compare(rule_of(case), [(33, 47), (31,), (6, 3, 3, 3), (4099,)], torch.float32, change=change)


def run_alone(rule, shapes, dtype, steps=4):
    """Parameters and all state after some steps of the C++ kernel."""
    params = [param.detach() for param in parameters(shapes, dtype)]
    states = [fresh_state(rule, param) for param in params]
    for number in range(steps):
        for state in states:
            state["step"] += 1
        grads = [gradient_stream(shape, seed=i, zeros=True)(number).to(dtype) for i, shape in enumerate(shapes)]
        smmf_step_(params, grads, states, rule, list(range(len(shapes))))
    return params + [state[name] for state in states for name in state]


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_instruction_sets_agree_to_the_bit_over_many_steps(case, dtype):
    """16 virtual lanes and one halving tree on all of them."""
    results, before = {}, library.isa()
    try:
        for name in available_isas():
            library.set_isa(name)
            results[name] = run_alone(rule_of(case, rounding="stochastic"), ALL, dtype)
    finally:
        library.set_isa(before)
    first = next(iter(results.values()))
    assert all(equal_bits(a, b) for result in results.values() for a, b in zip(first, result, strict=True))


@EVERY_CASE
def test_the_number_of_threads_does_not_change_a_bit(case):
    """Sums of panels are added in panel order, and panels depend on shapes only; padded signs share bytes."""
    shapes = [(513, 600), (150_001,), (1024, 67), (2000, 131), (64, 3, 7, 7), (24,)]
    results = []
    for threads in (1, 2, 3, 7):
        with with_threads(threads):
            results.append(run_alone(rule_of(case), shapes, torch.float32))
    assert all(equal_bits(a, b) for result in results[1:] for a, b in zip(results[0], result, strict=True))


def test_panels_depend_on_the_shape_and_start_at_whole_bytes_of_signs():
    """A multiple of 8 rows, at most 64 panels, at least 64 rows."""
    for rows, columns in [(1, 1), (17, 5), (6932, 5568), (100_000, 3), (1 << 20, 1 << 10)]:
        height = library.library().sm3k_panel_rows(rows, columns)
        assert height % 8 == 0
        assert -(-rows // height) <= 64
        assert columns == 1 or height >= 64


def test_a_first_moment_that_is_no_longer_wanted_stays_as_it_is():
    """beta=None in between: its factors and signs are not touched, as in the eager kernel."""
    param = parameters([(33, 47)])[0].detach()
    rule, later = rule_of(SMMF_CASES[0]), rule_of(SMMF_CASES[0], beta=None)
    state = fresh_state(rule, param)
    for number, settings in enumerate((rule, later)):
        before = {name: tensor.clone() for name, tensor in state.items()}
        state["step"] += 1
        smmf_step_([param], [gradient_stream((33, 47))(number).float()], [state], settings, [0])
    assert all(equal_bits(before[name], state[name]) for name in ("m_row", "m_col", "m_sign"))
    assert not equal_bits(before["v_row"], state["v_row"])


def test_marginals_are_kept():
    """Row and column sums of |M| and V are what the factors decompress to."""
    shape = (96, 130)
    rule = rule_of(SMMF_CASES[0])
    param = torch.zeros(shape)
    state = fresh_state(rule, param)
    state["step"] += 1
    grad = gradient_stream(shape)(0).float()
    smmf_step_([param], [grad], [state], rule, [0])
    rows, columns = near_square(grad.numel())
    first = (grad.double() * 0.1).abs().view(rows, columns)
    torch.testing.assert_close(state["m_row"].double(), first.sum(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(state["m_col"].double() * first.sum(), first.sum(0), rtol=1e-5, atol=0)


def test_what_is_not_contiguous_is_stepped_on_copies():
    """channels_last, transposed and strided parameters: the same bits."""
    rule = rule_of(SMMF_CASES[0])
    for layout in (
        lambda t: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t,
        lambda t: t.mT.contiguous().mT if t.dim() >= 2 else t,
        lambda t: torch.stack([t, t], -1)[..., 0],
    ):

        def step(params, grads, states, rule, indices, layout=layout):
            moved = [layout(param) for param in params]
            smmf_step_(moved, [layout(grad) for grad in grads], states, rule, indices)
            for param, other in zip(params, moved, strict=True):
                param.copy_(other)

        compare(rule, [(6, 3, 3, 3), (12, 20), (31,)], torch.float32, step=step)


@pytest.mark.parametrize("settings", [{}, {"beta": None}], ids=str)
def test_the_largest_counts_do_not_overflow_a_lane(every_isa, settings):
    """Every square counts 2^23: 128 times the first unit, 1/4, whatever is summed in 32 bits on the way."""
    for shape in [(64, 4096), (40, 700), (20_000,)]:
        param = torch.zeros(shape)
        rule = SMMFRule(update_rms=0.2, **settings)
        state = fresh_state(rule, param)
        state["step"] += 1
        smmf_step_([param], [torch.full(shape, float("nan"))], [state], rule, [0])
        assert state["rms"] == 32.0
