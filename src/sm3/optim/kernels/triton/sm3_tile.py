# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The kernels of SM3 on the device: one tile, one fold. `sm3` says what they do and starts them."""

import triton
import triton.language as tl

from sm3.optim.kernels.triton.rounding import (
    agree,
    averaged,
    cautious,
    quotient,
    root_of,
    write_parameter,
)
from sm3.optim.kernels.triton.storage import (
    BETA2,
    COLUMNS,
    FIELDS,
    GRAD,
    ONE_MINUS_BETA2,
    ROWS,
    load_at,
    load_numbers,
    pointer_of,
    real,
)
from sm3.optim.kernels.triton.update_rms import add_counts, counted, step_size, unit_of

# Words of the descriptor from 16 on.
MOMENTUM: tl.constexpr = tl.constexpr(16)  # addresses
ROW: tl.constexpr = tl.constexpr(17)  # the accumulator of the rows (of a vector: its own)
ROW_MAX: tl.constexpr = tl.constexpr(18)  # new maxima, as integers; of a vector: 0 or one for its leading dimensions
COLUMN_MAX: tl.constexpr = tl.constexpr(19)
FIRST_AXIS: tl.constexpr = tl.constexpr(20)  # the trailing accumulators in the table of axes
AXES: tl.constexpr = tl.constexpr(21)


