# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Write a parameter: decay and update in the accumulators' dtype, rounded once, to nearest or stochastically.

The bits are those of `kernels.eager.rounding`. The two 32-bit keys of a parameter come from the host (SplitMix64, see
`NoiseKey` there); the hash of an element runs here in uint32. A bfloat16 is written by the integer rule, not by a
cast, so that the interpreter and every GPU agree. float16 below its normal range has spacing 2^-24 whatever the
exponent: the remainder is compared with the noise exactly in float32, where the eager kernel adds in float64.
"""

import triton
import triton.language as tl

from sm3.optim.kernels.triton.storage import (
    BETA,
    COUNT,
    DECAY,
    KEPT,
    KEY_HIGH,
    KEY_LOW,
    NUMEL,
    ONE_MINUS_BETA,
    PARAM,
    SCALED,
    load_at,
    load_numbers,
    pointer_of,
    real,
)

# kernels.eager.cautious.SMALLEST_FRACTION, which says why.
SMALLEST_FRACTION: tl.constexpr = tl.constexpr(0.5)


@triton.jit
def root_of(x):
    """The square root, rounded to nearest: Triton's default for float32 is an approximation."""
    if x.dtype == tl.float64:
        result = tl.sqrt(x)
    else:
        result = tl.sqrt_rn(x)
    return result


@triton.jit
def quotient(x, y):
    """x / y, rounded to nearest: Triton's default for float32 is an approximation."""
    if x.dtype == tl.float64:
        result = x / y
    else:
        result = tl.div_rn(x, y)
    return result


@triton.jit
def _mix32(x, key):
    # "lowbias32", a bijection of 32-bit words found by Wellons' hash search (2018), keyed as in the eager kernel.
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) ^ key
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def noise16(flat, low, high):
    """16 random bits for each flat element (int64), as uint32; elements 2k and 2k+1 share one hash."""
    word = flat >> 1
    hashed = _mix32(word.to(tl.uint32) * 0x9E3779B9 + low, high ^ (word >> 32).to(tl.uint32))
    return tl.where((flat & 1) == 0, hashed & 0xFFFF, hashed >> 16)


@triton.jit
def bfloat16_nearest(value):
    """float32 to the 16 bits of a bfloat16, to nearest, ties to even; every NaN becomes 0x7FC0, as in PyTorch."""
    bits = value.to(tl.uint32, bitcast=True)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded).to(tl.uint16)


@triton.jit
def bfloat16_stochastic(value, noise):
    """float32 to one of the two neighbouring bfloat16, with the value as the mean."""
    bits = value.to(tl.uint32, bitcast=True)
    finite = (bits & 0x7F800000) != 0x7F800000
    drawn = tl.where(finite, bits + noise, bits) >> 16
    return tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, drawn).to(tl.uint16)


@triton.jit
def float16_stochastic(value, noise):
    """float32 to one of the two neighbouring float16, with the value as the mean."""
    bits = value.to(tl.uint32, bitcast=True)
    sign = bits & 0x80000000
    magnitude = (bits & 0x7FFFFFFF).to(tl.float32, bitcast=True)
    normal = ((bits + (noise >> 3)) & 0xFFFFE000).to(tl.float32, bitcast=True)
    # A tiny value in steps of 2^-24: scaling by powers of two, cutting and the remainder are exact.
    tiny = magnitude < 0.00006103515625  # 2^-14
    steps = tl.where(tiny, magnitude, 0.0) * 16777216.0
    whole = steps.to(tl.int32).to(tl.float32)  # tl.floor may flush denormals
    carry = (steps - whole) * 65536.0 >= 65536.0 - noise.to(tl.float32)
    small = tl.where(carry, whole + 1.0, whole) * 0.000000059604644775390625  # 2^-24
    small = (small.to(tl.uint32, bitcast=True) | sign).to(tl.float32, bitcast=True)
    finite = (bits & 0x7F800000) != 0x7F800000
    return tl.where(finite, tl.where(tiny, small, normal), value).to(tl.float16)


@triton.jit
def rounded(value, t, flat, F: tl.constexpr):
    """Values in the accumulators' dtype as what is stored in a parameter: a bfloat16 is stored as its 16 bits."""
    if F.stochastic and (F.parameter == tl.bfloat16 or F.parameter == tl.float16):
        noise = noise16(flat, load_at(t, KEY_LOW).to(tl.uint32), load_at(t, KEY_HIGH).to(tl.uint32))
        if F.parameter == tl.bfloat16:
            result = bfloat16_stochastic(value, noise)
        else:
            result = float16_stochastic(value, noise)
    elif F.parameter == tl.bfloat16:
        result = bfloat16_nearest(value)
    else:
        result = value.to(F.parameter)
    return result


@triton.jit
def write_parameter(t, flat, inside, update, step, F: tl.constexpr, aligned: tl.constexpr):
    """param = round(param * (1 - lr * weight_decay) - step * update); `step` is lr, or lr scaled."""
    value = load_numbers(t, PARAM, flat, inside, F.parameter, F.accumulator, aligned)
    if F.decays:
        value = value * real(t, DECAY, F.accumulator)
    value = value - update * step
    where = pointer_of(t, PARAM, F.parameter, aligned) + flat
    tl.store(where, rounded(value, t, flat, F), mask=inside)


@triton.jit
def averaged(old, new, t, F: tl.constexpr):
    """old * beta + new * (1 - beta): two products and a sum, each rounded."""
    return old * real(t, BETA, F.accumulator) + new * real(t, ONE_MINUS_BETA, F.accumulator)


@triton.jit
def agree(update, grad):
    """Where update and gradient have the same sign; false for NaN."""
    return ((update > 0) & (grad > 0)) | ((update < 0) & (grad < 0))


@triton.jit
def cautious(update, keep, t, F: tl.constexpr):
    """The update where it is kept, rescaled by the fraction that was kept at the last step; NaN is not hidden."""
    kept = tl.load(load_at(t, KEPT).to(tl.pointer_type(tl.int64)))
    fraction = kept.to(tl.float64) / load_at(t, NUMEL).to(tl.float64)
    rescaled = 1.0 / tl.maximum(fraction, SMALLEST_FRACTION)
    scale = tl.where(load_at(t, SCALED) != 0, rescaled, 1.0)
    scaled = update * scale.to(F.accumulator)
    return tl.where(keep | (update != update), scaled, tl.zeros_like(update))


@triton.jit
def count_kept(t, kept):
    """Add this program's count to the parameter's; integers, so the order of programs does not matter."""
    total = tl.sum(tl.sum(kept, 1), 0).to(tl.int64)
    tl.atomic_add(load_at(t, COUNT).to(tl.pointer_type(tl.int64)), total, sem="relaxed")
