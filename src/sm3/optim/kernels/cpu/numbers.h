// Numbers in memory: how parameters and gradients of each dtype are read as accumulators, and written back.
//
//     read    the accumulators' dtype (float; double for double), exact
//     write   rounded once: nearest, ties to even; or stochastically (bfloat16, float16)
//
// The noise of stochastic rounding is that of kernels/eager/rounding.py, bit for bit: a hash of (seed, step, parameter,
// element), so threads, panels and instruction sets do not matter. Two elements share one 32-bit hash.
#pragma once

#include "kernels.h"

namespace {

// No momentum, momentum, momentum with the cautious mask: apart, so that the loops of each are short.
enum Form { PLAIN, MOMENTUM, MASKED };

// The common settings, the same with a target of the update's root mean square, and any: there what is absent multiplies
// by 1, or is asked for once per register.
enum Kind { COMMON, HELD, GENERAL };

template <bool B> struct Bool { static constexpr bool value = B; };

struct Bfloat16 { uint16_t bits; };
struct Float16 { uint16_t bits; };

template <class P> struct Number { using Accumulator = float; static constexpr bool low = true; };
template <> struct Number<float> { using Accumulator = float; static constexpr bool low = false; };
template <> struct Number<double> { using Accumulator = double; static constexpr bool low = false; };

template <class A> using Vector = typename LanesOf<A>::Type;

// Which dtypes have loops of their own for the common settings, and tiles of several rows: those that models are trained
// in, on lanes that are one or two registers. The others share one loop, which compiles sooner and is a little slower.
template <class P, class G> constexpr bool FAST = false;
template <> constexpr bool FAST<float, float> = !LanesOf<float>::split;
template <> constexpr bool FAST<Bfloat16, Bfloat16> = !LanesOf<float>::split;

template <class A> SM3_INLINE Vector<A> all(A x) {
    Vector<A> v;
    fill(v, x);
    return v;
}

// FULL: 16 numbers; else the first n, and zero in the other lanes.
template <bool FULL> SM3_INLINE Words halves(const uint16_t *from, int n) {
    if constexpr (FULL) return load_halves(from);
    else return load_halves(from, n);
}
template <bool FULL, class A> SM3_INLINE Vector<A> read(const A *from, int n) {
    Vector<A> v;
    if constexpr (FULL) load(v, from);
    else load(v, from, n);
    return v;
}
template <bool FULL, class A> SM3_INLINE Vector<A> read(const Bfloat16 *from, int n) {
    if constexpr (FULL) return as_float(load_upper(&from->bits));
    else return as_float(load_upper(&from->bits, n));
}
template <bool FULL, class A> SM3_INLINE Vector<A> read(const Float16 *from, int n) {
    return from_float16(halves<FULL>(&from->bits, n));
}

SM3_INLINE Words mix32(Words x, Words key) {  // as _mix32 of rounding.py
    x = ((x ^ right<16>(x)) * words(0x7FEB352Du)) ^ key;
    x = (x ^ right<15>(x)) * words(0x846CA68Bu);
    return x ^ right<16>(x);
}

// 16 random bits for each of 32 elements, from flat element `start` < 2^33 - 64 on: 16 in `first`, 16 in `second`.
SM3_INLINE void noise(uint32_t low_key, uint32_t high_key, int64_t start, Words &first, Words &second) {
    constexpr uint32_t golden = 0x9E3779B9u;
    const Words high = words(high_key);
    const Words at = counting(0) * words(golden) + words(uint32_t(start >> 1) * golden + low_key);  // one product, of constants
    Words hashed = mix32(at, high);
    if (start & 1) {  // half a word on: each lane's upper half, then the next lane's lower half
        const Words next = mix32(at + words(golden), high);
        hashed = right<16>(hashed) | left<16>(next);
    }
    first = first_halves(hashed);
    second = second_halves(hashed);
}

SM3_INLINE Words without_sign(Words x) { return x & words(0x7FFFFFFFu); }

// Upper halves. Both take results of arithmetic, whose NaN are quiet: their upper half alone is NaN too. Infinity stays.
SM3_INLINE Words nearest(Bfloat16, Vector<float> value) {
    const Words x = as_words(value);
    return add_where_finite(x, words(0x7FFFu) + (right<16>(x) & words(1)));
}
SM3_INLINE Words drawn(Bfloat16, Vector<float> value, Words noise) { return add_where_finite(as_words(value), noise); }

SM3_INLINE Words nearest(Float16, Vector<float> value) { return to_float16(value); }
SM3_INLINE Words drawn(Float16, Vector<float> value, Words noise) {
    const Words x = as_words(value), sign = x & words(0x80000000u);
    const Words normal = (x + right<3>(noise)) & words(0xFFFFE000u);
    // Below 2^-14 the spacing is 2^-24 whatever the exponent. floor(steps + noise / 2^16) without rounding the sum:
    // the fraction of `steps` is exact in float, and so is 1 - noise / 2^16.
    const Vector<float> absolute = as_float(without_sign(x)), steps = absolute * all(0x1p24f);
    const Vector<float> whole = floor_of(steps), fraction = steps - whole;
    const Words carry = not_below(fraction, all(1.0f) - to_float(noise) * all(0x1p-16f));
    const Vector<float> up = as_float(carry & as_words(all(1.0f)));
    const Words small = as_words((whole + up) * all(0x1p-24f)) | sign;
    const Words mixed = pick(not_below(absolute, all(0x1p-14f)), normal, small);
    return to_float16(as_float(pick(above(without_sign(x), words(0x7F7FFFFFu)), x, mixed)));
}

template <bool FULL> SM3_INLINE void write_halves(uint16_t *to, Words halves, int n) {
    if constexpr (FULL) store_halves(to, halves);
    else store_halves(to, halves, n);
}
template <bool FULL, bool DRAW, class A> SM3_INLINE void write(A *to, Vector<A> value, Words, int n) {
    if constexpr (FULL) store(to, value);
    else store(to, value, n);
}
template <bool FULL, bool DRAW, class A> SM3_INLINE void write(Bfloat16 *to, Vector<A> value, Words noise, int n) {
    const Words rounded = DRAW ? drawn(Bfloat16{}, value, noise) : nearest(Bfloat16{}, value);
    if constexpr (FULL) store_upper(&to->bits, rounded);
    else store_upper(&to->bits, rounded, n);
}
template <bool FULL, bool DRAW, class A> SM3_INLINE void write(Float16 *to, Vector<A> value, Words noise, int n) {
    write_halves<FULL>(&to->bits, DRAW ? drawn(Float16{}, value, noise) : nearest(Float16{}, value), n);
}

SM3_INLINE int bits_set(uint32_t word) {  // of the lower 16
    word = word - (word >> 1 & 0x5555u);
    word = (word & 0x3333u) + (word >> 2 & 0x3333u);
    word = (word + (word >> 4)) & 0x0F0Fu;
    return int((word + (word >> 8)) & 0x1Fu);
}

// kernels/eager/cautious.py: keep where update and gradient agree in sign. NaN fails every comparison and must show.
template <class V, class A> SM3_INLINE V cautious(V update, V grad, A scale, int64_t &kept) {
    const auto agree = (positive(update) & positive(grad)) | (negative(update) & negative(grad));
    kept += bits_set(bits(agree));
    return only(agree | not_a_number(update), update * all(scale));
}

SM3_INLINE Vector<float> single(Vector<float> x) { return x; }
SM3_INLINE Vector<float> single(Vector<double> x) {
    float each[LANES];
    for (int i = 0; i < LANES; ++i) each[i] = float(x.v[i]);
    return read<true, float>(each, LANES);
}

// Measures the updates of a panel (update_rms.h): exact sums, so no order matters.
struct Measure {
    static constexpr int MOST = 503;    // and 8 of one call: 511 times 2^23, the most a square counts, fit 32 bits
    uint64_t squares = 0;
    Words sum = words(0);
    Words some = words(0);      // any bit: an update is not zero
    int pending = 0;
    float base;                 // 2^23 quanta: in a float from there to twice that, the last bit is one quantum

