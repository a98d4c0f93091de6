"""The optimizers against the judge: NumPy float64 in the papers' letters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cases import SHAPES, gradient_stream
from sm3 import SM3, SMMF
from sm3.optim import reference

# One step is about ten correctly rounded operations per entry, each 1.1e-16 relative; the accumulators are maxima of
# sums of squares, which do not cancel. Twenty steps of updates of like size: 200 * 1.1e-16 = 2e-14.
FLOAT64_RTOL = 1e-13

EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def assert_close(actual: torch.Tensor, expected: np.ndarray, rtol: float) -> None:
    """Relative to the tensor's largest entry: single entries cross zero."""
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-300)
    difference = float(np.abs(actual.detach().numpy() - expected).max(initial=0.0))
    assert difference <= rtol * scale


def run_both(optimizer_class, settings, judge, shape, steps, *, dtype=torch.float64, zeros=True):
    """Yield (parameter, judge's weights) after each step on the same gradients."""
    gradient = gradient_stream(shape, zeros=zeros)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)
    param = start.clone().requires_grad_()
    optimizer = optimizer_class([param], **settings)
    weights = start.numpy().copy()
    for step in range(steps):
        param.grad = gradient(step).to(dtype)
        weights = judge.step(weights, param.grad.numpy())
        optimizer.step()
        yield param, weights


@EVERY_SHAPE
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("beta2", [None, 0.95])
@pytest.mark.parametrize("variant", ["I", "II"])
def test_sm3_follows_the_paper_in_float64(shape, momentum, beta2, variant):
    """Both variants, sum and mean, with and without momentum, zero gradients inside: 1e-13 relative."""
    settings = {"lr": 0.1, "momentum": momentum, "beta2": beta2, "variant": variant, "weight_decay": 0.01}
    judge = reference.SM3(alpha=0.1, beta1=momentum, beta2=beta2, variant=variant, weight_decay=0.01)
    for param, weights in run_both(SM3, settings, judge, shape, steps=20):
        assert_close(param, weights, FLOAT64_RTOL)


@EVERY_SHAPE
@pytest.mark.parametrize("beta", [None, 0.9])
@pytest.mark.parametrize("published", [False, True])
def test_smmf_follows_the_paper_in_float64(shape, beta, published):
    """Published and ours, with and without first moment, zero gradients inside."""
    settings = {"lr": 0.01, "beta": beta, "published": published, "decay_rate": -0.8, "weight_decay": 0.01}
    judge = reference.SMMF(eta=0.01, beta=beta, gamma=-0.8, weight_decay=0.01, published=published)
    for param, weights in run_both(SMMF, settings, judge, shape, steps=20):
        # Sums of at most 67 terms add log2(67) * 1.1e-16 per step, and an update is at most some hundred lr: 1e-12.
        assert_close(param, weights, 1e-12)


