"""State dicts are lossless, independent copies, and validated before anything is touched."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from cases import CASES, DTYPES, SHAPES, everything, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import StateMismatchError

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
ALL_SHAPES = list(SHAPES.values())


def stepped(case, steps=3, dtype=torch.float32, shapes=ALL_SHAPES, **settings):
    params = parameters(shapes, dtype)
    optimizer = case.make(params, **settings)
    for step in range(steps):
        set_gradients(params, step, zeros=True)
        optimizer.step()
    return params, optimizer


def fresh(case, params, **settings):
    copies = [param.detach().clone().requires_grad_() for param in params]
    return copies, case.make(copies, **settings)


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_resume_at_every_step_is_bit_equal_to_no_interruption(case, dtype):
    """20 steps with stochastic rounding; at each step k a new optimizer takes over from a snapshot, for good."""
    settings = {"rounding": "stochastic", "seed": 7}
    shapes = [(), (5,), (3, 67), (6, 3, 3, 3), (31,)]
    straight, optimizer = stepped(case, 20, dtype, shapes, **settings)
    params = parameters(shapes, dtype)
    current = case.make(params, **settings)
    for step in range(20):
        set_gradients(params, step, zeros=True)
        current.step()
        snapshot = current.state_dict()
        params, current = fresh(case, params)
        current.load_state_dict(snapshot)
    assert same(everything(optimizer), everything(current))
    assert same([p.detach() for p in straight], [p.detach() for p in params])


@EVERY_CASE
def test_a_state_dict_is_a_snapshot(case):
    """Later steps change neither the dict nor, through it, another optimizer; loading does not change the dict."""
    params, optimizer = stepped(case)
    snapshot = optimizer.state_dict()
    before = copy.deepcopy(snapshot)
    copies, other = fresh(case, params)
    other.load_state_dict(snapshot)
    for group in (params, copies):
        set_gradients(group, 9)
    optimizer.step()
    other.step()
    for index, entry in before["state"].items():
        for name, tensor in entry.items():
            assert torch.equal(tensor, snapshot["state"][index][name])
            mine, theirs = optimizer.state[params[index]][name], other.state[copies[index]][name]
            if tensor.numel():
                assert len({t.data_ptr() for t in (mine, theirs, snapshot["state"][index][name])}) == 3


@EVERY_CASE
def test_it_passes_through_torch_save_with_weights_only(case):
    """Nothing in it needs unpickling of code."""
    params, optimizer = stepped(case)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    _, other = fresh(case, params)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert same(everything(optimizer), everything(other))


@EVERY_CASE
def test_a_never_stepped_optimizer_round_trips(case):
    """accelerate loads an optimizer's own empty state at preparation."""
    params, _ = fresh(case, parameters(ALL_SHAPES))
    optimizer = case.make(params)
    optimizer.load_state_dict(optimizer.state_dict())
    assert not optimizer.state
    set_gradients(params, 0)
    optimizer.step()


@EVERY_CASE
def test_some_parameters_never_stepped_round_trip(case):
    """Their state is absent on both sides."""
    params = parameters([(3, 4), (5,), (2, 2)])
    optimizer = case.make(params)
    set_gradients(params[::2], 0)
    optimizer.step()
    copies, other = fresh(case, params)
    other.load_state_dict(optimizer.state_dict())
    assert [param in other.state for param in copies] == [True, False, True]
    assert same(everything(optimizer), everything(other))


def spoil_shape(saved):
    name = "accumulator_1" if "accumulator_1" in saved["state"][8] else "v_row"
    saved["state"][8][name] = torch.zeros(999)


def spoil_dtype(saved):
    name = next(iter(set(saved["state"][8]) - {"step", "kept"}))
    saved["state"][8][name] = saved["state"][8][name].to(torch.bfloat16)


def drop_key(saved):
    del saved["state"][8][next(iter(set(saved["state"][8]) - {"step"}))]


def extra_key(saved):
    saved["state"][8]["exp_avg"] = torch.zeros(12, 20)


def not_a_tensor(saved):
    name = next(iter(set(saved["state"][8]) - {"step", "kept"}))
    saved["state"][8][name] = [1.0, 2.0]


def no_such_parameter(saved):
    saved["state"][99] = saved["state"][8]


def another_group_count(saved):
    saved["param_groups"].append(copy.deepcopy(saved["param_groups"][0]))


def fewer_parameters(saved):
    saved["param_groups"][0]["params"].pop()


def another_optimizer(saved):
    saved["param_groups"][0]["optimizer"] = "Adam"


def newer_version(saved):
    saved["param_groups"][0]["state_version"] = 99


def bad_setting(saved):
    saved["param_groups"][0]["lr"] = float("nan")


def no_groups(saved):
    del saved["param_groups"]


def negative_step(saved):
    saved["state"][8]["step"] = torch.tensor([1, 2, 3])


DAMAGES = [
    spoil_shape, spoil_dtype, drop_key, extra_key, not_a_tensor, no_such_parameter, another_group_count,
    fewer_parameters, another_optimizer, newer_version, bad_setting, no_groups, negative_step,
]  # fmt: skip


@EVERY_CASE
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_foreign_or_damaged_dict_is_refused_and_nothing_changes(case, damage):
    """Names, shapes, dtypes, groups, versions: one error with four parts, before anything is touched."""
    _, source = stepped(case)
    saved = source.state_dict()
    damage(saved)
    _, target = stepped(case, steps=2)
    before, settings = everything(target), copy.deepcopy(target.param_groups[0]["lr"])
    with pytest.raises(StateMismatchError) as caught:
        target.load_state_dict(saved)
    for part in ("\n  got ", "\n  accepted ", "\n  do "):
        assert part in str(caught.value)
    assert same(before, everything(target))
    assert target.param_groups[0]["lr"] == settings


