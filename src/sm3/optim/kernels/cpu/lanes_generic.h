// 16 lanes of float or double as vectors of the compiler (GCC and Clang split them over the registers there are): the
// meaning of every operation that the other lanes_*.h spell in intrinsics. Serves double everywhere, and float where no
// better header exists.
//
// Every operation rounds once; nothing is fused (-ffp-contract=off). Sums of lanes are one fixed halving tree, so a
// result does not depend on the width of the registers.
//
// Maxima and minima let NaN through, as torch.maximum does. `larger` and `lower` compare non-negative numbers by their
// bits: unsigned, any NaN is above infinity; signed, a negative NaN is below zero (`negative_nan` makes it so).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define SM3_METHOD inline __attribute__((always_inline))
#define SM3_INLINE static SM3_METHOD
#define SM3_UNROLL _Pragma("GCC unroll 4")

namespace {

constexpr int LANES = 16;

typedef float RawFloat __attribute__((vector_size(64)));
typedef double RawDouble __attribute__((vector_size(128)));
typedef uint32_t Raw32 __attribute__((vector_size(64)));
typedef int32_t RawSigned32 __attribute__((vector_size(64)));
typedef uint64_t Raw64 __attribute__((vector_size(128)));
typedef int64_t RawSigned64 __attribute__((vector_size(128)));
typedef uint16_t Raw16 __attribute__((vector_size(32)));

template <class T> struct Types;
template <> struct Types<float> { using Raw = RawFloat; using Bits = Raw32; using Signed = RawSigned32; using Bit = uint32_t; };
template <> struct Types<double> { using Raw = RawDouble; using Bits = Raw64; using Signed = RawSigned64; using Bit = uint64_t; };

template <class T> struct Lanes { typename Types<T>::Raw v; };
template <class T> struct Mask { typename Types<T>::Bits v; };  // a lane is all ones or zero

template <class To, class From> SM3_INLINE To same_bits(From from) {
    To to;
    static_assert(sizeof(To) == sizeof(From), "same size");
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// Which type stands for 16 lanes of T; the other headers choose their own for float.
template <class T> struct LanesOf {
    using Type = Lanes<T>;
    static constexpr bool split = true;
};

template <class T> SM3_INLINE typename Types<T>::Bits in_bits(Lanes<T> a) { return same_bits<typename Types<T>::Bits>(a.v); }
template <class T> SM3_INLINE Lanes<T> from_bits(typename Types<T>::Bits a) { return {same_bits<typename Types<T>::Raw>(a)}; }
template <class T> SM3_INLINE typename Types<T>::Bits lane_numbers() {
    return typename Types<T>::Bits{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

template <class T> SM3_INLINE void fill(Lanes<T> &a, T x) { a.v = typename Types<T>::Raw{} + x; }
template <class T> SM3_INLINE void load(Lanes<T> &a, const T *from) { std::memcpy(&a.v, from, sizeof a.v); }
template <class T> SM3_INLINE void store(T *to, Lanes<T> a) { std::memcpy(to, &a.v, sizeof a.v); }
template <class T> SM3_INLINE void load(Lanes<T> &a, const T *from, int n) {  // the rest is zero
    a.v = typename Types<T>::Raw{};
    std::memcpy(&a.v, from, sizeof(T) * size_t(n));
}
template <class T> SM3_INLINE void store(T *to, Lanes<T> a, int n) { std::memcpy(to, &a.v, sizeof(T) * size_t(n)); }

template <class T> SM3_INLINE Lanes<T> operator+(Lanes<T> a, Lanes<T> b) { return {a.v + b.v}; }
template <class T> SM3_INLINE Lanes<T> operator-(Lanes<T> a, Lanes<T> b) { return {a.v - b.v}; }
template <class T> SM3_INLINE Lanes<T> operator*(Lanes<T> a, Lanes<T> b) { return {a.v * b.v}; }
template <class T> SM3_INLINE Lanes<T> operator/(Lanes<T> a, Lanes<T> b) { return {a.v / b.v}; }
SM3_INLINE float root_of(float x) { return __builtin_sqrtf(x); }
SM3_INLINE double root_of(double x) { return __builtin_sqrt(x); }
template <class T> SM3_INLINE Lanes<T> root(Lanes<T> a) {
    T each[LANES];
    std::memcpy(each, &a.v, sizeof each);
    for (int i = 0; i < LANES; ++i) each[i] = root_of(each[i]);
    std::memcpy(&a.v, each, sizeof each);
    return a;
}

// a where the mask is set, else b.
template <class B> SM3_INLINE B choose(B mask, B a, B b) { return (mask & a) | (~mask & b); }

template <class T> SM3_INLINE Lanes<T> magnitude(Lanes<T> a) { return from_bits<T>(in_bits(a) << 1 >> 1); }
template <class T> SM3_INLINE Lanes<T> larger(Lanes<T> a, Lanes<T> b) {
    using Bits = typename Types<T>::Bits;
    const Bits x = in_bits(a), y = in_bits(b);
    return from_bits<T>(choose(Bits(x > y), x, y));
}
template <class T> SM3_INLINE Lanes<T> lower(Lanes<T> a, Lanes<T> b) {
    using Signed = typename Types<T>::Signed;
    using Bits = typename Types<T>::Bits;
    const Bits x = in_bits(a), y = in_bits(b);
    return from_bits<T>(choose(Bits(Signed(x) < Signed(y)), x, y));
}
template <class T> SM3_INLINE Mask<T> positive(Lanes<T> a) { return {typename Types<T>::Bits(a.v > T(0))}; }
template <class T> SM3_INLINE Mask<T> negative(Lanes<T> a) { return {typename Types<T>::Bits(a.v < T(0))}; }
template <class T> SM3_INLINE Mask<T> zero(Lanes<T> a) { return {typename Types<T>::Bits(a.v == T(0))}; }
template <class T> SM3_INLINE Mask<T> not_a_number(Lanes<T> a) { return {typename Types<T>::Bits(a.v != a.v)}; }
template <class T> SM3_INLINE Mask<T> operator&(Mask<T> a, Mask<T> b) { return {a.v & b.v}; }
template <class T> SM3_INLINE Mask<T> operator|(Mask<T> a, Mask<T> b) { return {a.v | b.v}; }
template <class T> SM3_INLINE Lanes<T> negative_nan(Lanes<T> a) { return from_bits<T>(in_bits(a) | not_a_number(a).v); }
SM3_INLINE float negative_nan(float x) { return x == x ? x : same_bits<float>(~uint32_t(0)); }
SM3_INLINE double negative_nan(double x) { return x == x ? x : same_bits<double>(~uint64_t(0)); }

template <class T> SM3_INLINE uint32_t bits(Mask<T> mask) {
    const typename Types<T>::Bits placed = (mask.v & 1) << lane_numbers<T>();
    uint32_t word = 0;
    for (int i = 0; i < LANES; ++i) word |= uint32_t(placed[i]);
    return word;
}
// The lanes where the mask is set, zero elsewhere; and the reverse.
template <class T> SM3_INLINE Lanes<T> only(Mask<T> mask, Lanes<T> a) { return from_bits<T>(in_bits(a) & mask.v); }
template <class T> SM3_INLINE Lanes<T> except(Mask<T> mask, Lanes<T> a) { return from_bits<T>(in_bits(a) & ~mask.v); }
// Negated where the bit of a lane is not set.
template <class T> SM3_INLINE Lanes<T> with_signs(uint32_t word, Lanes<T> a) {
    using Bits = typename Types<T>::Bits;
    const Bits flip = (Bits{} + typename Types<T>::Bit(~word)) >> lane_numbers<T>() << (sizeof(T) * 8 - 1);
    return from_bits<T>(in_bits(a) ^ flip);
}
template <class T> SM3_INLINE Lanes<T> first_lanes(Lanes<T> a, int n) {
    using Bits = typename Types<T>::Bits;
    return from_bits<T>(in_bits(a) & Bits(lane_numbers<T>() < typename Types<T>::Bit(n)));
}

template <class T> SM3_INLINE T sum(Lanes<T> a) {
    T each[LANES];
    std::memcpy(each, &a.v, sizeof each);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) each[i] = each[i] + each[i + half];
    return each[0];
}
template <class T> SM3_INLINE T largest(Lanes<T> a) {
    typename Types<T>::Bit each[LANES], most = 0;
    std::memcpy(each, &a.v, sizeof each);
    for (int i = 0; i < LANES; ++i) most = each[i] > most ? each[i] : most;
    return same_bits<T>(most);
}

// Into the second cache: what is asked for is a tile of rows ahead, more than the first one holds.
SM3_INLINE void prefetch(const void *address) { __builtin_prefetch(address, 0, 2); }

}  // namespace

#if !defined(SM3_OWN_FLOATS)
#include "lanes_words.h"
#endif
