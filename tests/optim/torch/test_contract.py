"""What every optimizer owes its users, whatever its rule: PyTorch's contract, crossed with the conformance table."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.optim import lr_scheduler

from cases import CASES, DTYPES, SHAPES, everything, gradient_stream, parameters, same, set_gradients

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
ALL_SHAPES = list(SHAPES.values())


def run(case, steps=4, *, shapes=ALL_SHAPES, dtype=torch.float32, zeros=True, prepare=None, **settings):
    """A fresh optimizer after some steps."""
    params = parameters(shapes, dtype)
    if prepare is not None:
        params = prepare(params)
    optimizer = case.make(params, **settings)
    for step in range(steps):
        set_gradients(params, step, zeros=zeros)
        optimizer.step()
    return optimizer


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_steps_every_shape_in_every_dtype_and_stays_finite(case, dtype):
    """0-d, empty, prime, long, deep; parameters keep their dtype, accumulators are float32 or better."""
    optimizer = run(case, dtype=dtype)
    for group in optimizer.param_groups:
        for param in group["params"]:
            assert param.dtype == dtype
            assert param.isfinite().all()
            for name, tensor in optimizer.state[param].items():
                floating = torch.float64 if dtype == torch.float64 else torch.float32
                declared = {"step": torch.int64, "kept": torch.int64, "rms": torch.float32, "m_sign": torch.uint8}
                expected = declared.get(name, floating)
                assert tensor.dtype == expected
                assert tensor.double().isfinite().all()


@EVERY_CASE
def test_two_runs_are_equal_bit_for_bit(case):
    """Nothing is drawn from a global generator."""
    first = everything(run(case))
    torch.manual_seed(1234)
    assert same(first, everything(run(case)))


@EVERY_CASE
@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_a_bit(case, threads):
    """Large enough for PyTorch to split its loops over threads."""
    shapes = [(300, 500), (150_001,), (64, 3, 7, 7)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result = everything(run(case, shapes=shapes, steps=3))
        torch.set_num_threads(1)
        assert same(result, everything(run(case, shapes=shapes, steps=3)))
    finally:
        torch.set_num_threads(before)


@EVERY_CASE
def test_it_goes_downhill(case):
    """A convex quadratic: the loss after 60 steps is below a tenth of the start."""
    weight = torch.full((8, 8), 0.05, requires_grad=True)
    target = torch.zeros(8, 8)
    optimizer = case.make([weight], lr=0.01, weight_decay=0.0)
    start = (weight - target).square().sum().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * start


@EVERY_CASE
def test_lr_zero_moves_no_parameter(case):
    """torch.distributed.checkpoint steps with lr 0 to create the state."""
    params = parameters(ALL_SHAPES)
    before = [param.detach().clone() for param in params]
    optimizer = case.make(params, lr=0.0)
    for step in range(3):
        set_gradients(params, step)
        optimizer.step()
    assert same(before, [param.detach() for param in params])
    assert all(int(optimizer.state[param]["step"]) == 3 for param in params)


@EVERY_CASE
def test_zero_gradients_move_nothing(case):
    """Bit for bit, from a fresh state and, except where the authors' drift is asked for, after real steps."""
    params = parameters(ALL_SHAPES)
    optimizer = case.make(params, weight_decay=0.0, **({"momentum": 0.0} if case.name == "sm3" else {}))
    before = [param.detach().clone() for param in params]
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    assert same(before, [param.detach() for param in params])


@EVERY_CASE
def test_gradients_are_only_read(case):
    """No step scales, negates or casts `.grad` in place."""
    params = parameters(ALL_SHAPES)
    optimizer = case.make(params, maximize=True)
    set_gradients(params, 0)
    before = [param.grad.clone() for param in params]
    optimizer.step()
    assert same(before, [param.grad for param in params])


@EVERY_CASE
def test_maximize_is_minimize_of_the_negated_gradient(case):
    """Bit for bit."""
    down, up = parameters(ALL_SHAPES), parameters(ALL_SHAPES)
    first, second = case.make(down), case.make(up, maximize=True)
    for step in range(4):
        set_gradients(down, step)
        set_gradients(up, step)
        for param in up:
            param.grad = -param.grad
        first.step()
        second.step()
    assert same(everything(first), everything(second))


