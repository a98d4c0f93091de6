"""SM3 in C++ equals SM3 in plain PyTorch, bit for bit: every case, shape, dtype, instruction set, number of threads."""

from __future__ import annotations

import pytest
import torch

from cases import CASES, DTYPES, SHAPES, gradient_stream, parameters
from native import FLAT, MATRICES, equal_bits, every_isa, fresh_state, needs_library, rule_of, with_threads
from sm3.optim.kernels.cpu.sm3 import sm3_step_
from sm3.optim.kernels.eager.sm3 import sm3_step_ as eager_step_
from sm3.optim.rules import SM3Rule

pytestmark = needs_library
__all__ = ["every_isa"]  # a fixture

SM3_CASES = [case for case in CASES if case.name.startswith("sm3")]
EVERY_CASE = pytest.mark.parametrize("case", SM3_CASES, ids=str)


def compare(rule, shapes, dtype, *, steps=3, grad_dtype=None, change=None, step=sm3_step_):
    """Both kernels from the same start; `change` may spoil the gradients of a step."""
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
            assert equal_bits(ours[i], theirs[i]), (shape, number, "parameter")
            for name in states[0][i]:
                assert equal_bits(states[0][i][name], states[1][i][name]), (shape, number, name)


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_shape_and_dtype_equals_eager(every_isa, case, dtype):
    """Parameters, accumulators, momentum, kept counts, root mean squares."""
    compare(rule_of(case), list(SHAPES.values()) + FLAT + MATRICES, dtype)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_stochastic_rounding_draws_the_same_bits(every_isa, case, dtype):
    """The noise is that of (seed, step, parameter, element)."""
    compare(rule_of(case, rounding="stochastic", seed=2**62 + 5), list(SHAPES.values()) + FLAT + MATRICES, dtype)


