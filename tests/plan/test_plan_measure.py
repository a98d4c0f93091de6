"""Planned equals measured: every optimizer is stepped on real modules, and the difference is 0 bytes."""

from __future__ import annotations

import itertools
import mmap
import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sm3.errors import InputError, ParameterError  # noqa: E402
from sm3.plan import ParameterSpec, parameters_of, peak_memory, plan, state_nbytes  # noqa: E402
from sm3.plan.measure import module_from, peak_resident_bytes, resident_bytes  # noqa: E402


class Bare(nn.Module):
    """Parameters of these shapes and nothing around them."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(shape)) for shape in shapes])


def tied() -> nn.Module:
    module = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11, bias=False))
    module[1].weight = module[0].weight
    return module


def partly_frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    module[0].requires_grad_(False)
    return module


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(13, 7),
    "convolution": lambda: nn.Conv2d(3, 8, 3),
    "depthwise convolution": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "pointwise convolution": lambda: nn.Conv2d(70, 9, 1),
    "convolution, channels last": lambda: nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last),
    "1-d and 3-d convolution": lambda: nn.Sequential(nn.Conv1d(5, 3, 2), nn.Conv3d(2, 3, 2)),
    "LSTM": lambda: nn.LSTM(5, 6, num_layers=2),
    "embedding": lambda: nn.Embedding(101, 12),
    "layer norm": lambda: nn.LayerNorm(10),
    "batch norm": lambda: nn.BatchNorm2d(9),
    "transformer layer": lambda: nn.TransformerEncoderLayer(16, 2, 32),
    "tied": tied,
    "partly frozen": partly_frozen,
    "0-d": lambda: Bare((), (3,)),
    "one element": lambda: Bare((1,), (1, 1), (1, 1, 1)),
    "prime": lambda: Bare((4099,), (67, 61)),  # above SMMF's padding threshold, and just below it
    "long": lambda: Bare((2, 5000), (5000, 1)),
    "empty": lambda: Bare((0,), (3, 0), (0, 3), (2, 2)),
}


def muon_and_adamw(parameters: list[Any]) -> list[Any]:
    """Two optimizers, as Muon is used: matrices for it, the rest for AdamW."""
    matrices, rest = [p for p in parameters if p.ndim == 2], [p for p in parameters if p.ndim != 2]
    groups = ((torch.optim.Muon, matrices), (torch.optim.AdamW, rest))
    return [optimizer(group) for optimizer, group in groups if group]


def ours(name: str, **settings: Any) -> Callable[[list[Any]], list[Any]]:
    def build(parameters: list[Any]) -> list[Any]:
        import sm3

        return [getattr(sm3, name)(parameters, lr=0.01, **settings)]

    return build


# label as `plan` reads it -> how the live optimizers are made
LIVE: dict[str, Callable[[list[Any]], list[Any]]] = {
    "AdamW": lambda parameters: [torch.optim.AdamW(parameters)],
    "AdamW(amsgrad=True)": lambda parameters: [torch.optim.AdamW(parameters, amsgrad=True, foreach=False)],
    "SGD": lambda parameters: [torch.optim.SGD(parameters)],
    "SGD(momentum=0.9)": lambda parameters: [torch.optim.SGD(parameters, momentum=0.9)],
    "Adafactor": lambda parameters: [torch.optim.Adafactor(parameters)],
    "Muon": muon_and_adamw,
    "SM3": ours("SM3"),
    "SM3(momentum=0)": ours("SM3", momentum=0.0),
    "SM3(cautious=True)": ours("SM3", cautious=True),
    "SMMF": ours("SMMF"),
    "SMMF(beta=None)": ours("SMMF", beta=None),
    "SMMF(published=True)": ours("SMMF", published=True),
    "SMMF(cautious=True)": ours("SMMF", cautious=True),
    "SM3(update_rms=0.2)": ours("SM3", update_rms=0.2),
    "SMMF(cautious=True, update_rms=0.2)": ours("SMMF", cautious=True, update_rms=0.2),
}
# These divide by the number of elements, or of columns, of a tensor that has none: they cannot run at all there.
CANNOT_RUN = {("empty", "Adafactor"), ("empty", "Muon")}
PAIRS = [pair for pair in itertools.product(MODULES, LIVE) if pair not in CANNOT_RUN]


def step(module: nn.Module, build: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """The optimizers after two steps with a gradient for every trainable parameter, as backward would leave it."""
    torch.manual_seed(0)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizers = build(trained)
    for _ in range(2):
        for parameter in trained:
            parameter.grad = torch.randn_like(parameter)
        for optimizer in optimizers:
            optimizer.step()
    return optimizers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "label"), PAIRS)
def test_planned_state_equals_the_live_state_to_the_byte(name: str, label: str, dtype: str) -> None:
    """Shapes in, bytes out; then the same module is trained for two steps and its state is weighed."""
    module = MODULES[name]().to(getattr(torch, dtype))
    planned = plan(module, label)
    optimizers = step(module, LIVE[label])
    assert sum(map(state_nbytes, optimizers)) - planned.state_bytes == 0
    assert planned.weights_bytes == sum(p.numel() * p.element_size() for p in module.parameters())
    assert planned.gradients_bytes == sum(p.grad.nbytes for p in module.parameters() if p.grad is not None)
    for optimizer in optimizers:
        if hasattr(optimizer, "state_bytes"):
            assert optimizer.state_bytes() == planned.state_bytes


@pytest.mark.parametrize("label", LIVE)
def test_planned_state_equals_the_live_state_tensor_by_tensor(label: str) -> None:
    """Not only the sum: each state tensor has the name and the size the plan gives it."""
    module = MODULES["transformer layer"]()
    planned = {row.spec.name: dict(row.state) for row in plan(module, label).parameters}
    live: dict[Any, dict[str, Any]] = {}
    for optimizer in step(module, LIVE[label]):
        live.update(optimizer.state)
    for name, parameter in module.named_parameters():
        state = live.get(parameter, {})
        sizes = {key: value.nbytes for key, value in state.items() if isinstance(value, torch.Tensor)}
        assert sizes == planned[name]


@pytest.mark.parametrize(
    ("label", "package", "name"),
    [
        ("Lion", "lion_pytorch", "Lion"),
        ("CAME", "came_pytorch", "CAME"),
        ("AdamW8bit", "bitsandbytes.optim", "AdamW8bit"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_formula_equals_the_library_where_it_is_installed(label: str, package: str, name: str, dtype: str) -> None:
    """These libraries are no dependency of ours; whoever has them checks the formula with this test."""
    peer = getattr(pytest.importorskip(package), name)
    module = Bare((64, 64), (4099,), (5, 3), (7,), (2, 3, 4)).to(getattr(torch, dtype))
    planned = plan(module, label)
    optimizers = step(module, lambda parameters: [peer(parameters, lr=1e-3)])
    assert sum(map(state_nbytes, optimizers)) - planned.state_bytes == 0


@pytest.mark.parametrize("name", MODULES)
def test_a_module_on_the_meta_device_has_the_same_plan(name: str) -> None:
    """The plan of a model that would not fit is made without its weights."""
    with torch.device("meta"):
        module = MODULES[name]()
    assert all(parameter.is_meta for parameter in module.parameters())
    assert parameters_of(module) == parameters_of(MODULES[name]())


def test_a_tied_weight_is_counted_once() -> None:
    """It is one parameter under two names: one weight, one gradient, one state."""
    assert parameters_of(tied()) == (ParameterSpec("0.weight", (11, 6)),)


def test_a_state_tensor_shared_by_parameters_is_weighed_once() -> None:
    """As a quantile table is; nested lists and dicts are looked through, numbers are no tensors."""
    parameter, table = nn.Parameter(torch.ones(3)), torch.ones(256)
    optimizer = torch.optim.SGD([parameter, other := nn.Parameter(torch.ones(3))])
    optimizer.state[parameter] = {"table": table, "step": 1, "deep": [{"a": torch.ones(2, dtype=torch.uint8)}]}
    optimizer.state[other] = {"table": table}
    assert state_nbytes(optimizer) == 1024 + 2


def test_a_lazy_module_is_refused_until_it_has_shapes() -> None:
    """torch.nn.LazyLinear learns its shape in the first forward."""
    module = nn.LazyLinear(4)
    with pytest.raises(ParameterError, match="has no shape yet"):
        parameters_of(module)
    module(torch.ones(2, 3))
    assert parameters_of(module)[0].shape == (4, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_peak_memory_of_a_block_shows_what_the_block_allocated() -> None:
    """64 MiB that are written and freed inside the block are in its peak; the next block starts afresh."""
    # A mapping of its own: an allocator may serve a tensor from memory that this process has already paid for.
    with peak_memory() as memory, mmap.mmap(-1, 64 * 2**20) as block:
        for _ in range(64):
            block.write(b"1" * 2**20)
    assert memory.before is not None
    assert memory.peak is not None
    if memory.exact:
        # 1 MiB of slack: the process may give back pages of its own meanwhile (chosen)
        assert memory.peak - memory.before >= 63 * 2**20
        with peak_memory() as after:
            pass
        assert after.peak is not None
        assert after.peak < memory.peak
    assert 0 < resident_bytes() <= peak_resident_bytes()


def test_peak_memory_says_when_it_cannot_be_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is closed the highest mark since the start is given, and marked as inexact."""
    monkeypatch.setattr("sm3.plan.measure._reset_peak", lambda: False)
    monkeypatch.setattr("sm3.plan.measure._status", lambda _: None)
    with peak_memory() as memory:
        pass
    assert (memory.before, memory.exact) == (None, False)
    assert sys.platform == "win32" or memory.peak > 2**20


