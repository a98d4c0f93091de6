// One panel of SMMF: the step of Park & Lee 2025, algorithm 1, on some rows of the near-square matrix, in one pass.
//
//     for each row i, each column j:
//         M = b_m sign (m_row_i m_col_j) + (1 - b_m) grad;  V = b_v (v_row_i v_col_j) + (1 - b_v) grad^2
//         m_row'_i += |M|;  m_col'_j += |M|;  v_row'_i += V;  v_col'_j += V;  sign' = M > 0
//         param = round(param (1 - lr wd) - lr M / (sqrt(V) + eps))
//     once all panels are done: m_col = m_col' / sum(m_col'), v_col alike; a sum of 0 divides by 1
//
// Departures:
//  1. 16 columns at a time, TILE rows at a time, so that loads and stores of the column vectors are shared by the rows.
//  2. Row sums overwrite the row factors (a row is read by its own panel only); column sums are scratch of the panel.
//  3. Fixed order of every sum: a row is 16 partial sums, lane j % 16, then one halving tree; a column is its panels'
//     sums in panel order, each row by row. Panels depend on shapes only, so threads change no bit.
//  4. Where the gradient is exactly zero nothing is applied, except for `published`.
//  5. A missing tail (rows * cols > numel) is at the end of the last row, which is cut there: nothing is summed for it.
//  6. Every product, sum, root and quotient is rounded by itself, in the order of kernels/eager/smmf.py. Given equal
//     factors, parameters and signs are equal bits; the factors differ by the order of their sums.
#pragma once

#include "numbers.h"
#include "signs.h"

