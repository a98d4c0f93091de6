"""Stochastic rounding in the kernels: the judge's bits, no dependence on tiles, and weights that learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cases import CASES, everything, gradient_stream, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.optim import reference
from sm3.optim.kernels.eager import rounding, tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("start", [0, 1, 7, 2**33 - 3, 2**40 + 5])
@pytest.mark.parametrize("key", [(0, 1, 0), (7, 2**33, 5), (2**63 - 1, 12345, 2**20)])
def test_the_noise_is_the_judges_noise(start, key):
    """Bit for bit, beyond 2^33 elements too."""
    ours = rounding.noise16(rounding.NoiseKey(*key), start, start + 101, CPU).numpy()
    assert np.array_equal(ours, reference.noise16(*key, start, 101))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_values_are_the_judges(dtype):
    """Normal, denormal, huge, infinite and NaN float32 values."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=generator, dtype=torch.int64).to(torch.int32)
    values = bits.view(torch.float32)
    noise = rounding.noise16(rounding.NoiseKey(1, 2, 3), 0, values.numel(), CPU)
    ours = rounding.round_stochastic(values, dtype, noise).float().numpy()
    judge = reference.round_bfloat16 if dtype == torch.bfloat16 else reference.round_float16
    with np.errstate(all="ignore"):
        expected = np.asarray(judge(values.numpy(), noise.numpy().astype(np.uint16)), dtype=np.float32)
    assert np.array_equal(ours, expected, equal_nan=True)


# SMMF's sums depend on the tile in their last bits, so it is not in this table; the next test covers its rounding.
@pytest.mark.parametrize("case", [case for case in CASES if case.optimizer is SM3], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(31,), (3, 67), (6, 3, 3, 3)], ids=str)
def test_the_noise_of_an_element_does_not_depend_on_the_tile(monkeypatch, case, dtype, shape):
    """The noise of element e is the same whether its tile starts at an even, an odd or its own index."""
    results = []
    for tile in (1 << 17, 5, 8):
        monkeypatch.setattr(tiles, "TILE_NUMEL", tile)
        params = parameters([shape], dtype)
        optimizer = case.make(params, rounding="stochastic", seed=11)
        for step in range(3):
            set_gradients(params, step)
            optimizer.step()
        results.append(everything(optimizer))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@pytest.mark.parametrize("optimizer_class", [SM3, SMMF])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_step_rounds_the_float32_result_once(optimizer_class, dtype, groups):
    """param = round(param (1 - lr wd) - lr update), with noise of (seed, step, position over all groups, element)."""
    start = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    param, exact = start.clone().requires_grad_(), start.float().requires_grad_()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    first = torch.zeros(1, requires_grad=True)
    params = [first, param] if groups == 1 else [{"params": [first]}, {"params": [param]}]
    rounded = optimizer_class(params, rounding="stochastic", seed=5, **settings)
    plain = optimizer_class([exact], **settings)
    param.grad = gradient_stream((40, 7))(0).to(dtype)
    exact.grad = param.grad.float()
    rounded.step()
    plain.step()
    noise = rounding.noise16(rounding.NoiseKey(5, 1, 1), 0, 280, CPU)  # seed 5, step 1, second parameter
    expected = rounding.round_stochastic(exact.detach().view(-1), dtype, noise).view(40, 7)
    assert torch.equal(param.detach(), expected)


def test_float32_and_float64_are_not_affected():
    """There is nothing to round."""
    for dtype in (torch.float32, torch.float64):
        results = []
        for rounding_mode in ("nearest", "stochastic"):
            params = parameters([(12, 20)], dtype)
            optimizer = SMMF(params, rounding=rounding_mode)
            set_gradients(params, 0)
            optimizer.step()
            results.append(params[0].detach())
        assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_small_updates_are_lost_to_nearest_and_kept_by_stochastic(dtype):
    """Weights 1, updates of 1e-4 / sqrt(t): 400 steps should move them by 0.0039, about one bfloat16 spacing."""
    moved = {}
    for mode in ("nearest", "stochastic"):
        param = torch.ones(4096, dtype=dtype, requires_grad=True)
        # The update of a vector under SM3 without momentum is lr g / sqrt(sum g^2) = lr / sqrt(t).
        optimizer = SM3([param], lr=1e-4, momentum=0.0, rounding=mode)
        for _ in range(400):
            param.grad = torch.ones_like(param)
            optimizer.step()
        moved[mode] = 1.0 - param.detach().double().mean().item()
    expected = 1e-4 * sum(t**-0.5 for t in range(1, 401))  # 0.00385
    assert moved["nearest"] == 0.0
    # A step rounds to spacing s = 2^-8 (bfloat16 below 1) with variance at most s lr / sqrt(t); summed over the steps
    # and averaged over 4096 entries the standard deviation is sqrt(s * 0.00385 / 4096) = 6e-5: four of them.
    assert abs(moved["stochastic"] - expected) < 2.5e-4


def test_weight_decay_alone_shows_in_bfloat16():
    """A decay of 1e-4 per step is below bfloat16's resolution: nearest stands still, stochastic follows it."""
    weights = {}
    for mode in ("nearest", "stochastic"):
        param = torch.ones(4096, dtype=torch.bfloat16, requires_grad=True)
        optimizer = SMMF([param], lr=1e-2, weight_decay=1e-2, rounding=mode)
        for _ in range(1000):
            param.grad = torch.zeros_like(param)
            optimizer.step()
        weights[mode] = param.detach().double().mean().item()
    assert weights["nearest"] == 1.0
    # exp(-0.1) = 0.905; 1000 roundings of spacing 2^-8, averaged over 4096 entries: below 4e-4.
    assert weights["stochastic"] == pytest.approx(0.905, abs=1e-3)


@pytest.mark.slow
def test_a_decay_of_a_millionth_shows_after_a_hundred_thousand_steps():
    """exp(-0.1): what nearest would never show is there within 5 % of the distance, 0.095."""
    param = torch.ones(4096, dtype=torch.bfloat16, requires_grad=True)
    optimizer = SM3([param], lr=1e-3, weight_decay=1e-3, momentum=0.0, rounding="stochastic")
    param.grad = torch.zeros_like(param)
    for _ in range(100_000):
        optimizer.step()
    moved = 1.0 - param.detach().double().mean().item()
    # 1e5 roundings of variance at most 2^-8 * 1e-6 each, averaged over 4096 entries: a deviation of 3e-4, and 5 % of
    # the distance is 15 of them.
    assert moved == pytest.approx(1.0 - math.exp(-0.1), rel=0.05)


def test_the_mean_over_a_million_draws_is_the_value_and_only_neighbours_occur():
    """Through a step: 2^20 equal entries, a third of a spacing above a bfloat16 number."""
    param = torch.ones(1 << 20, dtype=torch.bfloat16, requires_grad=True)
    spacing = 2.0**-8  # below 1
    optimizer = SM3([param], lr=spacing / 3, momentum=0.0, rounding="stochastic")
    param.grad = torch.ones_like(param)
    optimizer.step()  # the first update of SM3 is lr * sign(grad)
    values = param.detach().double()
    assert set(values.unique().tolist()) == {1.0 - spacing, 1.0}
    # Each entry has variance 2/9 of a squared spacing; the mean over 2^20 a deviation of 4.6e-4 spacings.
    assert abs((1.0 - values.mean().item()) / spacing - 1 / 3) < 4 * 4.6e-4
