"""Cuts of a flat tensor: runs of blocks against NumPy's indexing, panels that hold every element once."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sm3.optim.kernels.shard_plan import Member, ShardPlan
from sm3.optim.rules.panels import Cut, Runs, clip, clip_local, even_rows, panels_of, runs_of_block
from sm3.optim.rules.shapes import near_square


@st.composite
def blocks(draw):
    """A shape, and a block of it: offset and lengths."""
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=0, max_size=4)))
    offset = tuple(draw(st.integers(0, length)) for length in shape)
    lengths = tuple(draw(st.integers(0, length - first)) for length, first in zip(shape, offset, strict=True))
    return shape, offset, lengths


def elements(runs):
    """Flat elements of runs, in their order."""
    return [run.start + i * run.stride + k for run in runs for i in range(run.count) for k in range(run.length)]


def indexed(shape, offset, lengths):
    """The same, by NumPy."""
    slices = tuple(slice(first, first + length) for first, length in zip(offset, lengths, strict=True))
    return np.arange(prod(shape)).reshape(shape)[slices].reshape(-1).tolist()


@given(blocks())
def test_runs_of_a_block_are_its_elements_in_memory_order(block):
    """Against indexing of a real array, for zero to four dimensions."""
    assert elements(runs_of_block(*block)) == indexed(*block)


@given(blocks(), st.integers(0, 625), st.integers(0, 625))
def test_clipped_blocks_say_where_they_lie_in_memory(block, first, last):
    """Every element of the range once; the n-th of a block is number local + n of the memory."""
    held = indexed(*block)
    start, stop = min(first, last), max(first, last)
    found = clip(runs_of_block(*block), start, stop)
    assert sorted(elements([part.runs for part in found])) == [e for e in held if start <= e < stop]
    for part in found:
        here = elements([part.runs])
        assert held[part.local : part.local + len(here)] == here


@given(blocks(), st.integers(0, 625), st.integers(0, 625))
def test_a_range_of_memory_is_found_in_the_tensor(block, first, last):
    """The reverse: elements [start, stop) of what a rank holds."""
    held = indexed(*block)
    start, stop = min(first, last), max(first, last)
    assert elements(clip_local(runs_of_block(*block), start, stop)) == held[start:stop]


@given(st.tuples(st.integers(1, 40), st.integers(1, 12)), st.integers(1, 5), st.integers(1, 8), st.integers(0, 5))
def test_panels_hold_every_element_once_and_belong_to_a_holder_of_most(shape, ranks, height, turn):
    """Also with more ranks than rows."""
    cut = even_rows(shape, ranks)
    rows, columns = near_square(cut.numel)
    panels = panels_of(cut, rows, columns, height, turn)
    held = [e for panel in panels for part in panel.parts for e in elements([b.runs for b in part.blocks])]
    assert sorted(held) == list(range(cut.numel))
    assert [panel.first for panel in panels] == list(range(0, rows, height))
    for panel in panels:
        sizes = {part.speaker: part.numel for part in panel.parts}
        assert sizes[panel.owner] == max(sizes.values())


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=4), st.integers(1, 5))
def test_all_ranks_make_the_same_plan(shapes, ranks):
    """What one says it sends is what the other says it receives; every record has a place in one message alone."""
    members = [Member(even_rows(shape, ranks), 3, i, 4, 4, 2) for i, shape in enumerate(shapes)]
    plans = [ShardPlan(members, rank, ranks) for rank in range(ranks)]
    for sender in plans:
        for receiver in plans:
            assert sender.outgoing[receiver.rank] == receiver.incoming[sender.rank]
        assert sender.places == plans[0].places
        assert sender.any_pieces == any(sum(plan.sent) for plan in plans)
        assert sender.sent[sender.rank] == 0
    records = sorted(key for places in plans[0].places for key in places.records)
    assert records == [(i, panel.number) for i, member in enumerate(members) for panel in member.panels]
    for places in plans[0].places:
        starts = [*places.records.values(), *places.signs.values()]
        assert len(set(starts)) == len(starts)
        assert all(at % 8 == 0 for at in starts)


def test_ranks_with_equal_holdings_take_turns_to_speak():
    """A replicated mesh dimension within the group: nobody sends twice, and not always the same one sends."""
    left, right = (Runs(0, 10, 10, 1),), (Runs(10, 14, 14, 1),)
    cut = Cut((24,), (left, left, right, right))
    panels = panels_of(cut, 6, 4, 1)
    assert [panel.owner for panel in panels] == [0, 1, 0, 3, 2, 3]
    assert [len(panel.parts) for panel in panels] == [1, 1, 2, 1, 1, 1]
    assert not panels[2].whole
    assert panels[0].held_by(1) == panels[0].held_by(0) != ()
    assert panels[0].held_by(3) == ()