namespace {

template <class A> struct SmmfConstants {
    Vector<A> gradient_factor, first_decay, first_rest, second_decay, second_rest, eps, keep, lr;

    SmmfConstants(const Settings &s, const SmmfTask &t)
        : gradient_factor(all(A(s.gradient_factor))), first_decay(all(A(t.first_decay))),
          first_rest(all(A(1.0 - t.first_decay))), second_decay(all(A(t.second_decay))),
          second_rest(all(A(1.0 - t.second_decay))), eps(all(A(s.eps))), keep(all(A(s.keep))), lr(all(A(t.lr))) {}
};

// COMMON: the gradient as it is, and ours: no update where it is zero.
template <class P, class G, Form FORM, Kind KIND, bool DRAW> struct Smmf {
    static constexpr bool SIMPLE = KIND != GENERAL;
    using A = typename Number<P>::Accumulator;
    using V = Vector<A>;
    static constexpr bool FIRST = FORM != PLAIN;
    // Two rows of 16-bit parameters: conversions and noise need registers, and four rows would spill (3 % slower).
    static constexpr int TILE = FAST<P, G> && FORM != MASKED ? (sizeof(P) == 2 ? 2 : MAX_TILE) : 1;

    // What T rows carry along their columns.
    template <int T> struct Rows {
        V m_row[T], v_row[T], m_sum[T], v_sum[T];
    };

    // What the loops use: every function works on a copy of its own, which no store can alias.
    struct Context {
        SmmfConstants<A> c;
        P *param;
        const G *grad;
        const A *m_col, *v_col;
        A *m_column, *v_column;     // scratch: sums of this panel
        uint16_t *sign_words;       // scratch: MAX_TILE rows of words
        int64_t cols, words_per_row;
        bool published, held;
    };

    const SmmfTask &task;
    const Signs signs;
    Context context;
    Measure measure;
    int64_t kept = 0;
    bool nonfinite = false;

    Smmf(const Settings &s, const SmmfTask &t, void *scratch)
        : task(t), signs{t.m_sign, t.sign_run, t.sign_stride},
          context{SmmfConstants<A>(s, t), static_cast<P *>(t.param), static_cast<const G *>(t.grad),
                  static_cast<const A *>(t.m_col), static_cast<const A *>(t.v_col), nullptr, static_cast<A *>(scratch),
                  nullptr, t.cols, padded(t.cols) / LANES, s.published, s.held}, measure(t.rms) {
        context.m_column = context.v_column + padded(t.cols);
        context.sign_words = reinterpret_cast<uint16_t *>(context.m_column + padded(t.cols));
    }

    SM3_METHOD static bool measures(const Context &x) { return KIND == HELD || (KIND == GENERAL && x.held); }

    // Noise of 32 elements from `at` on.
    SM3_METHOD void draw(int64_t at, Words (&halves)[2]) const {
        if constexpr (DRAW) noise(task.low_key, task.high_key, at, halves[0], halves[1]);
        else halves[0] = halves[1] = words(0);
    }

    // BLOCKS times 16 columns from j on, or n of them, of T rows; `at` is the flat element of row 0, column j.
    template <int T, int BLOCKS, bool FULL>
    SM3_METHOD void columns(const Context &x, Measure &rms, int64_t at, int64_t j, Rows<T> &r, int n) {
        const SmmfConstants<A> &c = x.c;
        V v_factor[BLOCKS], m_factor[BLOCKS], v_down[BLOCKS], m_down[BLOCKS];
        SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) {
            v_factor[b] = m_factor[b] = read<FULL, A>(x.v_col + j + b * LANES, n);
            v_down[b] = m_down[b] = read<true, A>(x.v_column + j + b * LANES, LANES);
            if constexpr (FIRST) {
                m_factor[b] = read<FULL, A>(x.m_col + j + b * LANES, n);
                m_down[b] = read<true, A>(x.m_column + j + b * LANES, LANES);
            }
        }
        SM3_UNROLL for (int t = 0; t < T; ++t) {
            Words noise[2];
            draw(at + t * x.cols, noise);
            SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) {
                const int64_t here = at + t * x.cols + b * LANES;
                if (FULL && (b == 0 || sizeof(P) >= 4)) {  // a cache line of 64 bytes: the same columns, a tile on
                    prefetch(x.grad + here + T * x.cols);
                    prefetch(x.param + here + T * x.cols);
                }
                V g = read<FULL, A>(x.grad + here, n);
                if constexpr (!SIMPLE) g = g * c.gradient_factor;
                V v = (r.v_row[t] * v_factor[b]) * c.second_decay + (g * g) * c.second_rest;
                if constexpr (!FULL) v = first_lanes(v, n);
                r.v_sum[t] = r.v_sum[t] + v;
                v_down[b] = v_down[b] + v;
                V update = g;
                if constexpr (FIRST) {
                    uint16_t *const word = x.sign_words + t * x.words_per_row + j / LANES + b;
                    V m = with_signs(*word, r.m_row[t] * m_factor[b]) * c.first_decay + g * c.first_rest;
                    if constexpr (!FULL) m = first_lanes(m, n);
                    *word = uint16_t(bits(positive(m)));
                    const V size = magnitude(m);
                    r.m_sum[t] = r.m_sum[t] + size;
                    m_down[b] = m_down[b] + size;
                    update = m;
                    if constexpr (FORM == MASKED) update = cautious(update, g, A(task.mask_scale), kept);
                }
                update = update / (root(v) + c.eps);
                if (SIMPLE || !x.published) update = except(zero(g), update);
                if (measures(x)) rms.add<FULL>(update, n);
                const V value = read<FULL, A>(x.param + here, n) * c.keep - update * c.lr;
                write<FULL, DRAW, A>(x.param + here, value, noise[b], n);
            }
        }
        SM3_UNROLL for (int b = 0; b < BLOCKS; ++b) {
            store(x.v_column + j + b * LANES, v_down[b]);
            if constexpr (FIRST) store(x.m_column + j + b * LANES, m_down[b]);
        }
        if (measures(x)) rms.added(T * BLOCKS);
    }

    template <int T> __attribute__((noinline)) void rows(int64_t i, int64_t cols) {
        const Context x = context;
        Measure rms = measure;
        Rows<T> r;
        const int64_t start = i * x.cols;
        A *const m_row = static_cast<A *>(task.m_row) + i, *const v_row = static_cast<A *>(task.v_row) + i;
        for (int t = 0; t < T; ++t) {
            r.v_row[t] = all(v_row[t]);
            r.v_sum[t] = r.m_sum[t] = all(A(0));
            if constexpr (FIRST) {
                r.m_row[t] = all(m_row[t]);
                signs.unpack(x.sign_words + t * x.words_per_row, start + t * x.cols, cols);
            }
        }
        int64_t j = 0;
        for (; j + 2 * LANES <= cols; j += 2 * LANES) columns<T, 2, true>(x, rms, start + j, j, r, LANES);
        if (j + LANES <= cols) {
            columns<T, 1, true>(x, rms, start + j, j, r, LANES);
            j += LANES;
        }
        if (j < cols) columns<T, 1, false>(x, rms, start + j, j, r, int(cols - j));
        for (int t = 0; t < T; ++t) {
            v_row[t] = sum(r.v_sum[t]);
            nonfinite |= !(v_row[t] - v_row[t] == A(0));
            if constexpr (FIRST) {
                m_row[t] = sum(r.m_sum[t]);
                signs.pack(x.sign_words + t * x.words_per_row, start + t * x.cols, cols);
            }
        }
        measure = rms;
    }

    void panel(int64_t first, int64_t last, PanelResult *result) {
        for (int64_t j = 0; j < (FIRST ? 2 : 1) * padded(task.cols); ++j) context.v_column[j] = A(0);  // m_column follows
        const bool cut = last * task.cols > task.numel;     // the last row, with a missing tail
        const int64_t whole = last - (cut ? 1 : 0);
        int64_t i = first;
        for (; i + TILE <= whole; i += TILE) rows<TILE>(i, task.cols);
        for (; i < whole; ++i) rows<1>(i, task.cols);
        if (cut) rows<1>(i, task.numel - i * task.cols);
        measure.finish(result);
        result->kept = kept;
        result->nonfinite = nonfinite;
    }
};

