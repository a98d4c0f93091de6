"""Gradient release and `lean`: the ordinary step's bits, without the gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import sm3
from cases import CASES, everything, same
from sm3 import SM3, SMMF
from sm3.errors import GradientError, ParameterError, SettingError
from sm3.optim.torch import GradientRelease
from sm3.optim.torch.lean import RECIPES
from sm3.plan import plan

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(6, 67), nn.Tanh(), nn.LayerNorm(67), nn.Linear(67, 4)]
    return nn.Sequential(*layers).to(dtype)


def batch(step, dtype=torch.float32):
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(step)).to(dtype)


def backward(model, step):
    dtype = next(model.parameters()).dtype
    model(batch(step, dtype)).square().mean().backward()


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_released_steps_equal_ordinary_steps_bit_for_bit(case, dtype):
    """With stochastic rounding, a scheduler, two groups and a frozen layer, before and after removal."""
    runs = []
    for released in (False, True):
        model = make_model(dtype)
        model[2].weight.requires_grad_(False)
        groups = [{"params": model[0].parameters()}, {"params": list(model[1:].parameters()), "lr": 0.02}]
        optimizer = case.make(groups, rounding="stochastic", seed=3)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        release = GradientRelease(optimizer) if released else None
        for step in range(6):
            if step == 4 and release is not None:
                release.remove()
            backward(model, step)
            if released and step < 4:
                assert all(param.grad is None for param in model.parameters())
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        runs.append(everything(optimizer))
    assert same(*runs)


@EVERY_CASE
def test_accumulation_equals_ordinary_accumulation(case):
    """Three passes per step; the last round ends early and is finished by step()."""
    runs = []
    for released in (False, True):
        model = make_model()
        optimizer = case.make(model.parameters())
        if released:
            GradientRelease(optimizer, accumulate=3)
        for passes in ((0, 1, 2), (3, 4, 5), (6, 7)):
            for step in passes:
                backward(model, step)
            optimizer.step()
            optimizer.zero_grad()
        runs.append(everything(optimizer))
    assert same(*runs)


def test_a_second_backward_before_step_is_an_error_that_names_the_parameter():
    """Silently stepping twice would be another run."""
    model = make_model()
    optimizer = SMMF(model.named_parameters())
    GradientRelease(optimizer)
    backward(model, 0)
    with pytest.raises(GradientError, match=r"(?s)'3\.\w+' arrived again.*accumulate=k"):
        backward(model, 1)
    optimizer.step()
    optimizer.zero_grad()
    backward(model, 2)


def test_a_tied_parameter_steps_once():
    """One parameter used twice in the forward pass has one gradient and one step."""
    runs = []
    for released in (False, True):
        torch.manual_seed(0)
        embedding, head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        head.weight = embedding.weight
        optimizer = SM3([embedding.weight], lr=0.1)
        if released:
            GradientRelease(optimizer)
        for step in range(3):
            tokens = torch.randint(10, (5,), generator=torch.Generator().manual_seed(step))
            head(embedding(tokens)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append(everything(optimizer))
    assert same(*runs)


def test_two_parameters_in_one_memory_are_refused():
    """Their steps would overlap."""
    whole = torch.zeros(4, 6)
    first, second = nn.Parameter(whole[:2]), nn.Parameter(whole[2:])
    with pytest.raises(ParameterError, match="share memory"):
        GradientRelease(SMMF([first, second]))


@pytest.mark.parametrize("policy", ["skip", "error"])
def test_a_policy_that_judges_the_whole_step_is_refused(policy):
    """And the optimizer stays without release."""
    model = make_model()
    optimizer = SMMF(model.parameters(), nonfinite=policy)
    with pytest.raises(SettingError, match="as a whole"):
        GradientRelease(optimizer)
    backward(model, 0)
    assert model[0].weight.grad is not None


def test_one_release_at_a_time_and_bad_options_are_refused():
    """accumulate and max_norm have ranges like every setting."""
    optimizer = SMMF(make_model().parameters())
    for options in ({"accumulate": 0}, {"accumulate": 1.5}, {"max_norm": 0.0}, {"max_norm": float("nan")}):
        with pytest.raises(SettingError):
            GradientRelease(optimizer, **options)
    with GradientRelease(optimizer), pytest.raises(SettingError, match="second GradientRelease"):
        GradientRelease(optimizer)
    GradientRelease(optimizer).remove()


def test_clipping_uses_the_norm_of_the_last_step():
    """The first step is not clipped; each later one is scaled by min(1, max_norm / last norm), by hand below."""
    model = make_model()
    optimizer = SM3(model.parameters(), lr=0.1)
    release = GradientRelease(optimizer, max_norm=0.05)
    reference = make_model()
    expected = SM3(reference.parameters(), lr=0.1)
    last = None
    for step in range(4):
        backward(model, step)
        optimizer.step()
        backward(reference, step)
        norm = torch.stack([p.grad.double().norm() for p in reference.parameters()]).norm().item()
        for param in reference.parameters():
            if last is not None and last > 0.05:
                param.grad.mul_(0.05 / last)
        expected.step()
        expected.zero_grad()
        assert release.last_norm == pytest.approx(norm, rel=1e-6)
        last = norm
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        # The two norms are summed in another order: 1e-12 relative of a scale, in float32 one rounding per step.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_released_optimizer_saves_loads_and_copies_as_any_other():
    """A copy starts without release."""
    model = make_model()
    optimizer = SMMF(model.parameters())
    GradientRelease(optimizer)
    backward(model, 0)
    optimizer.step()
    saved = optimizer.state_dict()
    other = SMMF(make_model().parameters())
    other.load_state_dict(saved)
    assert same(everything(other)[6:], everything(optimizer)[6:])  # six parameters, then all state
    twin = copy.deepcopy(optimizer)
    twin.param_groups[0]["params"][0].grad = torch.ones_like(model[0].weight)
    twin.step()


def test_only_a_few_gradients_are_alive_at_a_time():
    """Eight equal layers: while one gradient arrives, the earlier ones are gone."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(8)])
    optimizer = SMMF(model.parameters())
    alive = []
    for param in model.parameters():
        param.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(p.grad is not None for p in model.parameters()))
        )
    GradientRelease(optimizer)
    model(torch.randn(4, 64)).sum().backward()
    assert alive == [1] * 8


