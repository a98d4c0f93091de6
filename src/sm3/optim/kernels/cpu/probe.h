// Three reads and two writes per element, in place: the traffic of a step of SM3 with momentum, and little arithmetic.
// The optimizers' stores hit lines they have just read, so this and not an out-of-place copy is their bound.
#pragma once

#include "numbers.h"

namespace {

void probe(float *first, float *second, const float *third, int64_t numel) {
    const Vector<float> half = all(0.5f);
    for (int64_t i = 0; i + LANES <= numel; i += LANES) {
        const Vector<float> c = read<true, float>(third + i, LANES);
        const Vector<float> b = read<true, float>(second + i, LANES) * half + c;
        store(second + i, b);
        store(first + i, read<true, float>(first + i, LANES) * half + b);
    }
}

}  // namespace