void smmf_panel(const Settings &s, const SmmfTask &task, int64_t first, int64_t last, void *scratch, PanelResult *result) {
    for_dtypes(s, [&](auto p, auto g, auto draw) {
        using P = decltype(p);
        using G = decltype(g);
        constexpr bool DRAW = decltype(draw)::value;
        const bool simple = s.gradient_factor == 1.0 && !s.published;
        if constexpr (FAST<P, G>) {
            if (simple && !s.first_moment) {
                if (s.held) return Smmf<P, G, PLAIN, HELD, DRAW>(s, task, scratch).panel(first, last, result);
                return Smmf<P, G, PLAIN, COMMON, DRAW>(s, task, scratch).panel(first, last, result);
            }
            if (simple && !s.cautious) {
                if (s.held) return Smmf<P, G, MOMENTUM, HELD, DRAW>(s, task, scratch).panel(first, last, result);
                return Smmf<P, G, MOMENTUM, COMMON, DRAW>(s, task, scratch).panel(first, last, result);
            }
        }
        if (!s.first_moment) Smmf<P, G, PLAIN, GENERAL, DRAW>(s, task, scratch).panel(first, last, result);
        else if (!s.cautious) Smmf<P, G, MOMENTUM, GENERAL, DRAW>(s, task, scratch).panel(first, last, result);
        else Smmf<P, G, MASKED, GENERAL, DRAW>(s, task, scratch).panel(first, last, result);
    });
}

// Sums of the panels, in panel order; the factor is that, divided by its total.
template <class A> void new_factor(A *factor, int64_t cols, int64_t panels, A *sums, int64_t stride) {
    for (int64_t p = 1; p < panels; ++p)
        for (int64_t j = 0; j < cols; j += LANES)
            store(sums + j, read<true, A>(sums + j, LANES) + read<true, A>(sums + p * stride + j, LANES));
    Vector<A> total = all(A(0));
    for (int64_t j = 0; j < cols; j += LANES) total = total + read<true, A>(sums + j, LANES);
    const A all_of_it = sum(total);
    const Vector<A> divisor = all(all_of_it == A(0) ? A(1) : all_of_it);
    int64_t j = 0;
    for (; j + LANES <= cols; j += LANES) store(factor + j, read<true, A>(sums + j, LANES) / divisor);
    if (j < cols) store(factor + j, read<true, A>(sums + j, LANES) / divisor, int(cols - j));
}

template <class A> void new_factors(const SmmfTask &task, int64_t panels, A *scratch, int64_t stride) {
    new_factor(static_cast<A *>(task.v_col), task.cols, panels, scratch, stride);
    if (task.m_col) new_factor(static_cast<A *>(task.m_col), task.cols, panels, scratch + padded(task.cols), stride);
}

void smmf_combine(bool wide, const SmmfTask &task, int64_t panels, void *scratch, int64_t stride_bytes) {
    if (wide) new_factors<double>(task, panels, static_cast<double *>(scratch), stride_bytes / int64_t(sizeof(double)));
    else new_factors<float>(task, panels, static_cast<float *>(scratch), stride_bytes / int64_t(sizeof(float)));
}

}  // namespace
