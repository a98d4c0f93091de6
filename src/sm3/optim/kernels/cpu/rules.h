// A list of tensors under one rule: what sm3_list.cpp and smmf_list.cpp offer to exports.cpp, and what they share.
#pragma once

#include <atomic>

#include "kernels.h"
#include "update_rms.h"

int32_t sm3_list(const Kernels &, const sm3k_sm3_tensor *, int64_t count, const sm3k_hyper &, const Settings &, int32_t threads);
int32_t smmf_list(const Kernels &, const sm3k_smmf_tensor *, int64_t count, const sm3k_hyper &, const Settings &, int32_t threads);

// Two halves of an SMMF step, between which others may step other rows.
int32_t smmf_rows(const Kernels &, const sm3k_smmf_tensor *, int64_t count, const sm3k_smmf_rows *, int64_t rows_count, const sm3k_hyper &,
                  const Settings &, int32_t threads);
int32_t smmf_finish(const Kernels &, const sm3k_smmf_tensor *, int64_t count, const void *const *records, const int64_t *counts,
                    const sm3k_hyper &, const Settings &, int32_t threads);

// What they share with the whole step: settings and tasks as SMMF reads them, scratch of a panel.
Settings smmf_settings(const sm3k_hyper &, const Settings &);
SmmfTask smmf_task(const sm3k_smmf_tensor &, const sm3k_hyper &, const Settings &);
int64_t smmf_panel_bytes(int64_t cols, bool wide);

struct NoiseKey { uint32_t low, high; };

// As NoiseKey.words of kernels/eager/rounding.py: SplitMix64's finaliser (Steele, Lea, Flood 2014), three times.
inline uint64_t mix64(uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

inline NoiseKey noise_key(uint64_t seed, int64_t step, int64_t parameter) {
    const uint64_t key = mix64(mix64(mix64(seed) ^ uint64_t(step)) ^ uint64_t(parameter));
    return {uint32_t(key), uint32_t(key >> 32)};
}

// The cautious mask's factor, from the fraction that the last step kept (kernels/eager/cautious.py).
inline double mask_scale(const int64_t *kept, int64_t numel, int64_t step) {
    if (!kept || step <= 1) return 1.0;
    const double fraction = double(*kept) / double(numel);
    return 1.0 / (fraction < 0.5 ? 0.5 : fraction);
}

// The update's scale, and the learning rate with it.
template <class Task, class Tensor> void hold(Task &task, const Tensor &tensor, double target, double lr) {
    task.rms = target > 0.0 ? rms_scale(*tensor.rms, target) : RmsScale{1.0, 1.0, 1.0, 1.0f};
    task.lr = lr * task.rms.scale;
}

// What panels of one tensor report together.
struct Report {
    std::atomic<int64_t> kept{0};
    std::atomic<uint64_t> squares{0};
    std::atomic<bool> moved{false};

    void add(const PanelResult &result) {
        if (result.kept) kept.fetch_add(result.kept);
        if (result.squares) squares.fetch_add(result.squares);
        if (result.moved) moved.store(true);
    }
};