@triton.jit
def _column_bound(t, axes, col, inside, width: tl.constexpr, F: tl.constexpr):
    """Minimum of the trailing accumulators at each column; NaN stays."""
    bound = tl.full((width,), float("inf"), F.accumulator)
    first = load_at(t, FIRST_AXIS)
    for axis in range(first, first + load_at(t, AXES)):
        a = axes + axis * 4
        index = (col // tl.load(a + 1)) % tl.load(a + 2)
        accumulator = tl.load(a).to(tl.pointer_type(F.accumulator))
        value = tl.load(accumulator + index, mask=inside, other=0)
        bound = tl.minimum(bound, value, propagate_nan=tl.PropagateNan.ALL)
    return bound


@triton.jit
def _add_square(t, old, grad, F: tl.constexpr):
    square = grad * grad
    if F.mean:
        result = old * real(t, BETA2, F.accumulator) + square * real(t, ONE_MINUS_BETA2, F.accumulator)
    else:
        result = old + square
    return result


@triton.jit
def _as_integer(nu, inside, F: tl.constexpr):
    """Bits of numbers >= 0, which order as the numbers do; the sign of a NaN is dropped; 0 where not inside."""
    bits = nu.to(F.bits, bitcast=True)
    if F.bits == tl.int64:
        bits = bits & 0x7FFFFFFFFFFFFFFF
    else:
        bits = bits & 0x7FFFFFFF
    return tl.where(inside, bits, 0)


@triton.jit
def _update(t, flat, inside, grad, nu, step, unit, kept, squares, F: tl.constexpr, aligned: tl.constexpr):
    """Momentum and parameter of some elements; returns `kept`, raised by one where the cautious mask keeps, and
    `squares`, raised by the updates' squares where they are measured."""
    root = root_of(nu)
    update = tl.where(root == 0, tl.zeros_like(grad), quotient(grad, root))
    if F.averages:
        old = load_numbers(t, MOMENTUM, flat, inside, F.accumulator, F.accumulator, aligned)
        update = averaged(old, update, t, F)
        tl.store(pointer_of(t, MOMENTUM, F.accumulator, aligned) + flat, update, mask=inside)
        if F.cautious:
            keep = agree(update, grad) & inside
            kept += keep.to(tl.int32)
            update = cautious(update, keep, t, F)
    if F.held:
        squares = counted(squares, update, inside, unit)
    write_parameter(t, flat, inside, update, step, F, aligned)
    return kept, squares


@triton.jit
def _vector(t, col0, F: tl.constexpr):
    """A part of a vector: one row whose accumulator is as long as it is."""
    length: tl.constexpr = F.area
    flat = (col0 + tl.arange(0, length))[None, :].to(tl.int64)
    inside = flat < load_at(t, COLUMNS)
    grad = load_numbers(t, GRAD, flat, inside, F.gradient, F.accumulator, False)
    if F.maximize:
        grad = -grad
    old = load_numbers(t, ROW, flat, inside, F.accumulator, F.accumulator, False)
    nu = _add_square(t, old, grad, F)
    tl.store(pointer_of(t, ROW, F.accumulator, False) + flat, nu, mask=inside)
    own = load_at(t, ROW_MAX)  # 0, or the maximum of leading dimensions of size 1
    highest = tl.max(tl.max(_as_integer(nu, inside, F), 1), 0)
    tl.atomic_max(own.to(tl.pointer_type(F.bits)), highest, mask=own != 0, sem="relaxed")
    none = tl.zeros((1, length), tl.int32)
    step, unit = step_size(t, F), unit_of(t, F)
    kept, squares = _update(t, flat, inside, grad, nu, step, unit, none, none, F, False)
    add_counts(t, kept, squares, F)


@triton.jit
def _matrix(t, axes, row0, col0, width: tl.constexpr, aligned: tl.constexpr, F: tl.constexpr):
    """A tile of a matrix, some rows at a time; the maxima of its columns stay in registers to the end."""
    height: tl.constexpr = F.area // width
    rows, columns = load_at(t, ROWS).to(tl.int32), load_at(t, COLUMNS).to(tl.int32)
    if aligned:
        columns = tl.multiple_of(columns, 16)
        col0 = col0 // width * width  # as it is: a product tells the compiler
    col = col0 + tl.arange(0, width)
    bound = _column_bound(t, axes, col, col < columns, width, F)
    highest = tl.zeros((height, width), F.bits)
    kept, squares = tl.zeros((height, width), tl.int32), tl.zeros((height, width), tl.int32)
    step, unit = step_size(t, F), unit_of(t, F)
    for start in range(row0, tl.minimum(row0 + height * F.steps, rows), height):
        row = start + tl.arange(0, height)
        inside = (row < rows)[:, None] & (col < columns)[None, :]
        flat = row.to(tl.int64)[:, None] * columns + col[None, :]
        grad = load_numbers(t, GRAD, flat, inside, F.gradient, F.accumulator, aligned)
        if F.maximize:
            grad = -grad
        own = load_numbers(t, ROW, row, row < rows, F.accumulator, F.accumulator, False)
        nu = _add_square(t, tl.minimum(own[:, None], bound[None, :], propagate_nan=tl.PropagateNan.ALL), grad, F)
        bits = _as_integer(nu, inside, F)
        highest = tl.maximum(highest, bits)
        row_max = load_at(t, ROW_MAX).to(tl.pointer_type(F.bits)) + row
        tl.atomic_max(row_max, tl.max(bits, 1), mask=row < rows, sem="relaxed")
        kept, squares = _update(t, flat, inside, grad, nu, step, unit, kept, squares, F, aligned)
    column_max = load_at(t, COLUMN_MAX).to(tl.pointer_type(F.bits)) + col
    tl.atomic_max(column_max, tl.max(highest, 0), mask=col < columns, sem="relaxed")
    add_counts(t, kept, squares, F)


@triton.jit
def sm3_tiles(tensors, axes, tiles, F: tl.constexpr):
    """One program a tile: everything but the accumulators of matrices."""
    tile = tiles + tl.program_id(0) * 4
    t = tensors + tl.load(tile) * FIELDS
    kind, row0, col0 = tl.load(tile + 1), tl.load(tile + 2), tl.load(tile + 3)
    if kind == 0:
        _matrix(t, axes, row0, col0, F.narrow, False, F)
    elif kind == 1:
        _matrix(t, axes, row0, col0, F.middle, False, F)
    elif kind == 2:
        _matrix(t, axes, row0, col0, F.wide, False, F)
    elif kind == 3:
        _matrix(t, axes, row0, col0, F.wide, True, F)
    else:
        _vector(t, col0, F)


@triton.jit
def _largest(source, k, length, outer, inner, F: tl.constexpr):
    """Largest of source[o, k, i] over all o and i, for a few k."""
    few: tl.constexpr = F.few
    wide: tl.constexpr = F.wide
    highest = tl.zeros((few, wide), F.bits)
    for start in range(0, outer * inner, wide):
        other = start + tl.arange(0, wide)
        index = ((other // inner) * length)[None, :] * inner + k[:, None] * inner + (other % inner)[None, :]
        inside = (other < outer * inner)[None, :] & (k < length)[:, None]
        highest = tl.maximum(highest, tl.load(source + index, mask=inside, other=0))
    return tl.max(highest, 1)


@triton.jit
def sm3_folds(moves, blocks, F: tl.constexpr):
    """One program a block of an accumulator: the new maxima, or the largest of a slice of them."""
    block = blocks + tl.program_id(0) * 2
    move, first = moves + tl.load(block) * 8, tl.load(block + 1)
    target, source = tl.load(move).to(tl.pointer_type(F.bits)), tl.load(move + 1).to(tl.pointer_type(F.bits))
    outer, length, inner = tl.load(move + 2), tl.load(move + 3), tl.load(move + 4)
    if outer * inner == 1:
        k = first + tl.arange(0, F.block)
        tl.store(target + k, tl.load(source + k, mask=k < length, other=0), mask=k < length)
    else:
        few = first + tl.arange(0, F.few)
        tl.store(target + few, _largest(source, few, length, outer, inner, F), mask=few < length)
