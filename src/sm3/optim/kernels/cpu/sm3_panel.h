// One panel of SM3-II: the paper's step (Anil et al. 2019) on some rows of a rows x cols matrix, in one pass.
//
//     for each row i, each column j:
//         nu = b min(row_i, bound_j) + (1 - b) grad^2           sum of squares: both factors are 1
//         row'_i = max(row'_i, nu);  column'_j = max(column'_j, nu)
//         momentum = beta momentum + (1 - beta) grad / sqrt(nu)      0/0 = 0
//         param = round(param (1 - lr wd) - lr momentum)
//
// Departures:
//  1. 16 columns at a time, TILE rows at a time, so that loads and stores of the column vectors are shared by the rows.
//  2. row'_i overwrites row_i: a row is read by its own panel only. column' is scratch of the panel, because every row of
//     every panel needs the old bound; panels are combined afterwards. Maxima are exact, so no order matters.
//  3. Vectors have no columns: the accumulator is as long as the tensor and updated in place.
//  4. Multiplications by 1 stand for absent factors where the common case is not compiled apart: they are exact.
//  5. Every product, sum, root and quotient is rounded by itself, in the order of kernels/eager/sm3.py: equal bits.
#pragma once

#include "numbers.h"

namespace {

template <class A> struct Sm3Constants {
    Vector<A> gradient_factor, base_factor, square_factor, beta, rest, keep, lr;

    Sm3Constants(const Settings &s, const Sm3Task &t)
        : gradient_factor(all(A(s.gradient_factor))), base_factor(all(A(s.base_factor))),
          square_factor(all(A(s.square_factor))), beta(all(A(s.beta))), rest(all(A(1.0 - s.beta))),
          keep(all(A(s.keep))), lr(all(A(t.lr))) {}
};

// COMMON: the sum of squares of the gradient as it is, so that three factors are 1.
template <class P, class G, Form FORM, Kind KIND, bool DRAW> struct Sm3 {
    static constexpr bool SIMPLE = KIND != GENERAL;
    using A = typename Number<P>::Accumulator;
    using V = Vector<A>;
    // Measured on GPT-2's shapes (Zen 4): with short rows the column vectors stay in the first cache, and one row at a
    // time walks memory best; with long rows sharing them wins. More rows would fall on the same cache sets.
    static constexpr int TILE = !SIMPLE ? 1 : FORM == PLAIN ? 4 : 2;
    static constexpr int64_t LONG_ROW = 2048;

    // What the loops use: every function works on a copy of its own, which no store can alias.
    struct Context {
        Sm3Constants<A> c;
        P *param;
        const G *grad;
        A *momentum;
        int64_t cols;
        bool held;
    };

    const Sm3Task &task;
    const Context context;
    Measure measure;
    int64_t kept = 0;
    bool nonfinite = false;

    Sm3(const Settings &s, const Sm3Task &t)
        : task(t), context{Sm3Constants<A>(s, t), static_cast<P *>(t.param), static_cast<const G *>(t.grad),
                           static_cast<A *>(t.momentum), t.cols, s.held}, measure(t.rms) {}

    SM3_METHOD static bool measures(const Context &x) { return KIND == HELD || (KIND == GENERAL && x.held); }

    // Elements [at, at + 16), or n of them: everything after nu's base is known. Returns nu.
    template <bool FULL> SM3_METHOD V step(const Context &x, Measure &rms, int64_t at, V base, Words noise, int n) {
        const Sm3Constants<A> &c = x.c;
        V g = read<FULL, A>(x.grad + at, n);
        if constexpr (!SIMPLE) g = g * c.gradient_factor;
        V square = g * g;
        if constexpr (!SIMPLE) base = base * c.base_factor, square = square * c.square_factor;
        const V nu = base + square;
        const V square_root = root(nu);
        V update = except(zero(square_root), g / square_root);
        if constexpr (FORM != PLAIN) {
            update = read<FULL, A>(x.momentum + at, n) * c.beta + update * c.rest;
            write<FULL, false, A>(x.momentum + at, update, noise, n);
            if constexpr (FORM == MASKED) update = cautious(update, g, A(task.mask_scale), kept);
        }
        if (measures(x)) rms.add<FULL>(update, n);
        const V value = read<FULL, A>(x.param + at, n) * c.keep - update * c.lr;
        write<FULL, DRAW, A>(x.param + at, value, noise, n);
        return nu;
    }

    // Noise of 32 elements from `at` on.
    SM3_METHOD void draw(int64_t at, Words (&halves)[2]) const {
        if constexpr (DRAW) noise(task.low_key, task.high_key, at, halves[0], halves[1]);
        else halves[0] = halves[1] = words(0);
    }

    // BLOCKS times 16 columns from j on, or n of them, of T rows; `at` is the flat element of row 0, column j.
    template <int T, int BLOCKS, bool FULL>
    SM3_METHOD void columns(const Context &x, Measure &rms, int64_t at, int64_t j, const V (&row)[T], V (&most)[T],
                            const A *bounds, A *column, int n) {
        V bound[BLOCKS], down[BLOCKS];
        SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) {
            bound[b] = read<FULL, A>(bounds + j + b * LANES, n);
            down[b] = read<true, A>(column + j + b * LANES, LANES);  // padded
        }
        SM3_UNROLL for (int t = 0; t < T; ++t) {
            Words noise[2];
            draw(at + t * x.cols, noise);
            SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) {
                // The same columns a tile on. Measured: not with momentum and one row, where it costs 15 % (bfloat16).
                if (FULL && (FORM == PLAIN || T > 1) && (b == 0 || sizeof(P) >= 4)) {
                    const int64_t ahead = at + (T + t) * x.cols + b * LANES;
                    prefetch(x.grad + ahead);
                    prefetch(x.param + ahead);
                    if constexpr (FORM != PLAIN) prefetch(x.momentum + ahead);
                }
                const V nu = step<FULL>(x, rms, at + t * x.cols + b * LANES, lower(row[t], bound[b]), noise[b], n);
                most[t] = larger(most[t], nu);
                down[b] = larger(down[b], nu);
            }
        }
        SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) store(column + j + b * LANES, down[b]);
        if (measures(x)) rms.added(T * BLOCKS);
    }

    template <int T> __attribute__((noinline)) void rows(int64_t i, A *column) {
        const Context x = context;
        Measure rms = measure;
        A *const accumulator = static_cast<A *>(task.row) + i;
        const A *const bounds = static_cast<const A *>(task.bound);
        const int64_t start = i * x.cols;
        V row[T], most[T];
        for (int t = 0; t < T; ++t) {
            row[t] = all(negative_nan(accumulator[t]));
            most[t] = all(A(0));
        }
        int64_t j = 0;
        for (; j + 2 * LANES <= x.cols; j += 2 * LANES) columns<T, 2, true>(x, rms, start + j, j, row, most, bounds, column, LANES);
        if (j + LANES <= x.cols) {
            columns<T, 1, true>(x, rms, start + j, j, row, most, bounds, column, LANES);
            j += LANES;
        }
        if (j < x.cols) columns<T, 1, false>(x, rms, start + j, j, row, most, bounds, column, int(x.cols - j));
        for (int t = 0; t < T; ++t) {
            accumulator[t] = largest(most[t]);
            nonfinite |= !(accumulator[t] - accumulator[t] == A(0));
        }
        measure = rms;
    }

    void matrix(int64_t first, int64_t last, A *column) {
        for (int64_t j = 0; j < padded(task.cols); ++j) column[j] = A(0);
        int64_t i = first;
        if (task.cols > LONG_ROW)
            for (; i + TILE <= last; i += TILE) rows<TILE>(i, column);
        for (; i < last; ++i) rows<1>(i, column);
    }

    template <bool FULL> SM3_METHOD void elements(const Context &x, Measure &rms, int64_t at, Words noise, V &most, int n) {
        A *const accumulator = static_cast<A *>(task.row) + at;
        V base = read<FULL, A>(accumulator, n);
        if (task.cap) {
            base = lower(negative_nan(base), all(negative_nan(*static_cast<const A *>(task.cap))));
            if constexpr (!FULL) base = first_lanes(base, n);
        }
        const V nu = step<FULL>(x, rms, at, base, noise, n);
        write<FULL, false, A>(accumulator, nu, noise, n);
        most = larger(most, nu);
        if (measures(x)) rms.added(1);
    }

    void vector(int64_t at, int64_t last) {
        const Context x = context;
        Measure rms = measure;
        V most = all(A(0));
        Words noise[2];
        for (; at + 2 * LANES <= last; at += 2 * LANES) {
            draw(at, noise);
            elements<true>(x, rms, at, noise[0], most, LANES);
            elements<true>(x, rms, at + LANES, noise[1], most, LANES);
        }
        for (; at < last; at += LANES) {
            draw(at, noise);
            if (at + LANES <= last) elements<true>(x, rms, at, noise[0], most, LANES);
            else elements<false>(x, rms, at, noise[0], most, int(last - at));
        }
        const A top = largest(most);
        nonfinite |= !(top - top == A(0));
        measure = rms;
    }

    void panel(int64_t first, int64_t last, void *scratch, PanelResult *result) {
        if (task.bound) matrix(first, last, static_cast<A *>(scratch));
        else vector(first, last);
        measure.finish(result);
        result->kept = kept;
        result->nonfinite = nonfinite;
    }
};

