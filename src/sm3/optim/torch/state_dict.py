"""Loading a state dict: lossless, cloned, and validated against the rule before anything is touched.

PyTorch's own loader casts every state tensor to the parameter's dtype (bfloat16 weights turn float32 factors into
bfloat16), takes wrong shapes, and keeps the dict's tensors. This one checks names, shapes and dtypes against
`rule.state` first, then takes copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sm3.errors import Sm3Error, StateMismatchError, explain
from sm3.optim.rules import Rule
from sm3.optim.torch import inputs
from sm3.optim.torch.boxes import Box
from sm3.optim.torch.state import place_of, placed_copy

if TYPE_CHECKING:
    from sm3.optim.torch.loop import RuleOptimizer

# Version of the state's layout, stored in every parameter group. 1: first release.
VERSION = 1

# Parts of a parameter's name that come from wrappers (DDP, torch.compile, FSDP) and say nothing about the parameter.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module")


def cloned(state: dict[str, Any]) -> dict[str, Any]:
    """The dict with copies of all tensors, so that it does not change when the optimizer steps."""
    copies = {
        key: {name: value.clone() if isinstance(value, Tensor) else value for name, value in entry.items()}
        for key, entry in state["state"].items()
    }
    groups = [
        {k: v.clone() if isinstance(v, Tensor) else v for k, v in group.items()} for group in state["param_groups"]
    ]
    return {**state, "state": copies, "param_groups": groups}


def load_(optimizer: RuleOptimizer, state_dict: Any) -> None:
    """Validate, then replace settings and state. Hooks registered on the optimizer run as in PyTorch."""
    for before in optimizer._optimizer_load_state_dict_pre_hooks.values():
        replacement = before(optimizer, dict(state_dict))
        state_dict = state_dict if replacement is None else replacement
    groups, parameter_of = _match_groups(optimizer, state_dict)
    state: dict[Any, dict[str, Tensor]] = {}
    for index, entry in state_dict["state"].items():
        if index not in parameter_of:
            raise _mismatch(
                "a state belongs to no parameter.", f"state of parameter {index!r}", "the groups' own indices"
            )
        param, name, rule = parameter_of[index]
        state[param] = _validated(entry, name, param, rule, optimizer._box(name, param))
    optimizer.__setstate__({"state": _default(optimizer, state), "param_groups": groups})
    for after in optimizer._optimizer_load_state_dict_post_hooks.values():
        after(optimizer)


def _default(optimizer: RuleOptimizer, state: dict[Any, dict[str, Tensor]]) -> Any:
    fresh = type(optimizer.state)(
        dict
    )  # the mapping type PyTorch keeps state in: a missing parameter has an empty state
    fresh.update(state)
    return fresh


def _match_groups(
    optimizer: RuleOptimizer, state_dict: Any
) -> tuple[list[dict[str, Any]], dict[Any, tuple[Tensor, str, Rule]]]:
    """New groups (saved settings, our parameters), and for each saved index its parameter, name and rule."""
    saved_groups = _saved_groups(state_dict)
    if len(saved_groups) != len(optimizer.param_groups):
        raise _mismatch(
            "the number of parameter groups differs.",
            f"{len(saved_groups)} groups",
            f"{len(optimizer.param_groups)} groups, as this optimizer has",
        )
    groups, parameter_of = [], {}
    for number, (saved, own) in enumerate(zip(saved_groups, optimizer.param_groups, strict=True)):
        if len(saved["params"]) != len(own["params"]):
            raise _mismatch(
                f"group {number} has another number of parameters.",
                f"{len(saved['params'])} parameters",
                f"{len(own['params'])} parameters, as this optimizer has",
            )
        group = _group_settings(optimizer.RULE, saved, own, number)
        rule = optimizer._rule(group)
        for position, saved_position in enumerate(_order(saved, own)):
            name = inputs.parameter_name(own, position, number)
            parameter_of[saved["params"][saved_position]] = (own["params"][position], name, rule)
        groups.append(group)
    return groups, parameter_of


def _saved_groups(state_dict: Any) -> Sequence[Mapping[str, Any]]:
    """The saved groups, if the dict has the form of a state dict at all."""
    well_formed = (
        isinstance(state_dict, Mapping)
        and isinstance(state_dict.get("state"), Mapping)
        and isinstance(state_dict.get("param_groups"), list | tuple)
        and all(isinstance(group, Mapping) and "params" in group for group in state_dict["param_groups"])
    )
    if not well_formed:
        got = (
            f"keys {sorted(map(str, state_dict))[:6]}"
            if isinstance(state_dict, Mapping)
            else f"a {type(state_dict).__name__}"
        )
        raise _mismatch("this is not an optimizer's state dict.", got, "a dict with 'state' and 'param_groups'")
    groups: Sequence[Mapping[str, Any]] = state_dict["param_groups"]
    return groups


def _group_settings(rule: type[Rule], saved: Mapping[str, Any], own: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Saved settings checked by the rule; settings an older version did not save are those of the optimizer."""
    if saved.get("optimizer", rule.NAME) != rule.NAME:
        raise _mismatch(f"group {number} was saved by another optimizer.", repr(saved["optimizer"]), repr(rule.NAME))
    version = saved.get("state_version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise _mismatch(
            f"group {number} was saved by a newer sm3.",
            f"state version {version}",
            f"versions up to {VERSION}",
            "upgrade sm3",
        )
    settings = {**own, **saved, "optimizer": rule.NAME, "state_version": VERSION}
    try:
        checked = inputs.check_settings(rule, settings)
    except Sm3Error as error:
        raise StateMismatchError(f"the settings of group {number} are not accepted: {error}") from error
    values = {key: deepcopy(value) for key, value in settings.items() if key not in ("params", "param_names")}
    lr = values["lr"]
    group = {**values, **checked, "lr": lr if isinstance(lr, Tensor) else checked["lr"], "params": own["params"]}
    # Names are the model's, not the checkpoint's: ours where we have them.
    names = own.get("param_names", saved.get("param_names"))
    return group if names is None else {**group, "param_names": list(names)}


