"""A switch in the middle of a run: what is stored, what is said about it, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from cases import SHAPES, gradient_stream, parameters
from sm3 import SM3, SMMF, convert_adagrad_state, convert_adamw_state
from sm3.errors import CheckpointError, ParameterError, SettingError, SettingTypeError, StateMismatchError
from sm3.optim.rules import SMMFRule
from sm3.optim.rules.conversion import smmf_counter
from sm3.optim.torch.fold import unfold

DENSE = [(12, 20), (31,), (6, 3, 3, 3), (3, 67), (), (1,), (4099,), (70, 66)]


def trained(optimizer_class, shapes=DENSE, steps=7, *, dtype=torch.float32, names=False, gradient=None, **settings):
    """An optimizer that has stepped; gradients are those of the streams unless given."""
    params = parameters(shapes, dtype)
    given = [(f"layer{i}", param) for i, param in enumerate(params)] if names else params
    optimizer = optimizer_class(given, **settings)
    for step in range(steps):
        for number, param in enumerate(params):
            made = gradient_stream(tuple(param.shape), seed=number)(step) if gradient is None else gradient(param)
            param.grad = made.to(dtype)
        optimizer.step()
    return optimizer, params


def adamw(*args, **settings):
    return trained(torch.optim.AdamW, *args, **{"lr": 0.01, **settings})


def corrected(optimizer, param):
    """AdamW's bias-corrected means in float64."""
    state, (b1, b2) = optimizer.state[param], optimizer.param_groups[0]["betas"]
    steps = float(state["step"])
    return state["exp_avg"].double() / (1 - b1**steps), state["exp_avg_sq"].double() / (1 - b2**steps)


@pytest.mark.parametrize("published", [False, True])
def test_smmf_gets_the_row_and_column_sums_of_the_corrected_moments(published):
    """And every sign; unfolding gives back the sums, and the reported error is the distance of the unfolded."""
    old, params = adamw()
    conversion = convert_adamw_state(old, SMMF, published=published)
    for param, row in zip(params, conversion.parameters, strict=True):
        state = conversion.optimizer.state[param]
        first, second = corrected(old, param)
        back = unfold(state, param, published=published)
        for folded, exact, errors in zip(back, (first, second), (row.errors.first, row.errors.second), strict=True):
            # float32 factors: two roundings of 6e-8 each; a missing tail is cut off after unfolding
            assert tuple(param.shape) == (4099,) or float(folded.abs().double().sum()) == pytest.approx(
                float(exact.abs().sum()), rel=1e-6
            )
            distance = float(torch.linalg.vector_norm(folded.double() - exact) / torch.linalg.vector_norm(exact))
            assert errors.relative == pytest.approx(distance, rel=1e-4, abs=1e-6)
        assert torch.equal(back[0] > 0, first > 0)


@pytest.mark.parametrize("steps", [1, 6, 300])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_next_step_is_adamws_where_folding_loses_nothing(steps, weight_decay):
    """Moments of rank one and steady gradients of one sign pattern: the parameters agree to the counter's rounding."""
    whole = [shape for shape in DENSE if shape != (4099,)]  # a missing tail is zero, so ones have no rank one there
    rank_one = {shape: torch.ones(shape) for shape in whole}
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(16, 1, generator=generator), torch.randn(1, 15, generator=generator)
    rank_one[(12, 20)] = (rows @ columns).reshape(12, 20)  # SMMF sees 240 entries as 16 x 15

    def gradient(param):
        return rank_one[tuple(param.shape)]

    old, params = adamw(whole, steps=steps, gradient=gradient, weight_decay=weight_decay)
    conversion = convert_adamw_state(old, SMMF)
    assert conversion.first_error < 1e-6
    assert conversion.second_error < 1e-6
    assert conversion.update_ratio == pytest.approx(1.0, abs=1e-6)
    before = [param.detach().clone() for param in params]
    conversion.optimizer.step()
    ours = [param.detach().clone() for param in params]
    for param, value in zip(params, before, strict=True):
        param.data.copy_(value)
    old.step()
    for mine, param in zip(ours, params, strict=True):
        # A steady gradient is its own mean whatever the decay; float32 rounding of moments, roots and factors.
        torch.testing.assert_close(mine, param.detach(), rtol=3e-6, atol=3e-7)


