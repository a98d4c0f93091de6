"""What is computed from measured seconds: paired ratios, spread, the verdict, bytes; and that rounds are fair."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks import bounds, native_step, training_step
from benchmarks.command import thread_counts
from benchmarks.contestants import BASE, CONTROL, OURS, contestants, ours
from benchmarks.measure import WARM_UP, clock_for, figures, interleaved, quantile, valid, verdict
from benchmarks.shapes import ABOUT, parameters, shapes_of
from sm3.errors import InputError, SettingError
from sm3.plan.measure import state_nbytes


def both(values):
    """The same seconds on both clocks."""
    return {"cpu": values, "wall": values}


def test_a_machine_that_slows_down_does_not_decide():
    """The ratio is the median over rounds of own / base; the ratio of medians would say 5 here."""
    seconds = {"base": both([1.0, 1.0, 10.0]), "own": both([0.5, 5.0, 5.0])}

    assert figures(seconds, "base", "cpu")["own"]["ratio"] == 0.5


def test_the_clock_that_decides_is_cpu_on_one_thread_and_wall_on_more():
    """The other clock's median stands beside it."""
    seconds = {"base": {"cpu": [1.0], "wall": [2.0]}, "own": {"cpu": [3.0], "wall": [4.0]}}

    assert figures(seconds, "base", clock_for(1))["own"] == {
        "median": 3.0,
        "min": 3.0,
        "p90": 3.0,
        "wall_median": 4.0,
        "ratio": 3.0,
        "ratio_p10": 3.0,
        "ratio_p90": 3.0,
    }
    assert figures(seconds, "base", clock_for(2))["own"]["ratio"] == 2.0


def test_quantiles_interpolate_between_the_two_nearest():
    """As NumPy's default does, ends included."""
    import numpy as np

    values = [5.0, 1.0, 2.0, 9.0, 4.0]

    for share in (0.0, 0.1, 0.5, 0.77, 1.0):
        assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-15)


@pytest.mark.parametrize(
    ("control", "rounds", "said"),
    [
        (1.0, 15, "VALID"),
        (1.029, 15, "VALID"),
        (0.971, 40, "VALID"),
        (1.031, 15, "contended, not quotable"),
        (0.969, 15, "contended, not quotable"),
        (1.0, 14, "few rounds, not quotable"),
    ],
)
def test_only_a_control_within_three_per_cent_and_enough_rounds_are_valid(control, rounds, said):
    """What may not be quoted says so in words."""
    assert verdict(control, rounds).startswith(said)
    assert valid(control, rounds) is (said == "VALID")


