"""`torch.compile` sees the step: one node of the graph, no break, no recompilation, and the bits of the ordinary step.

Most tests compile with the backends "eager" (the graph as it was traced) and "aot_eager" (functionalized, decomposed);
Inductor, which takes seconds, has two cases.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
import torch._dynamo
from torch import nn
from torch.optim import lr_scheduler

from cases import CASES, everything, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import GradientError, SettingError
from sm3.optim.kernels.cpu import library
from sm3.optim.rules import RULES
from sm3.optim.torch import GradientRelease

pytestmark = [
    # The compiled function is the step that the scheduler has not wrapped, so the scheduler believes it was not called.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    # Inductor imports a module of PyTorch that uses what PyTorch has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
RULE = pytest.mark.parametrize("optimizer_class", [SM3, SMMF], ids=lambda rule: rule.__name__)
NEEDS_COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="Inductor compiles C++ and found no compiler"
)
SHAPES = [(12, 20), (31,), (), (0, 3), (3, 67), (6, 3, 3, 3)]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """PyTorch counts recompilations of one function over all optimizers, and gives up at the eighth."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def breaks() -> int:
    return sum(torch._dynamo.utils.counters["graph_break"].values())


def no_recompilation():
    return torch._dynamo.config.patch(error_on_recompile=True)


def twins(make):
    """Two equal optimizers, each with its parameters: one to compile, one to step as usual."""
    return [make(), make()]


def plain_pair(optimizer_class, **settings):
    return twins(lambda: optimizer_class(parameters([(12, 20), (31,)]), **{"lr": 0.1, **settings}))


def params_of(optimizer):
    return [param for group in optimizer.param_groups for param in group["params"]]


def give_gradients(optimizers, step, skip=()):
    """The same gradients to all; none to the positions in `skip`."""
    for optimizer in optimizers:
        params = params_of(optimizer)
        set_gradients(params, step, zeros=True)
        for position in skip:
            params[position].grad = None


def assert_same(first, second):
    assert same(everything(first), everything(second))


def two_groups(case, kernels):
    """float32, and bfloat16 rounded stochastically at another rate; two parameters never have a gradient."""
    params = parameters(SHAPES)
    params[1].requires_grad_(False)
    group = {"params": parameters(SHAPES, torch.bfloat16, seed=1), "lr": 0.05, "rounding": "stochastic", "seed": 7}
    return case.make([{"params": params}, group], backend=kernels)


@EVERY_CASE
@pytest.mark.parametrize(("kernels", "compiler"), [("eager", "eager"), ("cpu", "aot_eager")])
def test_a_compiled_step_has_the_bits_of_the_ordinary_one_in_one_graph(case, kernels, compiler):
    """Every optimizer and setting, several groups and dtypes, parameters without a gradient, over several steps."""
    if kernels == "cpu" and not library.available():
        pytest.skip(library.why_not())
    compiled, ordinary = twins(lambda: two_groups(case, kernels))
    step = torch.compile(compiled.step, fullgraph=True, backend=compiler)
    for number in range(4):
        give_gradients([compiled, ordinary], number, skip=[1, len(SHAPES)])
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            step()
        ordinary.step()
        assert_same(compiled, ordinary)
    assert (graphs(), breaks()) == (1, 0)


@NEEDS_COMPILER
@RULE
def test_inductor_steps_in_place_in_one_graph(optimizer_class, monkeypatch):
    """No copy of a parameter or of its state is made around the operator, whatever their strides."""
    from sm3.optim.torch import ops

    def make():
        weights = [torch.arange(600.0).view(20, 30).t(), torch.ones(4, 3, 5, 5).to(memory_format=torch.channels_last)]
        return optimizer_class([nn.Parameter(weight) for weight in weights], lr=0.1, rounding="stochastic")

    compiled, ordinary = twins(make)
    addresses = []
    kernel_for = ops.kernel_for

    def recorded(rule_name, backend, params):
        kernel = kernel_for(rule_name, backend, params)

        def record(params, grads, states, rule, indices):
            tensors = [*params, *(tensor for state in states for tensor in state.values())]
            addresses.append([tensor.data_ptr() for tensor in tensors])
            kernel(params, grads, states, rule, indices)

        return record

    monkeypatch.setattr(ops, "kernel_for", recorded)
    step = torch.compile(compiled.step, fullgraph=True)
    for number in range(3):
        give_gradients([compiled, ordinary], number)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)
    own = [*params_of(compiled), *(tensor for state in compiled.state.values() for tensor in state.values())]
    assert addresses == [[tensor.data_ptr() for tensor in own]] * 3
    assert (graphs(), breaks()) == (1, 0)