void sm3_panel(const Settings &s, const Sm3Task &task, int64_t first, int64_t last, void *scratch, PanelResult *result) {
    for_dtypes(s, [&](auto p, auto g, auto draw) {
        using P = decltype(p);
        using G = decltype(g);
        constexpr bool DRAW = decltype(draw)::value;
        const bool simple = s.base_factor == 1.0 && s.square_factor == 1.0 && s.gradient_factor == 1.0;
        if constexpr (FAST<P, G>) {
            if (simple && !task.momentum) {
                if (s.held) return Sm3<P, G, PLAIN, HELD, DRAW>(s, task).panel(first, last, scratch, result);
                return Sm3<P, G, PLAIN, COMMON, DRAW>(s, task).panel(first, last, scratch, result);
            }
            if (simple && !s.cautious) {
                if (s.held) return Sm3<P, G, MOMENTUM, HELD, DRAW>(s, task).panel(first, last, scratch, result);
                return Sm3<P, G, MOMENTUM, COMMON, DRAW>(s, task).panel(first, last, scratch, result);
            }
        }
        if (!task.momentum) Sm3<P, G, PLAIN, GENERAL, DRAW>(s, task).panel(first, last, scratch, result);
        else if (!s.cautious) Sm3<P, G, MOMENTUM, GENERAL, DRAW>(s, task).panel(first, last, scratch, result);
        else Sm3<P, G, MASKED, GENERAL, DRAW>(s, task).panel(first, last, scratch, result);
    });
}

template <class A> void raise_columns(int64_t cols, int64_t panels, A *into, int64_t stride) {
    for (int64_t p = 1; p < panels; ++p)
        for (int64_t j = 0; j < cols; j += LANES) {
            const Vector<A> most = larger(read<true, A>(into + j, LANES), read<true, A>(into + p * stride + j, LANES));
            store(into + j, most);
        }
}

void sm3_combine(bool wide, int64_t cols, int64_t panels, void *scratch, int64_t stride_bytes) {
    if (wide) raise_columns<double>(cols, panels, static_cast<double *>(scratch), stride_bytes / int64_t(sizeof(double)));
    else raise_columns<float>(cols, panels, static_cast<float *>(scratch), stride_bytes / int64_t(sizeof(float)));
}

}  // namespace
