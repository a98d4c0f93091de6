# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The update's root mean square, held at a target by last step's: `kernels.eager.update_rms`, which see, bit for bit.

Tiles count their squares in quanta, in int32 a lane, whose bit 30 says that an update was not zero, and add them to the
parameter's two int64: integers, so the order of programs does not matter. A launch of its own then makes `rms` of
them; the tiles read the old one.
"""

import triton
import triton.language as tl

from sm3.optim.kernels.triton.rounding import count_kept, root_of
from sm3.optim.kernels.triton.storage import FIELDS, LR, NUMEL, load_at, real

# Words of the descriptor.
RMS: tl.constexpr = tl.constexpr(28)  # addresses of the state, and of this step's count
SQUARES: tl.constexpr = tl.constexpr(29)  # the count, and behind it whether an update was not zero
TARGET: tl.constexpr = tl.constexpr(30)  # float64

# kernels.eager.update_rms says why.
MAX_GAIN: tl.constexpr = tl.constexpr(10.0)
LARGEST_UNIT: tl.constexpr = tl.constexpr(2.0**45)
FIRST_UNIT: tl.constexpr = tl.constexpr(0.25)
PLACES: tl.constexpr = tl.constexpr(2.0**-9)
MOST: tl.constexpr = tl.constexpr(2.0**23)
LEAST: tl.constexpr = tl.constexpr(2.0**-5)
MOVED: tl.constexpr = tl.constexpr(1 << 30)


@triton.jit
def _last(t):
    """The last root mean square; 0 before there was one."""
    return tl.load(load_at(t, RMS).to(tl.pointer_type(tl.float32))).to(tl.float64)


@triton.jit
def _bounded(t, last):
    return tl.maximum(last, real(t, TARGET, tl.float64) / MAX_GAIN)


@triton.jit
def step_size(t, F: tl.constexpr):
    """What the update is multiplied by."""
    lr = real(t, LR, tl.float64)
    if F.held:
        last = _last(t)
        lr = tl.where(last > 0, lr * (real(t, TARGET, tl.float64) / _bounded(t, last)), lr)
    return lr.to(F.accumulator)


@triton.jit
def unit_of(t, F: tl.constexpr):
    """What updates are measured in: a power of two (float64)."""
    unit = tl.full((), 1.0, tl.float64)
    if F.held:
        last = _last(t)
        unit = tl.where(last > 0, _bounded(t, last), FIRST_UNIT)
        unit = tl.minimum(tl.maximum(unit, 1.0 / LARGEST_UNIT), LARGEST_UNIT)
        unit = (unit.to(tl.int64, bitcast=True) & 0x7FF0000000000000).to(tl.float64, bitcast=True)  # without fraction
    return unit


@triton.jit
def counted(squares, update, inside, unit):
    """`squares` raised by the quanta in each square: the last bits of its sum with 2^23 of them.

    As an integer NaN is above the cap. Fewer than 2^7 additions: below bit 30.
    """
    base = (unit * unit * (PLACES * MOST)).to(tl.float32)
    single = update.to(tl.float32)
    square = single * single
    bits = (square + base).to(tl.uint32, bitcast=True)
    counts = tl.minimum(bits, (base + base).to(tl.uint32, bitcast=True)) - base.to(tl.uint32, bitcast=True)
    squares += tl.where(inside, counts, 0).to(tl.int32)
    return tl.where(inside & (square > 0), squares | MOVED, squares)


@triton.jit
def add_counts(t, kept, squares, F: tl.constexpr):
    """Add this program's counts to the parameter's: entries that the cautious mask kept, and squares."""
    if F.cautious:
        count_kept(t, kept)
    if F.held:
        _add_squares(t, squares)


@triton.jit
def _add_squares(t, counts):
    where = load_at(t, SQUARES).to(tl.pointer_type(tl.int64))
    total = tl.sum(tl.sum((counts & (MOVED - 1)).to(tl.int64), 1), 0)
    tl.atomic_add(where, total, sem="relaxed")
    tl.atomic_max(where + 1, tl.max(tl.max(counts, 1), 0).to(tl.int64) >> 30, sem="relaxed")


@triton.jit
def store_rms(tensors, F: tl.constexpr):
    """One program a tensor; where no update moved, what was there stays."""
    t = tensors + tl.program_id(0) * FIELDS
    where = load_at(t, SQUARES).to(tl.pointer_type(tl.int64))
    count, moved = tl.load(where), tl.load(where + 1)
    unit = unit_of(t, F)
    mean = count.to(tl.float64) / load_at(t, NUMEL).to(tl.float64)
    rms = tl.where(count > 0, root_of(mean * (unit * unit * PLACES)), unit * LEAST)
    tl.store(load_at(t, RMS).to(tl.pointer_type(tl.float32)), rms.to(tl.float32), mask=(count > 0) | (moved != 0))