def test_explain_finds_one_graph_with_one_operator_of_ours():
    """`torch._dynamo.explain`: nothing of the step is outside, and nothing of it but the operator writes."""
    compiled, _ = plain_pair(SMMF)
    give_gradients([compiled], 0)
    report = torch._dynamo.explain(compiled.step)()
    targets = [str(node.target) for node in report.graphs[0].graph.nodes if node.op == "call_function"]
    assert (report.graph_count, report.graph_break_count) == (1, 0)
    assert targets.count("sm3.smmf_step.default") == 1
    assert not [target for target in targets if target.endswith("_")]


@pytest.mark.parametrize("compiler", ["eager", "aot_eager", pytest.param("inductor", marks=NEEDS_COMPILER)])
def test_a_scheduler_compiles_once_more_and_then_never(compiler):
    """At its first change a number becomes a variable of the graph; afterwards any value will do, in every group."""

    def make():
        groups = [{"params": parameters([(12, 20)])}, {"params": parameters([(31,)], seed=1), "lr": 0.03}]
        return SM3(groups, lr=0.1)

    compiled, ordinary = twins(make)
    step = torch.compile(compiled.step, fullgraph=True, backend=compiler)
    schedulers = [
        lr_scheduler.OneCycleLR(optimizer, [0.1, 0.03], total_steps=20)  # drives SM3's momentum, too
        for optimizer in (compiled, ordinary)
    ]
    for number in range(6):
        give_gradients([compiled, ordinary], number)
        with torch._dynamo.config.patch(error_on_recompile=number > 1):
            step()
        ordinary.step()
        for scheduler in schedulers:
            scheduler.step()
        assert_same(compiled, ordinary)
    assert (graphs(), breaks()) == (2, 0)


def test_a_tensor_learning_rate_never_compiles_again():
    """It is a variable from the first step on."""
    compiled, ordinary = twins(lambda: SMMF(parameters([(12, 20), (31,)]), lr=torch.tensor(0.1)))
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    schedulers = [lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in (compiled, ordinary)]
    for number in range(4):
        give_gradients([compiled, ordinary], number)
        step()
        ordinary.step()
        for scheduler in schedulers:
            scheduler.step()
        assert_same(compiled, ordinary)
    assert graphs() == 1


@pytest.mark.parametrize(
    "rates",
    [[0.1, 0, 1, 0.5], [0.0, 0.1, 0.0, 0.2], [*torch.linspace(0.1, 0.4, 4).double().numpy()]],
    ids=["integers", "zeros", "NumPy scalars"],
)
def test_every_kind_of_learning_rate_that_the_ordinary_step_takes_is_taken(rates):
    """Written into the group by hand, as home-made schedules do."""
    compiled, ordinary = plain_pair(SM3)
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    for number, rate in enumerate(rates):
        for optimizer in (compiled, ordinary):
            optimizer.param_groups[0]["lr"] = rate
        give_gradients([compiled, ordinary], number)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)


def test_settings_changed_inside_the_compiled_function_count():
    """The operator is given the settings as they are at that point of the function, not as they are in the group."""
    compiled, ordinary = plain_pair(SM3)

    def twice(optimizer):
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.5
        optimizer.step()

    fast = torch.compile(twice, fullgraph=True, backend="aot_eager")
    for number in range(3):
        give_gradients([compiled, ordinary], number)
        fast(compiled)
        twice(ordinary)
        assert_same(compiled, ordinary)


def test_switching_a_setting_that_changes_the_state_is_seen():
    """A parameter that starts without momentum has no tensor for it; it appears when momentum does."""
    compiled, ordinary = plain_pair(SM3)
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    # The second change makes momentum a variable of the graph, in which 0.0 must not pass for 0.7.
    for number, (momentum, skip) in enumerate([(0.9, [1]), (0.8, [1]), (0.0, []), (0.7, []), (0.6, [])]):
        for optimizer in (compiled, ordinary):
            optimizer.param_groups[0]["momentum"] = momentum
        give_gradients([compiled, ordinary], number, skip)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)


