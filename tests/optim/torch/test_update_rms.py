"""`update_rms`: the update's root mean square is the target, by last step's value, exactly as the definition says."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from cases import gradient_stream
from sm3 import SM3, SMMF
from sm3.optim.torch import GradientRelease

shapes = st.sampled_from([(), (1,), (31,), (12, 20), (7, 13), (6, 3, 3, 3), (3, 67), (4099,)])
seeds = st.integers(0, 10_000)
targets = st.sampled_from([1e-3, 0.2, 1.0, 50.0])
BOTH = pytest.mark.parametrize("optimizer", [SM3, SMMF])

# Half a quantum, in the square of the unit; u, its square and the stored root mean square are float32 numbers, which
# are off by 2^-24 relative each.
HALF_QUANTUM, FLOAT32 = 2.0**-10, 6 * 2.0**-24


class Held:
    """Updates before the learning rate, step by step, and the state; the parameter is set back to 0 each time."""

    def __init__(self, optimizer, shape, dtype=torch.float64, **settings):
        self.param = torch.zeros(shape, dtype=dtype, requires_grad=True)
        self.optimizer = optimizer([self.param], lr=1.0, **settings)

    def update(self, grad):
        self.param.grad = grad.to(self.param.dtype)
        with torch.no_grad():
            self.param.zero_()
        self.optimizer.step()
        return -self.param.detach().clone()

    @property
    def rms(self) -> float:
        return float(self.optimizer.state[self.param]["rms"])


def root_mean_square(update) -> float:
    return float(update.double().square().mean().sqrt())


@given(shapes, seeds, targets, st.sampled_from([SM3, SMMF]), st.booleans())
def test_an_update_is_the_plain_one_times_the_target_over_the_last_root_mean_square(
    shape, seed, target, optimizer, zeros
):
    """State does not depend on parameters, so a plain twin has the same updates, unscaled. The first step is plain."""
    held, plain = Held(optimizer, shape, update_rms=target), Held(optimizer, shape)
    gradient, last = gradient_stream(shape, seed, zeros), 0.0
    for step in range(5):
        scaled, update = held.update(gradient(step)), plain.update(gradient(step))
        scale = target / max(last, target / 10) if last > 0 else 1.0
        # The step size and its product with the update: two roundings each, 1.1e-16.
        torch.testing.assert_close(scaled, update * scale, rtol=1e-15, atol=0)
        last = held.rms


@given(shapes, seeds, targets, st.sampled_from([SM3, SMMF]))
def test_the_stored_root_mean_square_is_that_of_the_update(shape, seed, target, optimizer):
    """To half a quantum, which is what rounding every square to a multiple of it can add up to."""
    held, plain = Held(optimizer, shape, update_rms=target), Held(optimizer, shape)
    gradient, last = gradient_stream(shape, seed), 0.0
    for step in range(5):
        held.update(gradient(step))
        exact = root_mean_square(plain.update(gradient(step)))
        unit = 2.0 ** math.floor(math.log2(max(last, target / 10))) if last > 0 else 0.25
        measured = abs(held.rms**2 - exact**2) <= HALF_QUANTUM * unit**2 + FLOAT32 * exact**2
        too_small = held.rms == unit / 32 and exact <= held.rms * (1 + FLOAT32)
        assert measured or too_small
        last = held.rms


def test_a_constant_gradient_makes_steps_of_exactly_the_target():
    """Its moments have rank one, so SMMF's update is sign(g) at every step: 1 long, then 0.2."""
    left, right = torch.rand(12, 1) + 0.1, torch.randn(1, 9)
    held = Held(SMMF, (12, 9), update_rms=0.2, beta=None)
    assert root_mean_square(held.update(left * right)) == pytest.approx(1.0, rel=1e-6)
    for _ in range(10):
        # 1 is 2^9 quanta of 2^-9 once the unit is 1, and 2^13 of 2^-13 before: measured exactly, to float32.
        assert root_mean_square(held.update(left * right)) == pytest.approx(0.2, rel=1e-6)


def test_the_sum_of_squares_no_longer_shortens_the_step():
    """SM3's update is 1/sqrt(t) at step t; held, it is 0.2 sqrt((t-1)/t), however long the run."""
    held, plain = (Held(SM3, (5, 7), momentum=0.0, **more) for more in ({"update_rms": 0.2}, {}))
    for _ in range(100):
        lengths = [root_mean_square(run.update(torch.ones(5, 7))) for run in (held, plain)]
    assert lengths[1] == pytest.approx(0.1)
    # A root mean square is known to 2^-10 / 2 of that of the step before, which is 1 % larger at most.
    assert lengths[0] == pytest.approx(0.2 * math.sqrt(99 / 100), rel=2.0**-10)


