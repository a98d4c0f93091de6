// 16 lanes of float in two 256-bit registers (AVX2, F16C). Operations as in lanes_generic.h, which see.
#pragma once

#include <immintrin.h>

#define SM3_OWN_FLOATS
#include "lanes_generic.h"

namespace {

struct Floats { __m256 a, b; };
struct FloatMask { __m256 a, b; };
struct Words { __m256i a, b; };
template <> struct LanesOf<float> {
    using Type = Floats;
    static constexpr bool split = false;
};

// All ones in the first n of 16 lanes, zero in the rest: the 16 numbers that start at 16 - n.
alignas(64) const int32_t FIRST[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
SM3_INLINE Words first(int n) {
    const int32_t *from = FIRST + 16 - n;
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + 8))};
}

SM3_INLINE Words as_words(Floats x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
SM3_INLINE Floats as_float(Words x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }

SM3_INLINE void fill(Floats &x, float y) { x.a = x.b = _mm256_set1_ps(y); }
SM3_INLINE void load(Floats &x, const float *from) { x = {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
SM3_INLINE void load(Floats &x, const float *from, int n) {
    const Words mask = first(n);
    x = {_mm256_maskload_ps(from, mask.a), _mm256_maskload_ps(from + 8, mask.b)};
}
SM3_INLINE void store(float *to, Floats x) {
    _mm256_storeu_ps(to, x.a);
    _mm256_storeu_ps(to + 8, x.b);
}
SM3_INLINE void store(float *to, Floats x, int n) {
    const Words mask = first(n);
    _mm256_maskstore_ps(to, mask.a, x.a);
    _mm256_maskstore_ps(to + 8, mask.b, x.b);
}

SM3_INLINE Floats operator+(Floats x, Floats y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
SM3_INLINE Floats operator-(Floats x, Floats y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
SM3_INLINE Floats operator*(Floats x, Floats y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
SM3_INLINE Floats operator/(Floats x, Floats y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
SM3_INLINE Floats root(Floats x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
SM3_INLINE Floats magnitude(Floats x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
SM3_INLINE Floats larger(Floats x, Floats y) {
    const Words a = as_words(x), b = as_words(y);
    return as_float({_mm256_max_epu32(a.a, b.a), _mm256_max_epu32(a.b, b.b)});
}
SM3_INLINE Floats lower(Floats x, Floats y) {
    const Words a = as_words(x), b = as_words(y);
    return as_float({_mm256_min_epi32(a.a, b.a), _mm256_min_epi32(a.b, b.b)});
}

template <int PREDICATE> SM3_INLINE FloatMask compare(Floats x, Floats y) {
    return {_mm256_cmp_ps(x.a, y.a, PREDICATE), _mm256_cmp_ps(x.b, y.b, PREDICATE)};
}
SM3_INLINE Floats nothing() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
SM3_INLINE FloatMask positive(Floats x) { return compare<_CMP_GT_OQ>(x, nothing()); }
SM3_INLINE FloatMask negative(Floats x) { return compare<_CMP_LT_OQ>(x, nothing()); }
SM3_INLINE FloatMask zero(Floats x) { return compare<_CMP_EQ_OQ>(x, nothing()); }
SM3_INLINE FloatMask not_a_number(Floats x) { return compare<_CMP_UNORD_Q>(x, x); }
SM3_INLINE FloatMask operator&(FloatMask x, FloatMask y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
SM3_INLINE FloatMask operator|(FloatMask x, FloatMask y) { return {_mm256_or_ps(x.a, y.a), _mm256_or_ps(x.b, y.b)}; }
SM3_INLINE uint32_t bits(FloatMask mask) {
    return uint32_t(_mm256_movemask_ps(mask.a)) | uint32_t(_mm256_movemask_ps(mask.b)) << 8;
}
SM3_INLINE Floats only(FloatMask mask, Floats x) { return {_mm256_and_ps(mask.a, x.a), _mm256_and_ps(mask.b, x.b)}; }
SM3_INLINE Floats except(FloatMask mask, Floats x) { return {_mm256_andnot_ps(mask.a, x.a), _mm256_andnot_ps(mask.b, x.b)}; }
SM3_INLINE Floats with_signs(uint32_t word, Floats x) {
    // Bit i moves to the top of lane i; a bit that is not set flips the sign.
    const __m256i all = _mm256_set1_epi32(int(~word));
    const __m256i top = _mm256_set1_epi32(int(0x80000000u));
    const __m256i low = _mm256_sllv_epi32(all, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
    const __m256i high = _mm256_sllv_epi32(all, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16));
    return {_mm256_xor_ps(x.a, _mm256_castsi256_ps(_mm256_and_si256(low, top))),
            _mm256_xor_ps(x.b, _mm256_castsi256_ps(_mm256_and_si256(high, top)))};
}
SM3_INLINE Floats first_lanes(Floats x, int n) {
    const Floats mask = as_float(first(n));
    return {_mm256_and_ps(mask.a, x.a), _mm256_and_ps(mask.b, x.b)};
}
SM3_INLINE Floats negative_nan(Floats x) {
    const FloatMask nan = not_a_number(x);
    return {_mm256_or_ps(nan.a, x.a), _mm256_or_ps(nan.b, x.b)};
}

SM3_INLINE float sum(Floats x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
SM3_INLINE float largest(Floats x) {
    const Words w = as_words(x);
    const __m256i eight = _mm256_max_epu32(w.a, w.b);
    const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4E));
    return same_bits<float>(_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 0xB1))));
}

SM3_INLINE Words words(uint32_t x) { return {_mm256_set1_epi32(int(x)), _mm256_set1_epi32(int(x))}; }
SM3_INLINE Words operator+(Words x, Words y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
SM3_INLINE Words operator*(Words x, Words y) { return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)}; }
SM3_INLINE Words operator^(Words x, Words y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
SM3_INLINE Words operator&(Words x, Words y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
SM3_INLINE Words operator|(Words x, Words y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
SM3_INLINE Words counting(uint32_t from) {
    const Words steps = {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
    return words(from) + steps;
}
template <int N> SM3_INLINE Words right(Words x) { return {_mm256_srli_epi32(x.a, N), _mm256_srli_epi32(x.b, N)}; }
template <int N> SM3_INLINE Words left(Words x) { return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)}; }
SM3_INLINE Words widen(__m256i x) {
    return {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1))};
}
SM3_INLINE __m256i narrow(Words x) {  // the low 16 bits of each lane
    const Words low = x & words(0xFFFFu);
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low.a, low.b), 0xD8);
}
SM3_INLINE Words first_halves(Words x) { return widen(x.a); }
SM3_INLINE Words second_halves(Words x) { return widen(x.b); }
SM3_INLINE Words load_halves(const uint16_t *from) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from))); }
SM3_INLINE Words load_halves(const uint16_t *from, int n) {
    alignas(32) uint16_t buffer[16] = {};
    for (int i = 0; i < n; ++i) buffer[i] = from[i];
    return load_halves(buffer);
}
SM3_INLINE void store_halves(uint16_t *to, Words x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), narrow(x)); }
SM3_INLINE void store_halves(uint16_t *to, Words x, int n) {
    alignas(32) uint16_t buffer[16];
    store_halves(buffer, x);
    for (int i = 0; i < n; ++i) to[i] = buffer[i];
}
SM3_INLINE Words load_upper(const uint16_t *from) { return left<16>(load_halves(from)); }
SM3_INLINE Words load_upper(const uint16_t *from, int n) { return left<16>(load_halves(from, n)); }
SM3_INLINE void store_upper(uint16_t *to, Words x) {
    const Words low = right<16>(x);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low.a, low.b), 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), packed);
}
SM3_INLINE void store_upper(uint16_t *to, Words x, int n) { store_halves(to, right<16>(x), n); }
SM3_INLINE Words pick(Words mask, Words x, Words y) {
    return {_mm256_blendv_epi8(y.a, x.a, mask.a), _mm256_blendv_epi8(y.b, x.b, mask.b)};
}
SM3_INLINE Words above(Words x, Words y) { return {_mm256_cmpgt_epi32(x.a, y.a), _mm256_cmpgt_epi32(x.b, y.b)}; }
SM3_INLINE Words operator-(Words x, Words y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
SM3_INLINE Words least(Words x, Words y) { return {_mm256_min_epu32(x.a, y.a), _mm256_min_epu32(x.b, y.b)}; }
SM3_INLINE uint64_t total(Words x) {
    alignas(32) uint32_t each[16];
    _mm256_store_si256(reinterpret_cast<__m256i *>(each), x.a);
    _mm256_store_si256(reinterpret_cast<__m256i *>(each + 8), x.b);
    uint64_t all = 0;
    for (int i = 0; i < 16; ++i) all += each[i];
    return all;
}
SM3_INLINE Words add_where_finite(Words x, Words y) {
    const Words finite = above(words(0x7F800000u), x & words(0x7FFFFFFFu));
    return x + (y & finite);
}
SM3_INLINE Floats floor_of(Floats x) { return {_mm256_floor_ps(x.a), _mm256_floor_ps(x.b)}; }
SM3_INLINE Words not_below(Floats x, Floats y) {
    const FloatMask mask = compare<_CMP_GE_OQ>(x, y);
    return {_mm256_castps_si256(mask.a), _mm256_castps_si256(mask.b)};
}
SM3_INLINE Floats to_float(Words x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
SM3_INLINE Floats from_float16(Words x) {
    const __m256i packed = narrow(x);
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(packed)), _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1))};
}
SM3_INLINE Words to_float16(Floats x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_cvtepu16_epi32(_mm256_cvtps_ph(x.a, nearest)), _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x.b, nearest))};
}

}  // namespace