USERS_CODE = """
import sys, torch
from torch import nn
print("noise on stdout")
def build(): return nn.Linear(3, 4)
def build_huge(): return nn.Linear(10**6, 10**6)
def build_real():
    module = nn.Linear(3, 4)
    float(module.weight[0, 0])
    return module
def nothing(): pass
def fails(): raise RuntimeError("the data is not there")
def leaves(): sys.exit(3)
class Holder:
    build = staticmethod(build)
instance = nn.Linear(3, 4)
number = 3
"""


@pytest.fixture
def users_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user in the current directory."""
    name = "users_model_of_test_plan"
    (tmp_path / f"{name}.py").write_text(USERS_CODE, encoding="utf-8")
    (tmp_path / "users_broken_of_test_plan.py").write_text("def build(:", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_function_of_the_user_is_built_on_meta(users_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A matrix of 4 TB is planned at once; what the code prints does not reach stdout, which may be JSON."""
    assert plan(f"{users_file}:build_huge").weights_bytes == 4 * (10**12 + 10**6)
    assert module_from(f"{users_file}:Holder.build").weight.is_meta
    assert capsys.readouterr().out == ""


def test_a_function_that_reads_its_weights_is_built_for_real(
    users_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On meta there is nothing to read; the second attempt is announced."""
    assert not module_from(f"{users_file}:build_real").weight.is_meta
    assert "built for real" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("fails", "the data is not there"),
        ("leaves", "SystemExit"),
        ("nothing", "NoneType"),
        ("absent", "absent"),
        ("number", "int"),
        ("", "names no function"),
    ],
)
def test_an_error_of_the_users_code_is_told_as_such(users_file: str, function: str, told: str) -> None:
    """Its own message comes through, in one error of ours."""
    with pytest.raises(InputError, match=told):
        module_from(f"{users_file}:{function}")


def test_a_module_that_cannot_be_imported_is_refused(users_file: str) -> None:
    """Absent, or with a syntax error."""
    for name in ("no_such_module_at_all", "users_broken_of_test_plan"):
        with pytest.raises(InputError, match="cannot be imported"):
            module_from(f"{name}:build")
