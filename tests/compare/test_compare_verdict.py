"""The sentences: no ranking where ranges overlap, AdamW named where it wins, trouble never hidden."""

from __future__ import annotations

import math

import pytest

from sm3.compare import report
from sm3.compare.pictures import pareto_front
from sm3.compare.verdict import Row, disturbances, overlap, reaches, sentences
from sm3.run_record import RunRecord


def row(name, *losses, state=100, planned=None, edge=None, bad_rates=0):
    return Row(
        name=name,
        lr=0.1 if losses else None,
        edge=edge,
        losses=losses,
        diverged_in_sweep=bad_rates,
        rates_tried=4,
        state_bytes=state,
        planned_state_bytes=state if planned is None else planned,
        state_share=state / 100,
        peak_bytes=10**8,
        optimizer_ms=1.0,
        large_ms=10.0,
        large_peak_bytes=10**6,
        steps_to_baseline=250.0,
        seconds_to_baseline=4.0,
    )


def said(*rows, unit="bits/byte"):
    return sentences(rows, unit, 435_456, 250)


def test_separate_ranges_have_a_winner():
    """Every seed of the winner is better than every seed of the others."""
    first, second, *_ = said(row("AdamW", 3.0, 3.1, 3.2), row("SMMF", 2.7, 2.8, 2.9, state=2))
    assert first.startswith("SMMF wins on loss: 2.800 bits/byte")
    assert (
        second == "SMMF beats AdamW here: it ends 0.300 bits/byte or 9.7 % below it, with 2 % of its optimizer state."
    )


def test_overlapping_ranges_are_not_ranked():
    """The best median is named, and that it means nothing."""
    first, second, *_ = said(row("AdamW", 3.0, 3.1, 3.2), row("SMMF", 2.9, 2.95, 3.05, state=2))
    assert first == (
        "No single winner: SMMF has the lowest median loss, 2.950 bits/byte, "
        "but its range over seeds overlaps with that of AdamW."
    )
    assert "no difference can be told" in second
    assert "beats" not in first + second


def test_where_adamw_wins_it_is_said():
    """Who lost and by how much."""
    first, second, *_ = said(row("AdamW", 3.0, 3.01, 3.02), row("SM3", 3.6, 3.61, 3.62, state=51))
    assert first.startswith("AdamW wins on loss")
    assert second == "AdamW beats SM3, which ends 0.600 bits/byte or 20 % above it, with 51 % of its optimizer state."


def test_one_seed_ranks_nothing():
    """However far apart the two are."""
    first, second, *_ = said(row("AdamW", 3.0), row("SMMF", 2.0))
    assert first.startswith("No ranking: one seed")
    assert "may be chance" in second


def test_a_diverged_seed_is_an_infinite_loss():
    """One of three diverged: the median stands, the range does not, and it is said."""
    bad = row("SMMF", 2.0, 2.1, math.inf)
    text = " ".join(said(row("AdamW", 3.0, 3.1, 3.2), bad))
    assert "SMMF diverged in 1 of 3 runs" in text
    assert overlap(bad, row("AdamW", 3.0, 3.1, 3.2))
    assert report.loss_cell(bad) == "2.100 [2.000, inf] (1 diverged)"


def test_a_contestant_that_always_diverged_is_still_a_row():
    """In the sentences and in the table."""
    gone = row("SM3", bad_rates=5)
    text = " ".join(said(row("AdamW", 3.0, 3.1), gone))
    assert "SM3 diverged; AdamW did not." in text
    assert report.loss_cell(gone) == "diverged at every lr"
    assert "SM3 diverged at 5 of 4 learning rates" in text
    assert said(row("AdamW"), row("SM3"))[0] == "No winner: every contestant diverged."
    assert "AdamW diverged; SMMF did not." in said(row("AdamW"), row("SMMF", 1.0, 2.0))


def test_an_edge_that_is_left_is_said():
    """The rate may be better beyond it."""
    text = " ".join(said(row("AdamW", 3.0, 3.1), row("SMMF", 3.0, 3.1, edge="highest")))
    assert "The best learning rate of SMMF, 0.1, is still the highest one tried" in text


def test_planned_bytes_that_are_not_measured_are_said():
    """They must be equal; if not, that is news."""
    bad = row("SMMF", 3.0, 3.1, state=10, planned=12)
    assert any("planned 12 bytes of state, measured 10" in text for text in said(row("AdamW", 3.0, 3.1), bad))
    assert report.cells(bad)[2] == "12 ≠ 10"


def test_a_loss_that_is_not_positive_gets_no_per_cent():
    """A user's loss may be anything; a per cent of -1 means nothing."""
    _, text, *_ = said(row("AdamW", -1.0, -1.1), row("SMMF", -2.0, -2.1), unit="loss")
    assert "1.000 loss below" in text
    assert "or " not in text


def test_the_limits_are_always_said():
    """A small model, this machine."""
    text = " ".join(said(row("AdamW", 3.0, 3.1)))
    assert "0.44 M parameters" in text
    assert "this machine" in text


def test_reaching_a_target_is_the_first_measurement_not_above_it():
    """Steps and seconds of that measurement; infinite if there is none, and a diverged measurement is none."""
    record = RunRecord("compare-run", 0, {}, {"held_out": [[10, 1.0, 4.0], [20, 2.0, 3.0], [30, 3.0, None]]})
    assert reaches(record, 3.5) == (20, 2.0)
    assert reaches(record, 3.0) == (20, 2.0)
    assert reaches(record, 2.0) == (math.inf, math.inf)


@pytest.mark.parametrize(("times", "control", "count"), [((10.0, 11.0), False, 0), ((10.0, 14.0), True, 2)])
def test_a_busy_machine_is_reported(times, control, count):
    """Forward and backward differ though they are the same work, or AdamW differs from itself."""
    records = [RunRecord("compare-run", 0, {}, {"gradient_ms": ms}) for ms in times]
    timing = RunRecord("compare-timing", 0, {}, {"contended": control, "control": 1.3})
    found = disturbances(records, timing, "cpu")
    assert len(found) == count
    assert all(text.startswith("Contended") for text in found)
    assert "plain PyTorch" in disturbances(records, timing, "eager")[0]


def test_the_pareto_front_holds_those_nobody_beats_in_both():
    """Equal in one and worse in the other is beaten."""
    assert pareto_front([(1, 5), (1, 6), (2, 5), (2, 4), (3, 4.5)]) == [(1, 5), (2, 4)]
    assert pareto_front([]) == []
