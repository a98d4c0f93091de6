"""SMMF of parameters cut over ranks: parameters, signs and factors of every rank differ by 0 from those of one rank,
for any cut, backend, dtype, option and number of threads. Ranks are pretended here (tests/pretend_ranks.py)."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pytest
import torch

from cases import gradient_stream, parameters
from native import available_isas, every_isa, fresh_state, needs_library, with_threads
from pretend_ranks import CUTS, PretendRanks, chunks, part
from sm3.errors import SettingError
from sm3.optim.kernels import smmf_shards
from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.dispatch import kernel_for, shards_plan
from sm3.optim.kernels.eager import smmf as eager_smmf
from sm3.optim.kernels.eager import tiles
from sm3.optim.kernels.smmf_shards import SmmfShards
from sm3.optim.rules import SMMFRule
from sm3.optim.rules.panels import Cut, Runs
from sm3.optim.rules.shapes import near_square

__all__ = ["every_isa"]  # a fixture

OPTIONS = {
    "default": {},
    "no first moment": {"beta": None},
    "cautious, update_rms": {"cautious": True, "update_rms": 0.2},
    "published": {"published": True},
    "maximize, decay -0.8": {"maximize": True, "decay_rate": -0.8},
}
# Small ones: less than a panel of C++ each. Signs in one flat vector, padded per row, in whole bytes without padding.
SMALL = [(1,), (0,), (5,), (31,), (12, 20), (7, 13), (1, 17), (17, 1), (3, 67), (5, 64), (6, 3, 3, 3), (8, 1, 3, 3)]
MORE = [(1, 1, 5, 7), (4099,), (2, 1, 3, 2, 1, 4), (33, 64), (20, 130), (0, 3), (3, 0)]
# Two to five panels of 2^17 elements: with and without a missing tail, padded signs, a vector, columns of whole bytes.
LARGE = [(700, 400), (523, 641), (300_007,), (65, 129, 7, 7), (4096, 60)]
DEFAULT_OPTIONS = {"lr": 1e-2, "weight_decay": 0.1}


@pytest.fixture(params=["eager", pytest.param("cpu", marks=needs_library)])
def backend(request, monkeypatch):
    """Both backends; the eager one with small tiles, so that small shapes have many panels."""
    if request.param == "eager":
        for module in (tiles, eager_smmf):
            monkeypatch.setattr(module, "TILE_NUMEL", 300)
    return request.param


def run(rule, shapes, cut, dtype, steps, *, share_signs=False, grad_dtype=None, threads=1, zeros=True):
    """The names of what differs after some steps, between a plain run and the pretended ranks."""
    params = [param.detach() for param in parameters(shapes, dtype)]
    states = [fresh_state(rule, param) for param in params]
    ranks = PretendRanks(rule, [cut(shape) for shape in shapes], params, share_signs=share_signs)
    kernel = kernel_for("SMMF", rule.backend, params)
    streams = [gradient_stream(shape, seed=17 * i, zeros=zeros) for i, shape in enumerate(shapes)]
    for step in range(steps):
        grads = [stream(step).to(grad_dtype or dtype) for stream in streams]
        for state in states:
            state["step"] += 1
        with with_threads(1):
            kernel(params, grads, states, rule, list(range(len(params))))
        with with_threads(threads):
            ranks.step(grads)
    return ranks.differences(params, states)


def rule_with(backend, **options):
    return SMMFRule(**{**DEFAULT_OPTIONS, "backend": backend, **options})


@pytest.mark.parametrize("name", CUTS)
def test_any_cut_of_small_shapes_gives_the_bits_of_one_rank(backend, name):
    """Every shape, cut as the name says, in float32 and in bfloat16 with stochastic rounding, after 50 steps."""
    shapes = [shape for shape in SMALL + MORE if len(shape) >= (3 if name == "three dimensions" else 1)]
    for dtype in (torch.float32, torch.bfloat16):
        rule = rule_with(backend, rounding="stochastic")
        assert run(rule, shapes, CUTS[name], dtype, steps=50 if backend == "cpu" else 8) == []


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["rows over three", "uneven rows, one rank empty", "blocks", "rows, each twice"])
def test_any_option_gives_the_bits_of_one_rank(backend, name, options):
    """Counts of the cautious mask and of update_rms are of whole parameters; float64 too."""
    for dtype in (torch.float32, torch.float64):
        rule = rule_with(backend, **options)
        assert run(rule, [(12, 20), (7, 13), (3, 67), (33, 64), (6, 3, 3, 3)], CUTS[name], dtype, steps=8) == []


@needs_library
@pytest.mark.parametrize(
    "name", ["one rank", "rows over two", "rows over five", "columns", "blocks", "rows, each twice"]
)
@pytest.mark.parametrize("options", [{}, {"cautious": True, "update_rms": 0.2}], ids=["default", "counts"])
def test_panels_of_large_parameters_are_added_in_their_order(name, options):
    """Several panels, whole, cut and assembled; float32, and bfloat16 with stochastic rounding; 8 threads."""
    for dtype in (torch.float32, torch.bfloat16):
        rule = rule_with("cpu", rounding="stochastic", **options)
        assert run(rule, LARGE, CUTS[name], dtype, steps=4, threads=8) == []


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5, 6, 7, 8])
def test_fifty_steps_of_large_parameters_on_any_number_of_threads(threads):
    """The default settings, rows over three ranks."""
    for dtype in (torch.float32, torch.bfloat16):
        rule = rule_with("cpu", rounding="stochastic", cautious=True)
        assert run(rule, LARGE, CUTS["rows over three"], dtype, steps=50, threads=threads) == []


@needs_library
def test_every_instruction_set_steps_shards_alike(every_isa):
    """Two panels and a part of one."""
    assert every_isa in available_isas()
    assert run(rule_with("cpu"), [(700, 400), (7, 13)], CUTS["rows over two"], torch.float32, steps=3) == []


@pytest.mark.parametrize("name", ["rows over three", "columns of whole bytes"])
def test_where_signs_are_stored_changes_nothing(backend, name):
    """All signs on every rank, or each rank's own."""
    shapes = [(12, 24), (5, 64), (30, 80), (16, 3, 4, 4)]
    for share in (True, False):
        rule = rule_with(backend)
        assert run(rule, shapes, CUTS[name], torch.float32, steps=6, share_signs=share) == []