@pytest.mark.parametrize(
    "junk", [None, [], {}, {"state": 1, "param_groups": []}, {"state": {}, "param_groups": [1]}], ids=repr
)
def test_what_is_no_state_dict_is_refused(junk):
    """Not a crash inside PyTorch."""
    with pytest.raises(StateMismatchError):
        SM3(parameters([(3,)])).load_state_dict(junk)


@pytest.mark.parametrize("foreign", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD, torch.optim.Adafactor])
@pytest.mark.parametrize("case", [CASES[0], CASES[7]], ids=str)
def test_the_state_of_another_optimizer_is_refused(case, foreign):
    """A conversion is an explicit function, never a load."""
    params = parameters([(3, 4)])
    other = foreign(params, **({"momentum": 0.9} if foreign is torch.optim.SGD else {}))
    set_gradients(params, 0)
    other.step()
    with pytest.raises(StateMismatchError):
        case.make(parameters([(3, 4)])).load_state_dict(other.state_dict())


def test_other_settings_than_the_saved_ones_need_their_own_state():
    """A checkpoint with momentum loads into an optimizer built without: the saved settings win, as in PyTorch."""
    params = parameters([(3, 4)])
    with_momentum = SM3(params, momentum=0.9)
    set_gradients(params, 0)
    with_momentum.step()
    without = SM3(parameters([(3, 4)]), momentum=0.0)
    without.load_state_dict(with_momentum.state_dict())
    assert without.param_groups[0]["momentum"] == 0.9
    assert same(everything(with_momentum)[1:], everything(without)[1:])


def test_permuted_named_parameters_are_matched_by_name():
    """The same names in another order, wrappers' prefixes ignored."""
    weight, bias = parameters([(4, 4), (4, 4)])
    optimizer = SMMF([("a", weight), ("b", bias)])
    set_gradients([weight, bias], 0)
    optimizer.step()
    b, a = parameters([(4, 4), (4, 4)])
    other = SMMF([("module.b", b), ("module.a", a)])
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state[a]["m_row"], optimizer.state[weight]["m_row"])
    assert torch.equal(other.state[b]["m_row"], optimizer.state[bias]["m_row"])
    assert other.param_groups[0]["param_names"] == ["module.b", "module.a"]


def test_named_and_unnamed_load_into_each_other():
    """By position, as in PyTorch."""
    for names in ((True, False), (False, True)):
        source, target = (
            SM3([("w", p) for p in parameters([(3,)])] if named else parameters([(3,)])) for named in names
        )
        source.param_groups[0]["params"][0].grad = torch.ones(3)
        source.step()
        target.load_state_dict(source.state_dict())
        assert int(target.state[target.param_groups[0]["params"][0]]["step"]) == 1


def test_settings_that_an_older_version_did_not_save_get_their_defaults():
    """And a step counted in a float is the same count."""
    params = parameters([(3, 4)])
    optimizer = SM3(params, lr=0.5)
    set_gradients(params, 0)
    optimizer.step()
    old = optimizer.state_dict()
    for name in ("cautious", "nonfinite", "backend", "rounding", "seed"):
        del old["param_groups"][0][name]
    for step in (1, 1.0, torch.tensor(1.0)):
        old["state"][0]["step"] = step
        other = SM3(parameters([(3, 4)]))
        other.load_state_dict(old)
        assert other.param_groups[0]["lr"] == 0.5
        assert other.param_groups[0]["nonfinite"] == "propagate"
        assert torch.equal(other.state[other.param_groups[0]["params"][0]]["step"], torch.tensor(1))


def test_hooks_around_saving_and_loading_run_and_may_replace_the_dict():
    """Pre hooks see the dict first, and may repair it before it is judged."""
    params = parameters([(3,)])
    optimizer = SM3(params)
    set_gradients(params, 0)
    optimizer.step()
    seen = []
    optimizer.register_state_dict_pre_hook(lambda opt: seen.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda opt, sd: seen.append("after saving"))
    saved = optimizer.state_dict()
    saved["param_groups"][0]["lr"] = float("nan")

    def repair(opt, state_dict):
        seen.append("before loading")
        state_dict["param_groups"][0]["lr"] = 0.25
        return state_dict

    optimizer.register_load_state_dict_pre_hook(repair)
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append("after loading"))
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert seen == ["before saving", "after saving", "before loading", "after loading"]


@pytest.mark.parametrize("case", [CASES[0], CASES[7]], ids=str)
def test_a_scheduler_resumes_with_its_optimizer(case):
    """The learning rate after loading is the one that was saved."""
    params = parameters([(3, 4)])
    optimizer = case.make(params)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for step in range(4):
        set_gradients(params, step)
        optimizer.step()
        scheduler.step()
    copies, other = fresh(case, params)
    resumed = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=10)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for step in range(4, 8):
        for group, opt, sched in ((params, optimizer, scheduler), (copies, other, resumed)):
            set_gradients(group, step)
            opt.step()
            sched.step()
    assert same(everything(optimizer), everything(other))


def test_a_tensor_learning_rate_survives_and_is_not_shared():
    """Loaded as a tensor of its own."""
    params = parameters([(3,)])
    optimizer = SMMF(params, lr=torch.tensor(0.125))
    other = SMMF(parameters([(3,)]), lr=torch.tensor(0.5))
    saved = optimizer.state_dict()
    other.load_state_dict(saved)
    lr = other.param_groups[0]["lr"]
    assert lr.item() == 0.125
    assert lr.data_ptr() not in (saved["param_groups"][0]["lr"].data_ptr(), optimizer.param_groups[0]["lr"].data_ptr())