@BOTH
@pytest.mark.parametrize("exponent", [-20, 20])
def test_the_gradients_scale_drops_out(optimizer, exponent):
    """Multiplied by a power of two, all gradients give the same bits: parameters and root mean squares."""
    settings = {"update_rms": 0.2, **({"eps": 1e-200} if optimizer is SMMF else {})}
    ones, scaled = (Held(optimizer, (12, 20), **settings) for _ in range(2))
    for step in range(6):
        gradient = gradient_stream((12, 20), zeros=True)(step)
        assert torch.equal(ones.update(gradient), scaled.update(gradient * 2.0**exponent))
        assert ones.rms == scaled.rms


def test_a_constant_factor_of_the_update_drops_out():
    """With eps far above the gradients an update is grad / eps: 2^10 times shorter, and held at the same length.

    From 1/4, where measuring starts, each step finds an update 32 times smaller: six steps to 2^-32.
    """
    settings = {"beta": None, "update_rms": 2.0**-32}
    first, second = (Held(SMMF, (12, 20), eps=eps, **settings) for eps in (2.0**22, 2.0**32))
    updates = [[run.update(gradient_stream((12, 20))(step)) for step in range(10)] for run in (first, second)]
    assert root_mean_square(updates[0][0]) > 1000 * root_mean_square(updates[1][0])
    # sqrt(V), of the order of the largest gradients, 10^2, is 2^-15 of eps; measured alike to 2^-10 / 2 of the length
    # one step before, which may be some times longer.
    torch.testing.assert_close(updates[0][-1], updates[1][-1], rtol=0.005, atol=0)


@BOTH
def test_a_small_update_is_enlarged_ten_times_at_most(optimizer):
    """Gradients that fade leave the update far below the target; a step is 10 times the plain one, not more."""
    held, plain = (Held(optimizer, (12, 20), **more) for more in ({"update_rms": 4.0}, {}))
    scales = []
    for step in range(12):
        gradient = gradient_stream((12, 20))(0) * 0.25**step
        scaled, update = held.update(gradient), plain.update(gradient)
        scales.append(float((scaled / update).abs().max()))
    assert max(scales) == pytest.approx(10.0, rel=1e-14)


@BOTH
def test_a_pause_without_gradients_keeps_the_scale(optimizer):
    """No update, no measurement: the first gradient after the pause is not blown up."""
    settings = {"momentum": 0.0} if optimizer is SM3 else {"beta": None}
    held, plain = (Held(optimizer, (12, 20), **settings, **more) for more in ({"update_rms": 0.2}, {}))
    gradient = gradient_stream((12, 20))
    for step in range(3):
        held.update(gradient(step)), plain.update(gradient(step))
    before = held.rms
    for _ in range(5):
        assert not held.update(torch.zeros(12, 20)).any()
        plain.update(torch.zeros(12, 20))
        assert held.rms == before
    scaled, update = held.update(gradient(3)), plain.update(gradient(3))
    torch.testing.assert_close(scaled, update * (0.2 / before), rtol=1e-15, atol=0)


@BOTH
def test_gradients_of_zero_from_the_start_measure_nothing(optimizer):
    """The first update that is there is applied as it is, whatever the step."""
    held, plain = (Held(optimizer, (12, 20), **more) for more in ({"update_rms": 0.2}, {}))
    for run in (held, plain):
        run.update(torch.zeros(12, 20))
    assert held.rms == 0.0
    assert torch.equal(*(run.update(gradient_stream((12, 20))(0)) for run in (held, plain)))
    assert held.rms > 0.0


@given(seeds, st.sampled_from([3, 7, 64, 1 << 17]))
def test_the_order_of_the_elements_does_not_change_a_bit(seed, tile):
    """Integers are added: any permutation, any tile. A vector is updated element by element: nothing else differs."""
    import sm3.optim.kernels.eager.tiles as tiles

    permutation = torch.randperm(257, generator=torch.Generator().manual_seed(seed))
    straight, permuted = (
        Held(SM3, (257,), momentum=0.0, update_rms=0.2, backend=backend) for backend in (None, "eager")
    )
    for step in range(3):
        gradient = gradient_stream((257,), seed)(step)
        update = straight.update(gradient)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiles, "TILE_NUMEL", tile)
            assert torch.equal(permuted.update(gradient[permutation]), update[permutation])
        assert permuted.rms == straight.rms


