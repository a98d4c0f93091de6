"""The Triton kernels against the eager ones, in Triton's interpreter. `test_triton.py` runs this file in a process of
its own, because the interpreter is chosen by TRITON_INTERPRET=1 before triton is imported:

    TRITON_INTERPRET=1 python -m pytest tests/optim/kernels/triton_in_interpreter.py

The interpreter runs programs one after another in NumPy. It shows wrong indices, masks, dtypes and roundings, and, with
the tile table in another order, results that depend on the order. It shows no data race.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from sm3.optim.kernels.eager import rounding as eager_rounding
from sm3.optim.kernels.eager.sm3 import sm3_step_ as eager_sm3_
from sm3.optim.kernels.eager.smmf import smmf_step_ as eager_smmf_
from sm3.optim.kernels.triton import rounding, sm3, smmf, table, traffic
from sm3.optim.rules import SM3Rule, SMMFRule
from sm3.optim.rules.shapes import near_square

# NumPy says so where a NaN or an infinity is computed; nothing here is about that.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# Several tiles in both directions without many elements: 64 rows x 16, 32 x 32 or 16 x 64 columns, in two steps.
SMALL = table.Geometry(area=512, widths=(16, 32, 64), steps=2, few=2, block=64)

# Each shape earns its place.
SHAPES = {
    "scalar": (),
    "one element": (1, 1),
    "empty": (3, 0),
    "vector of two tiles": (601,),
    "leading one: a maximum beside the vector": (1, 37),
    "one column": (37, 1),
    "leading ones, matrix": (1, 1, 5, 7),
    "rows of 67 elements, one tile": (3, 67),
    "tiles down and across, odd; signs with gaps": (67, 70),
    "aligned: whole bytes of signs, wide loads; two tiles across": (80, 80),
    "convolution": (6, 3, 3, 3),
    "large prime: a missing tail": (4099,),
}


@pytest.fixture(autouse=True, scope="session")
def _patch_the_language_once_a_module():
    """The interpreter does it again at every call of a device function, which is half of the time here."""
    seen = set()

    def patch_once(function):
        if function.__module__ not in seen:
            seen.add(function.__module__)
            patch_language(function)

    def call(self, *arguments, **named):
        patch_once(self.fn)
        return self.rewrite()(*arguments, **named)

    patch_language = interpreter._patch_lang
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpretedFunction, "__call__", call)
        yield


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Small shapes then have several tiles."""
    monkeypatch.setattr(table, "GEOMETRY", SMALL)


class Twins:
    """The same parameters and state twice: one for the eager kernel, one for Triton's."""

    def __init__(self, rule, shapes, dtype=torch.float32, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.rule, self.shapes, self.dtype, self.generator = rule, list(shapes), dtype, generator
        self.theirs = [torch.randn(shape, generator=generator).to(dtype) for shape in self.shapes]
        self.ours = [param.clone() for param in self.theirs]
        self.their_state = [self._state(param) for param in self.theirs]
        self.our_state = [self._state(param) for param in self.ours]

    def _state(self, param: Tensor) -> dict[str, Tensor]:
        declared = self.rule.state(tuple(param.shape), str(param.dtype).removeprefix("torch."))
        return {entry.name: torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype)) for entry in declared}

    def gradients(self) -> list[Tensor]:
        """Heavy-tailed, a tenth exactly zero."""
        drawn = [torch.randn(2, *shape, generator=self.generator) for shape in self.shapes]
        keep = [torch.rand(shape, generator=self.generator) >= 0.1 for shape in self.shapes]
        return [(a * b.exp() * kept).to(self.dtype) for (a, b), kept in zip(drawn, keep, strict=True)]

    def step(self, grads: list[Tensor] | None = None) -> None:
        grads = self.gradients() if grads is None else grads
        for state in self.their_state + self.our_state:
            state["step"] += 1
        indices = range(3, 3 + len(grads))
        is_sm3 = isinstance(self.rule, SM3Rule)
        (eager_sm3_ if is_sm3 else eager_smmf_)(self.theirs, grads, self.their_state, self.rule, indices)
        (sm3.sm3_step_ if is_sm3 else smmf.smmf_step_)(self.ours, grads, self.our_state, self.rule, indices)

    def assert_equal(self, but: tuple[str, ...] = ()) -> None:
        """Parameters and state, bit for bit (any NaN equals any NaN), except the named state tensors."""
        for shape, theirs, ours in zip(self.shapes, self.theirs, self.ours, strict=True):
            assert _same(theirs, ours), shape
        for shape, theirs, ours in zip(self.shapes, self.their_state, self.our_state, strict=True):
            for name in theirs:
                assert name in but or _same(theirs[name], ours[name]), (shape, name)

    def everything(self) -> list[Tensor]:
        return [t.clone() for t in self.ours + [state[name] for state in self.our_state for name in state]]


