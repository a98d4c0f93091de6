// SM3 on a list of tensors: fold each to rows x cols, give the panels their bound, turn maxima into accumulators.
//
//     fold     the first dimension longer than 1 is the rows, the dimensions after it are the columns; leading
//              dimensions of size 1 have the largest accumulator of all, never the strict minimum: left out
//     bound    (cols,) minimum of the trailing accumulators
//     combine  column maxima -> maximum over the slices of each trailing dimension
//
// One column (a vector, a scalar, (n, 1)) is a vector: the row accumulator is as long as the tensor.
#include <cstring>
#include <memory>
#include <new>

#include "rules.h"
#include "schedule.h"

namespace {

template <class A> struct Bits;
template <> struct Bits<float> { using Unsigned = uint32_t; using Signed = int32_t; };
template <> struct Bits<double> { using Unsigned = uint64_t; using Signed = int64_t; };

template <class To, class From> To same_bits(From from) {
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// Non-negative numbers and NaN; NaN wins. The same trick as in the lanes.
template <class A> A larger(A a, A b) {
    using Unsigned = typename Bits<A>::Unsigned;
    return same_bits<Unsigned>(a) > same_bits<Unsigned>(b) ? a : b;
}
template <class A> A negative_nan(A a) {
    using Unsigned = typename Bits<A>::Unsigned;
    return a == a ? a : same_bits<A>(Unsigned(~Unsigned(0)));
}
template <class A> A lower(A a, A b) {  // both through negative_nan
    using Signed = typename Bits<A>::Signed;
    return same_bits<Signed>(a) < same_bits<Signed>(b) ? a : b;
}

struct Fold {
    int64_t axis, rows, cols, numel;
    Fold() = default;
    explicit Fold(const sm3k_sm3_tensor &t) : axis(0), rows(1), cols(1), numel(1) {
        for (int64_t d = 0; d < t.rank; ++d) numel *= t.shape[d];
        while (axis + 1 < t.rank && t.shape[axis] == 1) ++axis;
        if (t.rank > 0) rows = t.shape[axis];
        for (int64_t d = axis + 1; d < t.rank; ++d) cols *= t.shape[d];
    }
};

struct List {
    const Kernels &kernels;
    const sm3k_sm3_tensor *tensors;
    const Settings &settings;
    const bool wide;
    std::unique_ptr<Fold[]> folds;
    std::unique_ptr<Sm3Task[]> tasks;
    std::unique_ptr<Report[]> reports;
    std::atomic<bool> nonfinite{false};

    int64_t bytes() const { return wide ? 8 : 4; }

    // Calls f(index along dimension d, column) for every column.
    template <class F> void columns_along(int64_t t, int64_t d, F f) const {
        const sm3k_sm3_tensor &tensor = tensors[t];
        int64_t outer = 1, inner = 1;
        for (int64_t e = folds[size_t(t)].axis + 1; e < d; ++e) outer *= tensor.shape[e];
        for (int64_t e = d + 1; e < tensor.rank; ++e) inner *= tensor.shape[e];
        int64_t column = 0;
        for (int64_t o = 0; o < outer; ++o)
            for (int64_t k = 0; k < tensor.shape[d]; ++k)
                for (int64_t i = 0; i < inner; ++i) f(k, column++);
    }

    template <class A> void prepare_bound(int64_t t, A *bound) const {
        const Fold &fold = folds[size_t(t)];
        for (int64_t d = fold.axis + 1; d < tensors[t].rank; ++d) {
            const A *const accumulator = static_cast<const A *>(tensors[t].accumulator[d]);
            const bool first = d == fold.axis + 1;
            columns_along(t, d, [&](int64_t k, int64_t column) {
                const A value = negative_nan(accumulator[k]);
                bound[column] = first ? value : lower(bound[column], value);
            });
        }
    }

    template <class A> void write_accumulators(int64_t t, const A *column) const {
        const sm3k_sm3_tensor &tensor = tensors[t];
        const Fold &fold = folds[size_t(t)];
        const A *const row = static_cast<const A *>(tensor.accumulator[fold.axis]);
        const bool matrix = fold.cols > 1;
        if (fold.axis > 0 || (!matrix && fold.axis + 1 < tensor.rank)) {  // accumulators of one number
            A top = A(0);
            for (int64_t i = 0; i < fold.rows; ++i) top = larger(top, row[i]);
            for (int64_t d = 0; d < tensor.rank; ++d)
                if (d < fold.axis || (d > fold.axis && !matrix)) *static_cast<A *>(tensor.accumulator[d]) = top;
        }
        for (int64_t d = fold.axis + 1; matrix && d < tensor.rank; ++d) {
            A *const accumulator = static_cast<A *>(tensor.accumulator[d]);
            for (int64_t k = 0; k < tensor.shape[d]; ++k) accumulator[k] = A(0);
            columns_along(t, d, [&](int64_t k, int64_t j) { accumulator[k] = larger(accumulator[k], column[j]); });
        }
    }

    void begin(int64_t t, void *shared) {
        const Fold &fold = folds[size_t(t)];
        if (fold.axis + 1 >= tensors[t].rank) return;
        if (wide) prepare_bound(t, static_cast<double *>(shared));
        else prepare_bound(t, static_cast<float *>(shared));
        (fold.cols > 1 ? tasks[size_t(t)].bound : tasks[size_t(t)].cap) = shared;
    }

    void panel(int64_t t, int64_t first, int64_t last, void *scratch) {
        PanelResult result;
        kernels.sm3_panel(settings, tasks[size_t(t)], first, last, scratch, &result);
        reports[size_t(t)].add(result);
        if (result.nonfinite) nonfinite.store(true);
    }

    void combine(int64_t t, int64_t panels, void *scratch, int64_t stride_bytes) {
        const Fold &fold = folds[size_t(t)];
        if (fold.cols > 1) kernels.sm3_combine(wide, fold.cols, panels, scratch, stride_bytes);
        if (wide) write_accumulators(t, static_cast<const double *>(scratch));
        else write_accumulators(t, static_cast<const float *>(scratch));
        if (settings.cautious) *tensors[t].kept = reports[size_t(t)].kept.load();
        const Report &report = reports[size_t(t)];
        if (settings.held) store_rms(tensors[t].rms, tasks[size_t(t)].rms, report.squares.load(), report.moved.load(), folds[size_t(t)].numel);
    }
};

Sm3Task task_of(const sm3k_sm3_tensor &tensor, const Fold &fold, const sm3k_hyper &hyper, bool masked) {
    Sm3Task task{};
    const NoiseKey key = noise_key(hyper.seed, *tensor.step, tensor.index);
    task.param = tensor.param;
    task.grad = tensor.grad;
    task.momentum = tensor.momentum;
    task.row = tensor.accumulator[fold.axis];
    task.rows = fold.rows;
    task.cols = fold.cols;
    task.low_key = key.low;
    task.high_key = key.high;
    task.mask_scale = masked ? mask_scale(tensor.kept, fold.numel, *tensor.step) : 1.0;
    hold(task, tensor, hyper.update_rms, hyper.lr);
    return task;
}

bool usable(const sm3k_sm3_tensor &t, bool masked, bool held) {
    if (t.rank < 0 || t.rank > SM3K_MAX_RANK || !t.step || (masked && !t.kept) || (held && !t.rms)) return false;
    for (int64_t d = 0; d < (t.rank > 0 ? t.rank : 1); ++d)
        if (t.shape[d] < 0) return false;
    const int64_t numel = Fold(t).numel;
    if (numel == 0) return true;
    for (int64_t d = 0; d < (t.rank > 0 ? t.rank : 1); ++d)
        if (!t.accumulator[d]) return false;
    return t.param && t.grad;
}

}  // namespace

int32_t sm3_list(const Kernels &kernels, const sm3k_sm3_tensor *tensors, int64_t count, const sm3k_hyper &hyper,
                 const Settings &settings, int32_t threads) {
    for (int64_t t = 0; t < count; ++t)
        if (!usable(tensors[t], settings.cautious, settings.held)) return SM3K_BAD_ARGUMENT;
    List list{kernels, tensors, settings, hyper.param_dtype == SM3K_FLOAT64, nullptr, nullptr, nullptr, {false}};
    list.folds.reset(new (std::nothrow) Fold[size_t(count)]);
    list.tasks.reset(new (std::nothrow) Sm3Task[size_t(count)]);
    list.reports.reset(new (std::nothrow) Report[size_t(count)]);
    if (!list.folds || !list.tasks || !list.reports) return SM3K_OUT_OF_MEMORY;
    for (int64_t t = 0; t < count; ++t) {
        list.folds[size_t(t)] = Fold(tensors[t]);
        list.tasks[size_t(t)] = task_of(tensors[t], list.folds[size_t(t)], hyper, settings.cautious);
    }
    Plan plan{};
    plan.self = &list;
    plan.tensors = count;
    plan.rows = [](void *self, int64_t t) { return static_cast<List *>(self)->folds[size_t(t)].rows; };
    plan.cols = [](void *self, int64_t t) { return static_cast<List *>(self)->folds[size_t(t)].cols; };
    plan.panel_bytes = [](void *self, int64_t t) {
        const List &l = *static_cast<List *>(self);
        return l.folds[size_t(t)].cols > 1 ? padded(l.folds[size_t(t)].cols) * l.bytes() : 0;
    };
    plan.shared_bytes = [](void *self, int64_t t) {
        const List &l = *static_cast<List *>(self);
        return padded(l.folds[size_t(t)].cols) * l.bytes();
    };
    plan.begin = [](void *self, int64_t t, void *shared) { static_cast<List *>(self)->begin(t, shared); };
    plan.panel = [](void *self, int64_t t, int64_t first, int64_t last, void *scratch) { static_cast<List *>(self)->panel(t, first, last, scratch); };
    plan.combine = [](void *self, int64_t t, int64_t panels, void *scratch, int64_t stride) { static_cast<List *>(self)->combine(t, panels, scratch, stride); };
    if (!run_plan(plan, threads)) return SM3K_OUT_OF_MEMORY;
    return list.nonfinite.load() ? SM3K_NONFINITE : SM3K_OK;
}