def _order(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[int]:
    """For each of our parameters, its place in the saved group: by name where both have the same names, else as is."""
    places = list(range(len(own["params"])))
    if "param_names" not in saved or "param_names" not in own:
        return places
    theirs, ours = [bare_name(name) for name in saved["param_names"]], [bare_name(name) for name in own["param_names"]]
    if theirs == ours or set(theirs) != set(ours) or len(set(ours)) != len(ours):
        return places  # a renamed model is matched by position, as in PyTorch; shapes are still checked
    return [theirs.index(name) for name in ours]


def bare_name(name: str) -> str:
    """The name without the parts that wrappers put in."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _validated(entry: Any, name: str, param: Tensor, rule: Rule, box: Box | None) -> dict[str, Tensor]:
    """Copies of the state of one parameter, where it belongs, if it is exactly what the rule declares."""
    declared = {tensor.name: tensor for tensor in rule.state(tuple(param.shape), inputs.dtype_name(param))}
    what = f"cannot load the state of parameter {name}."
    if not isinstance(entry, Mapping) or set(entry) != set(declared):
        got = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
        raise _mismatch(what, got, f"{list(declared)}, the state of {rule.NAME} with these settings")
    loaded = {}
    for key, tensor in declared.items():
        value = _as_step(entry[key]) if key == "step" else entry[key]
        owner = f"the parameter is {tuple(param.shape)}, {inputs.dtype_name(param)}"
        expected = f"{key} of shape {tensor.shape}, {tensor.dtype}: {owner}"
        if not isinstance(value, Tensor):
            raise _mismatch(what, f"{key} is a {type(value).__name__}", expected)
        if tuple(value.shape) != tensor.shape or inputs.dtype_name(value) != tensor.dtype:
            raise _mismatch(what, f"{key} of shape {tuple(value.shape)}, {inputs.dtype_name(value)}", expected)
        loaded[key] = placed_copy(value.detach(), tensor, place_of(tensor, param), box)
    return loaded


def _as_step(value: Any) -> Any:
    """Steps counted as a Python number or in a float tensor (other loaders do so) are the same count."""
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        return value
    if isinstance(value, Tensor) and value.numel() != 1:
        return value
    count = float(value)
    return torch.tensor(int(count)) if count >= 0 and count.is_integer() else value


def _mismatch(happened: str, got: object, accepted: str, do: str = "") -> StateMismatchError:
    do = do or "nothing was changed: load it into the optimizer and model it was saved from"
    return StateMismatchError(explain(happened, got=got, accepted=accepted, do=do))
