"""Stochastic rounding with noise that is a function of (seed, step, parameter, element), so that no state is kept.

Any thread, shard or resumed run asks for the same element and gets the same 16 bits. Not a random generator for
anything else: one key gives a permutation of 32-bit words per block of 2^33 elements, which is enough for rounding.

Source: the key is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number
Generators"); the word is Wellons' `lowbias32` integer hash (2018) of a Weyl sequence that starts at one half of the
key; the other half enters after the hash's first product. (Of the plain counter, words 384 apart were correlated.)
Adding noise below the cut and truncating is textbook stochastic rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LOW32 = 0xFFFF_FFFF
LOW64 = 0xFFFF_FFFF_FFFF_FFFF
ZERO = np.uint64(0)
GOLDEN = np.uint64(0x9E37_79B9)  # odd and near 2^32 / golden ratio: multiples of it fill the circle evenly


def mix64(z: int) -> int:
    """One output of SplitMix64 from state z: a bijection of 64-bit integers.

    >>> hex(mix64(0)), hex(mix64(1))  # neighbours share nothing visible
    ('0xe220a8397b1dcdaf', '0x910a2dec89025cc1')
    """
    z = (z + 0x9E3779B97F4A7C15) & LOW64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & LOW64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & LOW64
    return z ^ z >> 31


def lowbias32(x: npt.NDArray[np.uint64], key: npt.NDArray[np.uint64] | np.uint64 = ZERO) -> npt.NDArray[np.uint64]:
    """A bijection of 32-bit integers for each key, here the low halves of uint64 so that a product never overflows.

    key: 32 bits; 0 is Wellons' hash itself.

    >>> [hex(x) for x in lowbias32(np.array([0, 1, 2], np.uint64)).tolist()]
    ['0x0', '0x688990c0', '0xd1132181']
    """
    low32 = np.uint64(LOW32)
    x = x ^ (x >> np.uint64(16))
    x = ((x * np.uint64(0x7FEB352D)) & low32) ^ key
    x = x ^ (x >> np.uint64(15))
    x = (x * np.uint64(0x846CA68B)) & low32
    return x ^ (x >> np.uint64(16))


def noise16(seed: int, step: int, parameter: int, start: int, count: int) -> npt.NDArray[np.uint16]:
    """16 uniform bits for each of the elements start, .., start + count - 1 of the flat, unsharded parameter.

        key       = mix64(mix64(mix64(seed) ^ step) ^ parameter)         k0, k1 = its low and its high 32 bits
        w         = element >> 1                                         two elements share one 32-bit word
        word      = lowbias32(low32(golden * w + k0), key: k1 ^ high32(w))         golden = 2^32 / 1.618.. = 0x9E3779B9
        noise     = word >> 16 * (element & 1), low 16 bits              even element: low half, odd element: high half

    seed, step, parameter: integers taken modulo 2^64. start, count: >= 0, elements below 2^64. Returns (count,) uint16.

    >>> noise16(0, 1, 0, start=0, count=4).tolist()
    [5617, 64508, 8188, 32137]
    >>> noise16(0, 1, 0, start=2, count=2).tolist()  # a later part of the same stream
    [8188, 32137]
    """
    key = mix64(mix64(mix64(seed & LOW64) ^ (step & LOW64)) ^ (parameter & LOW64))
    k0, k1 = np.uint64(key & LOW32), np.uint64(key >> 32)
    element = np.arange(count, dtype=np.uint64) + np.uint64(start)
    w = element >> np.uint64(1)
    low, high = w & np.uint64(LOW32), w >> np.uint64(32)
    word = lowbias32((low * GOLDEN + k0) & np.uint64(LOW32), k1 ^ high)
    odd = element & np.uint64(1)
    return ((word >> (np.uint64(16) * odd)) & np.uint64(0xFFFF)).astype(np.uint16)


def round_bfloat16(x: npt.ArrayLike, noise: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.float32]:
    """x rounded to one of its two bfloat16 neighbours, up in magnitude with probability equal to the part cut off.

                 31 30       23 22     16 15                 0
        x         s  eeeeeeee    mmmmmmm  f f f f f .. f f f f     float32
        noise                             n n n n n .. n n n n     added: carries into bit 16 in f of 65536 cases
        result    s  eeeeeeee    mmmmmmm  0 0 0 0 0 .. 0 0 0 0     then cut: the upper half is the bfloat16

    The mean over noise is exactly x, subnormal numbers included; above the largest bfloat16 the upper neighbour is inf.
    A value that is a bfloat16 stays. inf stays inf and NaN stays NaN: adding bits would make one out of the other.

    x: float32, any shape. noise: integers in [0, 65535], same shape. Returns float32 holding bfloat16 values.

    >>> round_bfloat16([1.00390625] * 4, np.array([0, 0x7FFF, 0x8000, 0xFFFF], np.uint16)).tolist()  # 1 + half a step
    [1.0, 1.0, 1.0078125, 1.0078125]
    """
    x = np.asarray(x, np.float32)
    # 64 bits, so that the bits of a negative number plus noise cannot wrap.
    bits = x.view(np.uint32).astype(np.uint64) + np.asarray(noise).astype(np.uint64)
    cut = np.asarray(bits & np.uint64(0xFFFF_0000)).astype(np.uint32).view(np.float32)
    # A NaN is written anew: cut off, its payload could be the one of inf.
    return np.where(np.isfinite(x), cut, np.where(np.isnan(x), np.float32(np.nan), x))


def round_float16(x: npt.ArrayLike, noise: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.float16]:
    """x rounded to one of its two float16 neighbours, up in magnitude with probability equal to the part cut off.

    From 2^-14 on, where float16 has 10 bits of mantissa, the float32 bits are used with the upper 13 bits of the noise:

                 31 30       23 22        13 12              0
        x         s  eeeeeeee    mmmmmmmmmm  f f f f .. f f f      float32
        noise>>3                             n n n n .. n n n      added, then cut; the rest is exactly a float16

    Below, float16 numbers are the multiples of 2^-24 and the sum is taken in float64:

        sign(x) * floor(|x| * 2^24 + noise / 65536) * 2^-24        the sign of a zero is kept

    The mean over noise is x, exactly from 2^-14 on and to 2^-40 below (16 bits of noise against a longer fraction;
    always towards 0). Above 65504 the upper neighbour is inf. A value that is a float16 stays. inf stays inf and NaN
    stays NaN.

    x: float32, any shape. noise: integers in [0, 65535], same shape.

    >>> round_float16([1e-8] * 3, np.array([0, 54000, 55000], np.uint16)).tolist()  # 0.168 of the smallest float16
    [0.0, 0.0, 5.960464477539063e-08]
    """
    x = np.asarray(x, np.float32)
    noise = np.asarray(noise).astype(np.uint64)
    bits = x.view(np.uint32).astype(np.uint64) + (noise >> np.uint64(3))
    normal = np.asarray(bits & np.uint64(0xFFFF_E000)).astype(np.uint32).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.floor(np.abs(x).astype(np.float64) * 2.0**24 + noise.astype(np.float64) * 2.0**-16)
        subnormal = np.copysign(steps * 2.0**-24, x)
        rounded = np.where(np.abs(x) >= np.float32(2.0**-14), normal, subnormal)
        return np.where(np.isfinite(x), rounded, x).astype(np.float16)