@EVERY_CASE
def test_a_closure_runs_with_gradients_and_its_loss_comes_back(case):
    """The closure's value is returned as it is."""
    weight = torch.ones(3, 4, requires_grad=True)
    optimizer = case.make([weight])

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 12.0
    assert not torch.equal(weight, torch.ones(3, 4))
    assert optimizer.step() is None


@EVERY_CASE
def test_a_closure_that_raises_leaves_everything_as_it_was(case):
    """The exception passes through."""
    optimizer = run(case)
    before = everything(optimizer)

    def closure():
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        optimizer.step(closure)
    assert same(before, everything(optimizer))


@EVERY_CASE
def test_parameters_without_a_gradient_are_left_alone(case):
    """No state is created for them, and none of theirs advances."""
    used, unused, frozen = parameters([(3, 4), (3, 4), (3, 4)])
    frozen.requires_grad_(False)
    optimizer = case.make([used, unused, frozen])
    before = unused.detach().clone()
    set_gradients([used], 0)
    optimizer.step()
    assert torch.equal(unused, before)
    assert unused not in optimizer.state
    assert frozen not in optimizer.state
    set_gradients([unused], 1)
    optimizer.step()
    assert int(optimizer.state[unused]["step"]) == 1


@EVERY_CASE
def test_groups_have_their_own_settings(case):
    """Two groups equal two optimizers."""
    first, second = parameters([(3, 4), (5, 6)])
    together = case.make([{"params": [first], "lr": 0.02}, {"params": [second], "weight_decay": 0.3}])
    alone_first, alone_second = parameters([(3, 4), (5, 6)])
    apart = [case.make([alone_first], lr=0.02), case.make([alone_second], weight_decay=0.3)]
    for step in range(4):
        set_gradients([first, second], step)
        set_gradients([alone_first, alone_second], step)
        together.step()
        for optimizer in apart:
            optimizer.step()
    assert same([first.detach(), second.detach()], [alone_first.detach(), alone_second.detach()])


@EVERY_CASE
def test_a_group_added_later_starts_at_step_one(case):
    """Its counters are its own."""
    first, second = parameters([(3, 4), (5, 6)])
    optimizer = case.make([first])
    set_gradients([first], 0)
    optimizer.step()
    optimizer.add_param_group({"params": [second]})
    set_gradients([first, second], 1)
    optimizer.step()
    assert [int(optimizer.state[param]["step"]) for param in (first, second)] == [2, 1]


