"""What the new optimizer gets, one pair of optimizers at a time: settings of a group, state of a parameter.

`rules/conversion.py` derives what is stored, `fold.py` folds it; here is which number goes where.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sm3.optim.rules import Rule, SM3Rule, SMMFRule
from sm3.optim.rules.conversion import adamw_counter, bias_correction, smmf_counter
from sm3.optim.torch.convert_source import Entry, Group
from sm3.optim.torch.fold import Errors, Moments, cover, fold, unfold
from sm3.optim.torch.inputs import dtype_name

_ADAMW_BETA2 = 0.999  # PyTorch's default, where SMMF is converted back and no betas are given

# state tensors, and what was lost between the old ones and them
Converted = tuple[dict[str, Tensor], Errors]


def steps(entry: Entry) -> int:
    """How often the parameter was stepped; 0 where it has no state."""
    return int(entry.state["step"]) if "step" in entry.state else 0


def smmf_settings(group: Group) -> dict[str, Any]:
    return {**_shared(group), "beta": float(group.settings["betas"][0]), "eps": group.settings["eps"]}


def sm3_settings(group: Group) -> dict[str, Any]:
    momentum, beta2 = map(float, group.settings["betas"])
    return {**_shared(group), "momentum": momentum, "beta2": beta2}


def sm3_settings_from_adagrad(group: Group) -> dict[str, Any]:
    return {**_shared(group), "momentum": 0.0}


def adamw_settings(group: Group) -> dict[str, Any]:
    beta = group.settings["beta"]
    return {**_shared(group), "betas": (0.9 if beta is None else beta, _ADAMW_BETA2), "eps": group.settings["eps"]}


def _shared(group: Group) -> dict[str, Any]:
    return {key: group.settings[key] for key in ("lr", "weight_decay", "maximize") if key in group.settings}


def _moments(group: Group, entry: Entry) -> tuple[Moments, tuple[float, float], int]:
    """AdamW's moments of a parameter where the parameter is, with their corrections; its betas and steps."""
    betas = float(group.settings["betas"][0]), float(group.settings["betas"][1])
    taken, device = steps(entry), entry.param.device
    # With amsgrad the update divides by the largest second moment so far; that is what has to go on.
    second = entry.state.get("max_exp_avg_sq", entry.state["exp_avg_sq"])
    moments = Moments(
        entry.state["exp_avg"].to(device),
        second.to(device),
        1.0 / bias_correction(betas[0], taken),
        1.0 / bias_correction(betas[1], taken),
        float(group.settings["eps"]),
    )
    return moments, betas, taken


def smmf_from_adamw(new: dict[str, Any], group: Group, entry: Entry) -> Converted:
    """Factors and signs of the corrected moments, and the counter at which SMMF decays as AdamW does."""
    rule = SMMFRule.of(SMMFRule.check(new))
    moments, betas, taken = _moments(group, entry)
    state = _allocated(rule, entry.param)
    stored, errors = fold(moments, state["v_row"].dtype, published=rule.published, with_first=rule.beta is not None)
    state |= stored
    state["step"] = torch.tensor(smmf_counter(rule, betas, taken))
    return _as_if_running(state, entry.param), errors


def sm3_from_adamw(new: dict[str, Any], group: Group, entry: Entry) -> Converted:
    """Accumulators that bound the corrected second moment; momentum is AdamW's last update, corrected as it was."""
    rule = SM3Rule.of(SM3Rule.check(new))
    moments, _, taken = _moments(group, entry)
    state = _allocated(rule, entry.param)
    accumulators, bound, distance = cover(moments.second, moments.second_scale, state["accumulator_0"].dtype)
    errors = Errors(second=distance)
    state |= {f"accumulator_{axis}": vector for axis, vector in enumerate(accumulators)}
    first = moments.first.double() * moments.first_scale
    second = moments.second.double() * moments.second_scale
    update = torch.where(second > 0, first / (second.sqrt() + moments.eps), 0.0)
    if "momentum" in state:
        state["momentum"] = update.to(state["momentum"].dtype).contiguous()
    # How long steps will be once the new squares are those of the covers: the part that a new gradient adds.
    errors.update.add(torch.where(second > 0, first / bound.sqrt(), 0.0), update)
    state["step"] = torch.tensor(taken)
    return _as_if_running(state, entry.param), errors


def sm3_from_adagrad(new: dict[str, Any], _: Group, entry: Entry) -> Converted:
    """Accumulators that bound Adagrad's sum of squares."""
    rule = SM3Rule.of(SM3Rule.check(new))
    state = _allocated(rule, entry.param)
    total = entry.state["sum"].to(entry.param.device)
    accumulators, bound, distance = cover(total, 1.0, state["accumulator_0"].dtype)
    state |= {f"accumulator_{axis}": vector for axis, vector in enumerate(accumulators)}
    state["step"] = torch.tensor(steps(entry))
    errors = Errors(second=distance)
    # The same gradient, sqrt(sum) long in the mean, divided by the new root and by the old one.
    live = total.double() > 0
    errors.update.add(torch.where(live, (total.double() / bound).sqrt(), 0.0), live.double())
    return _as_if_running(state, entry.param), errors


def adamw_from_smmf(new: dict[str, Any], group: Group, entry: Entry) -> Converted:
    """The unfolded moments times AdamW's corrections at the step whose decays are nearest; nothing is lost here."""
    rule = SMMFRule.of({**SMMFRule.defaults(), **SMMFRule.check(group.settings)})
    param, stored = entry.param, {key: value.to(entry.param.device) for key, value in entry.state.items()}
    taken = adamw_counter(rule, float(new["betas"][1]), steps(entry))
    first, second = unfold(stored, param, published=rule.published)
    on_device = bool(new.get("capturable") or new.get("fused"))
    state = {
        "step": torch.tensor(float(taken), device=param.device if on_device else "cpu"),
        "exp_avg": first * bias_correction(float(new["betas"][0]), taken),
        "exp_avg_sq": second * bias_correction(float(new["betas"][1]), taken),
    }
    for key in ("exp_avg", "exp_avg_sq"):  # AdamW keeps them as the parameter is: dtype and strides
        state[key] = torch.empty_like(param).copy_(state[key])
    if new.get("amsgrad"):
        state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()
    return state, Errors()


def _allocated(rule: Rule, param: Tensor) -> dict[str, Tensor]:
    """All state that the rule declares, as zeros, where the optimizer would put it."""
    declared = rule.state(tuple(param.shape), dtype_name(param))
    return {
        tensor.name: torch.zeros(
            tensor.shape, dtype=getattr(torch, tensor.dtype), device="cpu" if tensor.name == "step" else param.device
        )
        for tensor in declared
    }


def _as_if_running(state: dict[str, Tensor], param: Tensor) -> dict[str, Tensor]:
    """The cautious mask divides by the fraction kept last: as if it had kept all, so that nothing is enlarged."""
    if "kept" in state:
        state["kept"].fill_(param.numel())
    return state