@pytest.mark.parametrize(
    ("dtype", "grad_dtype"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float16), (torch.float32, torch.float64)],
)
def test_gradients_of_other_dtypes_are_sent_without_loss(backend, dtype, grad_dtype):
    """16-bit gradients travel in 16 bits; what no kernel reads is converted first, as it is on one rank."""
    shapes = [(12, 20), (33, 64)]
    assert run(rule_with(backend), shapes, CUTS["rows over three"], dtype, steps=4, grad_dtype=grad_dtype) == []


def test_parameters_of_different_dtypes_are_stepped_in_one_exchange(backend):
    """float64 beside bfloat16 beside float32: the same as one by one."""
    dtypes = [torch.float64, torch.bfloat16, torch.float32, torch.float64]
    shapes = [(7, 13), (12, 20), (33, 64), (5,)]
    rule = rule_with(backend)
    params = [parameters([shape])[0].detach().to(dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    states = [fresh_state(rule, param) for param in params]
    ranks = PretendRanks(rule, [chunks(shape, 0, 3) for shape in shapes], params, share_signs=False)
    for step in range(5):
        grads = [gradient_stream(shape, seed=i)(step).to(params[i].dtype) for i, shape in enumerate(shapes)]
        for state in states:
            state["step"] += 1
        kernel_for("SMMF", backend)(params, grads, states, rule, list(range(4)))
        ranks.step(grads)
    assert ranks.differences(params, states) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 1e-42])
def test_special_values_reach_the_factors_of_all_ranks(backend, value):
    """A NaN in one rank's gradient is in every rank's factors, as it is on one rank; so is everything else."""
    rule, shape = rule_with(backend, cautious=True, update_rms=0.1), (12, 20)
    params = [parameters([shape])[0].detach()]
    states = [fresh_state(rule, params[0])]
    ranks = PretendRanks(rule, [chunks(shape, 0, 3)], params, share_signs=False)
    for step in range(3):
        grad = gradient_stream(shape)(step).float()
        grad[11, 3] = value
        states[0]["step"] += 1
        kernel_for("SMMF", backend)(params, [grad], states, rule, [0])
        ranks.step([grad])
    # A NaN's payload is the processor's choice, so of NaN only their places are compared.
    if isnan(value):
        for rank in ranks.ranks:
            for name in ("v_row", "v_col", "m_row", "m_col"):
                assert torch.equal(ranks.states[rank][0][name].isnan(), states[0][name].isnan())
            held = part(params[0], ranks.cuts[0].holdings[rank])
            assert torch.equal(ranks.params[rank][0].isnan(), held.isnan())
        assert bool(states[0]["v_row"].isnan().any())
    else:
        assert ranks.differences(params, states) == []


