// A step of SMMF in two halves, for tensors of which several ranks step some rows each (kernels/smmf_shards.py):
//
//     rows      the panels of smmf_panel.h, wherever their elements lie; sums to records instead of into factors
//     finish    the combination of smmf_panel.h, on the records of all panels, whoever made them
//
// A whole step (smmf_list.cpp) runs the same two kernels on the same panels in the same order: equal bits.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "rules.h"
#include "schedule.h"
#include "threads.h"

namespace {

// As in schedule.cpp: below this many elements a second thread costs more than it brings.
constexpr int64_t ONE_THREAD_BELOW = 1 << 16;

// Scratch for each thread, of equal size and aligned to cache lines.
class Slots {
public:
    bool make(int64_t count, int64_t bytes) {
        const int64_t each = (bytes + 63) / 64 * 64 + 64;
        memory_.reset(static_cast<char *>(std::malloc(size_t(count * each) + 64)));
        if (!memory_) return false;
        char *const aligned = memory_.get() + (64 - reinterpret_cast<uintptr_t>(memory_.get()) % 64) % 64;
        for (int64_t i = 0; i < count; ++i) free_.push_back(aligned + i * each);
        return true;
    }
    char *take() {
        std::lock_guard<std::mutex> lock(mutex_);
        char *const slot = free_.back();
        free_.pop_back();
        return slot;
    }
    void give(char *slot) {
        std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(slot);
    }

private:
    std::unique_ptr<char, decltype(&std::free)> memory_{nullptr, &std::free};
    std::vector<char *> free_;
    std::mutex mutex_;
};

struct Half {
    const Kernels &kernels;
    const Settings &settings;
    const sm3k_smmf_tensor *tensors;
    const bool wide;
    std::vector<SmmfTask> tasks;
    Slots slots;
    const sm3k_smmf_rows *rows = nullptr;
    const void *const *records = nullptr;
    std::vector<int64_t> before{0};     // panels of earlier tensors
    const int64_t *counts = nullptr;

    Half(const Kernels &k, const Settings &s, const sm3k_smmf_tensor *t, int64_t count, const sm3k_hyper &hyper)
        : kernels(k), settings(s), tensors(t), wide(hyper.param_dtype == SM3K_FLOAT64) {
        for (int64_t i = 0; i < count; ++i) {
            tasks.push_back(smmf_task(t[i], hyper, s));
            before.push_back(before.back() + panels(t[i]));
        }
    }

    static int64_t panels(const sm3k_smmf_tensor &t) {
        const int64_t height = panel_rows(t.rows, t.cols);
        return (t.rows + height - 1) / height;
    }
    int64_t size() const { return wide ? 8 : 4; }
    char *copy(char *to, const void *from, int64_t numbers) const {
        std::memcpy(to, from, size_t(numbers * size()));
        return to + numbers * size();
    }
    char *at(void *numbers, int64_t first) const { return static_cast<char *>(numbers) + first * size(); }

    void step(const sm3k_smmf_rows &r) {
        SmmfTask task = tasks[size_t(r.tensor)];
        task.param = r.param;
        task.grad = r.grad;
        task.m_sign = r.m_sign;
        task.sign_run = r.sign_run;
        task.sign_stride = r.sign_stride;
        char *const scratch = slots.take();
        PanelResult result;
        kernels.smmf_panel(settings, task, r.first, r.last, scratch, &result);
        if (r.record) {
            char *to = copy(static_cast<char *>(r.record), at(task.v_row, r.first), r.last - r.first);
            to = copy(to, scratch, task.cols);
            if (settings.first_moment) {
                to = copy(to, at(task.m_row, r.first), r.last - r.first);
                copy(to, at(scratch, padded(task.cols)), task.cols);
            }
            __atomic_fetch_add(&r.counts[0], result.kept, __ATOMIC_RELAXED);
            __atomic_fetch_add(&r.counts[1], int64_t(result.squares), __ATOMIC_RELAXED);
            __atomic_fetch_or(&r.counts[2], int64_t(result.moved), __ATOMIC_RELAXED);
        }
        slots.give(scratch);
    }

    // A panel's record back into the shape that `smmf_combine` reads; its row sums are new row factors as they are.
    void unpack(const SmmfTask &task, int64_t first, int64_t last, const void *record, char *scratch) const {
        const char *from = static_cast<const char *>(record);
        const int64_t each[] = {(last - first) * size(), task.cols * size()};
        std::memset(scratch, 0, size_t(2 * padded(task.cols) * size()));
        void *const factors[] = {task.v_row, task.m_row};
        for (int moment = 0; moment < (settings.first_moment ? 2 : 1); ++moment) {
            std::memcpy(at(factors[moment], first), from, size_t(each[0]));
            std::memcpy(at(scratch, moment * padded(task.cols)), from + each[0], size_t(each[1]));
            from += each[0] + each[1];
        }
    }

