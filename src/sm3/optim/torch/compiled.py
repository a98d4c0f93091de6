"""The step while `torch.compile` traces it: gather lists, create missing state, call the rule's custom operator.

`loop.py` imports this file inside the trace, so that an import of sm3 does not load PyTorch's compiler, which takes
seconds. Everything here is traced, except `create_state`, `_as_json` and the steps taken outside of the graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.compiler import assume_constant_result, disable

from sm3.optim.rules import RULES
from sm3.optim.rules.hyperparameters import Integer, Real
from sm3.optim.torch import inputs
from sm3.optim.torch.loop import RuleOptimizer
from sm3.optim.torch.ops import OPERATORS

# Of each rule: (name, whether it is a number) of every setting.
_SETTINGS = {
    name: tuple((hyper.name, isinstance(hyper, Real | Integer)) for hyper in rule.HYPERPARAMETERS)
    for name, rule in RULES.items()
}

# Runs for real while a step is traced, before the trace reads the state: PyTorch's own optimizers do the same there.
assume_constant_result(RuleOptimizer.create_state)  # type: ignore[no-untyped-call]
# And is not traced either where a trace has ended before it and goes on behind it.
_create = disable(RuleOptimizer._state_of, reason="state is created outside of the graph")  # type: ignore[no-untyped-call]
setattr(RuleOptimizer, "_state_of", _create)  # noqa: B010


def _outside_of_the_graph(reason: str) -> Callable[[RuleOptimizer], None]:
    """The ordinary step, before which a trace ends; with fullgraph=True that is an error, which says the reason."""

    def ordinary_step(optimizer: RuleOptimizer) -> None:
        with torch.no_grad():
            optimizer.step_now()

    step: Callable[[RuleOptimizer], None] = disable(ordinary_step, reason=reason)  # type: ignore[no-untyped-call]
    return step


_step_while_releasing = _outside_of_the_graph("gradients are released in backward; nothing is left for a graph to step")
_step_unusual = _outside_of_the_graph(
    "a parameter or its gradient is not a plain dense tensor, or the two differ in dtype, shape or device"
)
_step_shared = _outside_of_the_graph(
    "two groups share a tensor learning rate (give each a tensor of its own), or two parameters a gradient"
)
_step_after_a_look = _outside_of_the_graph("a hook read the optimizer's state before it was created; step once before")


def step_(optimizer: RuleOptimizer) -> None:
    """One step, as one node of the graph; where that cannot be, the ordinary step outside of the graph."""
    groups = [
        [(position, param, param.grad) for position, param in enumerate(group["params"]) if param.grad is not None]
        for group in optimizer.param_groups
    ]
    if optimizer._on_step is not None:
        _step_while_releasing(optimizer)
    elif not all(inputs.is_plain_pair(param, grad) for found in groups for _, param, grad in found):
        _step_unusual(optimizer)
    elif _shares_tensors(optimizer, groups):
        _step_shared(optimizer)
    elif any(groups):
        optimizer.create_state([(number, position) for number, found in enumerate(groups) for position, _, _ in found])
        if all(param in optimizer.state for found in groups for _, param, _ in found):
            _call_operator(optimizer, groups)
        else:
            _step_after_a_look(optimizer)


def _shares_tensors(optimizer: RuleOptimizer, groups: list[list[tuple[int, Tensor, Tensor]]]) -> bool:
    """Whether two gradients, or the learning rates of two groups, are one tensor.

    A graph is given that tensor once, and PyTorch does not guard that it stays shared where an optimizer holds it
    (`DUPLICATE_INPUT` in torch/_dynamo/guards.py): once there are two, one of them would not be read.
    """
    tensors = [grad for found in groups for _, _, grad in found]
    names = [name for name, _ in _SETTINGS[optimizer.RULE.NAME]]  # the order of a group's keys does not matter
    tensors += [group[name] for group in optimizer.param_groups for name in names if isinstance(group[name], Tensor)]
    return len(set(tensors)) < len(tensors)


def _call_operator(optimizer: RuleOptimizer, groups: list[list[tuple[int, Tensor, Tensor]]]) -> None:
    """Hand what has gradients, as (position, parameter, gradient) per group, to the rule's operator."""
    params: list[Tensor] = []
    grads: list[Tensor] = []
    state: list[Tensor] = []
    layouts, names, indices = [], [], []
    first = 0
    for number, found in enumerate(groups):
        group = optimizer.param_groups[number]
        for position, param, grad in found:
            own = optimizer.state[param]
            params.append(param)
            grads.append(grad)
            state.extend(own.values())
            layouts.append(",".join(own))
            names.append(inputs.parameter_name(group, position, number))
            indices.append(first + position)
        first += len(group["params"])
    settings = [_split(group, optimizer.RULE.NAME) for group in optimizer.param_groups]
    OPERATORS[optimizer.RULE.NAME](
        params,
        grads,
        state,
        [number for numbers, _ in settings for number in numbers],
        layouts=layouts,
        names=names,
        indices=indices,
        sizes=[len(found) for found in groups],
        settings=[constants for _, constants in settings],
    )


def _split(group: Mapping[str, Any], rule_name: str) -> tuple[list[Tensor], str]:
    """Numbers as tensors, because schedules change them and a constant would be compiled anew; the rest as JSON."""
    numbers: list[Tensor] = []
    constants: list[Any] = []
    for name, is_number in _SETTINGS[rule_name]:
        value = group[name]
        if is_number and isinstance(value, Tensor | np.ndarray | np.generic):
            numbers.append(torch.as_tensor(value))
        elif is_number and isinstance(value, float | int) and not isinstance(value, bool):
            if value == 0 and name != "lr":
                # A constant: without a momentum there is less state, so the graph is another.
                constants += [name, 0]
            else:
                # A product, because that form alone stays variable: PyTorch makes constants of all floats but operands
                # of elementwise arithmetic (torch/fx/passes/_tensorify_python_scalars.py). 1 * value is exact.
                dtype = torch.float64 if isinstance(value, float) else torch.int64
                numbers.append(torch.ones((), dtype=dtype, device="cpu") * value)
        else:
            constants += [name, value]
    return numbers, _as_json(*constants)


@assume_constant_result  # type: ignore[untyped-decorator]
def _as_json(*names_and_values: Any) -> str:
    """A pure function of constants, which the trace guards."""
    return json.dumps(dict(zip(names_and_values[::2], names_and_values[1::2], strict=True)))