def _same(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.itemsize]
    nan = a.isnan() & b.isnan()
    return a.dtype == b.dtype and bool(((a.contiguous().view(bits) == b.contiguous().view(bits)) | nan).all())


SM3_CASES = {
    "plain": ({}, torch.float32),
    "no momentum": ({"momentum": 0.0}, torch.float32),
    "mean, decay": ({"beta2": 0.9, "weight_decay": 0.1}, torch.bfloat16),
    "cautious, maximize": ({"cautious": True, "maximize": True}, torch.float16),
    "update_rms": ({"update_rms": 0.2}, torch.float32),
    "update_rms, cautious, no sum": ({"update_rms": 0.3, "cautious": True, "beta2": 0.9}, torch.float16),
    "update_rms, float64, no momentum": ({"update_rms": 1e-3, "momentum": 0.0}, torch.float64),
    "stochastic bfloat16": ({"rounding": "stochastic", "seed": 5, "momentum": 0.0}, torch.bfloat16),
    "stochastic float16": ({"rounding": "stochastic", "seed": 2**62 + 1}, torch.float16),
    "float64, cautious": ({"cautious": True, "rounding": "stochastic"}, torch.float64),
}


@pytest.mark.parametrize("name", SM3_CASES)
def test_sm3_equals_eager_bit_for_bit(name):
    """Maxima are exact in any order, everything else is rounded at the same places: two steps, no tolerance."""
    settings, dtype = SM3_CASES[name]
    twins = Twins(SM3Rule(lr=0.1, **settings), SHAPES.values(), dtype)
    for _ in range(2):
        twins.step()
        twins.assert_equal()


SMMF_CASES = {
    "plain": ({}, torch.float32),
    "no first moment": ({"beta": None}, torch.float32),
    "published, decay": ({"published": True, "weight_decay": 0.1, "decay_rate": -0.8}, torch.float32),
    "cautious, maximize": ({"cautious": True, "maximize": True}, torch.bfloat16),
    "update_rms": ({"update_rms": 0.2}, torch.float32),
    "update_rms, cautious": ({"update_rms": 0.3, "cautious": True}, torch.bfloat16),
    "update_rms, float64, no first moment": ({"update_rms": 1e-3, "beta": None}, torch.float64),
    "stochastic bfloat16": ({"rounding": "stochastic", "seed": 5}, torch.bfloat16),
    "stochastic float16": ({"rounding": "stochastic", "beta": None}, torch.float16),
    "float64": ({}, torch.float64),
}
FACTORS = ("m_row", "m_col", "v_row", "v_col")


@pytest.mark.parametrize("name", SMMF_CASES)
def test_smmf_equals_eager_except_for_the_order_of_sums(name):
    """From the same state: parameters, signs and counts bit for bit, factors as two orders of the same sum."""
    settings, dtype = SMMF_CASES[name]
    twins = Twins(SMMFRule(lr=0.1, **settings), SHAPES.values(), dtype)
    for _ in range(2):
        twins.step()
        twins.assert_equal(but=FACTORS)
        for shape, theirs, ours in zip(twins.shapes, twins.their_state, twins.our_state, strict=True):
            for factor in set(FACTORS) & set(theirs):
                assert_two_orders_of_a_sum(theirs[factor], ours[factor], shape, factor, twins.rule.published)
                ours[factor].copy_(theirs[factor])