@pytest.mark.parametrize("name", ["SM3", "SMMF"])
def test_lean_trains_in_the_planned_bytes(name):
    """Weights and state measured == planned, and no gradient is left."""
    model = make_model()
    lean = sm3.lean(model, name, lr=1e-2)
    for step in range(3):
        backward(model, step)
        lean.optimizer.step()
    weights = sum(param.nbytes for param in model.parameters())
    state = sum(tensor.nbytes for entry in lean.optimizer.state.values() for tensor in entry.values())
    planned = plan(model, name, **RECIPES[name])
    assert weights + state == planned.weights_bytes + planned.state_bytes
    assert lean.training_bytes() == weights + state + planned.largest_gradient_bytes
    assert all(param.dtype == torch.bfloat16 and param.grad is None for param in model.parameters())
    lean.remove()
    backward(model, 9)
    assert model[0].weight.grad is not None


def test_lean_equals_the_same_optimizer_stepping_after_backward():
    """Bit for bit, stochastic rounding included."""
    leaned, plain = make_model(), make_model(torch.bfloat16)
    lean = sm3.lean(leaned, lr=1e-2, seed=5)
    optimizer = SMMF(plain.named_parameters(), lr=1e-2, seed=5, rounding="stochastic")
    for step in range(4):
        backward(leaned, step)
        lean.optimizer.step()
        backward(plain, step)
        optimizer.step()
        optimizer.zero_grad()
    assert same(everything(lean.optimizer), everything(optimizer))


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [(["Adam"], {}), ([], {"dtype": torch.float64}), ([], {"beta": 2.0}), ([], {"accumulate": 0})],
)
def test_lean_refuses_and_leaves_the_model_alone(arguments, settings):
    """Still float32, no hooks."""
    model = make_model()
    with pytest.raises(SettingError):
        sm3.lean(model, *arguments, **settings)
    backward(model, 0)
    assert all(p.dtype == torch.float32 and p.grad is not None for p in model.parameters())