@pytest.mark.parametrize("columns", range(1, 34))
def test_every_width_from_one_lane_to_two_registers_and_one(every_isa, columns):
    """Tails are masked: nothing beyond a row is read as a number or written."""
    compare(rule_of(SM3_CASES[0]), [(5, columns), (2, 3, columns), (columns, 3)], torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_float32_gradients_of_16_bit_parameters(every_isa, dtype, rounding):
    """As an accumulating wrapper hands them over."""
    rule = rule_of(SM3_CASES[0], rounding=rounding)
    compare(rule, [(33, 47), (31,), (6, 3, 3, 3)], dtype, grad_dtype=torch.float32)


@pytest.mark.parametrize(
    ("dtype", "grad_dtype"),
    [(torch.float32, torch.bfloat16), (torch.float64, torch.float32), (torch.bfloat16, torch.float16)],
    ids=str,
)
def test_other_gradient_dtypes_are_converted(dtype, grad_dtype):
    """Exactly, as the eager kernel does."""
    compare(rule_of(SM3_CASES[0]), [(33, 47), (31,)], dtype, grad_dtype=grad_dtype)


@EVERY_CASE
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_non_finite_gradients_spread_as_in_eager(every_isa, case, poison):
    """A NaN or infinity reaches its row and column, and stays: maxima let it through."""

    def change(number, grads):
        if number == 1:
            for grad in grads:
                grad.view(-1)[grad.numel() // 2] = poison

    compare(
        rule_of(case),
        [(33, 47), (31,), (40, 1), (1, 40), (6, 3, 3, 3), (3, 4097)],
        torch.float32,
        steps=4,
        change=change,
    )


@EVERY_CASE
def test_tiny_and_huge_gradients(every_isa, case):
    """Squares that underflow to denormals or to zero, or overflow to infinity."""

    def change(number, grads):
        for grad in grads:
            scales = torch.tensor([1e-45, 1e-30, 1e-22, 1e-19, 1.0, 1e18, 3e38])
            grad.copy_(scales[torch.arange(grad.numel()) % 7].view_as(grad) * (grad.sign() + 0.0))

    compare(rule_of(case), [(33, 47), (31,), (17, 1), (4, 3, 5)], torch.float32, change=change)


@EVERY_CASE
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_the_number_of_threads_does_not_change_a_bit(case, threads):
    """Large tensors of several panels, and small ones beside them."""
    with with_threads(threads):
        compare(
            rule_of(case),
            [(513, 600), (150_001,), (64, 3, 7, 7), (24,), (1, 70_000), (70_000, 1)],
            torch.float32,
            steps=2,
        )


def test_more_columns_than_a_panel_has_elements(every_isa):
    """Rows longer than 2^17."""
    compare(rule_of(SM3_CASES[0]), [(3, (1 << 17) + 5)], torch.float32, steps=2)


@EVERY_CASE
def test_views_that_start_anywhere_in_memory(every_isa, case):
    """A storage offset of one element: no load is aligned."""

    def shifted(tensor):
        return torch.cat([tensor.new_zeros(1), tensor.reshape(-1)])[1:].view_as(tensor)

    def step(params, grads, states, rule, indices):
        views = [shifted(param) for param in params]
        sm3_step_(views, [shifted(grad) for grad in grads], states, rule, indices)
        for param, view in zip(params, views, strict=True):
            param.copy_(view)

    for dtype in DTYPES:
        compare(rule_of(case), [(33, 47), (31,), (6, 3, 3, 3)], dtype, step=step)


def test_what_is_not_contiguous_is_stepped_on_copies():
    """channels_last, transposed and strided parameters, and gradients of another layout: the same bits."""
    layouts = [
        lambda t: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t,
        lambda t: t.mT.contiguous().mT if t.dim() >= 2 else t,
        lambda t: torch.stack([t, t], -1)[..., 0],
    ]
    for layout in layouts:
        for which in (0, 1):

            def step(params, grads, states, rule, indices, layout=layout, which=which):
                lists = [params, grads]
                lists[which] = [layout(tensor) for tensor in lists[which]]
                sm3_step_(lists[0], lists[1], states, rule, indices)
                for param, moved in zip(params, lists[0], strict=True):
                    param.copy_(moved)

            compare(rule_of(SM3_CASES[0]), [(6, 3, 3, 3), (12, 20), (31,)], torch.bfloat16, step=step)


def test_a_gradient_scale_equals_scaled_gradients(every_isa):
    """A power of two, so that the product is exact."""

    def step(params, grads, states, rule, indices):
        sm3_step_(params, [grad * 8.0 for grad in grads], states, rule, indices, grad_scale=0.125)

    compare(rule_of(SM3_CASES[0], maximize=True), [(33, 47), (31,)], torch.float32, step=step)


def test_more_dimensions_than_the_library_takes():
    """Nine: by the eager kernel, without a word."""
    compare(rule_of(SM3_CASES[0]), [(2, 1, 2, 1, 2, 1, 2, 1, 3)], torch.float32)
    compare(rule_of(SM3_CASES[0]), [(2, 1, 2, 1, 2, 1, 2, 3)], torch.float32)


def test_state_of_another_dtype_is_followed_not_misread():
    """A model cast to float64 after its first step keeps float32 accumulators: those are not read as float64."""
    rule = rule_of(SM3_CASES[0])
    params = [[torch.ones(3, 5, dtype=torch.float64)] for _ in range(2)]
    states = [[fresh_state(rule, torch.ones(3, 5))] for _ in range(2)]
    grads = [gradient_stream((3, 5))(0)]
    for kernel, param, state in zip((sm3_step_, eager_step_), params, states, strict=True):
        state[0]["step"] += 1
        kernel(param, grads, state, rule, [0])
    assert equal_bits(params[0][0], params[1][0])
    assert all(equal_bits(states[0][0][name], states[1][0][name]) for name in states[0][0])


def test_momentum_that_is_switched_off_in_between():
    """Its state stays and is a mean with factor 0; a parameter that came later has none. One list holds both."""
    rule, later = rule_of(SM3_CASES[0]), rule_of(SM3_CASES[0], momentum=0.0)
    shapes = [(33, 47), (31,), (6, 3, 3, 3)]
    ours, theirs = ([p.detach() for p in parameters(shapes)] for _ in range(2))
    states = [[fresh_state(rule if i else later, param) for i, param in enumerate(params)] for params in (ours, theirs)]
    for number, settings in enumerate((rule, later, later)):
        grads = [gradient_stream(shape, seed=i)(number).float() for i, shape in enumerate(shapes)]
        for state in states[0] + states[1]:
            state["step"] += 1
        sm3_step_(ours, grads, states[0], settings, [0, 1, 2])
        eager_step_(theirs, grads, states[1], settings, [0, 1, 2])
    assert all(equal_bits(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(equal_bits(mine[name], other[name]) for mine, other in zip(*states, strict=True) for name in mine)


def test_autograd_sees_that_a_parameter_was_written():
    """Backward through a graph that saved the old value is an error, as with every in-place step."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    state = fresh_state(rule_of(SM3_CASES[0]), weight)
    state["step"] += 1
    with torch.no_grad():
        sm3_step_([weight], [torch.ones(3)], [state], rule_of(SM3_CASES[0]), [0])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.0}], ids=str)
def test_the_largest_counts_do_not_overflow_a_lane(every_isa, settings):
    """Every square counts 2^23: 128 times the first unit, 1/4, whatever is summed in 32 bits on the way."""
    for shape in [(64, 4096), (40, 700), (20_000,)]:
        param = torch.zeros(shape)
        rule = SM3Rule(update_rms=0.2, **settings)
        state = fresh_state(rule, param)
        state["step"] += 1
        sm3_step_([param], [torch.full(shape, float("nan"))], [state], rule, [0])
        assert state["rms"] == 32.0