def assert_two_orders_of_a_sum(
    theirs: Tensor, ours: Tensor, shape: tuple[int, ...], factor: str, published: bool
) -> None:
    """Recursive summation of n numbers >= 0 is off by (n - 1) u at most, whatever the order (Higham 2002, 4.2).

    A row has m numbers, a column n; the total, a column sum of column sums, n + m - 2 roundings; the quotient one.
    """
    if math.prod(shape) == 0:
        assert _same(theirs, ours)
        return
    rows, columns = near_square(math.prod(shape), published=published)
    roundings = columns - 1 if factor.endswith("row") else (rows - 1) + (rows + columns - 2) + 1
    unit = torch.finfo(theirs.dtype).eps / 2
    assert torch.allclose(theirs, ours, rtol=2 * roundings * unit * (1 + 1e-3), atol=0.0), (shape, factor)


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (SM3Rule(cautious=True), math.nan),
        (SM3Rule(), -math.inf),
        (SMMFRule(), math.nan),
        (SMMFRule(), math.inf),
        (SM3Rule(update_rms=0.2), math.nan),
        (SMMFRule(update_rms=0.2), math.nan),
        (SMMFRule(beta=None), math.nan),
    ],
)
def test_a_number_that_is_not_finite_spreads_as_in_eager(rule, bad):
    """NaN sticks to its row and column, also one whose sign bit is set, and no other entry is touched."""
    twins = Twins(rule, [(67, 70), (1, 37), (3, 3, 4)])
    for step in range(2):
        grads = twins.gradients()
        if step == 0:
            for grad in grads:
                grad.view(-1)[17] = bad
            if math.isnan(bad):
                grads[0].view(-1).view(torch.int32)[17] |= -(2**31)
        twins.step(grads)
        # In SMMF a column's total is not finite either, so the sums of both kernels agree in being NaN or infinite.
        twins.assert_equal(but=FACTORS)
        for theirs, ours in zip(twins.their_state, twins.our_state, strict=True):
            for factor in set(FACTORS) & set(theirs):
                assert torch.equal(theirs[factor].isfinite(), ours[factor].isfinite())
                ours[factor].copy_(theirs[factor])
    assert any(not state[name].isfinite().all() for state in twins.our_state for name in state)


def _count_launches(monkeypatch) -> list[str]:
    names: list[str] = []

    def launch(kernel, programs, *rest):
        names.append(kernel.fn.__name__)
        original(kernel, programs, *rest)

    original = table.launch
    monkeypatch.setattr(table, "launch", launch)
    return names


def test_a_whole_list_is_two_launches_of_sm3_and_three_of_smmf(monkeypatch):
    """Whatever the number and the shapes of the tensors, for each pair of dtypes; none where there is nothing."""
    names = _count_launches(monkeypatch)
    shapes = [(5, 7), (40, 3), (1, 9), (9,), (), (3, 0)]
    Twins(SM3Rule(), shapes).step()
    assert names == ["sm3_tiles", "sm3_folds"]
    names.clear()
    Twins(SMMFRule(), shapes).step()
    assert names == ["smmf_tiles", "smmf_sums", "smmf_normalise"]
    names.clear()
    Twins(SM3Rule(), [(9,), ()]).step()
    assert names == ["sm3_tiles"]  # vectors own their accumulators: nothing to fold
    names.clear()
    for rule in (SM3Rule(update_rms=0.2), SMMFRule(update_rms=0.2)):
        Twins(rule, shapes).step()
        assert names.pop() == "store_rms"
    names.clear()
    Twins(SMMFRule(), [(0,), (3, 0)]).step()
    assert names == []


@pytest.mark.parametrize("rule", [SM3Rule(), SMMFRule()], ids=["sm3", "smmf"])
def test_mixed_dtypes_are_one_set_of_launches_each(rule, monkeypatch):
    """Two parameter dtypes, and float32 gradients of a bfloat16 parameter: three pairs."""
    names = _count_launches(monkeypatch)
    twins = Twins(rule, [(5, 7), (4, 6), (2, 3)])
    for side in (twins.theirs, twins.ours):
        side[1], side[2] = side[1].bfloat16(), side[2].bfloat16()
    grads = twins.gradients()
    grads[1] = grads[1].bfloat16()
    twins.step(grads)
    twins.assert_equal(but=FACTORS)
    assert len(names) == 3 * (2 if isinstance(rule, SM3Rule) else 3)


