// Which instruction sets this processor and this operating system offer.
#pragma once

struct Features {
    bool avx2 = false;      // with F16C
    bool avx512 = false;    // F, BW, DQ, VL
};

Features features();
