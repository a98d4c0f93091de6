# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The kernels of SMMF on the device: one tile, one sum, one vector. `smmf` says what they do and starts them."""

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
    NUMEL,
    ONE_MINUS_BETA2,
    ROWS,
    flip_sign_bits,
    load_at,
    load_numbers,
    pointer_of,
    read_signs,
    real,
    sign_position,
    store_sign_bytes,
)
from sm3.optim.kernels.triton.update_rms import add_counts, counted, step_size, unit_of

# Words of the descriptor from 16 on.
EPS: tl.constexpr = tl.constexpr(16)  # float64
V_ROW: tl.constexpr = tl.constexpr(17)  # addresses of the factors
V_COL: tl.constexpr = tl.constexpr(18)
M_ROW: tl.constexpr = tl.constexpr(19)
M_COL: tl.constexpr = tl.constexpr(20)
V_ROW_SUMS: tl.constexpr = tl.constexpr(21)  # addresses of partial sums: (tiles along the columns, rows)
V_COL_SUMS: tl.constexpr = tl.constexpr(22)  # (tiles along the rows, columns)
M_ROW_SUMS: tl.constexpr = tl.constexpr(23)
M_COL_SUMS: tl.constexpr = tl.constexpr(24)
SIGNS: tl.constexpr = tl.constexpr(25)  # address
PER_ROW: tl.constexpr = tl.constexpr(26)  # elements, and stored bits, of a row of dimension 0
PITCH: tl.constexpr = tl.constexpr(27)


@triton.jit
def _first_moment(t, flat, inside, grad, row, m_col, width: tl.constexpr, aligned: tl.constexpr, F: tl.constexpr):
    """The new first moment of some elements; writes its signs."""
    height: tl.constexpr = F.area // width
    m_row = load_numbers(t, M_ROW, row, row < load_at(t, ROWS), F.accumulator, F.accumulator, False)
    address = load_at(t, SIGNS)
    position = flat
    if not aligned:
        position = sign_position(flat, load_at(t, PER_ROW), load_at(t, PITCH))
    old = read_signs(address, position, inside)
    magnitude = m_row[:, None] * m_col[None, :]
    moment = averaged(tl.where(old != 0, magnitude, -magnitude), grad, t, F)
    moment = tl.where(inside, moment, tl.zeros_like(moment))
    new = (moment > 0).to(tl.int32)
    if aligned:
        store_sign_bytes(address, position, inside, new, height, width)
    else:
        flip_sign_bits(address, position, old ^ new, height, width)
    return moment


@triton.jit
def _second_moment(t, inside, grad, row, v_col, F: tl.constexpr):
    """The new second moment of some elements; zero where there are none."""
    v_row = load_numbers(t, V_ROW, row, row < load_at(t, ROWS), F.accumulator, F.accumulator, False)
    old = v_row[:, None] * v_col[None, :]
    variance = old * real(t, BETA2, F.accumulator) + (grad * grad) * real(t, ONE_MINUS_BETA2, F.accumulator)
    return tl.where(inside, variance, tl.zeros_like(variance))


@triton.jit
def _store_row_sums(t, field: tl.constexpr, tile, row, values, F: tl.constexpr):
    """Sums along the columns of the tile, in row `tile` of a (tiles, rows) table."""
    rows = load_at(t, ROWS)
    tl.store(pointer_of(t, field, F.accumulator, False) + tile * rows + row, tl.sum(values, 1), mask=row < rows)


@triton.jit
def _store_column_sums(t, field: tl.constexpr, tile, col, values, F: tl.constexpr):
    columns = load_at(t, COLUMNS)
    tl.store(pointer_of(t, field, F.accumulator, False) + tile * columns + col, tl.sum(values, 0), mask=col < columns)


@triton.jit
def _apply(t, flat, inside, grad, moment, variance, step, unit, squares, aligned: tl.constexpr, F: tl.constexpr):
    """Step of the parameter, from the moments before compression; none where the gradient is zero, unless published.

    Returns `squares`, raised by the updates' squares where they are measured.
    """
    update = quotient(moment, root_of(variance) + real(t, EPS, F.accumulator))
    if not F.published:
        update = tl.where(grad == 0, tl.zeros_like(update), update)
    if F.held:
        squares = counted(squares, update, inside, unit)
    write_parameter(t, flat, inside, update, step, F, aligned)
    return squares