def test_every_contestant_steps_once_a_round_after_two_that_do_not_count():
    """In an order that changes, and with what comes before each step timed apart."""
    calls = []
    steps = {name: (lambda name=name: calls.append(name)) for name in "abc"}

    seconds = interleaved(steps, 5, before=lambda: calls.append("before"))

    assert calls[::2] == ["before"] * (3 * (WARM_UP + 5))
    rounds = [tuple(calls[1::2][start : start + 3]) for start in range(0, 3 * (WARM_UP + 5), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1
    assert {len(taken[clock]) for taken in seconds.values() for clock in ("cpu", "before_wall")} == {5}


def test_a_repeated_step_is_divided_by_its_repeats(monkeypatch):
    """Seconds are those of one step, also where the clock runs over twenty; what comes before runs once, apart."""
    now = {"cpu": 0.0, "wall": 0.0}

    def pass_time(cpu, wall):
        now["cpu"] += cpu
        now["wall"] += wall

    clocks = SimpleNamespace(process_time=lambda: now["cpu"], perf_counter=lambda: now["wall"])
    monkeypatch.setattr("benchmarks.measure.time", clocks)

    seconds = interleaved({"a": lambda: pass_time(1.0, 2.0)}, 1, repeats=20, before=lambda: pass_time(5.0, 7.0))

    assert seconds["a"] == {"cpu": [1.0], "wall": [2.0], "before_cpu": [5.0], "before_wall": [7.0]}


def test_bytes_to_move_follow_from_the_state_that_is_really_there():
    """28, 20 and 12 bytes per float32 element by hand; the vectors of SM3 and SMMF add less than 2 %."""
    params = parameters([(512, 768)], torch.float32)
    expected = {
        BASE: 28.0,
        CONTROL: 28.0,
        "AdamW foreach": 28.0,
        "SGD + momentum fused": 20.0,
        "SGD fused": 12.0,
        "SM3": 20.0,
        "SM3 without momentum": 12.0,
        "SMMF": 12.25,
        "SMMF without first moment": 12.0,
    }
    assert expected.keys() == contestants().keys()
    for name, make in contestants().items():
        optimizer = make(params)
        optimizer.step()
        moved = bounds.bytes_per_element(4, state_nbytes(optimizer) / params[0].numel())
        assert expected[name] <= moved < 1.02 * expected[name], name


def test_the_share_of_the_bound_is_least_time_over_time():
    """2^25 elements of 12 bytes at 12 GB/s take 2^25 ns; a step of twice that is at half of the bound."""
    numel = 1 << 25
    seconds = {BASE: both([2e-9 * numel])}

    rows = native_step.rows_of(seconds, "cpu", numel, 4, {BASE: 0.0}, 12e9)
    assert rows[BASE]["share"] == pytest.approx(0.5, rel=1e-15)

    small = native_step.rows_of(seconds, "cpu", 1000, 4, {BASE: 0.0}, 12e9)
    assert small[BASE]["share"] is None  # the caches hold it


def test_the_whole_of_a_training_step_shares_forward_and_backward():
    """They are the same work for all: 9 s of them and steps of 1 s and 2 s are 10 s and 11 s."""
    seconds = {
        BASE: both([1.0, 1.0]) | {"before_wall": [8.0, 9.0]},
        "slow": both([2.0, 2.0]) | {"before_wall": [9.0, 30.0]},
    }

    rows = training_step.rows_of(seconds, "wall")

    assert rows["slow"]["ratio"] == 2.0
    assert rows["slow"]["whole_ratio"] == pytest.approx(1.1, rel=1e-15)
    assert rows[BASE]["share_of_whole"] == pytest.approx(0.1, rel=1e-15)


def test_the_sets_are_what_the_protocol_lists():
    """GPT-2 small with its 148 tensors, two large matrices, 200 small tensors."""
    assert list(ABOUT) == ["gpt2-small", "8192x4096", "8192x4112", "small"]
    sizes = {name: [torch.Size(shape).numel() for shape in shapes_of(name)] for name in ABOUT}
    assert (len(sizes["gpt2-small"]), sum(sizes["gpt2-small"])) == (148, 124_439_808)
    assert sizes["8192x4112"] == [8192 * 4112]
    assert sorted(set(sizes["small"])) == [64, 4096]
    assert len(sizes["small"]) == 200


def test_an_unknown_set_is_an_error_with_the_known_ones():
    """As in `sm3 plan`."""
    with pytest.raises(InputError, match="gpt2-small"):
        shapes_of("gpt7")


@pytest.mark.parametrize("text", ["", "0", "one", "1,,2", "-1"])
def test_numbers_of_threads_that_cannot_be_read_are_refused(text):
    """Before anything is measured."""
    with pytest.raises(SettingError, match="--threads"):
        thread_counts(text)


def test_all_threads_and_one_thread_are_one_run_on_one_core(monkeypatch):
    """No table appears twice."""
    monkeypatch.setattr("benchmarks.command.cores", lambda: 1)
    assert thread_counts("1,all") == [1]
    monkeypatch.setattr("benchmarks.command.cores", lambda: 8)
    assert thread_counts("1,all") == [1, 8]


def test_ours_round_stochastically_in_16_bits_and_nearest_in_32():
    """As 16-bit weights are trained."""
    for dtype, expected in ((torch.float32, "nearest"), (torch.bfloat16, "stochastic")):
        for name in OURS:
            group = ours(name, parameters([(4, 4)], dtype)).param_groups[0]
            assert group["rounding"] == expected
