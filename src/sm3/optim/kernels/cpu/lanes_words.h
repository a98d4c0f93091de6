// 16 lanes of 32 bits, and how 16-bit formats become float and back, as vectors of the compiler. The other lanes_*.h
// have their own.
#pragma once

namespace {

struct Words { Raw32 v; };

SM3_INLINE Words words(uint32_t x) { return {Raw32{} + x}; }
SM3_INLINE Words counting(uint32_t from) { return {lane_numbers<float>() + from}; }
SM3_INLINE Words operator+(Words a, Words b) { return {a.v + b.v}; }
SM3_INLINE Words operator-(Words a, Words b) { return {a.v - b.v}; }
SM3_INLINE Words operator*(Words a, Words b) { return {a.v * b.v}; }
SM3_INLINE Words operator^(Words a, Words b) { return {a.v ^ b.v}; }
SM3_INLINE Words operator&(Words a, Words b) { return {a.v & b.v}; }
SM3_INLINE Words operator|(Words a, Words b) { return {a.v | b.v}; }
template <int N> SM3_INLINE Words right(Words a) { return {a.v >> N}; }
template <int N> SM3_INLINE Words left(Words a) { return {a.v << N}; }
SM3_INLINE Words pick(Words mask, Words a, Words b) { return {choose(mask.v, a.v, b.v)}; }
SM3_INLINE Words above(Words a, Words b) { return {Raw32(RawSigned32(a.v) > RawSigned32(b.v))}; }
SM3_INLINE Words least(Words a, Words b) { return {choose(Raw32(a.v < b.v), a.v, b.v)}; }    // unsigned
SM3_INLINE uint64_t total(Words a) {
    uint64_t all = 0;
    for (int i = 0; i < LANES; ++i) all += a.v[i];
    return all;
}

// x + y where the float x is finite, else x.
SM3_INLINE Words add_where_finite(Words x, Words y) {
    const Raw32 finite = Raw32((x.v & 0x7FFFFFFFu) < 0x7F800000u);
    return {x.v + (y.v & finite)};
}
SM3_INLINE Words widen(Raw16 halves) { return {__builtin_convertvector(halves, Raw32)}; }
SM3_INLINE Raw16 narrow(Words a) { return __builtin_convertvector(a.v, Raw16); }
// 16-bit halves, in memory order: lanes 0..15 and 16..31 of 32.
SM3_INLINE Words first_halves(Words a) {
    Raw16 halves;
    std::memcpy(&halves, &a.v, sizeof halves);
    return widen(halves);
}
SM3_INLINE Words second_halves(Words a) {
    Raw16 halves;
    std::memcpy(&halves, reinterpret_cast<const char *>(&a.v) + sizeof halves, sizeof halves);
    return widen(halves);
}
SM3_INLINE Words load_halves(const uint16_t *from, int n = LANES) {
    Raw16 halves{};
    std::memcpy(&halves, from, sizeof(uint16_t) * size_t(n));
    return widen(halves);
}
SM3_INLINE void store_halves(uint16_t *to, Words a, int n = LANES) {
    const Raw16 halves = narrow(a);
    std::memcpy(to, &halves, sizeof(uint16_t) * size_t(n));
}

// 16-bit numbers that are the upper halves of 32-bit ones.
SM3_INLINE Words load_upper(const uint16_t *from, int n = LANES) { return left<16>(load_halves(from, n)); }
SM3_INLINE void store_upper(uint16_t *to, Words a, int n = LANES) { store_halves(to, right<16>(a), n); }

SM3_INLINE Words as_words(Lanes<float> a) { return {in_bits(a)}; }
SM3_INLINE Lanes<float> as_float(Words a) { return from_bits<float>(a.v); }
SM3_INLINE Words not_below(Lanes<float> a, Lanes<float> b) { return {Raw32(a.v >= b.v)}; }
SM3_INLINE Lanes<float> to_float(Words a) { return {__builtin_convertvector(RawSigned32(a.v), RawFloat)}; }
SM3_INLINE Lanes<float> floor_of(Lanes<float> a) {  // of numbers in [0, 2^31)
    return {__builtin_convertvector(__builtin_convertvector(a.v, RawSigned32), RawFloat)};
}

// IEEE half to single: exponents are rebiased by 112; what has exponent 0 is a multiple of 2^-24.
SM3_INLINE Lanes<float> from_float16(Words a) {
    const Words sign = left<16>(a & words(0x8000u)), rest = a & words(0x7FFFu);
    const Words normal = left<13>(rest) + words(0x38000000u);
    const Words special = left<13>(rest) | words(0x7F800000u);
    const Words tiny = as_words(to_float(rest) * Lanes<float>{RawFloat{} + 0x1p-24f});
    const Words finite = pick(above(words(0x400u), rest), tiny, normal);
    return as_float(sign | pick(above(rest, words(0x7BFFu)), special, finite));
}

// Single to half, nearest, ties to even. Below 2^-14 adding 0.5 puts the unit of 2^-24 at the last bit, and rounds there.
SM3_INLINE Words to_float16(Lanes<float> a) {
    const Words all = as_words(a), sign = right<16>(all) & words(0x8000u), rest = all & words(0x7FFFFFFFu);
    const Words normal = right<13>(rest + words(0xFFFu) + (right<13>(rest) & words(1)) - words(0x38000000u));
    const Words tiny = as_words(as_float(rest) + Lanes<float>{RawFloat{} + 0.5f}) - words(0x3F000000u);
    Words half = pick(above(words(0x38800000u), rest), tiny, normal);
    half = pick(above(rest, words(0x477FEFFFu)), words(0x7C00u), half);     // 65520 and above
    half = pick(above(rest, words(0x7F800000u)), words(0x7E00u), half);
    return sign | half;
}

}  // namespace
