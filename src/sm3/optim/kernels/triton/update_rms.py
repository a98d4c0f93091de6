# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The update's root mean square, held at a target by last step's: `kernels.eager.update_rms`, which see, bit for bit.

Tiles count their squares in quanta, in int32 a lane, and add them to the parameter's int64: integers, so the order of
programs does not matter. A launch of its own then makes `rms` of the counts; the tiles read the old one.
"""

import triton
import triton.language as tl

from sm3.optim.kernels.triton.rounding import root_of
from sm3.optim.kernels.triton.storage import FIELDS, LR, NUMEL, load_at, real

# Words of the descriptor.
RMS: tl.constexpr = tl.constexpr(28)  # addresses of the state, and of this step's count
SQUARES: tl.constexpr = tl.constexpr(29)
TARGET: tl.constexpr = tl.constexpr(30)  # float64

# kernels.eager.update_rms says why.
MAX_GAIN: tl.constexpr = tl.constexpr(10.0)
LARGEST_UNIT: tl.constexpr = tl.constexpr(2.0**45)
FIRST_UNIT: tl.constexpr = tl.constexpr(0.25)
PLACES: tl.constexpr = tl.constexpr(2.0**-9)
MOST: tl.constexpr = tl.constexpr(2.0**23)


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
def quantum_of(t, F: tl.constexpr):
    """Squares are counted in it: a power of two (float64)."""
    unit = tl.full((), 1.0, tl.float64)
    if F.held:
        last = _last(t)
        unit = tl.where(last > 0, _bounded(t, last), FIRST_UNIT)
        unit = tl.minimum(tl.maximum(unit, 1.0 / LARGEST_UNIT), LARGEST_UNIT)
        unit = (unit.to(tl.int64, bitcast=True) & 0x7FF0000000000000).to(tl.float64, bitcast=True)  # without fraction
    return unit * unit * PLACES


@triton.jit
def counted(update, inside, quantum):
    """Quanta in each square: the last bits of its sum with 2^23 of them. As an integer NaN is above the cap."""
    base = (quantum * MOST).to(tl.float32)
    single = update.to(tl.float32)
    bits = (single * single + base).to(tl.uint32, bitcast=True)
    counts = tl.minimum(bits, (base + base).to(tl.uint32, bitcast=True)) - base.to(tl.uint32, bitcast=True)
    return tl.where(inside, counts, 0).to(tl.int32)


@triton.jit
def add_squares(t, counts):
    """Add this program's counts, at most 2^8 - 1 squares a lane, to the parameter's."""
    total = tl.sum(tl.sum(counts.to(tl.int64), 1), 0)
    tl.atomic_add(load_at(t, SQUARES).to(tl.pointer_type(tl.int64)), total, sem="relaxed")


@triton.jit
def store_rms(tensors, F: tl.constexpr):
    """One program a tensor; a count of 0 leaves what was there."""
    t = tensors + tl.program_id(0) * FIELDS
    count = tl.load(load_at(t, SQUARES).to(tl.pointer_type(tl.int64)))
    mean = count.to(tl.float64) / load_at(t, NUMEL).to(tl.float64)
    rms = root_of(mean * quantum_of(t, F)).to(tl.float32)
    tl.store(load_at(t, RMS).to(tl.pointer_type(tl.float32)), rms, mask=count > 0)
