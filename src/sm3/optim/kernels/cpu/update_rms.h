// The update's root mean square, held at a target by last step's: kernels/eager/update_rms.py, bit for bit, which see.
// What a step takes from `rms`, and what it leaves there; panels measure with `Measure` of numbers.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels.h"

constexpr double RMS_MAX_GAIN = 10.0, RMS_LEAST = 0x1p-5;
constexpr int RMS_PLACES = 9, RMS_COUNT_BITS = 23, RMS_MAX_EXPONENT = 45;

inline RmsScale rms_scale(float rms, double target) {
    int exponent = -2;
    double scale = 1.0;
    if (rms > 0.0f) {       // something was measured already
        const double bounded = std::fmax(double(rms), target / RMS_MAX_GAIN);
        scale = target / bounded;
        exponent = bounded < INFINITY ? std::ilogb(bounded) : RMS_MAX_EXPONENT;
        exponent = exponent < -RMS_MAX_EXPONENT ? -RMS_MAX_EXPONENT : exponent > RMS_MAX_EXPONENT ? RMS_MAX_EXPONENT : exponent;
    }
    const int place = 2 * exponent - RMS_PLACES;
    return {scale, std::ldexp(1.0, exponent), std::ldexp(1.0, place), float(std::ldexp(1.0, place + RMS_COUNT_BITS))};
}

inline void store_rms(float *rms, const RmsScale &held, uint64_t count, bool moved, int64_t numel) {
    if (count > 0) *rms = float(std::sqrt(double(count) / double(numel) * held.quantum));
    else if (moved) *rms = float(held.unit * RMS_LEAST);
}
