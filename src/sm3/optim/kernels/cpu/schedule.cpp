// Panels, slots of scratch, and who combines. See schedule.h.
#include "schedule.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "threads.h"

namespace {

// Below this many elements a second thread costs more than it brings (measured: waking one takes 5 to 15 microseconds).
constexpr int64_t ONE_THREAD_BELOW = 1 << 16;

struct Tensor {
    std::atomic<int> state{0};          // 0 untouched, 1 being begun, 2 begun
    std::atomic<int64_t> unfinished{0}; // panels
    int64_t panels = 0, panel_bytes = 0, shared_bytes = 0;
    char *slot = nullptr;
};

struct Item { int64_t tensor, panel; };

int64_t whole_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

struct Run {
    const Plan &plan;
    std::unique_ptr<Tensor[]> tensors;
    std::vector<Item> items;
    std::vector<char *> free_slots;
    std::mutex slots;

    explicit Run(const Plan &p) : plan(p) {}

    void begin(int64_t t) {
        Tensor &tensor = tensors[t];
        int untouched = 0;
        if (tensor.state.load(std::memory_order_acquire) == 2) return;
        if (!tensor.state.compare_exchange_strong(untouched, 1)) {
            while (tensor.state.load(std::memory_order_acquire) != 2) std::this_thread::yield();
            return;
        }
        {
            std::lock_guard<std::mutex> lock(slots);
            tensor.slot = free_slots.back();
            free_slots.pop_back();
        }
        plan.begin(plan.self, t, tensor.slot);
        tensor.state.store(2, std::memory_order_release);
    }

    void work(int64_t number) {
        const Item item = items[size_t(number)];
        Tensor &tensor = tensors[item.tensor];
        begin(item.tensor);
        char *const scratch = tensor.slot + tensor.shared_bytes;
        const int64_t rows = plan.rows(plan.self, item.tensor), height = panel_rows(rows, plan.cols(plan.self, item.tensor));
        const int64_t first = item.panel * height, last = std::min(first + height, rows);
        plan.panel(plan.self, item.tensor, first, last, scratch + item.panel * tensor.panel_bytes);
        if (tensor.unfinished.fetch_sub(1) > 1) return;
        plan.combine(plan.self, item.tensor, tensor.panels, scratch, tensor.panel_bytes);
        std::lock_guard<std::mutex> lock(slots);
        free_slots.push_back(tensor.slot);
    }
};

}  // namespace

int64_t panel_rows(int64_t rows, int64_t cols) {
    // 2^17 elements keep a core busy for 50 microseconds. At least 64 rows: scratch, written and read once per panel, is
    // then at most 2 % of the traffic. At most 64 panels: scratch is at most 64 rows. A multiple of 8 rows starts at a
    // whole byte of sign bits.
    const int64_t height = std::max({cols > 1 ? int64_t(64) : int64_t(1), (int64_t(1) << 17) / std::max(cols, int64_t(1)), (rows + 63) / 64});
    return (height + 15) / 16 * 16;
}

bool run_plan(const Plan &plan, int threads) {
    try {
        Run run(plan);
        run.tensors.reset(new Tensor[size_t(plan.tensors)]);
        std::vector<int64_t> order;
        int64_t elements = 0, slot_bytes = 0;
        for (int64_t t = 0; t < plan.tensors; ++t) {
            const int64_t rows = plan.rows(plan.self, t), cols = plan.cols(plan.self, t);
            if (rows * cols == 0) continue;
            Tensor &tensor = run.tensors[t];
            const int64_t height = panel_rows(rows, cols);
            tensor.panels = (rows + height - 1) / height;
            tensor.unfinished = tensor.panels;
            tensor.panel_bytes = whole_lines(plan.panel_bytes(plan.self, t));
            tensor.shared_bytes = whole_lines(plan.shared_bytes(plan.self, t));
            slot_bytes = std::max(slot_bytes, tensor.shared_bytes + tensor.panels * tensor.panel_bytes);
            elements += rows * cols;
            order.push_back(t);
        }
        if (elements < ONE_THREAD_BELOW) threads = 1;
        if (threads > 1)
            std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return run.tensors[a].panels > run.tensors[b].panels; });
        for (const int64_t t : order)
            for (int64_t p = 0; p < run.tensors[t].panels; ++p) run.items.push_back({t, p});
        threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, int64_t(run.items.size()))));
        slot_bytes = whole_lines(slot_bytes) + 64;
        std::unique_ptr<char, decltype(&std::free)> memory(static_cast<char *>(std::malloc(size_t(slot_bytes * threads) + 64)), &std::free);
        if (!memory) return false;
        char *const aligned = memory.get() + (64 - reinterpret_cast<uintptr_t>(memory.get()) % 64) % 64;
        for (int i = 0; i < threads; ++i) run.free_slots.push_back(aligned + i * slot_bytes);
        run_items(int64_t(run.items.size()), threads, [](void *self, int64_t item) { static_cast<Run *>(self)->work(item); }, &run);
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}
