"""What is timed is right first: C++ against plain PyTorch on the very parameters, two steps each.

The parameters must agree to the bit, stochastic rounding included. State: to the bit for SM3; SMMF's factors are sums
in another order, so they agree to a bound, and the second step starts from plain PyTorch's. That plain PyTorch is right
is held elsewhere: tests/optim/torch/test_trajectories.py compares it with the papers' formulas in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.contestants import OURS, ours
from sm3.optim.rules.shapes import near_square

STEPS = 2  # the first starts from no state at all, the second does not


def check(params: list[Tensor]) -> str:
    """A sentence for the record; raises `AssertionError` with the name of what is wrong. Leaves `params` alone."""
    for name in OURS:
        _check_one(name, params)
    return f"C++ equals plain PyTorch: parameters bit for bit over {STEPS} steps of {', '.join(OURS)}"


def _check_one(name: str, params: list[Tensor]) -> None:
    native, eager = _copies(params), _copies(params)
    fast, plain = ours(name, native, backend="cpu"), ours(name, eager, backend="eager")
    for step in range(1, STEPS + 1):
        fast.step()
        plain.step()
        for own, other in zip(native, eager, strict=True):
            where = f"{name}, step {step}, parameter of shape {tuple(own.shape)}"
            assert torch.equal(own, other), f"{where}: C++ and plain PyTorch differ"
            assert bool(own.isfinite().all()), f"{where}: not finite"
            _check_state(where, own.numel(), fast.state[own], plain.state[other])


def _copies(params: list[Tensor]) -> list[Tensor]:
    copies = [param.detach().clone().requires_grad_() for param in params]
    for copy, param in zip(copies, params, strict=True):
        copy.grad = param.grad  # read only: shared
    return copies


def _check_state(where: str, numel: int, fast: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    # A sum of k float32 terms >= 0 is off by at most (k - 1) 2^-24 of itself in any order, two by twice that; a column
    # factor is such a sum over the rows, divided by one over the columns.
    bound = 2.02 * 2.0**-24 * sum(near_square(numel))
    for key, tensor in plain.items():
        if key in ("m_row", "m_col", "v_row", "v_col"):
            close = torch.allclose(fast[key], tensor, rtol=bound, atol=1e-43)  # denormal sums: half their spacing
            assert close, f"{where}: {key} differs by more than {bound:.1e}"
            fast[key].copy_(tensor)
        else:
            assert torch.equal(fast[key], tensor), f"{where}: {key} differs"
