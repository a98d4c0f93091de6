// Which instruction sets this processor and this operating system offer. Compiled for the baseline.
#include "processor.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

namespace {

// The operating system must save the wide registers at a task switch, else their upper parts are garbage after one.
unsigned long long saved_state() {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<unsigned long long>(high) << 32) | low;
}

bool bit(unsigned word, int number) { return (word >> number & 1u) != 0; }

}  // namespace

Features features() {
    Features found;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const bool xsave = bit(c, 27), avx = bit(c, 28), f16c = bit(c, 29);
    if (!xsave || !avx || !f16c || (saved_state() & 0x6) != 0x6) return found;  // xmm and ymm
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = bit(b, 5);
    const bool foundation = bit(b, 16), doubleword = bit(b, 17), byteword = bit(b, 30), length = bit(b, 31);
    const bool zmm = (saved_state() & 0xE6) == 0xE6;    // and mask registers, both halves of zmm
    found.avx512 = found.avx2 && foundation && doubleword && byteword && length && zmm;
    return found;
}
#else
Features features() { return Features(); }
#endif
