"""Every bad argument gives one error with four parts, and nothing is built or changed."""

from __future__ import annotations

import dataclasses
import inspect
from decimal import Decimal

import numpy as np
import pytest
import torch

from cases import CASES, everything, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import SettingError, SettingTypeError
from sm3.optim.rules import RULES

BAD = [
    pytest.param(optimizer, hyper.name, value, id=f"{optimizer.__name__}-{hyper.name}-{number}")
    for optimizer in (SM3, SMMF)
    for hyper in optimizer.RULE.HYPERPARAMETERS
    for number, value in enumerate(hyper.bad_values())
]


def assert_explains(message: str, *words: str) -> None:
    """What happened, what was given, what is accepted, what to do."""
    lines = message.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["got", "accepted", "do"]
    for word in words:
        assert word in message


@pytest.mark.parametrize(("optimizer", "name", "value"), BAD)
def test_a_bad_value_is_refused_by_the_constructor(optimizer, name, value):
    """The message names the argument, shows the value, says what is accepted and what to do."""
    with pytest.raises(SettingError) as caught:
        optimizer(parameters([(3,)]), **{name: value})
    assert_explains(str(caught.value), name)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("optimizer", "name", "value"), BAD)
def test_a_bad_value_in_a_group_is_refused_and_the_group_is_not_added(optimizer, name, value):
    """add_param_group checks by the same ranges."""
    first, second = parameters([(3,), (4,)])
    built = optimizer([first])
    with pytest.raises(SettingError):
        built.add_param_group({"params": [second], name: value})
    assert len(built.param_groups) == 1
    built.add_param_group({"params": [second]})
    assert len(built.param_groups) == 2


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_lr_accepts_numbers_of_other_libraries_and_keeps_a_float(optimizer):
    """A NumPy scalar in a state dict cannot be loaded with weights_only=True, so it is converted."""
    for lr in (np.float64(0.25), np.float32(0.25), 1, np.int64(1), torch.tensor(0.25)):
        built = optimizer(parameters([(3,)]), lr=lr)
        assert float(built.param_groups[0]["lr"]) == float(lr)
        assert isinstance(built.param_groups[0]["lr"], float | torch.Tensor)


@pytest.mark.parametrize(
    "lr", [Decimal("0.1"), torch.tensor([0.1, 0.2]), torch.tensor(-0.1), torch.tensor(float("nan"))]
)
@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_a_learning_rate_that_is_not_one_number_is_refused(optimizer, lr):
    """Decimals, vectors, negative and NaN tensors."""
    with pytest.raises(SettingError):
        optimizer(parameters([(3,)]), lr=lr)


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_an_unknown_argument_is_a_type_error(optimizer):
    """There is no **kwargs that would swallow a typo."""
    with pytest.raises(TypeError, match="weight_decy"):
        optimizer(parameters([(3,)]), weight_decy=0.1)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (SM3, {"cautious": True, "momentum": 0.0}),
        (SMMF, {"cautious": True, "beta": None}),
        (SMMF, {"cautious": True, "published": True}),
        (SMMF, {"update_rms": 0.2, "published": True}),
    ],
)
def test_settings_that_contradict_each_other_are_refused(optimizer, settings):
    """cautious needs a first moment, and published promises the authors' trajectory."""
    with pytest.raises(SettingError, match="cannot go together") as caught:
        optimizer(parameters([(3,)]), **settings)
    assert_explains(str(caught.value))


def test_a_type_error_of_ours_is_a_builtin_type_error():
    """Code that never heard of sm3 catches it."""
    with pytest.raises(TypeError) as caught:
        SM3(parameters([(3,)]), lr="0.1")
    assert isinstance(caught.value, SettingTypeError)


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_signature_rule_and_range_state_the_same_defaults(optimizer):
    """A default is written in the signature, the rule's field and its range; they may not drift apart."""
    signature = {
        name: parameter.default
        for name, parameter in inspect.signature(optimizer).parameters.items()
        if name not in ("self", "params")
    }
    fields = {field.name: field.default for field in dataclasses.fields(optimizer.RULE)}
    assert signature == optimizer.RULE.defaults()
    assert signature == fields
    assert list(RULES) == ["SM3", "SMMF"]


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_every_argument_is_documented(optimizer):
    """The class docstring has an entry per argument."""
    for name in inspect.signature(optimizer).parameters:
        assert f"\n    {name} : " in optimizer.__doc__


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_setting_spoiled_later_stops_the_step_before_anything_moves(case):
    """A scheduler that writes NaN into a group is found at the step."""
    params = parameters([(3, 4)])
    optimizer = case.make(params)
    set_gradients(params, 0)
    optimizer.step()
    before = everything(optimizer)
    optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(SettingError):
        optimizer.step()
    assert same(before, everything(optimizer))