@EVERY_CASE
def test_a_tensor_learning_rate_equals_the_float(case):
    """0-d and one-element, bit for bit, and changed in place between steps."""
    results = []
    for make in (float, lambda lr: torch.tensor(lr, dtype=torch.float64), lambda lr: torch.tensor([lr]).double()):
        params = parameters(ALL_SHAPES)
        optimizer = case.make(params, lr=make(0.0625))
        for step in range(4):
            set_gradients(params, step)
            optimizer.step()
            lr = optimizer.param_groups[0]["lr"]
            if isinstance(lr, torch.Tensor):
                lr.mul_(0.5)
            else:
                optimizer.param_groups[0]["lr"] = lr * 0.5
        results.append([param.detach().clone() for param in params])
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@EVERY_CASE
@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, step_size=2),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5),
        lambda o: lr_scheduler.LinearLR(o, total_iters=3),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=10, cycle_momentum=False),
        lambda o: lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=2, cycle_momentum=False),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[3]
        ),
    ],
    ids=["step", "cosine", "linear", "one-cycle", "cyclic", "sequential"],
)
def test_schedulers_drive_the_learning_rate(case, make):
    """With float and tensor learning rates, ending at the same parameters."""
    results = []
    for tensor in (False, True):
        params = parameters([(3, 4), (5,)])
        lr = torch.tensor(0.05, dtype=torch.float64) if tensor else 0.05
        optimizer = case.make(params, lr=lr)
        scheduler = make(optimizer)
        rates = []
        for step in range(8):
            set_gradients(params, step)
            optimizer.step()
            scheduler.step()
            rates.append(float(optimizer.param_groups[0]["lr"]))
        assert len(set(rates)) > 1
        results.append([param.detach().clone() for param in params])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_one_cycle_drives_the_momentum_of_sm3():
    """OneCycleLR writes group["momentum"], and the step obeys."""
    from sm3 import SM3

    params = parameters([(3, 4)])
    optimizer = SM3(params, lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    set_gradients(params, 0)
    before = params[0].detach().clone()
    optimizer.step()
    scheduler.step()
    # OneCycleLR starts at max_momentum = 0.95 and lr = max_lr / 25; SM3-II's first step is lr (1 - momentum) sign(g).
    expected = before - 0.1 / 25 * (1 - 0.95) * params[0].grad.sign()
    torch.testing.assert_close(params[0].detach(), expected, rtol=1e-6, atol=1e-7)


@EVERY_CASE
@pytest.mark.parametrize(
    "layout",
    [
        lambda p: p.detach().to(memory_format=torch.channels_last).requires_grad_() if p.dim() == 4 else p,
        lambda p: p.detach().mT.contiguous().mT.requires_grad_() if p.dim() >= 2 else p,
        lambda p: torch.stack([p.detach(), p.detach()], -1)[..., 0].requires_grad_(),
    ],
    ids=["channels_last", "transposed", "strided"],
)
def test_memory_layout_does_not_change_the_result(case, layout):
    """State is in logical order: bit-equal to the contiguous run, and the layout is kept."""
    contiguous = run(case)
    strided = run(case, prepare=lambda params: [layout(param) for param in params])
    assert same(everything(contiguous), everything(strided))
    mine = strided.param_groups[0]["params"]
    assert any(not param.is_contiguous() for param in mine)


@EVERY_CASE
def test_a_gradient_of_another_layout_or_dtype_is_read_in_logical_order(case):
    """channels_last gradients on contiguous parameters; float32 gradients on bfloat16 parameters."""
    plain, mixed = parameters([(4, 3, 2, 2)]), parameters([(4, 3, 2, 2)])
    first, second = case.make(plain), case.make(mixed)
    for step in range(3):
        set_gradients(plain, step)
        mixed[0].grad = plain[0].grad.clone().to(memory_format=torch.channels_last)
        first.step()
        second.step()
    assert same(everything(first), everything(second))


@EVERY_CASE
def test_deepcopy_and_pickle_go_on_as_the_original(case):
    """Model and optimizer copied together; nothing hangs on an attribute that copies lose."""
    optimizer = run(case)
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for other in [optimizer, *copies]:
        params = other.param_groups[0]["params"]
        set_gradients(params, 9)
        other.step()
        assert other.state_bytes() == optimizer.state_bytes()
    for other in copies:
        assert same(everything(optimizer), everything(other))


@EVERY_CASE
def test_step_hooks_run_around_the_step(case):
    """Pre and post, with the optimizer as argument."""
    params = parameters([(3,)])
    optimizer = case.make(params)
    seen = []
    pre = optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("pre", opt is optimizer)))
    post = optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(("post", opt is optimizer)))
    set_gradients(params, 0)
    optimizer.step()
    pre.remove()
    post.remove()
    optimizer.step()
    assert seen == [("pre", True), ("post", True)]