def test_decays_follow_adamw_so_that_a_new_gradient_weighs_as_much():
    """The same, and then another gradient: 1 - t^-0.5 against the corrected decay, a half counter apart at most."""
    old, (param,) = adamw([(16,)], steps=60, gradient=lambda p: torch.ones_like(p), betas=(0.9, 0.95))
    conversion = convert_adamw_state(old, SMMF, growth_rate=1.0)
    before = param.detach().clone()
    param.grad = torch.full_like(param, -3.0)
    conversion.optimizer.step()
    ours = param.detach() - before
    param.data.copy_(before)
    old.step()
    theirs = param.detach() - before * (1 - 0.01 * 0.01)
    # V = c + (1 - c) 9 with c = 0.953: the counter (near 450) moves c by 5e-5, V by 3e-4 relative; growth_rate=1 makes
    # the first decay 0.9, AdamW's is 0.9 - 2e-4 after 60 steps, and M = 0.9 - 0.3 = 0.6 moves by 4 * 2e-4.
    torch.testing.assert_close(ours + before * 0.01 * 0.01, theirs, rtol=3e-3, atol=1e-7)


def test_settings_and_groups_are_carried_over_and_the_learning_rate_is_said():
    """Per group; a scheduler's memory survives; what the user gives wins everywhere."""
    params = parameters([(4, 4), (5,)])
    groups = [{"params": [params[0]], "lr": 0.02, "weight_decay": 0.3}, {"params": [params[1]]}]
    old = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6, maximize=True, weight_decay=0.0)
    torch.optim.lr_scheduler.StepLR(old, 10)
    conversion = convert_adamw_state(old)
    first, second = conversion.optimizer.param_groups
    assert (first["lr"], first["weight_decay"], first["initial_lr"]) == (0.02, 0.3, 0.02)
    assert (second["lr"], second["beta"], second["growth_rate"], second["eps"]) == (0.01, 0.8, 0.999, 1e-6)
    assert first["maximize"] is True
    assert "lr=0.02" in str(conversion)
    given = convert_adamw_state(old, lr=0.5, growth_rate=0.99, weight_decay=0.1).optimizer
    assert [group["lr"] for group in given.param_groups] == [0.5, 0.5]
    assert {group["growth_rate"] for group in given.param_groups} == {0.99}
    with pytest.raises(TypeError, match="grwoth"):
        convert_adamw_state(old, grwoth_rate=0.9)


def test_a_tensor_learning_rate_is_copied():
    """The old optimizer's scheduler must not move it."""
    param = parameters([(3,)])[0]
    old = torch.optim.AdamW([param], lr=torch.tensor(0.25))
    new = convert_adamw_state(old).optimizer
    old.param_groups[0]["lr"].fill_(9.0)
    assert float(new.param_groups[0]["lr"]) == 0.25


def test_parameters_that_never_stepped_stay_so_and_the_others_keep_their_own_counters():
    """Nothing is invented for them; unfreezing later starts at step 1."""
    params = parameters([(4, 4), (5,), (6,)])
    old = torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.95))
    for step in range(8):
        params[0].grad = torch.ones(4, 4)
        params[2].grad = torch.ones(6) if step >= 5 else None
        old.step()
    conversion = convert_adamw_state(old)
    assert [row.taken for row in conversion.parameters] == [8, 0, 3]
    assert conversion.optimizer.state.get(params[1], {}) == {}
    assert conversion.parameters[1].errors is None
    rule = SMMFRule()
    expected = [smmf_counter(rule, (0.9, 0.95), taken) for taken in (8, 3)]
    assert [int(conversion.optimizer.state[params[i]]["step"]) for i in (0, 2)] == expected
    assert "1 never stepped" in str(conversion)
    params[1].grad = torch.ones(5)
    conversion.optimizer.step()
    assert int(conversion.optimizer.state[params[1]]["step"]) == 1


