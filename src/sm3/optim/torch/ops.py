"""The step as custom operators, `sm3::sm3_step` and `sm3::smmf_step`: what `torch.compile` puts into its graphs.

To a compiler each is opaque: it writes parameters and state and returns nothing. Inside runs the ordinary kernel of the
backend on the whole parameter list, all groups together, so that nothing is modified before everything is checked.

Only `compiled.py` needs them, and only while a step is traced: importing this file registers them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_fake

from sm3.optim.kernels.dispatch import count_steps, kernel_for
from sm3.optim.rules import RULES, Rule
from sm3.optim.torch import inputs

# Numbers are tensors because a schedule changes them, and a number in the graph would be compiled anew each time.
SCHEMA = """(
    Tensor(a!)[] params,
    Tensor[] grads,
    Tensor(b!)[] state,
    Tensor[] numbers,
    *,
    str[] layouts,
    str[] names,
    int[] indices,
    int[] sizes,
    str[] settings
) -> ()"""


@dataclass
class _Part:
    """One group."""

    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Tensor]]
    rule: Rule
    indices: list[int]
    names: list[str]


def _step(
    rule_name: str,
    params: Sequence[Tensor],  # of all groups, one group after another; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    state: Sequence[Tensor],  # all tensors of the first parameter's state, then of the second's; updated in place
    numbers: Sequence[Tensor],  # one element each: of each group the settings that `settings` lacks, in order
    *,
    layouts: Sequence[str],  # of each parameter: the names of its state tensors, with commas between
    names: Sequence[str],  # of each parameter, for messages
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    sizes: Sequence[int],  # how many of the parameters each group has
    settings: Sequence[str],  # of each group: the settings that are constants of the graph, as JSON
) -> None:
    """One step on every parameter. Settings, gradients and backends are refused before anything is modified."""
    tensors, values = iter(state), iter(numbers)
    parts = []
    start = 0
    for size, constants in zip(sizes, settings, strict=True):
        here = slice(start, start + size)
        states = [{name: next(tensors) for name in layout.split(",")} for layout in layouts[here]]
        rule = _rule(rule_name, constants, values)
        parts.append(_Part(list(params[here]), list(grads[here]), states, rule, list(indices[here]), list(names[here])))
        start += size
    kernels = [kernel_for(rule_name, part.rule.backend, part.params) for part in parts]
    if _may_step(parts):
        for part, kernel in zip(parts, kernels, strict=True):
            if part.states:
                count_steps([state["step"] for state in part.states])
            kernel(part.params, part.grads, part.states, part.rule, part.indices)


def _rule(rule_name: str, constants: str, values: Iterator[Tensor]) -> Rule:
    """The rule of a group, checked again at every step as in the ordinary one: a schedule may leave a range."""
    rule = RULES[rule_name]
    settings: dict[str, Any] = json.loads(constants)
    for hyper in rule.HYPERPARAMETERS:
        if hyper.name not in settings:
            number = next(values)
            settings[hyper.name] = number.item() if number.numel() == 1 else number
    return rule.of(rule.check(settings))


def _may_step(parts: Sequence[_Part]) -> bool:
    """Obey `nonfinite` as the ordinary step does: go on, leave the whole step undone, or raise."""
    for part in parts:
        if part.rule.nonfinite != "propagate" and not inputs.all_finite(part.grads):
            if part.rule.nonfinite == "error":
                raise inputs.refuse_nonfinite(part.names, part.grads)
            return False
    return True


def _fake(
    rule_name: str,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    state: Sequence[Tensor],
    numbers: Sequence[Tensor],
    *,
    layouts: Sequence[str],
    names: Sequence[str],
    indices: Sequence[int],
    sizes: Sequence[int],
    settings: Sequence[str],
) -> None:
    """What a compiler runs on tensors without data: nothing is returned, so only the lists are held together."""
    per_parameter = {len(params), len(grads), len(layouts), len(names), len(indices), sum(sizes)}
    of_state = sum(layout.count(",") + 1 for layout in layouts)
    of_numbers = sum(len(RULES[rule_name].HYPERPARAMETERS) - len(json.loads(constants)) for constants in settings)
    lengths = len(per_parameter), len(state), len(numbers), len(settings)
    assert lengths == (1, of_state, of_numbers, len(sizes)), "the lists of a compiled step do not belong together"


def _register(rule_name: str) -> Callable[..., None]:
    name = f"{rule_name.lower()}_step"
    custom_op(f"sm3::{name}", partial(_step, rule_name), mutates_args=("params", "state"), schema=SCHEMA)
    register_fake(f"sm3::{name}", partial(_fake, rule_name))
    operator: Callable[..., None] = getattr(torch.ops.sm3, name).default
    return operator


OPERATORS = {rule_name: _register(rule_name) for rule_name in RULES}