@EVERY_CASE
def test_a_skipped_step_of_gradscaler_changes_nothing(case):
    """An infinity found by the scaler skips the step; a later clean step runs."""
    params = parameters([(3, 4)])
    optimizer = case.make(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(params[0].sum()).backward()
    params[0].grad[0, 0] = float("inf")
    before = everything(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert same(before, everything(optimizer))
    optimizer.zero_grad()
    scaler.scale(params[0].sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(params[0].grad, torch.ones(3, 4))
    assert int(optimizer.state[params[0]]["step"]) == 1


@EVERY_CASE
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nonfinite_skip_equals_a_run_without_that_step(case, poison):
    """Parameters, state and step counter: bit for bit as if the step never happened."""
    clean, other = parameters(ALL_SHAPES), parameters(ALL_SHAPES)
    first, second = case.make(clean), case.make(other, nonfinite="skip")
    for step in range(6):
        if step == 3:
            set_gradients(other, 99)
            other[8].grad.view(-1)[5] = poison
            second.step()
        set_gradients(clean, step)
        set_gradients(other, step)
        first.step()
        second.step()
    assert same(everything(first), everything(second))


@EVERY_CASE
def test_nonfinite_error_names_the_parameter_and_changes_nothing(case):
    """GradientError before anything moves."""
    from sm3.errors import GradientError

    params = parameters([(3, 4), (5,)])
    optimizer = case.make([("first", params[0]), ("second", params[1])], nonfinite="error")
    set_gradients(params, 0)
    optimizer.step()
    before = everything(optimizer)
    params[1].grad[2] = float("nan")
    with pytest.raises(GradientError, match="'second'"):
        optimizer.step()
    assert same(before, everything(optimizer))


@EVERY_CASE
def test_nonfinite_propagate_shows_in_the_entry_itself(case):
    """The default hides nothing: the poisoned entry becomes NaN, as in PyTorch's own optimizers."""
    params = parameters([(3, 4)])
    optimizer = case.make(params)
    set_gradients(params, 0)
    optimizer.step()
    set_gradients(params, 1)
    params[0].grad[1, 2] = float("nan")
    optimizer.step()
    assert params[0][1, 2].isnan()


@EVERY_CASE
def test_materialize_allocates_everything_and_changes_no_result(case):
    """State before the first step equals state created by it."""
    params = parameters(ALL_SHAPES)
    optimizer = case.make(params)
    optimizer.materialize()
    assert sum(t.nbytes for s in optimizer.state.values() for t in s.values()) == optimizer.state_bytes()
    for step in range(4):
        set_gradients(params, step, zeros=True)
        optimizer.step()
    assert same(everything(optimizer), everything(run(case)))


@EVERY_CASE
def test_state_bytes_are_known_before_the_first_step_and_equal_the_real_ones(case):
    """Difference 0 on every shape and dtype."""
    for dtype in DTYPES:
        params = parameters(ALL_SHAPES, dtype)
        optimizer = case.make(params)
        planned = optimizer.state_bytes()
        set_gradients(params, 0)
        optimizer.step()
        real = sum(tensor.nbytes for state in optimizer.state.values() for tensor in state.values())
        assert planned == real == optimizer.state_bytes()


@EVERY_CASE
def test_no_temporary_is_as_large_as_the_parameter(case):
    """An eager step of 16 tiles allocates at any time less than one full-size float32 tensor besides the state."""
    param = torch.zeros(16, 1 << 17, requires_grad=True)
    optimizer = case.make([param], backend="eager")
    optimizer.materialize()
    param.grad = torch.ones_like(param)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 0 < peak < param.nbytes


@EVERY_CASE
def test_invariance_to_a_positive_scale_of_the_gradient(case):
    """Powers of two scale every sum, maximum and root exactly; eps and the cautious floor do not matter here."""
    plain, scaled = parameters([(12, 20), (31,)], torch.float64), parameters([(12, 20), (31,)], torch.float64)
    settings = {"eps": 1e-300} if "smmf" in case.name else {}
    first, second = case.make(plain, **settings), case.make(scaled, **settings)
    for step in range(5):
        set_gradients(plain, step, zeros=True)
        for param, other in zip(plain, scaled, strict=True):
            other.grad = param.grad * 2.0**20
        first.step()
        second.step()
    assert same([param.detach() for param in plain], [param.detach() for param in scaled])


def test_float16_gradients_neither_overflow_nor_vanish():
    """300^2 is infinite in float16 and (1e-4)^2 is zero there: squares are taken in float32."""
    from sm3 import SM3, SMMF

    for optimizer_class in (SM3, SMMF):
        param = torch.zeros(2, 2, dtype=torch.float16, requires_grad=True)
        optimizer = optimizer_class([param], lr=0.1)
        param.grad = torch.tensor([[300.0, 1e-4], [6e4, -300.0]], dtype=torch.float16)
        optimizer.step()
        torch.testing.assert_close(param.detach().float().abs(), torch.full((2, 2), 0.01), rtol=2e-3, atol=0)


def test_named_parameters_are_kept_by_name():
    """(name, parameter) pairs as since PyTorch 2.6."""
    from sm3 import SMMF

    model = torch.nn.Linear(3, 2)
    optimizer = SMMF(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_a_moved_model_takes_its_state_along():
    """A parameter whose data changed device is followed; on the CPU alone the state's device equals the parameter's."""
    from sm3 import SM3

    params = parameters([(3, 4)])
    optimizer = SM3(params)
    set_gradients(params, 0)
    optimizer.step()
    assert optimizer.state[params[0]]["accumulator_0"].device == params[0].device


def test_a_parameter_that_was_resized_is_an_error_not_a_broadcast():
    """The state no longer fits, and the message says which."""
    from sm3 import SM3
    from sm3.errors import StateMismatchError

    params = parameters([(4, 6)])
    optimizer = SM3(params)
    set_gradients(params, 0)
    optimizer.step()
    params[0].data = torch.zeros(4, 1)
    params[0].grad = gradient_stream((4, 1))(0).float()
    with pytest.raises(StateMismatchError, match="accumulator_1"):
        optimizer.step()