def test_what_the_kernels_do_not_serve_goes_to_eager(monkeypatch):
    """SM3-I, and tensors that are not contiguous, beside others that are."""
    names = _count_launches(monkeypatch)
    twins = Twins(SM3Rule(variant="I"), [(5, 7)])
    twins.step()
    twins.assert_equal()
    assert names == []
    for rule in (SM3Rule(), SMMFRule()):
        twins = Twins(rule, [(6, 4), (5, 7), (4, 6)])
        grads = twins.gradients()
        for side in (twins.theirs, twins.ours):
            side[0] = side[0].t().contiguous().t()
        grads[2] = grads[2].t().contiguous().t()
        twins.step(grads)
        twins.assert_equal(but=FACTORS)
        assert [name for name in names if name.endswith("tiles")] == [f"{rule.NAME.lower()}_tiles"]
        names.clear()


@pytest.mark.parametrize("rule_class", [SM3Rule, SMMFRule])
def test_the_order_of_tiles_does_not_change_a_bit(rule_class, monkeypatch):
    """All programs of all launches backwards, and shuffled: sums, signs in shared bytes and counts included."""
    rule = rule_class(cautious=True, rounding="stochastic", update_rms=0.2)
    results = []
    for order in ("forward", "backward", "shuffled"):
        table.tile_table.cache_clear()
        table.block_table.cache_clear()

        def ordered(rows: Tensor, order: str = order) -> Tensor:
            if order == "forward":
                return rows
            permutation = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
            return rows.flip(0) if order == "backward" else rows[permutation]

        monkeypatch.setattr(table, "ordered", ordered)
        twins = Twins(rule, [(67, 70), (1, 37), (6, 3, 3, 3)], torch.bfloat16)
        for _ in range(2):
            twins.step()
        results.append(twins.everything())
    table.tile_table.cache_clear()
    table.block_table.cache_clear()
    for other in results[1:]:
        assert all(_same(a, b) for a, b in zip(results[0], other, strict=True))


def test_signs_at_an_odd_address_leave_their_neighbours_alone():
    """Words of the atomic xor reach beyond the tensor on both sides; what lies there must not change."""
    twins = Twins(SMMFRule(), [(3, 67)])
    state = twins.our_state[0]
    size = state["m_sign"].numel()
    memory = torch.full((size + 16,), 0xA5, dtype=torch.uint8)
    state["m_sign"] = memory[5 : 5 + size].view(3, -1)
    state["m_sign"].zero_()
    for _ in range(2):
        twins.step()
        assert torch.equal(twins.their_state[0]["m_sign"], state["m_sign"])
        for factor in FACTORS:
            state[factor].copy_(twins.their_state[0][factor])
    assert (memory[:5] == 0xA5).all()
    assert (memory[5 + size :] == 0xA5).all()


@triton.jit
def _rounded(values, noise, nearest, bfloat16, float16, N: tl.constexpr):
    lane = tl.arange(0, N)
    value, bits = tl.load(values + lane), tl.load(noise + lane).to(tl.uint32)
    tl.store(nearest + lane, rounding.bfloat16_nearest(value).to(tl.int16, bitcast=True))
    tl.store(bfloat16 + lane, rounding.bfloat16_stochastic(value, bits).to(tl.int16, bitcast=True))
    tl.store(float16 + lane, rounding.float16_stochastic(value, bits))


def test_roundings_are_pytorchs_and_eagers_for_all_kinds_of_numbers():
    """Random bit patterns (denormals, huge numbers, NaN), both infinities and zeros, and the range around 2^-14."""
    size = 1 << 16
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(-(2**31), 2**31, (size,), generator=generator).to(torch.int32)
    values = patterns.view(torch.float32).clone()
    values[: size // 4] = torch.randn(size // 4, generator=generator) * 2.0**-14
    values[:6] = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 2.0**-14])
    noise = torch.randint(0, 1 << 16, (size,), generator=generator).to(torch.int32)
    nearest, bfloat16 = torch.zeros(2, size, dtype=torch.bfloat16)
    float16 = torch.zeros(size, dtype=torch.float16)
    _rounded[(1,)](values, noise, nearest.view(torch.int16), bfloat16.view(torch.int16), float16, size)
    assert _same(nearest, values.to(torch.bfloat16))
    assert _same(bfloat16, eager_rounding.round_stochastic(values, torch.bfloat16, noise))
    assert _same(float16, eager_rounding.round_stochastic(values, torch.float16, noise))


