"""Every row of the certificate: it holds on an awkward model, and says so when somebody breaks what it promises."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from awkward import awkward_subject, broken_step, native_name
from native import needs_library
from sm3.optim.kernels import dispatch
from sm3.optim.torch.loop import RuleOptimizer
from sm3.verify import backends, judge, ranks, release, resume, sizes, threads
from sm3.verify.outcome import BROKEN, HOLDS, REFUSED, SKIPPED
from sm3.verify.record import record
from sm3.verify.variant import Variant, variants

VARIANTS = variants((), ())
STEPS = 6
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)


@pytest.fixture(scope="module")
def subject():
    return awkward_subject(STEPS)


@pytest.fixture
def recorded(subject, tmp_path):
    """Records a variant in a folder of its own."""
    return lambda variant: record(subject, variant, tmp_path / variant.folder)


@EVERY_VARIANT
def test_on_one_process_all_promises_hold(subject, recorded, variant):
    """Tied, frozen and unused parameters, a scalar, a convolution, an LSTM, batch norm and dropout."""
    base = recorded(variant)
    found = [
        resume.resume(subject, base),
        release.release(subject, base),
        threads.threads(base, 3),
        sizes.sizes(base),
        judge.judge(base),
        *([backends.backends(base)] if native_name() else []),
    ]
    assert [outcome.verdict for outcome in found] == [HOLDS] * len(found)
    assert all(outcome.largest == 0.0 for outcome in found[:4])
    for outcome in found[4:]:
        assert outcome.largest <= outcome.bound
        assert (outcome.bound > 0.0) == (variant.optimizer == "SMMF")
    # 12 trainable parameters, tied weights once; the unused one has no state.
    states = [variant.rule().state(tuple(leaf.shape), variant.precision) for leaf in base.leaves().values()]
    unused = len(variant.rule().state((3, 5), variant.precision))
    assert len(states) == 12
    assert found[2].compared.startswith(f"{12 + sum(map(len, states)) - unused} tensors after {STEPS} steps")


@pytest.mark.parametrize("settings", [{"nonfinite": "skip"}, {"cautious": True}], ids=str)
def test_what_cannot_be_tried_is_skipped_with_the_reason(subject, recorded, settings):
    """Release needs "propagate"; the judge rounds SMMF's mask elsewhere."""
    base = recorded(Variant("SMMF", settings, "float32"))
    outcome = release.release(subject, base) if "nonfinite" in settings else judge.judge(base)
    assert outcome.verdict == SKIPPED
    assert outcome.reason


def test_resume_breaks_when_loading_rounds_the_state(subject, recorded, monkeypatch):
    """As PyTorch's own loader does: state cast to bfloat16."""
    base = recorded(Variant("SMMF", {}, "float32"))
    real = resume.load

    def rounding(optimizer, path):
        real(optimizer, path)
        for state in optimizer.state.values():
            state["v_row"].copy_(state["v_row"].bfloat16())

    monkeypatch.setattr(resume, "load", rounding)
    outcome = resume.resume(subject, base)
    assert (outcome.verdict, outcome.promise) == (BROKEN, "resume == no stop")
    assert outcome.largest > 0.0


def test_release_breaks_when_it_numbers_parameters_otherwise(subject, recorded, monkeypatch):
    """The number is a key of stochastic rounding, so it shows in bfloat16 only."""
    real = RuleOptimizer.step_one

    def shifted(self, param, group_number, position, index):
        real(self, param, group_number, position, index + 1)

    found = []
    for precision in ("float32", "bfloat16"):
        base = recorded(Variant("SM3", {}, precision))
        monkeypatch.setattr(RuleOptimizer, "step_one", shifted)
        found.append(release.release(subject, base).verdict)
        monkeypatch.undo()
    assert found == [HOLDS, BROKEN]


def test_release_breaks_when_gradients_stay(subject, recorded, monkeypatch):
    """Equal bits, and not a byte saved."""

    class Waits(release.GradientRelease):
        def __init__(self, optimizer):
            super().__init__(optimizer)
            super().remove()

    base = recorded(Variant("SM3", {}, "float32"))
    monkeypatch.setattr(release, "GradientRelease", Waits)
    outcome = release.release(subject, base)
    assert outcome.verdict == BROKEN
    assert "still there" in outcome.reason


def test_threads_break_when_the_kernel_asks_how_many_there_are(recorded, monkeypatch):
    """As a sum split over threads does."""
    base = recorded(Variant("SM3", {}, "float32"))
    broken_step(monkeypatch, "SM3", when=lambda: torch.get_num_threads() == 3)
    assert threads.threads(base, 2).verdict == HOLDS
    outcome = threads.threads(base, 3)
    assert (outcome.verdict, outcome.promise) == (BROKEN, "1 == 3 threads")
    assert outcome.where


def test_sizes_break_when_the_optimizer_allocates_more_or_says_less(recorded, monkeypatch):
    """One tensor more than declared: its bytes are the difference."""
    base = recorded(Variant("SM3", {}, "float32"))
    assert sizes.sizes(base).largest == 0
    param = base.optimizer.param_groups[0]["params"][0]
    base.optimizer.state[param]["extra"] = torch.zeros(5, dtype=torch.float64)
    outcome = sizes.sizes(base)
    assert (outcome.verdict, outcome.largest, outcome.where) == (BROKEN, 40, "sm3 plan")