@pytest.mark.parametrize("shape", [(24,), (31,), (12, 20), (6, 3, 3, 3), (7, 13), (1,), (257,)], ids=str)
@pytest.mark.parametrize("beta", [None, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_published_smmf_is_the_authors_rule_in_float32(shape, beta, weight_decay):
    """The published rule computed in float32 throughout, 12 steps: 1e-6 relative."""
    settings = {"lr": 1e-2, "beta": beta, "published": True, "weight_decay": weight_decay}
    judge = reference.SMMF(eta=1e-2, beta=beta, weight_decay=weight_decay, published=True, dtype=np.float32)
    for param, weights in run_both(SMMF, settings, judge, shape, steps=12, dtype=torch.float32, zeros=False):
        assert_close(param, weights, 1e-6)


@EVERY_SHAPE
def test_cautious_steps_follow_the_judge(shape):
    """The mask and last step's fraction, both rules."""
    judge = reference.SM3(alpha=0.1, beta1=0.9, cautious=True)
    for param, weights in run_both(SM3, {"lr": 0.1, "cautious": True}, judge, shape, steps=20):
        assert_close(param, weights, FLOAT64_RTOL)
    judge = reference.SMMF(eta=0.01, cautious=True)
    for param, weights in run_both(SMMF, {"lr": 0.01, "cautious": True}, judge, shape, steps=20):
        assert_close(param, weights, 1e-12)


@EVERY_SHAPE
def test_steps_of_a_given_length_follow_the_judge(shape):
    """The scale of last step, both rules, after the cautious mask."""
    judge = reference.SM3(alpha=0.1, beta1=0.9, update_rms=0.2)
    for param, weights in run_both(SM3, {"lr": 0.1, "update_rms": 0.2}, judge, shape, steps=20):
        assert_close(param, weights, FLOAT64_RTOL)
    judge = reference.SMMF(eta=0.01, cautious=True, update_rms=0.2)
    for param, weights in run_both(SMMF, {"lr": 0.01, "cautious": True, "update_rms": 0.2}, judge, shape, steps=20):
        assert_close(param, weights, 1e-12)


@pytest.mark.parametrize("tile", [1, 5, 64])
@pytest.mark.parametrize("shape", [(12, 20), (31,), (6, 3, 3, 3), (3, 67), (1, 17), (4099,)], ids=str)
def test_the_result_does_not_depend_on_the_tile(monkeypatch, tile, shape):
    """SM3 has no sums: bit-equal. SMMF's sums change their order only."""
    import sm3.optim.kernels.eager.tiles as tiles

    def run(optimizer_class, **settings):
        param = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        optimizer = optimizer_class([param], **settings)
        for step in range(5):
            param.grad = gradient_stream(shape)(step)
            optimizer.step()
        return param.detach()

    whole = [run(SM3), run(SM3, variant="I"), run(SMMF)]
    monkeypatch.setattr(tiles, "TILE_NUMEL", tile)
    parts = [run(SM3), run(SM3, variant="I"), run(SMMF)]
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])
    # float64 sums of 4099 terms one by one: 4099 * 1.1e-16 = 5e-13
    torch.testing.assert_close(whole[2], parts[2], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [s for s in SHAPES.values() if s != (4099,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_default_smmf_on_dense_gradients_is_published_smmf_bit_for_bit(shape, dtype):
    """The rule for zero gradients changes nothing where there are none, given the same matrix shape."""
    runs = []
    for published in (False, True):
        param = torch.ones(shape, dtype=dtype, requires_grad=True)
        optimizer = SMMF([param], lr=1e-2, published=published, weight_decay=0.1)
        for step in range(12):
            param.grad = gradient_stream(shape)(step).to(dtype)
            optimizer.step()
        runs.append([param.detach(), *(optimizer.state[param][name] for name in ("m_row", "m_col", "m_sign", "v_row"))])
    for ours, theirs in zip(*runs, strict=True):
        assert torch.equal(ours, theirs)


def test_an_embedding_row_that_is_never_used_does_not_move():
    """The published rule moves it by its stored sign; ours leaves its bits alone."""
    moved = {}
    for published in (False, True):
        weight = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        before = weight.detach().clone()
        optimizer = SMMF([weight], lr=1e-3, published=published)
        for step in range(50):
            weight.grad = torch.zeros_like(weight)
            weight.grad[::2] = gradient_stream((20, 16))(step).float()
            optimizer.step()
        moved[published] = (weight - before)[1::2].abs().max().item()
    assert moved[False] == 0.0
    assert moved[True] > 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_first_steps_have_their_closed_forms(dtype):
    """SM3-II: lr (1 - momentum) sign(g). SMMF: lr (1 - beta) sign(g)."""
    grad = torch.tensor([[3.0, -0.25, 1e-3], [0.0, -7.0, 2.0]], dtype=dtype)
    for optimizer_class, lr in ((SM3, 0.5), (SMMF, 0.5)):
        param = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
        param.grad = grad.clone()
        optimizer_class([param], lr=lr).step()
        # eps = 1e-8 beside |g| >= 1e-3 is 1e-5 relative, float32 rounding comes on top; bfloat16 rounds to 2^-9.
        tolerance = max(1.1e-5, torch.finfo(dtype).eps)
        expected = -lr * 0.1 * grad.float().sign()
        torch.testing.assert_close(param.detach().float(), expected, rtol=tolerance, atol=0.0)
