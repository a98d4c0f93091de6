// What one instruction set offers: a table of functions. Each isa_*.cpp fills one, exports.cpp picks one at run time.
#pragma once

#include <cstdint>

#include "abi.h"

// Rows that share one pass over the columns; a tensor's scratch has room for as many rows of sign words.
constexpr int MAX_TILE = 4;

// How the update of a tensor is scaled and measured (update_rms.h).
struct RmsScale {
    double scale;               // what the learning rate is multiplied by
    double unit, quantum;       // powers of two; squares are counted in quanta
    float base;                 // 2^23 quanta
};

struct Settings {               // sm3k_hyper, digested; `beta`, `decay` as the caller's Python computes them, in double
    int32_t param_dtype, grad_dtype;
    bool stochastic, cautious, published;
    bool held;                  // the update's root mean square has a target
    bool first_moment;          // SMMF; SM3 has momentum where a tensor has that state
    double lr, keep;            // keep: 1 - lr * weight_decay
    double eps, gradient_factor;        // gradient_factor: grad_scale, negative to ascend
    double beta, base_factor, square_factor;    // SM3: nu = base_factor * min + square_factor * g^2
};

struct Sm3Task {                // one tensor: rows x cols, or a vector (cols == 1, bound == null)
    void *param;
    const void *grad;
    void *momentum, *row;
    const void *bound;          // (cols,) minimum of the trailing accumulators, NaN negative
    const void *cap;            // vector only: null, or one accumulator that bounds every element
    int64_t rows, cols;
    uint32_t low_key, high_key; // of stochastic rounding
    double mask_scale;
    double lr;                  // of this tensor: scaled where `held`
    RmsScale rms;
};

struct SmmfTask {
    void *param;
    const void *grad;
    void *m_row, *m_col, *v_row, *v_col;
    uint8_t *m_sign;
    int64_t numel, rows, cols, sign_run, sign_stride;
    double first_decay, second_decay;
    uint32_t low_key, high_key;
    double mask_scale;
    double lr;
    RmsScale rms;
};

struct PanelResult {
    int64_t kept = 0;           // entries that the cautious mask let through
    uint64_t squares = 0;       // where `held`: of the updates, in quanta; and whether any is not zero
    bool moved = false;
    bool nonfinite = false;
};

struct Kernels {
    const char *name;
    // Rows [first, last) of the matrix; `scratch` of this panel: SM3 column maxima, SMMF both column sums and sign words.
    void (*sm3_panel)(const Settings &, const Sm3Task &, int64_t first, int64_t last, void *scratch, PanelResult *);
    void (*smmf_panel)(const Settings &, const SmmfTask &, int64_t first, int64_t last, void *scratch, PanelResult *);
    // Panels combined, in their order, into the first: maxima (SM3), sums (SMMF, then written as new column factors).
    void (*sm3_combine)(bool wide, int64_t cols, int64_t panels, void *scratch, int64_t stride_bytes);
    void (*smmf_combine)(bool wide, const SmmfTask &, int64_t panels, void *scratch, int64_t stride_bytes);
    void (*probe)(float *, float *, const float *, int64_t);
};

// Scratch vectors are padded to whole registers of 16 lanes.
constexpr int64_t padded(int64_t cols) { return (cols + 15) / 16 * 16; }

extern const Kernels kernels_generic, kernels_avx2, kernels_avx512;
