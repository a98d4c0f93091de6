// A pool of threads. See threads.h.
//
//     caller: publish job, generation += 1, wake sleepers; work; wait until all workers left the job
//     worker: wait for a new generation (spin a little, then sleep); work; leave
//
// A fork copies the memory and one thread only: the child drops the pool (its threads do not exist there) and makes a
// new one when it needs one. A pool is never destroyed: threads sleep in it until the process ends.
#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// About 20 microseconds (Zen 4): longer than the gap between two lists of one step, shorter than a scheduler's slice.
constexpr int SPINS = 600;

#if defined(__x86_64__)
using Control = unsigned;
Control control() { return _mm_getcsr(); }
void set_control(Control word) { _mm_setcsr(word); }
void relax() { _mm_pause(); }
#elif defined(__aarch64__)
using Control = uint64_t;
Control control() {
    Control word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}
void set_control(Control word) { __asm__ volatile("msr fpcr, %0" : : "r"(word)); }
void relax() { __asm__ volatile("yield"); }
#else
using Control = int;
Control control() { return 0; }
void set_control(Control) {}
void relax() {}
#endif

struct Job {
    int64_t items = 0;
    void (*work)(void *, int64_t) = nullptr;
    void *context = nullptr;
    Control control_word{};
    std::atomic<int64_t> next{0};

    void help() {
        for (int64_t item = next.fetch_add(1); item < items; item = next.fetch_add(1)) work(context, item);
    }
};

class Pool {
public:
    bool try_lock() { return busy_.try_lock(); }
    void unlock() { busy_.unlock(); }

    void run(int helpers, int64_t items, void (*work)(void *, int64_t), void *context) {
        helpers = grow(helpers);
        job_.items = items;
        job_.work = work;
        job_.context = context;
        job_.control_word = control();
        job_.next.store(0);
        running_.store(helpers);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            helpers_.store(helpers);
            generation_.fetch_add(1);
        }
        if (helpers > 0) wake_.notify_all();
        job_.help();
        wait([this] { return running_.load() == 0; }, done_);
    }

private:
    template <class Condition> void wait(Condition condition, std::condition_variable &signal) {
        for (int spin = 0; spin < SPINS; ++spin) {
            if (condition()) return;
            relax();
        }
        std::unique_lock<std::mutex> lock(sleep_);
        signal.wait(lock, condition);
    }

    int grow(int helpers) {
        try {
            for (; threads_ < helpers; ++threads_) std::thread([this, id = threads_, seen = generation_.load()] { serve(id, seen); }).detach();
        } catch (const std::system_error &) {
            // No more threads from the system: those there are do.
        }
        return helpers < threads_ ? helpers : threads_;
    }

    void serve(int id, uint64_t seen) {
        for (;;) {
            wait([&] { return generation_.load() != seen; }, wake_);
            // While helpers are at work the generation stands still; a worker that is not wanted may miss some.
            std::unique_lock<std::mutex> lock(sleep_);
            seen = generation_.load();
            const bool wanted = id < helpers_.load();
            lock.unlock();
            if (!wanted) continue;
            set_control(job_.control_word);
            job_.help();
            if (running_.fetch_sub(1) == 1) {
                std::lock_guard<std::mutex> last(sleep_);
                done_.notify_one();
            }
        }
    }

    std::mutex busy_;       // one job at a time
    std::mutex sleep_;
    std::condition_variable wake_, done_;
    std::atomic<uint64_t> generation_{0};
    std::atomic<int> helpers_{0}, running_{0};
    int threads_ = 0;
    Job job_;
};

std::atomic<Pool *> the_pool{nullptr};

Pool *pool() {
    Pool *found = the_pool.load();
    if (found) return found;
#if defined(__unix__) || defined(__APPLE__)
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); }); });
#endif
    Pool *fresh = new (std::nothrow) Pool;
    if (!the_pool.compare_exchange_strong(found, fresh)) {
        delete fresh;
        return found;
    }
    return fresh;
}

}  // namespace

void run_items(int64_t items, int threads, void (*work)(void *, int64_t), void *context) {
    const int64_t helpers = (threads < items ? threads : items) - 1;
    Pool *const shared = helpers > 0 ? pool() : nullptr;
    if (!shared || !shared->try_lock()) {
        for (int64_t item = 0; item < items; ++item) work(context, item);
        return;
    }
    shared->run(int(helpers), items, work, context);
    shared->unlock();
}