@triton.jit
def _tile(t, row0, col0, width: tl.constexpr, aligned: tl.constexpr, F: tl.constexpr):
    """A tile of a matrix, some rows at a time; the sums of its columns stay in registers to the end."""
    height: tl.constexpr = F.area // width
    rows, columns = load_at(t, ROWS).to(tl.int32), load_at(t, COLUMNS).to(tl.int32)
    if aligned:
        columns = tl.multiple_of(columns, 16)
        col0 = col0 // width * width  # as it is: a product tells the compiler
    col = col0 + tl.arange(0, width)
    v_col = load_numbers(t, V_COL, col, col < columns, F.accumulator, F.accumulator, False)
    m_col = v_col
    if F.averages:
        m_col = load_numbers(t, M_COL, col, col < columns, F.accumulator, F.accumulator, False)
    v_sum, m_sum = tl.zeros((height, width), F.accumulator), tl.zeros((height, width), F.accumulator)
    kept, squares = tl.zeros((height, width), tl.int32), tl.zeros((height, width), tl.int32)
    step, unit = step_size(t, F), unit_of(t, F)
    for start in range(row0, tl.minimum(row0 + height * F.steps, rows), height):
        row = start + tl.arange(0, height)
        flat = row.to(tl.int64)[:, None] * columns + col[None, :]
        inside = (row < rows)[:, None] & (col < columns)[None, :]
        if not aligned:
            inside = inside & (flat < load_at(t, NUMEL))
        grad = load_numbers(t, GRAD, flat, inside, F.gradient, F.accumulator, aligned)
        if F.maximize:
            grad = -grad
        variance = _second_moment(t, inside, grad, row, v_col, F)
        v_sum += variance
        _store_row_sums(t, V_ROW_SUMS, col0 // width, row, variance, F)
        update = grad
        if F.averages:
            update = _first_moment(t, flat, inside, grad, row, m_col, width, aligned, F)
            m_sum += tl.abs(update)
            _store_row_sums(t, M_ROW_SUMS, col0 // width, row, tl.abs(update), F)
            if F.cautious:
                keep = agree(update, grad)
                kept += keep.to(tl.int32)
                update = cautious(update, keep, t, F)
        squares = _apply(t, flat, inside, grad, update, variance, step, unit, squares, aligned, F)
    _store_column_sums(t, V_COL_SUMS, row0 // (height * F.steps), col, v_sum, F)
    if F.averages:
        _store_column_sums(t, M_COL_SUMS, row0 // (height * F.steps), col, m_sum, F)
    add_counts(t, kept, squares, F)


@triton.jit
def smmf_tiles(tensors, tiles, F: tl.constexpr):
    """One program a tile: everything but the factors."""
    tile = tiles + tl.program_id(0) * 4
    t = tensors + tl.load(tile) * FIELDS
    kind, row0, col0 = tl.load(tile + 1), tl.load(tile + 2), tl.load(tile + 3)
    if kind == 0:
        _tile(t, row0, col0, F.narrow, False, F)
    elif kind == 1:
        _tile(t, row0, col0, F.middle, False, F)
    elif kind == 2:
        _tile(t, row0, col0, F.wide, False, F)
    else:
        _tile(t, row0, col0, F.wide, True, F)


@triton.jit
def smmf_sums(sums, blocks, F: tl.constexpr):
    """One program a block of a factor: its partial sums, `few` at a time, then those few."""
    few: tl.constexpr = F.few
    wide: tl.constexpr = F.wide
    block = blocks + tl.program_id(0) * 2
    entry, k = sums + tl.load(block) * 4, tl.load(block + 1) + tl.arange(0, wide)
    target, source = tl.load(entry).to(tl.pointer_type(F.accumulator)), tl.load(entry + 1)
    number, length = tl.load(entry + 2), tl.load(entry + 3)
    total = tl.zeros((few, wide), F.accumulator)
    for start in range(0, number, few):
        tile = start + tl.arange(0, few)
        inside = (tile < number)[:, None] & (k < length)[None, :]
        place = source.to(tl.pointer_type(F.accumulator)) + tile[:, None] * length + k[None, :]
        total += tl.load(place, mask=inside, other=0)
    tl.store(target + k, tl.sum(total, 0), mask=k < length)


@triton.jit
def smmf_normalise(columns, F: tl.constexpr):
    """One program a vector: divided by its sum; a sum of 0 leaves it."""
    block: tl.constexpr = F.block
    entry = columns + tl.program_id(0) * 4
    vector, length = tl.load(entry).to(tl.pointer_type(F.accumulator)), tl.load(entry + 1)
    lane = tl.arange(0, block)
    partial = tl.zeros((block,), F.accumulator)
    for start in range(0, length, block):
        partial += tl.load(vector + start + lane, mask=start + lane < length, other=0)
    total = tl.sum(partial, 0)
    total = tl.where(total == 0, tl.full((), 1, F.accumulator), total)
    for start in range(0, length, block):
        value = tl.load(vector + start + lane, mask=start + lane < length, other=0)
        divisor = tl.zeros((block,), F.accumulator) + total
        tl.store(vector + start + lane, quotient(value, divisor), mask=start + lane < length)
    if F.cautious:
        kept, count = tl.load(entry + 2), tl.load(entry + 3).to(tl.pointer_type(tl.int64))
        tl.store(kept.to(tl.pointer_type(tl.int64)), tl.load(count), mask=kept != 0)
