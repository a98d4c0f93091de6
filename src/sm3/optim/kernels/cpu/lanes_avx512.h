// 16 lanes of float in one 512-bit register (AVX-512 F, BW, DQ, VL). Operations as in lanes_generic.h, which see.
#pragma once

#include <immintrin.h>

#define SM3_OWN_FLOATS
#include "lanes_generic.h"

namespace {

struct Floats { __m512 v; };
struct FloatMask { __mmask16 v; };
struct Words { __m512i v; };
template <> struct LanesOf<float> {
    using Type = Floats;
    static constexpr bool split = false;
};

SM3_INLINE __mmask16 first(int n) { return __mmask16((1u << n) - 1u); }

SM3_INLINE void fill(Floats &a, float x) { a.v = _mm512_set1_ps(x); }
SM3_INLINE void load(Floats &a, const float *from) { a.v = _mm512_loadu_ps(from); }
SM3_INLINE void load(Floats &a, const float *from, int n) { a.v = _mm512_maskz_loadu_ps(first(n), from); }
SM3_INLINE void store(float *to, Floats a) { _mm512_storeu_ps(to, a.v); }
SM3_INLINE void store(float *to, Floats a, int n) { _mm512_mask_storeu_ps(to, first(n), a.v); }

SM3_INLINE Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
SM3_INLINE Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
SM3_INLINE Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
SM3_INLINE Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
SM3_INLINE Floats root(Floats a) { return {_mm512_sqrt_ps(a.v)}; }
SM3_INLINE Floats magnitude(Floats a) { return {_mm512_abs_ps(a.v)}; }

SM3_INLINE __m512i in_bits(Floats a) { return _mm512_castps_si512(a.v); }
SM3_INLINE Floats larger(Floats a, Floats b) { return {_mm512_castsi512_ps(_mm512_max_epu32(in_bits(a), in_bits(b)))}; }
SM3_INLINE Floats lower(Floats a, Floats b) { return {_mm512_castsi512_ps(_mm512_min_epi32(in_bits(a), in_bits(b)))}; }

SM3_INLINE FloatMask positive(Floats a) { return {_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_GT_OQ)}; }
SM3_INLINE FloatMask negative(Floats a) { return {_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_LT_OQ)}; }
SM3_INLINE FloatMask zero(Floats a) { return {_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_EQ_OQ)}; }
SM3_INLINE FloatMask not_a_number(Floats a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
SM3_INLINE FloatMask operator&(FloatMask a, FloatMask b) { return {__mmask16(a.v & b.v)}; }
SM3_INLINE FloatMask operator|(FloatMask a, FloatMask b) { return {__mmask16(a.v | b.v)}; }
SM3_INLINE uint32_t bits(FloatMask mask) { return mask.v; }
SM3_INLINE Floats only(FloatMask mask, Floats a) { return {_mm512_maskz_mov_ps(mask.v, a.v)}; }
SM3_INLINE Floats except(FloatMask mask, Floats a) { return {_mm512_maskz_mov_ps(__mmask16(~mask.v), a.v)}; }
SM3_INLINE Floats with_signs(uint32_t word, Floats a) {
    return {_mm512_mask_xor_ps(a.v, __mmask16(~word), a.v, _mm512_set1_ps(-0.0f))};
}
SM3_INLINE Floats first_lanes(Floats a, int n) { return {_mm512_maskz_mov_ps(first(n), a.v)}; }
SM3_INLINE Floats negative_nan(Floats a) {
    return {_mm512_castsi512_ps(_mm512_mask_mov_epi32(in_bits(a), not_a_number(a).v, _mm512_set1_epi32(-1)))};
}

SM3_INLINE __m256 lower_half(__m512 a) { return _mm512_castps512_ps256(a); }
SM3_INLINE __m256 upper_half(__m512 a) { return _mm512_extractf32x8_ps(a, 1); }
SM3_INLINE float sum(Floats a) {
    const __m256 eight = _mm256_add_ps(lower_half(a.v), upper_half(a.v));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
SM3_INLINE float largest(Floats a) {
    return same_bits<float>(uint32_t(_mm512_reduce_max_epu32(in_bits(a))));
}

SM3_INLINE Words words(uint32_t x) { return {_mm512_set1_epi32(int(x))}; }
SM3_INLINE Words counting(uint32_t from) {
    const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return {_mm512_add_epi32(_mm512_set1_epi32(int(from)), steps)};
}
SM3_INLINE Words operator+(Words a, Words b) { return {_mm512_add_epi32(a.v, b.v)}; }
SM3_INLINE Words operator*(Words a, Words b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
SM3_INLINE Words operator^(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
SM3_INLINE Words operator&(Words a, Words b) { return {_mm512_and_si512(a.v, b.v)}; }
SM3_INLINE Words operator|(Words a, Words b) { return {_mm512_or_si512(a.v, b.v)}; }
template <int N> SM3_INLINE Words right(Words a) { return {_mm512_srli_epi32(a.v, N)}; }
template <int N> SM3_INLINE Words left(Words a) { return {_mm512_slli_epi32(a.v, N)}; }
SM3_INLINE Words first_halves(Words a) { return {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(a.v))}; }
SM3_INLINE Words second_halves(Words a) { return {_mm512_cvtepu16_epi32(_mm512_extracti32x8_epi32(a.v, 1))}; }
SM3_INLINE Words load_halves(const uint16_t *from) {
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)))};
}
SM3_INLINE Words load_halves(const uint16_t *from, int n) {
    return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), from))};
}
SM3_INLINE void store_halves(uint16_t *to, Words a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtepi32_epi16(a.v));
}
SM3_INLINE void store_halves(uint16_t *to, Words a, int n) {
    _mm256_mask_storeu_epi16(to, first(n), _mm512_cvtepi32_epi16(a.v));
}
// One permutation each, in place of a widening and a shift, or a shift and a narrowing.
SM3_INLINE Words to_upper(__m256i halves) {
    const __m512i place = _mm512_setr_epi32(0x00000, 0x10000, 0x20000, 0x30000, 0x40000, 0x50000, 0x60000, 0x70000, 0x80000,
                                            0x90000, 0xA0000, 0xB0000, 0xC0000, 0xD0000, 0xE0000, 0xF0000);
    return {_mm512_maskz_permutexvar_epi16(0xAAAAAAAAu, place, _mm512_castsi256_si512(halves))};
}
SM3_INLINE __m256i from_upper(Words a) {
    const __m512i place = _mm512_setr_epi32(0x30001, 0x70005, 0xB0009, 0xF000D, 0x130011, 0x170015, 0x1B0019, 0x1F001D, 0, 0, 0,
                                            0, 0, 0, 0, 0);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(place, a.v));
}
SM3_INLINE Words load_upper(const uint16_t *from) {
    return to_upper(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}
SM3_INLINE Words load_upper(const uint16_t *from, int n) { return to_upper(_mm256_maskz_loadu_epi16(first(n), from)); }
SM3_INLINE void store_upper(uint16_t *to, Words a) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), from_upper(a)); }
SM3_INLINE void store_upper(uint16_t *to, Words a, int n) { _mm256_mask_storeu_epi16(to, first(n), from_upper(a)); }
SM3_INLINE Words pick(Words mask, Words a, Words b) { return {_mm512_ternarylogic_epi32(mask.v, a.v, b.v, 0xCA)}; }
SM3_INLINE Words above(Words a, Words b) { return {_mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a.v, b.v))}; }
SM3_INLINE Words operator-(Words a, Words b) { return {_mm512_sub_epi32(a.v, b.v)}; }
SM3_INLINE Words least(Words a, Words b) { return {_mm512_min_epu32(a.v, b.v)}; }
SM3_INLINE uint64_t total(Words a) {
    const __m512i low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(a.v)), high = _mm512_cvtepu32_epi64(_mm512_extracti32x8_epi32(a.v, 1));
    return uint64_t(_mm512_reduce_add_epi64(_mm512_add_epi64(low, high)));
}
SM3_INLINE Words add_where_finite(Words x, Words y) {
    constexpr int infinite_or_nan = 0x01 | 0x08 | 0x10 | 0x80;
    return {_mm512_mask_add_epi32(x.v, _knot_mask16(_mm512_fpclass_ps_mask(_mm512_castsi512_ps(x.v), infinite_or_nan)), x.v, y.v)};
}
SM3_INLINE Words as_words(Floats a) { return {_mm512_castps_si512(a.v)}; }
SM3_INLINE Floats as_float(Words a) { return {_mm512_castsi512_ps(a.v)}; }
SM3_INLINE Floats floor_of(Floats a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
SM3_INLINE Words not_below(Floats a, Floats b) { return {_mm512_movm_epi32(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ))}; }
SM3_INLINE Floats to_float(Words a) { return {_mm512_cvtepi32_ps(a.v)}; }
SM3_INLINE Floats from_float16(Words a) { return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v))}; }
SM3_INLINE Words to_float16(Floats a) {
    return {_mm512_cvtepu16_epi32(_mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))};
}

}  // namespace
