// The C interface: checks a call, picks the instruction set, digests the settings, hands the list to its rule.
#include <atomic>
#include <cstring>

#include "processor.h"
#include "rules.h"
#include "schedule.h"
#include "threads.h"

namespace {

std::atomic<const Kernels *> chosen{nullptr};

const Kernels *by_name(const char *name) {
    const Features found = features();
    const bool any = std::strcmp(name, "auto") == 0;
    (void)found;
    (void)any;
#if defined(SM3_HAVE_AVX512)
    if (found.avx512 && (any || std::strcmp(name, "avx512") == 0)) return &kernels_avx512;
#endif
#if defined(SM3_HAVE_AVX2)
    if (found.avx2 && (any || std::strcmp(name, "avx2") == 0)) return &kernels_avx2;
#endif
    if (any || std::strcmp(name, "generic") == 0) return &kernels_generic;
    return nullptr;
}

const Kernels &kernels() {
    const Kernels *found = chosen.load();
    if (!found) chosen.store(found = by_name("auto"));
    return *found;
}

bool known(int32_t param, int32_t grad) {
    const bool halves = param == SM3K_BFLOAT16 || param == SM3K_FLOAT16;
    return (param == grad && param >= SM3K_FLOAT32 && param <= SM3K_FLOAT64) || (halves && grad == SM3K_FLOAT32);
}

Settings digest(const sm3k_hyper &hyper) {
    Settings s{};
    s.param_dtype = hyper.param_dtype;
    s.grad_dtype = hyper.grad_dtype;
    s.stochastic = hyper.stochastic != 0;
    s.cautious = hyper.cautious != 0;
    s.published = hyper.published != 0;
    s.held = hyper.update_rms > 0.0;
    s.lr = hyper.lr;
    s.keep = 1.0 - hyper.lr * hyper.weight_decay;
    s.eps = hyper.eps;
    s.gradient_factor = hyper.maximize ? -hyper.grad_scale : hyper.grad_scale;
    s.beta = hyper.beta;
    s.base_factor = hyper.beta2 < 0 ? 1.0 : hyper.beta2;
    s.square_factor = hyper.beta2 < 0 ? 1.0 : 1.0 - hyper.beta2;
    return s;
}

bool usable(int64_t count, const void *tensors, const sm3k_hyper *hyper, int32_t threads) {
    if (count < 0 || (count > 0 && !tensors) || !hyper || threads < 1) return false;
    return known(hyper->param_dtype, hyper->grad_dtype);
}

template <class T> int32_t step(const T *tensors, int64_t count, const sm3k_hyper *hyper, int32_t threads,
                                int32_t (*list)(const Kernels &, const T *, int64_t, const sm3k_hyper &, const Settings &, int32_t)) {
    if (!usable(count, tensors, hyper, threads)) return SM3K_BAD_ARGUMENT;
    return list(kernels(), tensors, count, *hyper, digest(*hyper), threads);
}

}  // namespace

int32_t sm3k_abi() { return SM3K_ABI; }

const char *sm3k_isa() { return kernels().name; }

int32_t sm3k_set_isa(const char *name) {
    const Kernels *found = by_name(name);
    if (!found) return SM3K_BAD_ARGUMENT;
    chosen.store(found);
    return SM3K_OK;
}

int32_t sm3k_sm3_step(const sm3k_sm3_tensor *tensors, int64_t count, const sm3k_hyper *hyper, int32_t threads) {
    return step(tensors, count, hyper, threads, sm3_list);
}

int32_t sm3k_smmf_step(const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_hyper *hyper, int32_t threads) {
    return step(tensors, count, hyper, threads, smmf_list);
}

int32_t sm3k_smmf_rows_step(const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_smmf_rows *rows, int64_t rows_count,
                            const sm3k_hyper *hyper, int32_t threads) {
    if (!usable(count, tensors, hyper, threads) || rows_count < 0 || (rows_count > 0 && !rows)) return SM3K_BAD_ARGUMENT;
    return smmf_rows(kernels(), tensors, count, rows, rows_count, *hyper, digest(*hyper), threads);
}

int32_t sm3k_smmf_finish(const sm3k_smmf_tensor *tensors, int64_t count, const void *const *records, const int64_t *counts,
                         const sm3k_hyper *hyper, int32_t threads) {
    if (!usable(count, tensors, hyper, threads) || (count > 0 && (!records || !counts))) return SM3K_BAD_ARGUMENT;
    return smmf_finish(kernels(), tensors, count, records, counts, *hyper, digest(*hyper), threads);
}

void sm3k_count(int64_t *const *steps, int64_t count) {
    for (int64_t i = 0; i < count; ++i) ++*steps[i];
}

int64_t sm3k_panel_rows(int64_t rows, int64_t cols) { return panel_rows(rows, cols); }

void sm3k_probe(float *first, float *second, const float *third, int64_t numel, int32_t threads) {
    struct Part {
        float *first, *second;
        const float *third;
        int64_t numel, chunk;
    } part{first, second, third, numel, int64_t(1) << 17};
    run_items((numel + part.chunk - 1) / part.chunk, threads, [](void *self, int64_t item) {
        const Part &p = *static_cast<Part *>(self);
        const int64_t from = item * p.chunk, n = p.numel - from < p.chunk ? p.numel - from : p.chunk;
        kernels().probe(p.first + from, p.second + from, p.third + from, n);
    }, &part);
}
