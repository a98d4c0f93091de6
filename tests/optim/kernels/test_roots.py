"""Square roots of the eager kernels are correctly rounded, as the processor's instruction is."""

from __future__ import annotations

import math

import pytest
import torch

from sm3.optim.kernels.eager.roots import square_root_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roots_are_correctly_rounded(dtype):
    """Against math.sqrt, which is; a float64 root rounded to float32 is the float32 root (53 >= 2 * 24 + 2 bits)."""
    values = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=dtype) * 3.0
    expected = torch.tensor([math.sqrt(value) for value in values.tolist()], dtype=torch.float64).to(dtype)
    assert torch.equal(square_root_(values.clone()), expected)


def test_special_values_stay():
    """0, denormals, infinity and NaN, without a warning."""
    values = torch.tensor([0.0, -0.0, 1e-45, math.inf, math.nan])
    roots = square_root_(values.clone())
    assert torch.equal(roots[:2], values[:2])
    assert roots[2] > 0
    assert roots[3] == math.inf
    assert roots[4].isnan()
