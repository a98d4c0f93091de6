// SMMF on a list of tensors: decays of this step, panels of the near-square matrix, sums turned into factors.
#include <cmath>
#include <memory>
#include <new>

#include "rules.h"
#include "schedule.h"

namespace {

struct List {
    const Kernels &kernels;
    const sm3k_smmf_tensor *tensors;
    const Settings &settings;
    const bool wide;
    std::unique_ptr<SmmfTask[]> tasks;
    std::unique_ptr<Report[]> reports;
    std::atomic<bool> nonfinite{false};

    void panel(int64_t t, int64_t first, int64_t last, void *scratch) {
        PanelResult result;
        kernels.smmf_panel(settings, tasks[size_t(t)], first, last, scratch, &result);
        reports[size_t(t)].add(result);
        if (result.nonfinite) nonfinite.store(true);
    }

    void combine(int64_t t, int64_t panels, void *scratch, int64_t stride_bytes) {
        kernels.smmf_combine(wide, tasks[size_t(t)], panels, scratch, stride_bytes);
        if (settings.cautious) *tensors[t].kept = reports[size_t(t)].kept.load();
        const Report &report = reports[size_t(t)];
        if (settings.held) store_rms(tensors[t].rms, tasks[size_t(t)].rms, report.squares.load(), report.moved.load(), tasks[size_t(t)].numel);
    }
};

bool usable(const sm3k_smmf_tensor &t, bool first, bool masked, bool held) {
    if (!t.step || (masked && !t.kept) || (held && !t.rms) || t.numel < 0 || t.rows < 0 || t.cols < 1) return false;
    if (t.numel == 0) return t.rows == 0;
    // The missing tail is less than a row, at the end of the last one.
    if (t.rows * t.cols < t.numel || (t.rows - 1) * t.cols >= t.numel) return false;
    if (!t.param || !t.grad || !t.v_row || !t.v_col) return false;
    if (!first) return true;
    return t.m_row && t.m_col && t.m_sign && t.sign_run > 0 && t.sign_stride >= t.sign_run;
}

}  // namespace

Settings smmf_settings(const sm3k_hyper &hyper, const Settings &given) {
    Settings settings = given;
    settings.first_moment = hyper.beta >= 0.0;
    settings.cautious = settings.cautious && settings.first_moment;
    return settings;
}

SmmfTask smmf_task(const sm3k_smmf_tensor &tensor, const sm3k_hyper &hyper, const Settings &settings) {
    SmmfTask task{};
    const int64_t step = *tensor.step;
    const NoiseKey key = noise_key(hyper.seed, step, tensor.index);
    task.param = tensor.param;
    task.grad = tensor.grad;
    // State of a first moment that is no longer wanted stays as it is.
    task.m_row = settings.first_moment ? tensor.m_row : nullptr;
    task.m_col = settings.first_moment ? tensor.m_col : nullptr;
    task.v_row = tensor.v_row;
    task.v_col = tensor.v_col;
    task.m_sign = tensor.m_sign;
    task.numel = tensor.numel;
    task.rows = tensor.rows;
    task.cols = tensor.cols;
    task.sign_run = tensor.sign_run;
    task.sign_stride = tensor.sign_stride;
    // SMMFRule.moment_decays, in the same double arithmetic.
    task.first_decay = settings.first_moment ? hyper.beta * std::pow(hyper.growth_rate, double(step - 1)) : 0.0;
    task.second_decay = 1.0 - std::pow(double(step), hyper.decay_rate);
    task.low_key = key.low;
    task.high_key = key.high;
    task.mask_scale = settings.cautious ? mask_scale(tensor.kept, tensor.numel, step) : 1.0;
    hold(task, tensor, hyper.update_rms, hyper.lr);
    return task;
}

int64_t smmf_panel_bytes(int64_t cols, bool wide) {
    return 2 * padded(cols) * (wide ? 8 : 4) + MAX_TILE * padded(cols) / 16 * int64_t(sizeof(uint16_t));
}

int32_t smmf_list(const Kernels &kernels, const sm3k_smmf_tensor *tensors, int64_t count, const sm3k_hyper &hyper,
                  const Settings &given, int32_t threads) {
    const Settings settings = smmf_settings(hyper, given);
    for (int64_t t = 0; t < count; ++t)
        if (!usable(tensors[t], settings.first_moment, settings.cautious, settings.held)) return SM3K_BAD_ARGUMENT;
    List list{kernels, tensors, settings, hyper.param_dtype == SM3K_FLOAT64, nullptr, nullptr, {false}};
    list.tasks.reset(new (std::nothrow) SmmfTask[size_t(count)]);
    list.reports.reset(new (std::nothrow) Report[size_t(count)]);
    if (!list.tasks || !list.reports) return SM3K_OUT_OF_MEMORY;
    for (int64_t t = 0; t < count; ++t) list.tasks[size_t(t)] = smmf_task(tensors[t], hyper, settings);
    Plan plan{};
    plan.self = &list;
    plan.tensors = count;
    plan.rows = [](void *self, int64_t t) { return static_cast<List *>(self)->tasks[size_t(t)].rows; };
    plan.cols = [](void *self, int64_t t) { return static_cast<List *>(self)->tasks[size_t(t)].cols; };
    plan.panel_bytes = [](void *self, int64_t t) {
        const List &l = *static_cast<List *>(self);
        return smmf_panel_bytes(l.tasks[size_t(t)].cols, l.wide);
    };
    plan.shared_bytes = [](void *, int64_t) { return int64_t(0); };
    plan.begin = [](void *, int64_t, void *) {};
    plan.panel = [](void *self, int64_t t, int64_t first, int64_t last, void *scratch) { static_cast<List *>(self)->panel(t, first, last, scratch); };
    plan.combine = [](void *self, int64_t t, int64_t panels, void *scratch, int64_t stride) { static_cast<List *>(self)->combine(t, panels, scratch, stride); };
    if (!run_plan(plan, threads)) return SM3K_OUT_OF_MEMORY;
    return list.nonfinite.load() ? SM3K_NONFINITE : SM3K_OK;
}