def test_a_scheduler_built_first_leaves_the_step_in_one_graph():
    """Schedulers wrap `optimizer.step` in code that PyTorch does not trace, a break before the step and not in it."""
    compiled, ordinary = plain_pair(SMMF)
    schedulers = [lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in (compiled, ordinary)]

    @torch.compile(backend="aot_eager")
    def train_step():
        compiled.step()

    for number in range(4):
        give_gradients([compiled, ordinary], number)
        train_step()
        ordinary.step()
        for scheduler in schedulers:
            scheduler.step()
        assert_same(compiled, ordinary)
    assert (graphs(), breaks()) == (2, 1)


def test_a_whole_compiled_training_function_trains_alike():
    """Forward, backward, step and zero_grad in one decorated function; PyTorch breaks at backward and zero_grad."""

    def make():
        torch.manual_seed(0)
        model = nn.Linear(20, 5)
        return model, SM3(model.parameters(), lr=0.1)

    def train(model, optimizer, features):
        optimizer.zero_grad()
        model(features).square().mean().backward()
        optimizer.step()

    features = torch.randn(8, 20)
    (model, compiled), (other_model, ordinary) = twins(make)
    fast = torch.compile(train, backend="eager")  # a backend that would not reorder the model's own sums
    for _ in range(3):
        fast(model, compiled, features)
        train(other_model, ordinary, features)
        assert_same(compiled, ordinary)


def test_state_appears_where_the_ordinary_step_creates_it():
    """A parameter whose first gradient comes late compiles once more; one without gradients never has state."""
    compiled, ordinary = plain_pair(SMMF)
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    for number, skip in enumerate([[1], [1], [], []]):
        give_gradients([compiled, ordinary], number, skip=skip)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)
        assert len(compiled.state) == len(ordinary.state)
    assert graphs() == 2


def test_a_loaded_state_is_stepped_without_compiling_again():
    """Other tensors of the same shapes, in the same graph."""
    compiled, ordinary = plain_pair(SM3)
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    for number in range(4):
        give_gradients([compiled, ordinary], number)
        step()
        ordinary.step()
        if number == 1:
            compiled.load_state_dict(ordinary.state_dict())
        assert_same(compiled, ordinary)
    assert graphs() == 1


def test_two_optimizers_share_a_compiled_function():
    """Each has its own graph: parameters and state are not mixed up."""
    pairs = [plain_pair(SM3, momentum=momentum) for momentum in (0.9, 0.5)]
    fast = torch.compile(lambda optimizer: optimizer.step(), fullgraph=True, backend="aot_eager")
    for number in range(3):
        for compiled, ordinary in pairs:
            give_gradients([compiled, ordinary], number)
            fast(compiled)
            ordinary.step()
            assert_same(compiled, ordinary)


def test_a_hook_that_reads_the_state_first_is_followed_by_an_ordinary_step():
    """Its trace saw the state before it was created; from the second step on all is in the graph."""
    compiled, ordinary = plain_pair(SM3)

    def hook(optimizer, args, kwargs):
        assert len(optimizer.state) < 3

    compiled.register_step_pre_hook(hook)
    step = torch.compile(compiled.step, backend="aot_eager")
    for number in range(3):
        give_gradients([compiled, ordinary], number)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)
    assert graphs() == 1


def test_a_rate_out_of_range_is_refused_before_any_group_has_moved():
    """The same error as without a compiler, at run time: the graph is the one of the steps before."""
    groups = [{"params": parameters([(length,)]), "lr": torch.tensor(0.1)} for length in (4, 5)]
    compiled = SM3(groups)
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    give_gradients([compiled], 0)
    step()
    before = everything(compiled)
    compiled.param_groups[1]["lr"] = torch.tensor(float("nan"))
    with no_recompilation(), pytest.raises(SettingError, match="lr=nan"):
        step()
    assert same(before, everything(compiled))


@RULE
def test_steps_that_are_not_finite_are_skipped_or_refused(optimizer_class):
    """`nonfinite` looks at all groups before the first one moves."""
    compiled, ordinary = plain_pair(optimizer_class, nonfinite="skip")
    step = torch.compile(compiled.step, fullgraph=True, backend="aot_eager")
    for number in range(4):
        give_gradients([compiled, ordinary], number)
        if number == 2:
            for optimizer in (compiled, ordinary):
                params_of(optimizer)[1].grad[3] = float("inf")
        step()
        ordinary.step()
        assert_same(compiled, ordinary)
    assert graphs() == 1
    for optimizer in (compiled, ordinary):
        optimizer.param_groups[0]["nonfinite"] = "error"
        params_of(optimizer)[1].grad[3] = float("nan")
    before = everything(compiled)
    with pytest.raises(GradientError, match="in the gradient of 1 of group 0"):
        step()
    assert same(before, everything(compiled))