def test_parts_that_are_not_contiguous_are_stepped(backend):
    """A rank's part may lie in memory in any order: it is written back in that order."""
    rule, shape = rule_with(backend), (12, 20)
    params = [parameters([shape])[0].detach()]
    states = [fresh_state(rule, params[0])]
    ranks = PretendRanks(rule, [chunks(shape, 0, 3)], params, share_signs=False)
    for rank in ranks.ranks:
        dense = ranks.params[rank][0].view(-1, 20)
        ranks.params[rank][0] = dense.T.contiguous().T
        assert not ranks.params[rank][0].is_contiguous()
    grad = gradient_stream(shape)(0).float()
    states[0]["step"] += 1
    kernel_for("SMMF", backend)(params, [grad], states, rule, [0])
    ranks.step([grad])
    assert ranks.differences(params, states) == []


def test_a_panel_is_owned_by_who_holds_most_of_it_and_equals_take_turns(backend):
    """So that least is sent, and no rank sums for all."""
    shape = (64, 64)
    cuts = [Cut(shape, chunks(shape, 1, 2))] * 8
    params = [torch.zeros(64 * 32)] * 8
    plan = shards_plan(rule_with(backend), cuts, params, params, list(range(8)), 0)
    owners = [panel.owner for member in plan.members for panel in member.panels]
    assert owners.count(0) == owners.count(1) > 0
    uneven = Cut(shape, ((Runs(0, 100, 100, 1),), (Runs(100, 3996, 3996, 1),)), signs_shared=True)
    plan = shards_plan(rule_with(backend), [uneven], [torch.zeros(100)], [torch.zeros(100)], [0], 0)
    assert plan.members[0].panels[-1].owner == 1


def test_bytes_sent_are_what_the_plan_says_and_no_more(backend):
    """Of cut panels the smaller parts, gradient and signs; of sums 2 (rows + panels columns) numbers per parameter."""
    shape, rule = (40, 48), rule_with(backend)
    cut = Cut(shape, chunks(shape, 0, 2))
    plan = shards_plan(rule, [cut], [torch.zeros(960)], [torch.zeros(960)], [0], 0)
    rows, columns = near_square(1920)
    panels = plan.members[0].panels
    sums = 4 * 2 * (rows + len(panels) * columns)
    assert sum(places.nbytes for places in plan.places) <= sums + 2 * 8 * 3 + 8 * len(panels)
    cut_panel = next((panel for panel in panels if len(panel.parts) == 2), None)
    smaller = min(part.numel for part in cut_panel.parts) if cut_panel else 0
    assert sum(plan.sent) + sum(plan.received) == -(-(4 * smaller + -(-smaller // 8)) // 8) * 8


def test_temporaries_do_not_grow_with_the_number_of_cut_panels(backend, monkeypatch):
    """Copies of rows are stepped and dropped as soon as there are enough of them."""
    monkeypatch.setattr(smmf_shards, "_COPIED_NUMEL", 500)
    sizes = []
    kernels = smmf_shards.cpu_smmf if backend == "cpu" else smmf_shards.eager_smmf
    original = kernels.step_copies_

    def watched(shards, jobs, message):
        sizes.append(sum(job.window.param.numel() for job in jobs))
        original(shards, jobs, message)

    monkeypatch.setattr(kernels, "step_copies_", watched)
    assert run(rule_with(backend), [(12, 20)] * 9, CUTS["columns"], torch.float32, steps=2) == []
    assert max(sizes) <= 500 + 240
    assert len(sizes) > 6


def test_triton_is_refused_by_name():
    """It steps whole parameters only."""
    cut, param = Cut((4,), ((Runs(0, 4, 4, 1),),), signs_shared=True), torch.zeros(4)
    with pytest.raises(SettingError, match="whole parameters only"):
        shards_plan(SMMFRule(backend="triton"), [cut], [param], [param], [0], 0)


@needs_library
def test_the_library_refuses_rows_of_two_panels():
    """They would be summed in another order, in silence."""
    assert library.panel_rows(560, 500) == 272
    rule = rule_with("cpu")
    shape = (700, 400)
    param = torch.zeros(shape)
    cut = Cut(shape, chunks(shape, 0, 1))
    plan = shards_plan(rule, [cut], [param], [param], [0], 0)
    state = fresh_state(rule, param)
    state["step"] += 1
    whole = plan.whole[0]
    plan.whole[:] = [replace(whole, panel=replace(whole.panel, last=whole.panel.last + 1))]
    with pytest.raises(AssertionError, match="refused"):
        SmmfShards(plan, [param], [param], [state], rule, [0]).panels_(torch.zeros(0, dtype=torch.uint8))
