"""SMMF in C++ on parameters that are cut over ranks: the two halves of a step (kernels/smmf_shards.py).

Tables of integers describe what lies where, as in call.py; what depends on the plan alone is computed once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.cpu.call import Table, addresses, check, settings_of, written
from sm3.optim.kernels.cpu.smmf import geometry, own_settings, state_table
from sm3.optim.kernels.shard_plan import COUNTS, ShardPlan
from sm3.optim.kernels.shards import Shards
from sm3.optim.kernels.window import Job

# Columns of sm3k_smmf_rows in abi.h.
_TENSOR, _PARAM, _GRAD, _SIGN, _RUN, _STRIDE, _FIRST, _LAST, _RECORD, _COUNTS, _WIDTH = range(11)


def step_whole_(shards: Shards, message: Tensor) -> None:
    """Step the panels that this rank holds, where they lie; sums and counts go to its message.

    Column factors stay; rows have the new sums already, which is why no row may be stepped twice.
    """
    places = _places(shards.plan)
    _step(shards, _table(shards, places.whole, _Held.of(shards), message))


def step_copies_(shards: Shards, jobs: Sequence[Job], message: Tensor) -> None:
    """The same, of rows that lie elsewhere."""
    if not jobs:
        return
    rows = np.zeros((len(jobs), _WIDTH), np.int64)
    windows = [job.window for job in jobs]
    origin = np.array([window.origin for window in windows])
    rows[:, _TENSOR] = [job.member for job in jobs]
    rows[:, _FIRST], rows[:, _LAST] = [job.first for job in jobs], [job.last for job in jobs]
    rows[:, _PARAM] = addresses([window.param for window in windows]) - origin * _itemsizes([w.param for w in windows])
    rows[:, _GRAD] = addresses([window.grad for window in windows]) - origin * _itemsizes([w.grad for w in windows])
    rows[:, _RUN] = rows[:, _STRIDE] = [shards.plan.members[job.member].cut.numel for job in jobs]  # one stream of bits
    if shards.rule.beta is not None:
        bits = [window.signs for window in windows if window.signs is not None]
        rows[:, _SIGN] = addresses(bits) - np.array([window.signs_origin for window in windows]) // 8
    owned = [i for i, job in enumerate(jobs) if job.record is not None]
    rows[owned, _RECORD] = addresses([job.record for job in jobs if job.record is not None])
    rows[owned, _COUNTS] = message.data_ptr() + 8 * COUNTS * rows[owned, _TENSOR]
    _step(shards, rows)


def finish_(shards: Shards, gathered: Tensor) -> None:
    """New factors, and the state of what was counted, from all ranks' messages, (ranks, message_nbytes).

    Messages may be parts of longer rows.
    """
    plan = shards.plan
    counts = shards.counts(gathered).sum(0)
    places = _places(plan)
    records = gathered.data_ptr() + places.record_rank * gathered.stride(0) + places.record_at
    table = _state(shards)
    for wide in (False, True):
        chosen = [i for i, param in enumerate(shards.params) if (param.dtype is torch.float64) is wide]
        if chosen:
            part, counted = np.ascontiguousarray(table[chosen]), counts[chosen].contiguous()
            pointers = np.ascontiguousarray(records[np.isin(places.record_member, chosen)])
            first = chosen[0]
            settings = settings_of(
                shards.rule, shards.params[first].dtype, shards.grads[first].dtype, own_settings(shards.rule)
            )
            check(
                library.library().sm3k_smmf_finish(
                    part.ctypes.data,
                    len(part),
                    pointers.ctypes.data,
                    counted.data_ptr(),
                    ctypes.byref(settings),
                    torch.get_num_threads(),
                )
            )


Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Places:
    """What a plan alone says: of the panels stepped in place, and of the records of all panels in order."""

    whole: Table  # member, first, last, origin, byte of the message for the record or -1
    record_member: Integers
    record_rank: Integers
    record_at: Integers


@lru_cache(maxsize=32)
def _places(plan: ShardPlan) -> _Places:
    own = plan.places[plan.rank].records
    whole = [
        (w.member, w.panel.first, w.panel.last, w.origin, own[w.member, w.panel.number] if w.owned else -1)
        for w in plan.whole
    ]
    records = [
        (number, panel.owner, plan.places[panel.owner].records[number, panel.number])
        for number, member in enumerate(plan.members)
        for panel in member.panels
    ]
    columns = np.array(records, np.int64).reshape(-1, 3).T
    return _Places(np.array(whole, np.int64).reshape(-1, 5), *columns)


@dataclass(frozen=True)
class _Held:
    """Where what the rank holds lies, one number per parameter."""

    param: Integers
    grad: Integers
    param_size: Integers
    grad_size: Integers
    sign: Integers
    run: Integers
    stride: Integers
    shared: Integers  # 1 where all signs are stored: then flat element 0 has the first

    @classmethod
    def of(cls, shards: Shards) -> _Held:
        members = shards.plan.members
        signs = [0 if store is None else store.packed.data_ptr() for store in shards.signs]
        shapes = [geometry(member.cut.shape, member.published)[3:] for member in members]
        run, stride = np.array(shapes, np.int64).T
        return cls(
            addresses(shards.params),
            addresses(shards.grads),
            _itemsizes(shards.params),
            _itemsizes(shards.grads),
            np.array(signs, np.int64),
            run,
            stride,
            np.array([member.cut.signs_shared for member in members], np.int64),
        )


def _table(shards: Shards, whole: Table, held: _Held, message: Tensor) -> Table:
    member, first, last, origin, record = whole.T
    rows = np.zeros((len(whole), _WIDTH), np.int64)
    rows[:, _TENSOR], rows[:, _FIRST], rows[:, _LAST] = member, first, last
    rows[:, _PARAM] = held.param[member] - origin * held.param_size[member]
    rows[:, _GRAD] = held.grad[member] - origin * held.grad_size[member]
    run, stride = held.run[member], held.stride[member]
    rows[:, _RUN], rows[:, _STRIDE] = run, stride
    if shards.rule.beta is not None:
        # Signs of a part begin with it: at a whole byte, and where runs are padded, at a whole run.
        bits = np.where(stride == run, origin, origin // run * stride)
        rows[:, _SIGN] = held.sign[member] - np.where(held.shared[member], 0, bits) // 8
    owned = record >= 0
    rows[owned, _RECORD] = message.data_ptr() + record[owned]
    rows[owned, _COUNTS] = message.data_ptr() + 8 * COUNTS * member[owned]
    return rows


def _step(shards: Shards, rows: Table) -> None:
    """One call per pair of dtypes, which is usually one."""
    table = _state(shards)
    for param, grad, chosen in _kinds(shards):
        part = np.ascontiguousarray(rows[np.isin(rows[:, _TENSOR], chosen)])
        if not len(part):
            continue
        settings = settings_of(shards.rule, param, grad, own_settings(shards.rule))
        check(
            library.library().sm3k_smmf_rows_step(
                table.ctypes.data,
                len(table),
                part.ctypes.data,
                len(part),
                ctypes.byref(settings),
                torch.get_num_threads(),
            )
        )
    written(shards.params)


def _kinds(shards: Shards) -> Iterator[tuple[torch.dtype, torch.dtype, list[int]]]:
    kinds: dict[Any, list[int]] = {}
    for number, (param, grad) in enumerate(zip(shards.params, shards.grads, strict=True)):
        kinds.setdefault((param.dtype, grad.dtype), []).append(number)
    for (param, grad), chosen in kinds.items():
        yield param, grad, chosen


def _state(shards: Shards) -> Table:
    wanted: tuple[str, ...] = ("step", "v_row", "v_col")
    wanted += () if shards.rule.beta is None else ("m_row", "m_col")
    wanted += (("kept",) if shards.rule.cautious else ()) + (("rms",) if shards.rule.update_rms is not None else ())
    columns = {name: [state[name] for state in shards.states] for name in wanted}
    shapes = tuple(member.cut.shape for member in shards.plan.members)
    return state_table(shapes, shards.rule.published, columns, shards.indices)


def _itemsizes(tensors: Sequence[Tensor]) -> Integers:
    return np.array([tensor.element_size() for tensor in tensors], np.int64)
