// The C interface of the library: plain structs and a few functions, no PyTorch, no Python.
//
// A call updates every tensor of a list in place. All tensors of a list share the dtypes in `sm3k_hyper`; all arrays
// are contiguous. Nothing is allocated after the first element was touched, so a failed call has changed nothing.
#pragma once

#include <cstdint>

#if defined(_WIN32)
#define SM3K_EXPORT extern "C" __declspec(dllexport)
#else
#define SM3K_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Raised whenever a struct or the meaning of a field changes; library.py refuses another number.
constexpr int32_t SM3K_ABI = 4;
constexpr int32_t SM3K_MAX_RANK = 8;

enum sm3k_dtype : int32_t { SM3K_FLOAT32 = 0, SM3K_BFLOAT16 = 1, SM3K_FLOAT16 = 2, SM3K_FLOAT64 = 3 };

enum sm3k_result : int32_t {
    SM3K_OK = 0,
    SM3K_NONFINITE = 1,         // done; an accumulator or a sum of squares is NaN or infinite
    SM3K_BAD_ARGUMENT = -1,     // nothing was changed
    SM3K_OUT_OF_MEMORY = -2,    // nothing was changed
};

struct sm3k_sm3_tensor {
    void *param;
    const void *grad;
    void *momentum;             // null: no momentum for this tensor
    const int64_t *step;        // counts this step already
    int64_t *kept;              // null unless cautious
    int64_t index;              // position in the optimizer, a key of stochastic rounding
    int64_t rank;               // 0 .. SM3K_MAX_RANK
    void *accumulator[SM3K_MAX_RANK];   // one per dimension, one for a scalar
    int64_t shape[SM3K_MAX_RANK];
    float *rms;                 // null unless update_rms
};

struct sm3k_smmf_tensor {
    void *param;
    const void *grad;
    const int64_t *step;
    int64_t *kept;              // null unless cautious
    int64_t index;
    int64_t numel;
    int64_t rows, cols;         // the near-square matrix, rows * cols >= numel
    int64_t sign_run;           // elements that follow each other without padding in `m_sign`
    int64_t sign_stride;        // bits from one run to the next, a multiple of 8
    void *m_row, *m_col;        // null: no first moment
    uint8_t *m_sign;
    void *v_row, *v_col;
    float *rms;                 // null unless update_rms
};

// Some rows of a tensor, stepped where they lie: in the tensor, in a part of it, in a copy. Addresses are those that flat
// element 0, and its sign, would have.
struct sm3k_smmf_rows {
    int64_t tensor;             // position in the list; its own param, grad, signs are not looked at
    void *param;
    const void *grad;
    uint8_t *m_sign;
    int64_t sign_run, sign_stride;
    int64_t first, last;        // rows, all of one panel
    void *record;               // sums: rows, columns of the second moment, then of the first; null: nobody wants them
    int64_t *counts;            // added to: entries kept, squares, whether any update is not 0; null with `record`
};

struct sm3k_hyper {
    double lr, weight_decay, eps;
    double beta;                // SM3: momentum; SMMF: beta
    double beta2;               // SM3: decay of the squares; negative: the sum
    double growth_rate, decay_rate;     // SMMF
    double grad_scale;          // every gradient is multiplied by it
    double update_rms;          // target of the update's root mean square; 0: none
    uint64_t seed;
    int32_t param_dtype, grad_dtype;
    int32_t stochastic, cautious, maximize, published;
};

SM3K_EXPORT int32_t sm3k_abi();
SM3K_EXPORT const char *sm3k_isa();
SM3K_EXPORT int32_t sm3k_set_isa(const char *name);     // "auto", "generic", "avx2", "avx512"; not during a step
SM3K_EXPORT int32_t sm3k_sm3_step(const sm3k_sm3_tensor *tensors, int64_t count, const sm3k_hyper *hyper, int32_t threads);
SM3K_EXPORT int32_t sm3k_smmf_step(const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_hyper *hyper, int32_t threads);
// The first half of a step: parameters and signs are new; of the factors, only columns are still the old ones.
SM3K_EXPORT int32_t sm3k_smmf_rows_step(const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_smmf_rows *rows, int64_t rows_count,
                                        const sm3k_hyper *hyper, int32_t threads);
// The second half: factors from the records of all panels of all tensors, in order; `kept`, `rms` from 3 counts of each.
SM3K_EXPORT int32_t sm3k_smmf_finish(const sm3k_smmf_tensor *tensors, int64_t count, const void *const *records, const int64_t *counts,
                                     const sm3k_hyper *hyper, int32_t threads);
// Adds 1 to each of `count` step counters.
SM3K_EXPORT void sm3k_count(int64_t *const *steps, int64_t count);
// Rows of a panel: depends on the shape only, never on threads or instruction set.
SM3K_EXPORT int64_t sm3k_panel_rows(int64_t rows, int64_t cols);
// Three arrays read, two written in place (float32): the bandwidth bound that the benchmark prints.
SM3K_EXPORT void sm3k_probe(float *first, float *second, const float *third, int64_t numel, int32_t threads);
