// The CPU kernels without Python, for the sanitizers (`make sanitize`): every instruction set, dtype and rule on shapes
// whose edges matter, several threads, two callers at once. Buffers are exactly as long as they must be, so that the
// address sanitizer sees a read or write beyond them; bits must not depend on the number of threads.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "abi.h"

namespace {

using Bytes = std::vector<unsigned char>;

// A heap block of its own per tensor, without slack.
struct Block {
    std::unique_ptr<unsigned char[]> data;
    size_t size;
    explicit Block(size_t bytes) : data(new unsigned char[bytes ? bytes : 1]()), size(bytes) {}
    template <class T> T *as() { return reinterpret_cast<T *>(data.get()); }
};

size_t width(int32_t dtype) { return dtype == SM3K_FLOAT64 ? 8 : dtype == SM3K_FLOAT32 ? 4 : 2; }

uint32_t state = 1;
double next_number() {
    state = state * 1664525u + 1013904223u;
    return (double(state >> 8) / double(1 << 24) - 0.5) * (state % 7 == 0 ? 0.0 : 1.0);
}

void fill(Block &block, int32_t dtype) {
    const size_t count = block.size / width(dtype);
    for (size_t i = 0; i < count; ++i) {
        const double value = next_number();
        const float single = float(value);
        uint32_t bits;
        std::memcpy(&bits, &single, 4);
        if (dtype == SM3K_FLOAT64) block.as<double>()[i] = value;
        else if (dtype == SM3K_FLOAT32) block.as<float>()[i] = single;
        else if (dtype == SM3K_BFLOAT16) block.as<uint16_t>()[i] = uint16_t(bits >> 16);
        else block.as<uint16_t>()[i] = uint16_t((bits >> 16 & 0x8000u) | (state & 0x3BFFu));    // any finite half
    }
}

struct Shape { int64_t rows, cols, run, stride; };      // SMMF: run and stride of signs
const Shape SHAPES[] = {
    {1, 1, 1, 1},           {5, 1, 5, 5},           {7, 13, 91, 91},        {64, 48, 3072, 3072},
    {130, 67, 67, 72},      {201, 33, 6633, 6633},  {700, 600, 600, 600},   {2000, 131, 131, 136},
    {300, 1029, 1029, 1032}, {17, 16, 272, 272},
};

struct Model {
    std::vector<Block> blocks;
    std::vector<sm3k_sm3_tensor> sm3;
    std::vector<sm3k_smmf_tensor> smmf;
    int64_t step = 1;
    bool wide;

    void *block(int64_t count, size_t each) {
        blocks.emplace_back(size_t(count) * each);
        return blocks.back().as<void>();
    }

    Model(int32_t param, int32_t grad) : wide(param == SM3K_FLOAT64) {
        const size_t number = wide ? 8 : 4;
        for (const Shape &shape : SHAPES) {
            const int64_t numel = shape.rows * shape.cols;
            void *const p = block(numel, width(param));
            fill(blocks.back(), param);
            void *const g = block(numel, width(grad));
            fill(blocks.back(), grad);
            sm3k_sm3_tensor a{};
            a.param = p;
            a.grad = g;
            a.momentum = block(numel, number);
            a.step = &step;
            a.kept = static_cast<int64_t *>(block(1, 8));
            a.rank = 2;
            a.shape[0] = shape.rows;
            a.shape[1] = shape.cols;
            a.accumulator[0] = block(shape.rows, number);
            a.accumulator[1] = block(shape.cols, number);
            a.rms = static_cast<float *>(block(1, 4));
            sm3.push_back(a);
            sm3k_smmf_tensor b{};
            b.param = block(numel, width(param));
            fill(blocks.back(), param);
            b.grad = g;
            b.step = &step;
            b.kept = static_cast<int64_t *>(block(1, 8));
            // The matrix of numel elements: here nearly the tensor's own shape turned, with a missing tail.
            b.numel = numel;
            b.cols = shape.cols > 1 ? shape.cols - 1 : 1;
            b.rows = (numel + b.cols - 1) / b.cols;
            b.sign_run = shape.run;
            b.sign_stride = shape.stride;
            b.m_row = block(b.rows, number);
            b.m_col = block(b.cols, number);
            b.v_row = block(b.rows, number);
            b.v_col = block(b.cols, number);
            b.m_sign = static_cast<uint8_t *>(block(numel / shape.run * ((shape.stride + 7) / 8) + (numel % shape.run ? 1 : 0), 1));
            b.rms = static_cast<float *>(block(1, 4));
            smmf.push_back(b);
        }
    }

    Bytes everything() const {
        Bytes all;
        for (const Block &block : blocks) all.insert(all.end(), block.data.get(), block.data.get() + block.size);
        return all;
    }
};

// One panel on copies exactly as long as it is; signs too where they are one stream of bits.
struct Panel {
    sm3k_smmf_rows rows{};
    Block param, grad, signs, record;
    int64_t start, numel;
    bool own_signs;