@triton.jit
def _noise(out, start, low, high, N: tl.constexpr):
    lane = tl.arange(0, N)
    keys = tl.load(low).to(tl.uint32), tl.load(high).to(tl.uint32)
    tl.store(out + lane, rounding.noise16(tl.load(start) + lane, keys[0], keys[1]).to(tl.int32))


@pytest.mark.parametrize("start", [0, 7, 2**33 - 3, 2**40 + 5])
def test_the_noise_is_eagers_noise_beyond_32_bits_too(start):
    key = eager_rounding.NoiseKey(7, 2**33, 5)
    out = torch.zeros(64, dtype=torch.int32)
    _noise[(1,)](out, torch.tensor([start]), *(torch.tensor([word]) for word in key.words()), 64)
    assert torch.equal(out, eager_rounding.noise16(key, start, start + 64, torch.device("cpu")))


class Meter:
    """Distinct bytes of every block access in the interpreter; scalar loads (descriptors) are not counted."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        builder = interpreter.InterpreterBuilder
        for name, times, mask in (("masked_load", 1, 1), ("masked_store", 1, 2), ("atomic_rmw", 2, 3)):
            monkeypatch.setattr(
                builder, f"create_{name}", self._counted(getattr(builder, f"create_{name}"), times, mask)
            )

    def _counted(self, method, times, mask):
        def counted(builder, *arguments):
            pointers = arguments[1] if times == 2 else arguments[0]
            if pointers.data.size > 1:
                alive = np.broadcast_to(arguments[mask].data, pointers.data.shape)
                size = pointers.get_element_ty().primitive_bitwidth // 8
                self.bytes += times * size * np.unique(pointers.data[alive]).size
            return method(builder, *arguments)

        return counted


BIG = table.Geometry()
ROOFLINE = [
    # rule, dtype, shape, bytes an element of the stream
    (SM3Rule(momentum=0.0), torch.float32, (136, 272), 12.0),
    (SM3Rule(), torch.float32, (136, 272), 20.0),
    (SM3Rule(momentum=0.0), torch.bfloat16, (40, 256), 6.0),
    (SM3Rule(), torch.bfloat16, (40, 256), 14.0),
    (SM3Rule(), torch.float32, (3000,), 20.0),
    (SMMFRule(), torch.float32, (272, 272), 12.25),
    (SMMFRule(), torch.bfloat16, (144, 144), 6.25),
    (SMMFRule(beta=None), torch.bfloat16, (144, 144), 6.0),
]


@pytest.mark.parametrize(("rule", "dtype", "shape", "stream"), ROOFLINE)
def test_bytes_moved_are_the_formula_and_its_stream_the_roofline(rule, dtype, shape, stream, monkeypatch):
    """Counted in the real tiles, access by access, against `traffic`; the fill of SM3's scratch is PyTorch's."""
    monkeypatch.setattr(table, "GEOMETRY", BIG)
    twins = Twins(rule, [shape], dtype)
    sizes = {"parameter": dtype.itemsize, "gradient": dtype.itemsize, "accumulator": 4}
    grads = twins.gradients()
    twins.our_state[0]["step"] += 1
    meter = Meter(monkeypatch)
    if isinstance(rule, SM3Rule):
        formula = traffic.sm3_vector if len(shape) == 1 else traffic.sm3_matrix
        expected = formula(*shape, **sizes, momentum=rule.momentum > 0)
        fill = 4 * sum(shape) if len(shape) == 2 else 0
        sm3.sm3_step_(twins.ours, grads, twins.our_state, rule, [0])
    else:
        expected, fill = traffic.smmf(math.prod(shape), **sizes, first_moment=rule.beta is not None), 0
        smmf.smmf_step_(twins.ours, grads, twins.our_state, rule, [0])
    assert expected.stream / expected.numel == stream
    assert meter.bytes + fill == expected.stream + expected.vectors
