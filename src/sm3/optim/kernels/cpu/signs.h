// Signs of one matricized row: from the bytes of `m_sign` into 16-bit words, one per 16 columns, and back.
//
// Flat element e is bit (e / run) * stride + e % run of the bytes (kernels/eager/storage.py). The matrix of SMMF has other
// rows than the tensor, so its rows start anywhere in a byte and may cross the padding between runs:
//
//     bytes   ....abcd efghijkl mno.....     a row of 15 columns that starts at bit 4
//     words   abcdefghijklmno0
//
// Two panels may share a byte where a row ends. Without padding (stride == run) panels start at whole bytes,
// since they hold a multiple of 8 rows; with padding a byte may be shared, and its bits are changed by atomic and / or.
#pragma once

#include <cstdint>
#include <cstring>

#include "lanes_generic.h"

namespace {

SM3_INLINE uint8_t load_byte(const uint8_t *from) {
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

// Sets the bits of `mask` in a byte to those of `value`; others may set other bits at the same time.
SM3_INLINE void set_bits(uint8_t *byte, uint32_t mask, uint32_t value) {
    if (mask == 0xFFu) {
        __atomic_store_n(byte, uint8_t(value), __ATOMIC_RELAXED);
        return;
    }
    __atomic_fetch_and(byte, uint8_t(~(mask & ~value)), __ATOMIC_RELAXED);
    __atomic_fetch_or(byte, uint8_t(mask & value), __ATOMIC_RELAXED);
}

SM3_INLINE uint64_t load_eight(const void *from) {
    uint64_t eight;
    std::memcpy(&eight, from, 8);
    return eight;
}

// Bits [0, n) of `words` from bits [at, at + n) of `bytes`. Whole words are written, zero beyond n.
SM3_INLINE void unpack_run(uint16_t *words, const uint8_t *bytes, int64_t at, int64_t n) {
    const int shift = int(at & 7);
    const uint8_t *from = bytes + (at >> 3);
    int64_t done = 0;
    if (shift == 0)
        for (; done + 64 <= n; done += 64, from += 8, words += 4) std::memcpy(words, from, 8);
    for (; done + 64 <= n; done += 64, from += 8, words += 4) {
        const uint64_t eight = load_eight(from) >> shift | uint64_t(from[8]) << (64 - shift);
        std::memcpy(words, &eight, 8);
    }
    for (; done < n; done += 16, from += 2, ++words) {
        const int64_t left = n - done < 16 ? n - done : 16;
        uint32_t window = 0;
        for (int64_t byte = 0; byte * 8 < shift + left; ++byte) window |= uint32_t(from[byte]) << (8 * byte);
        *words = uint16_t(window >> shift & ((1u << left) - 1u));
    }
}

// The reverse. Bits outside [at, at + n) stay.
SM3_INLINE void pack_run(uint8_t *bytes, int64_t at, const uint16_t *words, int64_t n) {
    const int shift = int(at & 7);
    uint8_t *to = bytes + (at >> 3);
    int64_t done = 0;
    uint64_t carried = *to & ((1u << shift) - 1u);  // `shift` bits that wait for a whole byte
    if (shift == 0)
        for (; done + 64 <= n; done += 64, to += 8, words += 4) std::memcpy(to, words, 8);
    for (; done + 64 <= n; done += 64, to += 8, words += 4) {
        const uint64_t eight = load_eight(words), placed = eight << shift | carried;
        std::memcpy(to, &placed, 8);
        carried = eight >> (64 - shift);
    }
    for (; done < n; done += 16, ++words) {
        const int64_t left = n - done < 16 ? n - done : 16;
        carried |= uint64_t(*words & ((1u << left) - 1u)) << shift;
        int64_t ready = shift + left;
        for (; ready >= 8 && (left < 16 || ready >= 8 + shift); ready -= 8, carried >>= 8) *to++ = uint8_t(carried);
        if (left < 16) {
            if (ready > 0) *to = uint8_t((*to & ~((1u << ready) - 1u)) | carried);
            return;
        }
    }
    if (shift > 0) *to = uint8_t((*to & ~((1u << shift) - 1u)) | carried);
}

// With padding: byte by byte, a run at a time.
SM3_INLINE void unpack_padded(uint16_t *words, const uint8_t *bytes, int64_t start, int64_t n, int64_t run, int64_t stride) {
    for (int64_t word = 0; word * 16 < n; ++word) words[word] = 0;
    for (int64_t done = 0; done < n;) {
        const int64_t element = start + done, inside = element % run, at = element / run * stride + inside;
        int64_t bits = 8 - (at & 7);
        if (bits > run - inside) bits = run - inside;
        if (bits > n - done) bits = n - done;
        const uint32_t value = uint32_t(load_byte(bytes + (at >> 3))) >> (at & 7) & ((1u << bits) - 1u);
        const uint32_t placed = value << (done & 15);
        words[done >> 4] = uint16_t(words[done >> 4] | placed);
        if (placed >> 16) words[(done >> 4) + 1] = uint16_t(words[(done >> 4) + 1] | placed >> 16);
        done += bits;
    }
}

SM3_INLINE void pack_padded(uint8_t *bytes, int64_t start, const uint16_t *words, int64_t n, int64_t run, int64_t stride) {
    for (int64_t done = 0; done < n;) {
        const int64_t element = start + done, inside = element % run, at = element / run * stride + inside;
        int64_t bits = 8 - (at & 7);
        if (bits > run - inside) bits = run - inside;
        if (bits > n - done) bits = n - done;
        uint32_t value = words[done >> 4];
        if ((done & 15) + bits > 16) value |= uint32_t(words[(done >> 4) + 1]) << 16;
        value = value >> (done & 15) & ((1u << bits) - 1u);
        set_bits(bytes + (at >> 3), ((1u << bits) - 1u) << (at & 7), value << (at & 7));
        done += bits;
    }
}

struct Signs {
    uint8_t *bytes;
    int64_t run, stride;

    void unpack(uint16_t *words, int64_t start, int64_t n) const {
        if (stride == run) unpack_run(words, bytes, start, n);
        else unpack_padded(words, bytes, start, n, run, stride);
    }
    void pack(const uint16_t *words, int64_t start, int64_t n) const {
        if (stride == run) pack_run(bytes, start, words, n);
        else pack_padded(bytes, start, words, n, run, stride);
    }
};

}  // namespace