def test_a_state_dict_is_matched_by_name_in_any_order_and_by_position_without_names():
    """Wrappers' prefixes do not count; frozen parameters may be more."""
    old, params = adamw([(4, 4), (5,)], names=True)
    saved = old.state_dict()
    alive = convert_adamw_state(old).optimizer
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    shuffled = [("module.layer1", params[1]), ("frozen", frozen), ("module.layer0", params[0])]
    for given in (shuffled, params):
        new = convert_adamw_state(saved, params=given).optimizer
        for param in params:
            for name, tensor in alive.state[param].items():
                assert torch.equal(new.state[param][name], tensor), name
        assert frozen not in new.state


def test_a_state_dict_with_names_in_place_of_numbers_is_read():
    """As torch.distributed.checkpoint.state_dict gives it."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    old = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.ones(2, 4)).sum().backward()
    old.step()
    saved = get_optimizer_state_dict(model, old)
    named = reversed(list(model.named_parameters()))
    new, alive = convert_adamw_state(saved, params=named).optimizer, convert_adamw_state(old).optimizer
    for param in model.parameters():
        assert torch.equal(new.state[param]["v_row"], alive.state[param]["v_row"])


def test_a_saved_file_is_read_at_its_top_and_under_a_key(tmp_path):
    """And a file without a state dict, or with several, is refused with what is in it."""
    old, params = adamw([(4, 4)])
    for number, content in enumerate((old.state_dict(), {"epoch": 3, "optimizer": old.state_dict(), "model": {}})):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        assert int(convert_adamw_state(path, params=params).optimizer.state[params[0]]["step"]) > 0
    torch.save({"model": {}}, tmp_path / "none.pt")
    torch.save({"a": old.state_dict(), "b": old.state_dict()}, tmp_path / "two.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "0.pt").read_bytes()[:100])
    for name, said in (("none", "model"), ("two", "'a', 'b'"), ("torn", "Error"), ("missing", "No such file")):
        with pytest.raises(CheckpointError, match=said):
            convert_adamw_state(tmp_path / f"{name}.pt", params=params)


def test_other_parameters_are_refused_before_anything_is_built():
    """Too few, other names, other shapes, no parameters at all."""
    old, params = adamw([(4, 4), (5,)], names=True)
    saved = old.state_dict()
    with pytest.raises(StateMismatchError, match="1 parameters"):
        convert_adamw_state(saved, params=params[:1])
    with pytest.raises(StateMismatchError, match="missing \\['layer0'\\], unknown \\['other'\\]"):
        convert_adamw_state(saved, params=[("other", params[0]), ("layer1", params[1])])
    with pytest.raises(StateMismatchError, match=r"exp_avg of shape \(4, 4\)"):
        convert_adamw_state(saved, params=params[::-1])
    with pytest.raises(SettingTypeError, match="params=None"):
        convert_adamw_state(saved)
    with pytest.raises(ParameterError, match="a str"):
        convert_adamw_state(saved, params=["layer0", "layer1"])


def test_what_cannot_be_converted_is_said_with_the_way_out():
    """Other pairs, coupled decay, SM3 as a sum, a decaying Adagrad, an object that is no optimizer."""
    params = parameters([(4, 4)])
    sgd, adam = torch.optim.SGD(params, lr=0.1), torch.optim.Adam(params, weight_decay=0.1)
    old = torch.optim.AdamW(params)
    with pytest.raises(SettingTypeError, match="SGD to SMMF"):
        convert_adamw_state(sgd)
    with pytest.raises(SettingTypeError, match="AdamW to AdamW"):
        convert_adamw_state(old, torch.optim.AdamW)
    with pytest.raises(SettingError, match=r"weight_decay=0\.1"):
        convert_adamw_state(adam)
    assert convert_adamw_state(adam, weight_decay=0.0).optimizer.param_groups[0]["weight_decay"] == 0.0
    with pytest.raises(SettingError, match="sum of squares"):
        convert_adamw_state(old, SM3, beta2=None)
    with pytest.raises(SettingTypeError, match="a list"):
        convert_adamw_state(params)
    with pytest.raises(SettingTypeError, match="AdamW to SM3"):
        convert_adagrad_state(old)
    with pytest.raises(SettingError, match=r"lr_decay=0\.1"):
        convert_adagrad_state(torch.optim.Adagrad(params, lr_decay=0.1))
    with pytest.raises(SettingError, match=r"beta2=0\.9"):
        convert_adagrad_state(torch.optim.Adagrad(params), beta2=0.9)
    with pytest.raises(SettingError, match=r"weight_decay=0\.1"):
        convert_adagrad_state(torch.optim.Adagrad(params, weight_decay=0.1))


def test_amsgrad_goes_on_with_the_largest_second_moment():
    """It is what AdamW divides by."""
    old, (param,) = adamw([(4, 4)], amsgrad=True)
    largest = old.state[param]["max_exp_avg_sq"].double() / (1 - 0.999**7)
    assert not torch.equal(old.state[param]["max_exp_avg_sq"], old.state[param]["exp_avg_sq"])
    back = unfold(convert_adamw_state(old).optimizer.state[param], param, published=False)[1]
    torch.testing.assert_close(back.double().sum(1), largest.sum(1), rtol=1e-6, atol=0)


def test_options_with_state_of_their_own_begin_neutrally():
    """A mask that kept everything, a length that was not measured yet: the first step is not enlarged."""
    old, (param,) = adamw([(8, 8)], gradient=lambda p: torch.ones_like(p), steps=20)
    plain, cautious = (convert_adamw_state(old, weight_decay=0.0, **more) for more in ({}, {"cautious": True}))
    start, moved = param.detach().clone(), []
    for conversion in (plain, cautious):
        param.data.copy_(start)
        conversion.optimizer.step()
        moved.append(param.detach().clone())
    assert torch.equal(*moved)  # every momentum agrees with its gradient here
    assert convert_adamw_state(old, update_rms=0.2).optimizer.state[param]["rms"] == 0.0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("to", [SMMF, SM3])
def test_every_shape_is_converted_and_steps_on(shape, to):
    """The state is exactly what the rule declares, and loads into a fresh optimizer."""
    old, (param,) = adamw([shape])
    new = convert_adamw_state(old, to).optimizer
    assert sum(tensor.nbytes for tensor in new.state[param].values()) == new.state_bytes()
    to([param], **({"momentum": 0.9} if to is SM3 else {})).load_state_dict(new.state_dict())
    new.step()
    assert torch.isfinite(param).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_get_the_dtype_of_state_that_the_rule_declares(dtype):
    """bfloat16 moments become float32 factors, float64 ones float64."""
    old, (param,) = adamw([(8, 8)], dtype=dtype)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert convert_adamw_state(old).optimizer.state[param]["v_row"].dtype == wanted
    assert convert_adamw_state(old, SM3).optimizer.state[param]["accumulator_1"].dtype == wanted


def test_nothing_of_the_old_optimizer_or_the_parameters_is_touched():
    """Converted state is its own memory."""
    old, params = adamw()
    before = [param.detach().clone() for param in params]
    kept = {key: {k: v.clone() for k, v in entry.items()} for key, entry in old.state_dict()["state"].items()}
    new = convert_adamw_state(old).optimizer
    assert all(torch.equal(a, b) for a, b in zip(before, params, strict=True))
    new.step()
    for key, entry in old.state_dict()["state"].items():
        assert all(torch.equal(entry[name], kept[key][name]) for name in entry)


def test_there_and_back_gives_adamw_its_moments_within_the_error_of_the_folding():
    """Steps and corrections return too: the next AdamW step is as long as it was."""
    old, params = adamw(steps=40, betas=(0.9, 0.99))
    new = convert_adamw_state(old, growth_rate=1.0)
    back = convert_adamw_state(new.optimizer, torch.optim.AdamW, betas=(0.9, 0.99)).optimizer
    assert isinstance(back, torch.optim.AdamW)
    for param, row in zip(params, new.parameters, strict=True):
        assert float(back.state[param]["step"]) == 40.0
        for key, errors in (("exp_avg", row.errors.first), ("exp_avg_sq", row.errors.second)):
            was, is_ = old.state[param][key].double(), back.state[param][key].double()
            distance = float(torch.linalg.vector_norm(is_ - was) / torch.linalg.vector_norm(was))
            assert distance == pytest.approx(errors.relative, rel=1e-3, abs=1e-6)
    back.step()
    assert convert_adamw_state(new.optimizer, torch.optim.AdamW).optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_adamw_from_smmf_without_first_moment_starts_it_at_zero():
    """There is none to give."""
    old, (param,) = trained(SMMF, [(6, 6)], beta=None)
    state = convert_adamw_state(old, torch.optim.AdamW).optimizer.state[param]
    assert not state["exp_avg"].any()
    assert (state["exp_avg_sq"] > 0).all()


def test_sm3_bounds_the_second_moment_and_keeps_the_last_update():
    """accumulator_a[k] is the largest of its slice; vectors lose nothing; momentum is m^ / (sqrt(v^) + eps)."""
    old, params = adamw(betas=(0.9, 0.95))
    conversion = convert_adamw_state(old, SM3)
    for param, row in zip(params, conversion.parameters, strict=True):
        first, second = corrected(old, param)
        state = conversion.optimizer.state[param]
        for axis in range(param.dim()):
            rest = [dim for dim in range(param.dim()) if dim != axis]
            torch.testing.assert_close(
                state[f"accumulator_{axis}"].double(), second.amax(rest) if rest else second, rtol=1e-7, atol=0
            )
        torch.testing.assert_close(state["momentum"].double(), first / (second.sqrt() + 1e-8), rtol=1e-6, atol=1e-12)
        assert (row.errors.second.relative < 1e-6) == (sum(n > 1 for n in param.shape) <= 1)
    assert conversion.optimizer.param_groups[0]["beta2"] == 0.95
    assert conversion.update_ratio < 1.0  # the bound is above the moment, so later steps are shorter
    assert "beta2=0.95" in str(conversion)


def test_adagrad_goes_on_exactly_for_vectors_and_is_bounded_elsewhere():
    """SM3 without momentum is Adagrad on a vector: the next step is the same to rounding and eps."""
    params = parameters([(9,), (4, 6), ()])
    old = torch.optim.Adagrad(params, lr=0.1, initial_accumulator_value=0.1)
    for step in range(5):
        for number, param in enumerate(params):
            param.grad = gradient_stream(tuple(param.shape), seed=number)(step).float()
        old.step()
    conversion = convert_adagrad_state(old)
    total = old.state[params[1]]["sum"]
    state = conversion.optimizer.state[params[1]]
    assert torch.equal(state["accumulator_0"], total.amax(1))
    assert torch.equal(state["accumulator_1"], total.amax(0))
    assert conversion.parameters[0].errors.second.relative == 0.0
    before = [param.detach().clone() for param in params]
    conversion.optimizer.step()
    ours = [param.detach().clone() for param in params]
    for param, value in zip(params, before, strict=True):
        param.data.copy_(value)
    old.step()
    for index in (0, 2):
        torch.testing.assert_close(ours[index], params[index].detach(), rtol=1e-6, atol=1e-7)
    bounded = (ours[1] - before[1]).abs() <= (params[1].detach() - before[1]).abs() + 1e-7
    assert bounded.all()


def test_the_report_holds_a_row_per_parameter_and_json_can_hold_it():
    """Errors in all are those of all squares together, not a mean of ratios."""
    import json

    old, _ = adamw(names=True)
    conversion = convert_adamw_state(old)
    rows = json.loads(json.dumps(conversion.rows()))
    assert [row["name"] for row in rows] == [repr(f"layer{i}") for i in range(len(DENSE))]
    squares = sum(row.errors.second.squares for row in conversion.parameters)
    of = sum(row.errors.second.of for row in conversion.parameters)
    assert conversion.second_error == pytest.approx(math.sqrt(squares / of))
    assert f"{conversion.second_error:.2g}" in str(conversion)
    assert "layer" in str(conversion)
    assert "and 3 more" in str(conversion)