def test_a_sparse_gradient_is_refused_in_our_words():
    """Outside of the graph, where the ordinary step says what is wrong."""
    compiled, _ = plain_pair(SM3)
    give_gradients([compiled], 0)
    params_of(compiled)[0].grad = params_of(compiled)[0].grad.to_sparse()
    with pytest.raises(GradientError, match="is sparse"):
        torch.compile(compiled.step, backend="aot_eager")()


def test_gradient_release_steps_outside_of_the_graph():
    """Nothing is left to step there; with fullgraph=True the compiler's error says why."""
    compiled, ordinary = plain_pair(SMMF)
    with GradientRelease(compiled):
        step = torch.compile(compiled.step, backend="aot_eager")
        for number in range(2):
            give_gradients([compiled, ordinary], number)
            step()
            ordinary.step()
            assert_same(compiled, ordinary)
        torch._dynamo.reset()
        with pytest.raises(torch._dynamo.exc.Unsupported, match="gradients are released in backward"):
            torch.compile(compiled.step, fullgraph=True, backend="aot_eager")()


@RULE
@pytest.mark.parametrize("kernels", ["eager", None])
def test_the_operator_keeps_what_its_schema_promises(optimizer_class, kernels):
    """`opcheck`: it writes what it says and nothing else, its fake agrees, and it passes ahead-of-time autograd."""
    from sm3.optim.torch.ops import OPERATORS

    optimizer = optimizer_class(parameters([(12, 20), (31,)]), backend=kernels)
    optimizer.materialize()
    give_gradients([optimizer], 0)
    params, states = params_of(optimizer), list(optimizer.state.values())
    group = optimizer.param_groups[0]
    rule = RULES[optimizer.RULE.NAME]
    constants = {hyper.name: group[hyper.name] for hyper in rule.HYPERPARAMETERS if hyper.name != "lr"}
    arguments = (
        [param.detach() for param in params],
        [param.grad for param in params],
        [tensor for state in states for tensor in state.values()],
        [torch.tensor(group["lr"], dtype=torch.float64)],
    )
    keywords = {
        "layouts": [",".join(state) for state in states],
        "names": ["first", "second"],
        "indices": [0, 1],
        "sizes": [2],
        "settings": [json.dumps(constants)],
    }
    operator = OPERATORS[optimizer.RULE.NAME]
    results = torch.library.opcheck(operator, arguments, keywords)
    assert set(results.values()) == {"SUCCESS"}
    with pytest.raises(AssertionError, match="do not belong together"), torch._subclasses.FakeTensorMode() as fakes:
        operator(*[[fakes.from_tensor(tensor) for tensor in tensors[1:]] for tensors in arguments], **keywords)


@pytest.mark.parametrize("shared", ["gradient", "learning rate"])
def test_what_two_parameters_share_they_may_share_no_longer_at_the_next_step(shared):
    """PyTorch does not guard that a shared tensor stays shared where an optimizer holds it: such a step is ordinary."""

    def make():
        return SM3([{"params": parameters([(4, 5)], seed=seed)} for seed in (0, 1)], lr=torch.tensor(0.1))

    compiled, ordinary = twins(make)
    step = torch.compile(compiled.step, backend="aot_eager")
    for number in range(3):
        give_gradients([compiled, ordinary], number)
        for optimizer in (compiled, ordinary):
            first, second = params_of(optimizer)
            if shared == "gradient":
                optimizer.param_groups[1]["lr"] = torch.tensor(0.2)
                second.grad = first.grad if number == 0 else second.grad
            elif number > 0:
                optimizer.param_groups[1]["lr"] = torch.tensor(0.2)
        step()
        ordinary.step()
        assert_same(compiled, ordinary)


def test_who_never_compiles_does_not_pay_for_it():
    """An import loads no compiler (building any optimizer of PyTorch does), an ordinary step registers no operator."""
    code = """
import sys, torch, sm3.optim.torch
print("torch._dynamo" in sys.modules)
weight = torch.nn.Parameter(torch.ones(3, 4))
weight.grad = torch.ones(3, 4)
sm3.SM3([weight]).step()
print([name for name in ("sm3.optim.torch.ops", "sm3.optim.torch.compiled") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "[]"]
