"""What may change between two steps. The loop and the kernels remember tensors and where they lie; each disturbance
here must leave the result of an optimizer that remembers nothing, because it is a copy made just before the step.
"""

from __future__ import annotations

import copy

import pytest
import torch

from cases import CASES, everything, parameters, same, set_gradients

SHAPES = [(5, 64), (31,), (), (8, 8), (6, 3, 3, 3)]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def new_gradients(optimizer, params):
    for param in params:
        param.grad = param.grad.clone()


def parameters_in_other_memory(optimizer, params):
    for param in params:
        param.data = param.data.clone()


def parameters_transposed_in_place(optimizer, params):
    """Same memory, same shape, other strides."""
    params[3].data = params[3].data.t()


def parameters_of_another_dtype(optimizer, params):
    for param in params:
        param.data, param.grad = param.data.bfloat16(), param.grad.bfloat16()


def state_in_other_memory(optimizer, params):
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.data = tensor.data.clone()


def state_replaced(optimizer, params):
    for state in optimizer.state.values():
        for name in state:
            state[name] = state[name].clone()


def state_loaded(optimizer, params):
    optimizer.load_state_dict(optimizer.state_dict())


def a_gradient_missing(optimizer, params):
    params[1].grad = None


def a_strided_gradient(optimizer, params):
    params[0].grad = params[0].grad.t().contiguous().t()


def a_group_reordered(optimizer, params):
    optimizer.param_groups[0]["params"].reverse()


def a_group_added(optimizer, params):
    late = torch.full((3, 4), 0.5).requires_grad_()  # of a Parameter, a deep copy leaves the gradient out
    late.grad = torch.ones(3, 4)
    optimizer.add_param_group({"params": [late]})


def another_learning_rate(optimizer, params):
    optimizer.param_groups[0]["lr"] *= 0.5


def another_rounding(optimizer, params):
    optimizer.param_groups[0]["rounding"] = "stochastic"


DISTURBANCES = [
    new_gradients,
    parameters_in_other_memory,
    parameters_transposed_in_place,
    parameters_of_another_dtype,
    state_in_other_memory,
    state_replaced,
    state_loaded,
    a_gradient_missing,
    a_strided_gradient,
    a_group_reordered,
    a_group_added,
    another_learning_rate,
    another_rounding,
]


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda function: function.__name__)
@EVERY_CASE
def test_nothing_remembered_outlives_its_truth(case, disturb):
    """After a disturbance, three more steps equal those of a copy of the optimizer, which has no memory."""
    params = parameters(SHAPES)
    optimizer = case.make(params)
    for step in range(2):
        set_gradients(params, step)
        optimizer.step()
    set_gradients(params, 2)
    disturb(optimizer, params)
    other = copy.deepcopy(optimizer)  # parameters, gradients and state with it
    for step in range(3):
        for one in (optimizer, other):
            of_all = [param for group in one.param_groups for param in group["params"]]
            if step:
                set_gradients(of_all, 2 + step)
            one.step()
        other = copy.deepcopy(other)
        mine, theirs = ([p.detach() for g in one.param_groups for p in g["params"]] for one in (optimizer, other))
        assert same(mine, theirs)
        assert same(everything(optimizer), everything(other))


def test_a_kernel_that_is_kept_reads_no_memory_that_was_freed():
    """The state moves away and its old memory is filled with other numbers; they must not be taken for the state."""
    (param,) = parameters([(64, 64)])
    optimizer = CASES[0].make([param])
    for step in range(2):
        set_gradients([param], step)
        optimizer.step()
    old = [tensor.data for tensor in optimizer.state[param].values()]
    state_in_other_memory(optimizer, [param])
    kept = copy.deepcopy(optimizer)
    for tensor in old:
        tensor.fill_(7)
    set_gradients([param], 3)
    optimizer.step()
    (other,) = kept.param_groups[0]["params"]
    set_gradients([other], 3)
    kept.step()
    assert same([param.detach()], [other.detach()])
    assert all(bool((tensor == 7).all()) for tensor in old)
