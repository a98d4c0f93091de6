"""What cannot be trained is refused by name, before anything is modified."""

from __future__ import annotations

import pytest
import torch

from cases import CASES, everything, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import GradientError, ParameterError

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def sparse_parameter():
    return torch.eye(3).to_sparse().requires_grad_()


UNTRAINABLE = {
    "complex": lambda: torch.zeros(3, dtype=torch.complex64, requires_grad=True),
    "integer": lambda: torch.zeros(3, dtype=torch.int64),
    "bool": lambda: torch.zeros(3, dtype=torch.bool),
    "sparse": sparse_parameter,
    "float8": lambda: torch.zeros(3).to(torch.float8_e4m3fn),
    "expanded": lambda: torch.zeros(1).expand(3).detach().requires_grad_(),
}


@EVERY_CASE
@pytest.mark.parametrize("make", UNTRAINABLE.values(), ids=UNTRAINABLE.keys())
def test_an_untrainable_parameter_is_refused_by_name(case, make):
    """One error with four parts; a group that holds it is not added."""
    good = parameters([(3,)])[0]
    optimizer = case.make([("good", good)])
    with pytest.raises(ParameterError, match=r"'bad\.weight'") as caught:
        optimizer.add_param_group({"params": [("bad.weight", make())]})
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:4]] == ["got", "accepted", "do"]
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ParameterError, match="0 of group 0"):
        case.make([make()])


@EVERY_CASE
def test_a_sparse_gradient_is_refused_before_anything_moves(case):
    """nn.Embedding(sparse=True): the message names the parameter and the way out."""
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    other = parameters([(3, 3)])[0]
    optimizer = case.make([("other", other), ("embedding.weight", embedding.weight)])
    set_gradients([other], 0)
    embedding(torch.tensor([1, 2])).sum().backward()
    before = everything(optimizer)
    with pytest.raises(GradientError, match=r"(?s)'embedding.weight' is sparse.*sparse=False"):
        optimizer.step()
    assert same(before, everything(optimizer))
    assert not optimizer.state


@EVERY_CASE
def test_a_gradient_of_another_shape_is_refused(case):
    """A parameter whose data was replaced after backward."""
    param = parameters([(3, 4)])[0]
    optimizer = case.make([param])
    param.grad = torch.ones(3, 4)
    param.data = torch.ones(2, 4)
    with pytest.raises(GradientError, match="does not fit"):
        optimizer.step()


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_a_meta_parameter_is_planned_but_not_stepped(optimizer):
    """state_bytes works on the meta device, a step says what to do."""
    param = torch.zeros(64, 32, device="meta", requires_grad=True)
    built = optimizer([param])
    real = optimizer([torch.zeros(64, 32, requires_grad=True)])
    assert built.state_bytes() == real.state_bytes()
    param.grad = torch.zeros(64, 32, device="meta")
    with pytest.raises(GradientError, match="to_empty"):
        built.step()


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
@pytest.mark.parametrize("params", [[], torch.zeros(3, requires_grad=True), {1, 2}, [1.0], ["weight"]], ids=repr)
def test_what_is_no_list_of_parameters_is_refused_as_in_pytorch(optimizer, params):
    """The base class checks these; we add nothing and take nothing away."""
    with pytest.raises((TypeError, ValueError)):
        optimizer(params)


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_the_same_parameter_in_two_groups_is_refused_and_twice_in_one_warns(optimizer):
    """As in PyTorch."""
    param = parameters([(3,)])[0]
    with pytest.raises(ValueError, match="more than one"):
        optimizer([{"params": [param]}, {"params": [param]}])
    with pytest.warns(UserWarning, match="duplicate"):
        optimizer([param, param])


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_a_parameter_that_fsdp1_has_flattened_is_refused(optimizer):
    """It has lost its shape; PyTorch marks it so. The real thing is refused in tests/distributed/test_fsdp.py."""
    param = torch.zeros(16, requires_grad=True)
    param._fsdp_flattened = True
    with pytest.raises(ParameterError, match=r"(?s)FullyShardedDataParallel.*fully_shard"):
        optimizer([param])


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_groups_of_another_optimizer_are_refused(optimizer):
    """A group that says it belongs to someone else."""
    from sm3.errors import SettingError

    other = SMMF if optimizer is SM3 else SM3
    groups = other(parameters([(3,)])).param_groups
    with pytest.raises(SettingError, match="belongs to another optimizer"):
        optimizer(groups)


@EVERY_CASE
def test_foreign_keys_of_schedulers_and_trainers_are_kept(case):
    """initial_lr, lr_scale, foreach, fused: not ours to judge."""
    param = parameters([(3,)])[0]
    optimizer = case.make([{"params": [param], "lr_scale": 0.5, "foreach": None, "fused": False}])
    set_gradients([param], 0)
    optimizer.step()
    assert optimizer.param_groups[0]["lr_scale"] == 0.5
    assert optimizer.state_dict()["param_groups"][0]["fused"] is False


@EVERY_CASE
def test_a_gradient_of_a_higher_precision_is_read_as_it_is(case):
    """float32 gradients on bfloat16 parameters, which recent PyTorch allows through `grad_dtype`."""
    param = parameters([(6, 4)], torch.bfloat16)[0]
    if not hasattr(param, "grad_dtype"):
        pytest.skip("this PyTorch has no grad_dtype")
    param.grad_dtype = torch.float32
    optimizer = case.make([param])
    param.grad = torch.full((6, 4), 1 + 2.0**-12)
    optimizer.step()
    name = "v_row" if "smmf" in case.name else "accumulator_0"
    assert (optimizer.state[param][name].double() != optimizer.state[param][name].round().double()).any()