    explicit Measure(const RmsScale &rms) : base(rms.base) {}

    // FULL: 16 updates; else the first n. As an unsigned integer NaN is above the cap, and so counts as it.
    template <bool FULL, class V> SM3_METHOD void add(V update, int n) {
        if constexpr (!FULL) update = first_lanes(update, n);
        const Vector<float> u = single(update), square = u * u;
        sum = sum + least(as_words(square + all(base)), as_words(all(base + base)));
        some = some | as_words(square);
    }
    // Every addition brought the bits of `base` along.
    SM3_METHOD void added(int calls) {
        pending += calls;
        if (pending > MOST) collect();
    }
    SM3_METHOD void collect() {
        squares += total(sum - words(uint32_t(pending) * same_bits<uint32_t>(base)));
        sum = words(0);
        pending = 0;
    }
    SM3_METHOD void finish(PanelResult *result) {
        collect();
        result->squares = squares;
        result->moved = total(some) > 0;
    }
};

// Calls f<P, G, DRAW>() for the dtypes of a call.
template <class F> SM3_INLINE void for_dtypes(const Settings &s, F f) {
    const bool draw = s.stochastic;
    switch (s.param_dtype * 4 + s.grad_dtype) {
        case SM3K_FLOAT32 * 4 + SM3K_FLOAT32: f(float{}, float{}, Bool<false>{}); break;
        case SM3K_FLOAT64 * 4 + SM3K_FLOAT64: f(double{}, double{}, Bool<false>{}); break;
        case SM3K_BFLOAT16 * 4 + SM3K_BFLOAT16:
            draw ? f(Bfloat16{}, Bfloat16{}, Bool<true>{}) : f(Bfloat16{}, Bfloat16{}, Bool<false>{});
            break;
        case SM3K_BFLOAT16 * 4 + SM3K_FLOAT32:
            draw ? f(Bfloat16{}, float{}, Bool<true>{}) : f(Bfloat16{}, float{}, Bool<false>{});
            break;
        case SM3K_FLOAT16 * 4 + SM3K_FLOAT16:
            draw ? f(Float16{}, Float16{}, Bool<true>{}) : f(Float16{}, Float16{}, Bool<false>{});
            break;
        case SM3K_FLOAT16 * 4 + SM3K_FLOAT32:
            draw ? f(Float16{}, float{}, Bool<true>{}) : f(Float16{}, float{}, Bool<false>{});
            break;
    }
}

}  // namespace