    Panel(const sm3k_smmf_tensor &t, int64_t number, int64_t first, int64_t last, const sm3k_hyper &hyper, int64_t *counts)
        : param(0), grad(0), signs(0), record(0), start(first * t.cols),
          numel((last * t.cols < t.numel ? last * t.cols : t.numel) - first * t.cols), own_signs(t.sign_run == t.sign_stride) {
        const size_t p = width(hyper.param_dtype), g = width(hyper.grad_dtype), number_size = hyper.param_dtype == SM3K_FLOAT64 ? 8 : 4;
        param = copied(static_cast<char *>(t.param) + start * int64_t(p), size_t(numel) * p);
        grad = copied(static_cast<const char *>(t.grad) + start * int64_t(g), size_t(numel) * g);
        if (own_signs) signs = copied(t.m_sign + start / 8, size_t((start + numel + 7) / 8 - start / 8));
        record = Block(size_t(2 * (last - first + t.cols)) * number_size);
        rows.tensor = number;
        rows.param = param.as<char>() - start * int64_t(p);
        rows.grad = grad.as<char>() - start * int64_t(g);
        rows.m_sign = own_signs ? signs.as<uint8_t>() - start / 8 : t.m_sign;
        rows.sign_run = t.sign_run;
        rows.sign_stride = t.sign_stride;
        rows.first = first;
        rows.last = last;
        rows.record = record.as<void>();
        rows.counts = counts + 3 * number;
    }
    static Block copied(const void *from, size_t bytes) {
        Block block(bytes);
        std::memcpy(block.as<char>(), from, bytes);
        return block;
    }
    void keep(const sm3k_smmf_tensor &t, int32_t dtype) const {
        std::memcpy(static_cast<char *>(t.param) + start * int64_t(width(dtype)), param.data.get(), param.size);
        if (own_signs) std::memcpy(t.m_sign + start / 8, signs.data.get(), signs.size);
    }
};

// The step in two halves, as ranks make it.
int32_t step_in_halves(const std::vector<sm3k_smmf_tensor> &tensors, const sm3k_hyper &hyper, int threads) {
    std::vector<Panel> panels;
    std::vector<sm3k_smmf_rows> rows;
    std::vector<const void *> records;
    std::vector<int64_t> counts(3 * tensors.size());
    const int64_t count = int64_t(tensors.size());
    for (int64_t t = 0; t < count; ++t) {
        const sm3k_smmf_tensor &tensor = tensors[size_t(t)];
        const int64_t height = sm3k_panel_rows(tensor.rows, tensor.cols);
        for (int64_t first = 0; first < tensor.rows; first += height)
            panels.emplace_back(tensor, t, first, first + height < tensor.rows ? first + height : tensor.rows, hyper, counts.data());
    }
    for (const Panel &panel : panels) {
        rows.push_back(panel.rows);
        records.push_back(panel.rows.record);
    }
    const int32_t first = sm3k_smmf_rows_step(tensors.data(), count, rows.data(), int64_t(rows.size()), &hyper, threads);
    for (const Panel &panel : panels) panel.keep(tensors[size_t(panel.rows.tensor)], hyper.param_dtype);
    const int32_t second = sm3k_smmf_finish(tensors.data(), count, records.data(), counts.data(), &hyper, threads);
    return first < second ? first : second;
}

Bytes run(int32_t param, int32_t grad, int form, int threads, bool halves = false) {
    state = 1;
    Model model(param, grad);
    sm3k_hyper hyper{};
    hyper.lr = 0.01;
    hyper.weight_decay = 0.1;
    hyper.eps = 1e-8;
    hyper.beta = 0.9;
    hyper.beta2 = -1.0;
    hyper.growth_rate = 0.999;
    hyper.decay_rate = -0.5;
    hyper.grad_scale = 1.0;
    hyper.param_dtype = param;
    hyper.grad_dtype = grad;
    hyper.stochastic = form & 1;
    hyper.cautious = (form & 2) != 0;
    hyper.update_rms = form & 4 ? 0.2 : 0.0;
    for (model.step = 1; model.step <= 3; ++model.step) {
        const int32_t first = sm3k_sm3_step(model.sm3.data(), int64_t(model.sm3.size()), &hyper, threads);
        const int32_t second = halves ? step_in_halves(model.smmf, hyper, threads) : sm3k_smmf_step(model.smmf.data(), int64_t(model.smmf.size()), &hyper, threads);
        if (first < 0 || second < 0) {
            std::fprintf(stderr, "refused: %d %d\n", first, second);
            std::exit(1);
        }
    }
    return model.everything();
}

void check(const char *isa) {
    const int32_t kinds[][2] = {{0, 0}, {1, 1}, {1, 0}, {2, 2}, {2, 0}, {3, 3}};
    for (const auto &kind : kinds)
        for (int form = 0; form < 8; ++form) {
            const Bytes alone = run(kind[0], kind[1], form, 1);
            const bool threads = alone == run(kind[0], kind[1], form, 3), halves = alone == run(kind[0], kind[1], form, 3, true);
            if (!threads || !halves) {
                std::fprintf(stderr, "%s: dtypes %d %d, form %d: %s differ from one whole step on one thread\n", isa, kind[0], kind[1],
                             form, threads ? "two halves" : "three threads");
                std::exit(1);
            }
        }
}

// Two callers share the pool: one gets it, the other works alone.
void two_callers() {
    Model first(0, 0), second(1, 1);
    const auto work = [](Model &model, int32_t dtype) {
        sm3k_hyper hyper{};
        hyper.lr = 0.01;
        hyper.eps = 1e-8;
        hyper.beta = 0.9;
        hyper.beta2 = -1.0;
        hyper.growth_rate = 1.0;
        hyper.decay_rate = -0.5;
        hyper.grad_scale = 1.0;
        hyper.param_dtype = hyper.grad_dtype = dtype;
        for (int i = 0; i < 20; ++i) {
            sm3k_sm3_step(model.sm3.data(), int64_t(model.sm3.size()), &hyper, 3);
            sm3k_smmf_step(model.smmf.data(), int64_t(model.smmf.size()), &hyper, 2);
        }
    };
    std::thread other(work, std::ref(second), 1);
    work(first, 0);
    other.join();
}

}  // namespace

int main() {
    for (const char *isa : {"generic", "avx2", "avx512"}) {
        if (sm3k_set_isa(isa) != SM3K_OK) continue;
        check(isa);
        two_callers();
        std::printf("%s: clean\n", isa);
    }
    return 0;
}