    void finish(int64_t t) {
        const SmmfTask &task = tasks[size_t(t)];
        const int64_t count = panels(tensors[t]), height = panel_rows(task.rows, task.cols), stride = 2 * padded(task.cols) * size();
        if (count == 0) return;
        char *const scratch = slots.take();
        for (int64_t p = 0; p < count; ++p)
            unpack(task, p * height, std::min((p + 1) * height, task.rows), records[before[size_t(t)] + p], scratch + p * stride);
        kernels.smmf_combine(wide, task, count, scratch, stride);
        slots.give(scratch);
        const int64_t *const counted = counts + 3 * t;
        if (settings.cautious) *tensors[t].kept = counted[0];
        if (settings.held) store_rms(tensors[t].rms, task.rms, uint64_t(counted[1]), counted[2] != 0, task.numel);
    }
};

bool usable(const sm3k_smmf_tensor &t, const Settings &s) {
    if (!t.step || (s.cautious && !t.kept) || (s.held && !t.rms) || t.numel < 0 || t.cols < 1) return false;
    if (t.numel == 0) return t.rows == 0;
    if (t.rows * t.cols < t.numel || (t.rows - 1) * t.cols >= t.numel) return false;
    return t.v_row && t.v_col && (!s.first_moment || (t.m_row && t.m_col));
}

bool usable(const sm3k_smmf_rows &r, const sm3k_smmf_tensor *tensors, int64_t count, const Settings &s) {
    if (r.tensor < 0 || r.tensor >= count || !r.param || !r.grad || !r.record != !r.counts) return false;
    const sm3k_smmf_tensor &t = tensors[r.tensor];
    const int64_t height = panel_rows(t.rows, t.cols);
    if (r.first < 0 || r.first >= r.last || r.last > t.rows || r.first / height != (r.last - 1) / height) return false;
    return !s.first_moment || (r.m_sign && r.sign_run > 0 && r.sign_stride >= r.sign_run);
}

}  // namespace

int32_t smmf_rows(const Kernels &kernels, const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_smmf_rows *rows, int64_t rows_count,
                  const sm3k_hyper &hyper, const Settings &given, int32_t threads) {
    const Settings settings = smmf_settings(hyper, given);
    for (int64_t t = 0; t < count; ++t)
        if (!usable(tensors[t], settings)) return SM3K_BAD_ARGUMENT;
    int64_t elements = 0, cols = 1;
    for (int64_t i = 0; i < rows_count; ++i) {
        if (!usable(rows[i], tensors, count, settings)) return SM3K_BAD_ARGUMENT;
        const int64_t own = tensors[rows[i].tensor].cols;
        elements += (rows[i].last - rows[i].first) * own;
        cols = std::max(cols, own);
    }
    if (elements < ONE_THREAD_BELOW) threads = 1;
    threads = int32_t(std::max<int64_t>(1, std::min<int64_t>(threads, rows_count)));
    try {
        Half half(kernels, settings, tensors, count, hyper);
        half.rows = rows;
        if (!half.slots.make(threads, smmf_panel_bytes(cols, half.wide))) return SM3K_OUT_OF_MEMORY;
        run_items(rows_count, threads, [](void *self, int64_t i) {
            Half &h = *static_cast<Half *>(self);
            h.step(h.rows[i]);
        }, &half);
    } catch (const std::bad_alloc &) {
        return SM3K_OUT_OF_MEMORY;
    }
    return SM3K_OK;
}

int32_t smmf_finish(const Kernels &kernels, const sm3k_smmf_tensor *tensors, int64_t count, const void *const *records, const int64_t *counts,
                    const sm3k_hyper &hyper, const Settings &given, int32_t threads) {
    const Settings settings = smmf_settings(hyper, given);
    int64_t bytes = 0, numbers = 0;
    for (int64_t t = 0; t < count; ++t) {
        if (!usable(tensors[t], settings)) return SM3K_BAD_ARGUMENT;
        const int64_t own = Half::panels(tensors[t]) * 2 * padded(tensors[t].cols);
        bytes = std::max(bytes, own * 8);
        numbers += own;
    }
    if (numbers < ONE_THREAD_BELOW) threads = 1;
    threads = int32_t(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
    try {
        Half half(kernels, settings, tensors, count, hyper);
        half.records = records;
        half.counts = counts;
        if (!half.slots.make(threads, bytes)) return SM3K_OUT_OF_MEMORY;
        run_items(count, threads, [](void *self, int64_t t) { static_cast<Half *>(self)->finish(t); }, &half);
    } catch (const std::bad_alloc &) {
        return SM3K_OUT_OF_MEMORY;
    }
    return SM3K_OK;
}
