"""The judge of stochastic rounding: which neighbour, how often, and noise that is nothing but a function of its key.

Just over 300 lines: noise and both formats share one list of noises.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.optim.reference import noise16, round_bfloat16, round_float16
from sm3.optim.reference.rounding import lowbias32, mix64

# Either side of every carry into bit 16, and of every carry into bit 13 after the shift by 3.
NOISES = np.array([0, 1, 7, 8, 0x7FFF, 0x8000, 0x8001, 0xFFF7, 0xFFF8, 0xFFFF], np.uint16)

words = st.integers(0, 2**64 - 1)


def literal_noise(seed: int, step: int, parameter: int, element: int) -> int:
    """The 16 bits of one element with Python integers, written from the definition."""
    mask32, mask64 = 2**32 - 1, 2**64 - 1

    def mix(z: int) -> int:
        z = (z + 0x9E3779B97F4A7C15) & mask64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask64
        return z ^ (z >> 31)

    def bias(x: int, key: int) -> int:
        x ^= x >> 16
        x = (x * 0x7FEB352D) & mask32
        x ^= key
        x ^= x >> 15
        x = (x * 0x846CA68B) & mask32
        return x ^ (x >> 16)

    key = mix(mix(mix(seed) ^ step) ^ parameter)
    w = element // 2
    word = bias((w * 0x9E3779B9 + key) & mask32, (key >> 32) ^ (w >> 32))
    return word >> 16 if element % 2 else word & 0xFFFF


# Noise


def test_mix64_is_splitmix64():
    """The known first outputs of SplitMix64 from state 1234567 and from state 0."""
    golden = 0x9E3779B97F4A7C15
    outputs = [mix64((1234567 + k * golden) % 2**64) for k in range(5)]

    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix64(0) == 0xE220A8397B1DCDAF


def test_lowbias32_is_a_bijection_that_can_be_undone():
    """Running the steps backwards with the inverse multipliers gives the input again, so no two words collide."""
    x = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint64)
    low32 = np.uint64(2**32 - 1)

    y = lowbias32(x)
    y = y ^ (y >> np.uint64(16))
    y = (y * np.uint64(pow(0x846CA68B, -1, 2**32))) & low32
    y = y ^ (y >> np.uint64(15)) ^ (y >> np.uint64(30))
    y = (y * np.uint64(pow(0x7FEB352D, -1, 2**32))) & low32
    y = y ^ (y >> np.uint64(16))

    assert np.array_equal(x, y)


@given(words, words, words, st.integers(0, 2**40), st.integers(0, 9))
def test_noise_is_its_definition_element_by_element(seed, step, parameter, start, count):
    """NumPy's arithmetic modulo 2^32 equals Python's integers."""
    expected = [literal_noise(seed, step, parameter, start + k) for k in range(count)]
    noise = noise16(seed, step, parameter, start, count)

    assert noise.dtype == np.uint16
    assert noise.tolist() == expected


@pytest.mark.parametrize("border", [2**32, 2**33, 2**34, 2**40, 2**63])
def test_noise_beyond_32_bit_counters_is_right_and_does_not_repeat(border):
    """From element 2^33 on, the upper half of the counter enters: the stream does not start over."""
    noise = noise16(7, 8, 9, border - 500, 1000)

    assert noise.tolist() == [literal_noise(7, 8, 9, border - 500 + k) for k in range(1000)]
    # Equal to the first elements by chance: 500 of 65,536, so more than 2 are a repetition (probability 1e-7).
    assert np.count_nonzero(noise[500:] == noise16(7, 8, 9, 0, 500)) <= 2


@pytest.mark.parametrize("lag", [1, 2, 256, 768, 3072, 4096], ids="lag {}".format)
def test_noise_of_elements_of_a_matrix_is_independent(lag):
    """Neighbours, and elements one row apart: pairs of 4 bits fill their 256 cells evenly, at each of 9 places.

    The statistic has mean 255 and deviation sqrt(2 * 255) = 22.6; 6 deviations above is one test in 1e8. Hashing the
    plain counter once instead fails at 256, 768, 3072 and 4096, by up to 280 deviations.
    """
    noise = noise16(5, 1, 0, 0, 2**20 + lag).astype(np.int64)
    for low in (0, 6, 12):
        for high in (0, 6, 12):
            pairs = ((noise[:-lag] >> low) & 15) * 16 + ((noise[lag:] >> high) & 15)
            counts = np.bincount(pairs, minlength=256)
            assert ((counts - 4096.0) ** 2 / 4096.0).sum() < 255 + 6 * 22.6


@given(words, st.integers(0, 2**34), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_any_cut_of_the_elements_gives_the_same_noise(seed, start, first, second, third):
    """Shards and threads may ask for any range [a, b): it is a slice of the whole."""
    whole = noise16(seed, 3, 1, start, first + second + third)
    parts = [
        noise16(seed, 3, 1, start, first),
        noise16(seed, 3, 1, start + first, second),
        noise16(seed, 3, 1, start + first + second, third),
    ]

    assert np.array_equal(whole, np.concatenate(parts))


@given(words, words, words, st.integers(0, 63), st.sampled_from([0, 1, 2]))
def test_every_bit_of_seed_step_and_parameter_matters(seed, step, parameter, bit, which):
    """Flipping one bit of the key gives unrelated noise; the same key gives the same noise."""
    key = [seed, step, parameter]
    noise = noise16(*key, 0, 4096)
    key[which] ^= 1 << bit
    other = noise16(*key, 0, 4096)

    assert np.array_equal(noise, noise16(seed, step, parameter, 0, 4096))
    # 65,536 bits of which half should differ; 6 standard deviations of sqrt(65536) / 2 = 128.
    differing = np.unpackbits((noise ^ other).view(np.uint8)).sum()
    assert abs(int(differing) - 32768) <= 6 * 128


def test_every_value_of_the_noise_is_equally_frequent():
    """Chi-square over all 65,536 values of 2^22 draws, for even elements, odd elements and all together."""
    noise = noise16(0, 1, 0, 0, 2**22)

    for part in [noise, noise[::2], noise[1::2]]:
        expected = part.size / 65536
        chi_square = np.sum((np.bincount(part, minlength=65536) - expected) ** 2) / expected
        # Mean 65535, variance 2 * 65535; 5 standard deviations.
        assert abs(chi_square - 65535) <= 5 * sqrt(2 * 65535)


def test_neighbouring_elements_steps_and_parameters_are_uncorrelated():
    """The noise of element e says nothing about e + 1, nor about e at the next step or in the next parameter."""
    n = 2**18

    def centred(step: int, parameter: int, start: int) -> np.ndarray:
        return noise16(0, step, parameter, start, n) / 65536.0 - 0.5 + 0.5 / 65536

    base = centred(1, 0, 0)
    for other in [centred(1, 0, 1), centred(1, 0, 2), centred(2, 0, 0), centred(1, 1, 0)]:
        # A correlation of independent draws has standard deviation 1 / sqrt(n); a uniform number has variance 1/12.
        assert abs(np.mean(base * other) * 12) <= 5 / sqrt(n)


# bfloat16


def test_bfloat16_takes_one_of_two_neighbours_as_the_carry_says():
    """All 65,536 upper halves, several lower halves and noises: up in magnitude where lower half + noise >= 65536."""
    upper = np.arange(65536, dtype=np.uint32)
    for low in [0, 1, 0x1FFF, 0x7FFF, 0x8000, 0xFFFF]:
        x = (upper << np.uint32(16) | np.uint32(low)).view(np.float32)
        finite = np.isfinite(x)
        for noise in NOISES.tolist():
            rounded = round_bfloat16(x, np.full(65536, noise, np.uint16))
            expected = (upper + (low + noise >= 65536)) << 16

            assert rounded.dtype == np.float32
            assert np.array_equal(rounded[finite].view(np.uint32), expected[finite])
            assert np.array_equal(rounded[np.isinf(x)], x[np.isinf(x)])
            assert np.array_equal(np.isnan(rounded), np.isnan(x))
            assert not np.any(rounded.view(np.uint32) & 0xFFFF)


def test_bfloat16_neighbours_enclose_the_value():
    """Read as numbers, not as bits: the result is the nearest bfloat16 below or above, and both occur."""
    x = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    x[x.view(np.uint32) % 65536 == 0] = 1.5
    low = round_bfloat16(x, np.zeros(x.size, np.uint16)).astype(np.float64)
    high = round_bfloat16(x, np.full(x.size, 0xFFFF, np.uint16)).astype(np.float64)

    # frexp: |x| = fraction * 2^exponent, fraction in [1/2, 1); bfloat16 has 8 bits there.
    step = np.ldexp(1.0, np.frexp(x)[1] - 8)
    assert np.array_equal(low, np.sign(x) * np.floor(np.abs(x) / step) * step)
    assert np.array_equal(high, np.sign(x) * np.ceil(np.abs(x) / step) * step)


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_bfloat16_rounds_up_in_exactly_the_share_cut_off(upper, low):
    """Over all 65,536 noises the mean is exactly x: `low` of them round up, subnormal numbers included."""
    bits = np.uint32(upper << 16 | low)
    x = np.full(65536, bits.view(np.float32))
    if not np.isfinite(x[0]):
        return

    rounded = round_bfloat16(x, np.arange(65536, dtype=np.uint16)).view(np.uint32)

    assert np.count_nonzero(rounded == np.uint32(upper << 16)) == 65536 - low
    assert np.count_nonzero(rounded == np.uint32(upper + 1 << 16)) == low


# float16


def float16_values() -> np.ndarray:
    """Every float16 except NaN and inf, both zeros included."""
    values = np.arange(65536, dtype=np.uint16).view(np.float16)
    return values[np.isfinite(values)]


def test_float16_takes_one_of_two_neighbours_as_the_carry_says():
    """Every float16, and between it and the next in magnitude all eighths of a step and 1/8192 from either end."""
    low = float16_values()
    high = (low.view(np.uint16) + np.uint16(1)).view(np.float16)  # the next in magnitude; inf after 65504
    magnitude = np.abs(low).astype(np.float64)
    normal = magnitude >= 2.0**-14
    step = np.where(normal, np.ldexp(1.0, np.frexp(magnitude)[1] - 11), 2.0**-24)
    for part in [0, 1, *range(1024, 8192, 1024), 8191]:  # of 8192
        # At most 11 + 13 bits: exactly a float32.
        x = np.copysign(magnitude + step * part / 8192, low.astype(np.float64)).astype(np.float32)
        for noise in NOISES.tolist():
            rounded = round_float16(x, np.full(x.size, noise, np.uint16))
            up = np.where(normal, part + (noise >> 3) >= 8192, part * 8 + noise >= 65536)

            assert rounded.dtype == np.float16
            assert np.array_equal(rounded.view(np.uint16), np.where(up, high, low).view(np.uint16))


def test_float16_far_below_its_smallest_number_goes_to_zero_or_to_it():
    """float32 subnormal numbers and other dust become a zero of the same sign, or 2^-24 with the right probability."""
    dust = np.array([2.0**-149, 2.0**-126, 2.0**-60, 2.0**-42], np.float32)
    for sign in [1, -1]:
        rounded = round_float16(sign * dust, np.full(4, 0xFFFF, np.uint16))
        assert np.array_equal(rounded, np.zeros(4))
        assert np.array_equal(np.signbit(rounded), np.full(4, sign < 0))

    # 2^-26 is a quarter of 2^-24: up for the upper quarter of the noise.
    rounded = round_float16(np.full(65536, -(2.0**-26)), np.arange(65536, dtype=np.uint16))
    assert np.array_equal(rounded, np.where(np.arange(65536) >= 49152, -(2.0**-24), -0.0))


@pytest.mark.parametrize(
    ("x", "noise", "expected"),
    [
        (65504.0, 0xFFFF, 65504.0),  # the largest float16 is a float16
        (65520.0, 0, 65504.0),  # nearest would overflow here; half of the noises do
        (65520.0, 0x7FFF, 65504.0),
        (65520.0, 0x8000, np.inf),
        (-65520.0, 0xFFFF, -np.inf),
        (65536.0, 0, np.inf),
        (3e38, 0xFFFF, np.inf),
        (np.inf, 0xFFFF, np.inf),
        (-np.inf, 0xFFFF, -np.inf),
        (-0.0, 0xFFFF, -0.0),
    ],
)
def test_float16_at_the_ends_of_its_range(x, noise, expected):
    """Above 65504 the upper neighbour is infinity; infinity and zero stay, with their signs."""
    rounded = round_float16(x, np.uint16(noise))

    assert rounded == expected
    assert np.signbit(rounded) == np.signbit(expected)


def test_not_a_number_stays_not_a_number_in_float16():
    """Whatever the payload, and whatever the noise."""
    payloads = np.array([0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32)
    for noise in NOISES.tolist():
        assert np.isnan(round_float16(payloads.view(np.float32), np.full(6, noise, np.uint16))).all()


# Both


def test_values_already_representable_stay():
    """No noise moves a float16 or a bfloat16, both zeros and subnormal numbers included."""
    half = float16_values()
    brain = (np.arange(65536, dtype=np.uint32) << np.uint32(16)).view(np.float32)
    brain = brain[np.isfinite(brain)]
    for noise in NOISES.tolist():
        kept = round_float16(half.astype(np.float32), np.full(half.size, noise, np.uint16))
        assert np.array_equal(half.view(np.uint16), kept.view(np.uint16))

        kept = round_bfloat16(brain, np.full(brain.size, noise, np.uint16))
        assert np.array_equal(brain.view(np.uint32), kept.view(np.uint32))


@pytest.mark.parametrize("x", [1.0 + 2.0**-11, -3.14159274, 1.1e-5, 1e-6, -2.3e-8, 1e-39])
@pytest.mark.parametrize("rounding", [round_bfloat16, round_float16])
def test_a_million_draws_of_the_stream_average_to_the_value(rounding, x):
    """Unbiased with the noise it is used with, within 4 standard deviations."""
    n = 1_000_000
    value = np.float32(x)
    noise = noise16(2024, 1, 5, 0, n)

    rounded = rounding(np.full(n, value), noise).astype(np.float64)
    low, high = rounding(value, np.uint16(0)).astype(np.float64), rounding(value, np.uint16(0xFFFF)).astype(np.float64)

    # A step taken with probability f has standard deviation sqrt(f (1 - f)) steps. Below 2^-14 float16 rounds up in
    # whole 65536ths of the cases, which is at most 2^-16 of a step too few.
    step = abs(high - low)
    share = abs(float(value) - low) / step if step else 0.0
    assert set(np.unique(rounded)) <= {float(low), float(high)}
    bias = 2.0**-16 * (step or 2.0**-24)
    assert abs(rounded.mean() - float(value)) <= 4 * step * sqrt(share * (1 - share) / n) + bias


def test_any_shape_goes_through():
    """Scalars, empty arrays, several axes, strided views."""
    for rounding in [round_bfloat16, round_float16]:
        assert rounding(np.float32(0.1), np.uint16(3)).shape == ()
        assert rounding(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint16)).shape == (0, 3)
        x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
        noise = noise16(0, 0, 0, 0, 24).reshape(4, 6)
        assert np.array_equal(rounding(x.T, noise.T), rounding(x, noise).T)
