"""The kernels give what the papers' formulas give, written down in NumPy without any of our code (`optim/reference`).

The judge computes in float32 here, every operation rounded once, as the kernels do; from the kernel's own state at each
step. So SM3 and SMMF's parameters must have the judge's bits, and SMMF's factors differ by the order of their sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sm3.optim import reference
from sm3.optim.kernels.eager.storage import read_signs, write_signs_
from sm3.optim.rules import SM3Rule
from sm3.optim.rules.shapes import near_square
from sm3.verify.backends import Rounded, outcome, without_factors
from sm3.verify.difference import Difference, difference
from sm3.verify.outcome import SKIPPED, Outcome
from sm3.verify.record import Record

PROMISE = "kernel == formulas"


def judge(record: Record) -> Outcome:
    """Judge and step every parameter, step by step."""
    variant, leaves = record.variant, record.leaves()
    rule: Any = variant.rule()
    if rule.cautious and not isinstance(rule, SM3Rule):
        reason = "the kernels scale by the cautious mask before they divide, the judge after: other roundings"
        return Outcome(PROMISE, variant.label, SKIPPED, reason=reason)
    optimizer = variant.make(leaves.items())
    exact, rounded = Difference(), Rounded()
    for step in range(record.steps):
        record.set_gradients(leaves, step)
        expected: dict[str, Tensor] = {}
        for index, (name, leaf) in enumerate(leaves.items()):
            if leaf.grad is not None:
                state = optimizer.state.get(leaf) or _fresh(rule, leaf)
                expected |= {f"{name}{key}": value for key, value in _expected(rule, index, leaf, state).items()}
        optimizer.step()
        found = {name: leaf.detach() for name, leaf in leaves.items()}
        for name, leaf in leaves.items():
            found |= {f"{name}: {key}": value for key, value in optimizer.state.get(leaf, {}).items()}
        found = {name: value for name, value in found.items() if name in expected}
        exact = exact.and_(difference(without_factors(found), without_factors(expected)))
        for name, leaf in leaves.items():
            rounded.compare(name, leaf, found, expected, rule)
    return outcome(PROMISE, record, exact, rounded)


def _fresh(rule: Any, leaf: Tensor) -> dict[str, Tensor]:
    """State before the first step."""
    declared = rule.state(tuple(leaf.shape), str(leaf.dtype).removeprefix("torch."))
    return {tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in declared}


def _expected(rule: Any, index: int, leaf: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameter ("") and state (": name") after the step, from those before it."""
    weights = leaf.detach().float().numpy().astype(np.float32)
    assert leaf.grad is not None
    gradient = leaf.grad.float().numpy()
    after = _sm3 if isinstance(rule, SM3Rule) else _smmf
    moved, expected = after(rule, weights, gradient, state)
    step = int(state["step"]) + 1
    if leaf.dtype == torch.bfloat16 and rule.rounding == "stochastic":
        noise = reference.noise16(rule.seed, step, index, 0, leaf.numel()).reshape(moved.shape)
        moved = reference.round_bfloat16(moved, noise)
    expected |= {": step": torch.tensor(step), "": torch.from_numpy(np.array(moved)).to(leaf.dtype).view(leaf.shape)}
    return expected


def _shared(rule: Any, judge: Any, state: Mapping[str, Tensor]) -> None:
    """What both judges remember of the options."""
    judge.t = int(state["step"])
    if rule.cautious:
        judge.kept = int(state["kept"])
    if rule.update_rms is not None:
        judge.update_rms.rms = float(state["rms"])


def _options(rule: Any, judge: Any) -> dict[str, Tensor]:
    found = {": kept": torch.tensor(judge.kept)} if rule.cautious else {}
    if rule.update_rms is not None:
        found[": rms"] = torch.tensor(judge.update_rms.rms, dtype=torch.float32)
    return found


def _sm3(rule: Any, weights: Any, gradient: Any, state: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    judge = reference.SM3(
        alpha=rule.lr,
        beta1=rule.momentum,
        beta2=rule.beta2,
        variant=rule.variant,
        weight_decay=rule.weight_decay,
        cautious=rule.cautious,
        update_rms=rule.update_rms,
        maximize=rule.maximize,
        dtype=np.float32,
    )
    if int(state["step"]):
        _shared(rule, judge, state)
        judge.mu = [state[f"accumulator_{axis}"].numpy().copy() for axis in range(max(weights.ndim, 1))]
        judge.m = state["momentum"].numpy().copy() if rule.momentum else None
    moved = judge.step(weights, gradient)
    expected = {f": accumulator_{axis}": torch.from_numpy(mu) for axis, mu in enumerate(judge.mu)}
    if rule.momentum:
        expected[": momentum"] = torch.from_numpy(np.array(judge.m))
    return moved, expected | _options(rule, judge)


def _smmf(rule: Any, weights: Any, gradient: Any, state: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    judge = reference.SMMF(
        eta=rule.lr,
        beta=rule.beta,
        lam=rule.growth_rate,
        gamma=rule.decay_rate,
        eps=rule.eps,
        weight_decay=rule.weight_decay,
        published=rule.published,
        cautious=rule.cautious,
        update_rms=rule.update_rms,
        maximize=rule.maximize,
        dtype=np.float32,
    )
    numel, (rows, columns) = weights.size, near_square(weights.size, published=rule.published)
    if int(state["step"]):
        _shared(rule, judge, state)
        judge.r_v, judge.c_v = state["v_row"].numpy().copy(), state["v_col"].numpy().copy()
        if rule.beta is not None:
            judge.r_m, judge.c_m = state["m_row"].numpy().copy(), state["m_col"].numpy().copy()
            judge.S = np.zeros((rows, columns), np.bool_)
            judge.S.reshape(-1)[:numel] = read_signs(state["m_sign"], numel, 0, numel).numpy()
    moved = judge.step(weights, gradient)
    expected = {": v_row": torch.from_numpy(judge.r_v), ": v_col": torch.from_numpy(judge.c_v)}
    if rule.beta is not None:
        assert judge.r_m is not None
        assert judge.c_m is not None
        assert judge.S is not None
        signs = torch.zeros_like(state["m_sign"])
        if numel:
            write_signs_(signs, numel, 0, numel, torch.from_numpy(judge.S.reshape(-1)[:numel].copy()))
        expected |= {": m_row": torch.from_numpy(judge.r_m), ": m_col": torch.from_numpy(judge.c_m), ": m_sign": signs}
    return moved, expected | _options(rule, judge)
