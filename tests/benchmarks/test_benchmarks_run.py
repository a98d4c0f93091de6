"""The measurements as programs: answers are checked, a wrong one is noticed, a tiny run prints every column."""

from __future__ import annotations

import ast
import mmap
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import answers, leak, memory, native_step, peers
from benchmarks.__main__ import TEXT, parts
from benchmarks.command import own_process
from benchmarks.contestants import BASE, CONTROL, OURS, contestants
from benchmarks.shapes import parameters
from native import needs_library
from sm3 import SM3
from sm3.errors import SettingError

FILES = sorted(Path(answers.__file__).parent.glob("*.py"))
SHAPES = [(33, 47), (5003,), (3, 67), (6, 3, 3, 3)]


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_right_answers_are_accepted_and_nothing_is_changed(dtype):
    """All of ours, on copies."""
    params = parameters(SHAPES, dtype)
    before = [param.detach().clone() for param in params]

    assert answers.check(params).startswith("C++ equals plain PyTorch")

    assert all(torch.equal(param, old) for param, old in zip(params, before, strict=True))


@needs_library
@pytest.mark.parametrize(("name", "wrong"), [("SM3", {"momentum": 0.91}), ("SMMF", {"eps": 1e-4})])
def test_a_kernel_that_computes_something_else_is_not_timed(monkeypatch, name, wrong):
    """The optimizer, the step and the shape are named."""
    right = answers.ours

    def ours(asked, params, *, backend):
        more = wrong if asked == name and backend == "cpu" else {}
        optimizer = right(asked, params, backend=backend)
        optimizer.param_groups[0].update({"lr": 0.1, **more})
        return optimizer

    monkeypatch.setattr(answers, "ours", ours)
    with pytest.raises(AssertionError, match=rf"{name}, step 1, parameter of shape \(33, 47\)"):
        answers.check(parameters(SHAPES, torch.float32))


@needs_library
def test_a_tiny_run_measures_and_prints_every_contestant():
    """In a process of its own, as the whole run does it; two rounds are not quotable."""
    record = own_process("native_step", ["--set", "40x17", "--rounds", "2", "--threads", "1", "--dtype", "bfloat16"])
    metrics = record["metrics"]
    (table,) = metrics["tables"]

    assert record["kind"] == "native_step"
    assert table["order"] == list(contestants())
    assert table["valid"] is False
    assert set(table["gb_per_s"]) == {"3r2w in place", "2r1w in place", "triad"}
    assert all(len(taken["cpu"]) == 2 for taken in table["seconds"].values())
    assert table["rows"]["SMMF without first moment"]["state"] == pytest.approx((4 * (34 + 20) + 8) / 680)
    printed = native_step.text(metrics)
    assert [line.split("  ")[1] for line in printed if "cache" in line] == list(contestants())
    assert "stochastic rounding for ours" in printed[1]
    assert "not quotable" in printed[-1]


@needs_library
def test_peers_of_another_algorithm_are_noticed():
    """Equal settings agree to rounding; another momentum does not."""
    assert peers.agree(lambda params: SM3(params, lr=0.1)) == 0.0
    with pytest.raises(AssertionError, match="went apart"):
        peers.agree(lambda params: SM3(params, lr=0.1, momentum=0.8))


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read on Linux only")
def test_an_optimizer_that_leaves_something_behind_is_not_flat(monkeypatch):
    """A page a step, mapped anew so that no allocator can serve it from what it holds, is a slope of 4096 bytes."""
    left = []

    class Leaking(torch.optim.SGD):
        def step(self, closure=None):
            left.append(mmap.mmap(-1, mmap.PAGESIZE))
            left[-1][0] = 1
            return super().step(closure)

    monkeypatch.setattr(leak, "SETTLED", 300)
    monkeypatch.setattr(leak, "contestants", lambda: {BASE: lambda params: Leaking(params, lr=1e-6)})
    row = leak._one(BASE, 1000)
    left.clear()

    # Whatever else this process does in 700 steps, half a page a step of it (1.4 MB) would be another leak.
    assert row["bytes_per_step"] == pytest.approx(mmap.PAGESIZE, rel=0.5)
    said = leak.text({"steps": 1000, "order": [BASE], "rows": {BASE: row}})
    assert "NOT FLAT" in said[-1]


def test_too_few_steps_to_tell_a_leak_are_refused():
    """Memory still settles then, AdamW's too, and would look like one."""
    with pytest.raises(SettingError, match="--steps 4000"):
        leak.measure(SimpleNamespace(steps=4000, one=None))


def test_a_system_that_tells_no_memory_says_so():
    """Instead of a made-up zero."""
    row = {"numel": 4, "state_bytes": 32, "peak_bytes": None}
    assert "not known" in memory.text({"set": "2x2", "numel": 4, "order": [BASE], "rows": {BASE: row}})[-1]
    row = {"bytes_per_step": None, "grown": None}
    assert "not known" in leak.text({"steps": 10, "order": [BASE], "rows": {BASE: row}})[-1]


def test_the_peers_are_timed_beside_ours_of_the_same_algorithm():
    """Each peer that is the same algorithm names one of ours."""
    assert set(peers.SAME.values()) <= set(OURS)


@pytest.mark.parametrize("quick", [True, False])
def test_a_run_covers_the_protocol(quick):
    """Every subject once; a whole run has all sets in both dtypes, and huge pages as an extra."""
    found = list(parts(quick))
    assert {part.module for part in found} == set(TEXT)
    if not quick:
        steps = [part for part in found if part.module == "native_step"]
        assert len([part for part in steps if not part.environment]) == 8
        assert [part.arguments[1] for part in steps if part.environment] == ["gpt2-small", "8192x4096"]


def test_files_and_functions_of_the_benchmarks_stay_readable():
    """The package's own limits: a header, 300 lines a file, 40 a function."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        assert ast.get_docstring(tree), path
        assert text.count("\n") <= 300, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                docstring = (ast.get_docstring(node) or "").count("\n")
                assert node.end_lineno - node.body[0].lineno + 1 - docstring <= 40, f"{path}: {node.name}"


def test_the_map_of_the_benchmarks_names_every_file():
    """`benchmarks/__init__.py` says what each is."""
    words = (FILES[0].parent / "__init__.py").read_text(encoding="utf-8").split()
    assert {path.stem for path in FILES if not path.stem.startswith("__")} <= set(words)


def test_the_control_is_the_base_once_more():
    """The same class, the same settings."""
    params = parameters([(4, 4)], torch.float32)
    base, control = (contestants()[name](params) for name in (BASE, CONTROL))
    assert type(base) is type(control)
    assert base.defaults == control.defaults