@needs_library
@EVERY_VARIANT
def test_backends_break_when_the_native_kernel_does_something_else(recorded, monkeypatch, variant):
    """One unit in the last place of one entry of one parameter is enough."""
    base = recorded(variant)
    broken_step(monkeypatch, variant.optimizer, only_native=True)
    outcome = backends.backends(base)
    assert (outcome.verdict, outcome.promise) == (BROKEN, "C++ == PyTorch")


@needs_library
def test_backends_break_when_a_sum_is_off_by_more_than_its_bound(recorded, monkeypatch):
    """A thousandth is more than any order of summing does."""
    base = recorded(Variant("SMMF", {}, "float32"))
    real = dispatch._CPU["SMMF"]

    def step(params, grads, states, *args, **kwargs):
        real(params, grads, states, *args, **kwargs)
        states[0]["v_row"].mul_(1.001)

    monkeypatch.setitem(dispatch._CPU, "SMMF", step)
    outcome = backends.backends(base)
    assert outcome.verdict == BROKEN
    assert outcome.largest == pytest.approx(1e-3, rel=1e-2)
    assert outcome.largest > outcome.bound > 0.0


@EVERY_VARIANT
def test_the_judge_breaks_when_all_kernels_do_something_else(recorded, monkeypatch, variant):
    """Both backends alike: only the formulas can tell."""
    broken_step(monkeypatch, variant.optimizer)
    base = recorded(variant)
    if native_name():
        assert backends.backends(base).verdict == HOLDS
    outcome = judge.judge(base)
    assert (outcome.verdict, outcome.promise) == (BROKEN, "kernel == formulas")


RANK_PROGRAM = """
import os, sys
import torch
from sm3.verify import one_rank
{change}
one_rank.main()
"""
TWICE_ON_RANK_1 = """
real = one_rank._as_sharded
one_rank._as_sharded = lambda grad, param: real(grad * (1 + int(sys.argv[2])), param)
"""
DIES_ON_RANK_1 = """
real = one_rank._as_sharded
def die(grad, param):
    if sys.argv[2] == "1":
        print("out of luck", flush=True)
        os._exit(3)
    return real(grad, param)
one_rank._as_sharded = die
"""


def run_ranks(bases, monkeypatch, tmp_path, change="", world=2):
    """The outcomes of the ranks, whose program is changed."""
    program = tmp_path / "rank_program.py"
    program.write_text(RANK_PROGRAM.format(change=change))
    monkeypatch.setattr(ranks, "PROGRAM", (str(program),))
    told = []
    found = ranks.ranks(bases, world, tmp_path, lambda: told.append(1))
    assert len(told) == len(bases) or any(outcome.verdict == BROKEN for outcome in found)
    return found


def test_three_ranks_give_the_bits_of_one_and_what_is_refused_says_why(recorded, monkeypatch, tmp_path):
    """Uneven rows, vectors, a scalar that stays whole, a parameter without gradient; SM3-I by name."""
    chosen = [
        Variant("SM3", {}, "float32"),
        Variant("SM3", {}, "bfloat16"),
        Variant("SMMF", {"backend": "eager"}, "float32"),
    ]
    first = [recorded(variant) for variant in chosen]
    folder = tmp_path / "one"
    refused = record(awkward_subject(2), Variant("SM3", {"variant": "I"}, "float32"), folder)
    found = run_ranks([*first, refused], monkeypatch, tmp_path, world=3)
    assert [outcome.verdict for outcome in found] == [HOLDS, HOLDS, HOLDS, REFUSED]
    assert "SM3-I" in found[-1].reason
    assert {outcome.promise for outcome in found} == {"1 == 3 ranks"}


def test_ranks_break_when_one_of_them_steps_on_another_gradient(recorded, monkeypatch, tmp_path):
    """Twice the gradient on rank 1."""
    (outcome,) = run_ranks([recorded(Variant("SM3", {}, "float32"))], monkeypatch, tmp_path, TWICE_ON_RANK_1)
    assert (outcome.verdict, outcome.promise) == (BROKEN, "1 == 2 ranks")
    assert outcome.largest > 0.0


def test_a_rank_that_dies_ends_the_others_soon_and_is_named(recorded, monkeypatch, tmp_path):
    """The last line it wrote is the reason; the others would wait for it until their timeout."""
    base, began = recorded(Variant("SM3", {}, "float32")), time.monotonic()
    (outcome,) = run_ranks([base], monkeypatch, tmp_path, DIES_ON_RANK_1)
    assert outcome.verdict == BROKEN
    assert outcome.reason == "rank 1: out of luck"
    assert time.monotonic() - began < 60.0


def test_a_rank_that_cannot_start_is_no_silent_success(recorded, monkeypatch, tmp_path):
    """No file was written: broken, with what Python said."""
    monkeypatch.setattr(ranks, "PROGRAM", ("-m", "sm3.verify.no_such_program"))
    (outcome,) = ranks.ranks([recorded(Variant("SM3", {}, "float32"))], 2, Path(tmp_path), lambda: None)
    assert outcome.verdict == BROKEN
    assert "no_such_program" in outcome.reason