def test_one_huge_element_counts_for_64_to_128_times_the_last_root_mean_square():
    """It is cut where it counts, so that a sum cannot overflow, and applied in full."""
    held = Held(SM3, (1000,), momentum=0.0, beta2=0.0, update_rms=0.2)
    held.update(torch.ones(1000))  # rms 1, unit 1
    held.optimizer.state[held.param]["accumulator_0"].zero_()
    held.optimizer.param_groups[0]["beta2"] = 1.0 - 1e-8  # nu = 1e-8 grad^2: an update of 1e4
    gradient = torch.zeros(1000)
    gradient[3] = 1.0
    update = held.update(gradient)
    assert float(update[3]) == pytest.approx(0.2 * 1e4)
    assert held.rms == pytest.approx(math.sqrt(128**2 / 1000), rel=1e-6)


@BOTH
def test_a_nan_shows_where_it_is_and_does_not_spread_by_the_scale(optimizer):
    """It counts as the largest number there can be: the scale stays finite, and in SM3 so do other rows and columns.

    (In SM3 the next step carries it on through the maxima, in SMMF through the sums.)
    """
    held = Held(optimizer, (6, 5), update_rms=0.2)
    gradient = gradient_stream((6, 5))
    poisoned = gradient(0)
    poisoned[2, 3] = math.nan
    for grad in (poisoned, gradient(1)):
        update = held.update(grad)
        assert update[2, 3].isnan()
        assert math.isfinite(held.rms)
        if optimizer is SM3:
            assert update[:2, :3].isfinite().all()


@BOTH
def test_it_can_be_switched_on_and_off_in_between(optimizer):
    """On: state appears, the first step is plain, the second held. Off: steps are plain again."""
    held, plain = Held(optimizer, (12, 20)), Held(optimizer, (12, 20))
    gradient, before = gradient_stream((12, 20)), 0.0
    for step, target in enumerate([None, None, 0.2, 0.2, None]):
        held.optimizer.param_groups[0]["update_rms"] = target
        scaled, update = held.update(gradient(step)), plain.update(gradient(step))
        if step == 3:
            assert not torch.allclose(scaled, update, rtol=0.01)
            assert root_mean_square(scaled) == pytest.approx(0.2 * root_mean_square(update) / before, rel=0.01)
        else:
            assert torch.equal(scaled, update)
        before = root_mean_square(update)


@BOTH
def test_an_update_that_collapses_is_found_in_steps_of_32(optimizer):
    """After one gradient 2^40 times the others nothing of the last length is left; the scale is at its bound soon."""
    settings = {"momentum": 0.0} if optimizer is SM3 else {"beta": None}
    held, plain = (Held(optimizer, (12, 20), **settings, **more) for more in ({"update_rms": 0.2}, {}))
    ones = torch.ones(12, 20)
    for factor in (1.0, 1.0, 2.0**40, 1.0, 1.0, 1.0, 1.0):
        scaled, update = held.update(ones * factor), plain.update(ones * factor)
    assert root_mean_square(update) < 1e-10
    torch.testing.assert_close(scaled, 10 * update, rtol=1e-14, atol=0)


@BOTH
@pytest.mark.parametrize("target", [1e-300, 1e-12, 1e12, 1e300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_target_makes_a_number_that_is_not_finite(optimizer, target, dtype):
    """Steps underflow to nothing, or are ten times the plain ones."""
    held, plain = (Held(optimizer, (12, 20), dtype, **more) for more in ({"update_rms": target}, {}))
    gradient = gradient_stream((12, 20))
    for step in range(4):
        scaled, update = held.update(gradient(step)), plain.update(gradient(step))
        assert scaled.isfinite().all()
    assert math.isfinite(held.rms)
    factor = 10.0 if target > 1 else 0.0
    # bfloat16 keeps 8 bits: both were rounded.
    torch.testing.assert_close(scaled.float(), factor * update.float(), rtol=2.0**-7, atol=1e-10)


@BOTH
def test_it_costs_four_bytes_for_each_tensor(optimizer):
    """Whatever the size and the dtype."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        params = [torch.zeros(shape, dtype=dtype, requires_grad=True) for shape in [(3, 4), (), (100,)]]
        assert optimizer(params, update_rms=0.2).state_bytes() == optimizer(params).state_bytes() + 3 * 4


def test_released_gradients_are_held_at_the_same_length():
    """What clips without a second pass and without this step's norm works where gradients are gone at once."""
    runs = []
    for release in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        optimizer = SMMF(model.parameters(), lr=0.01, update_rms=0.2)
        hooks = GradientRelease(optimizer) if release else None
        for step in range(4):
            optimizer.zero_grad()
            model(torch.randn(32, 8, generator=torch.Generator().manual_seed(step))).square().mean().backward()
            optimizer.step()
        runs.append([param.detach().clone() for param in model.parameters()])
        if hooks is not None:
            hooks.remove()
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
