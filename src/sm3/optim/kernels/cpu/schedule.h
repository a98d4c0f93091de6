// How a list of tensors becomes items of work: panels of rows, the same whatever the number of threads.
//
//     item      one panel of one tensor; large tensors first when several threads share the list
//     begin     before a tensor's first panel: take a slot of scratch, prepare what all panels read
//     combine   by whoever finishes a tensor's last panel: panels' scratch in panel order, new state, give the slot back
//
// There is no barrier: other tensors go on meanwhile. Tensors in flight are never more than threads, so as many slots,
// each large enough for the largest tensor, are allocated before anything is touched.
#pragma once

#include <cstdint>

struct Plan {               // what the scheduler asks about a list; `self` is passed through
    void *self;
    int64_t tensors;
    int64_t (*rows)(void *self, int64_t tensor);
    int64_t (*cols)(void *self, int64_t tensor);
    int64_t (*panel_bytes)(void *self, int64_t tensor);     // scratch of one panel
    int64_t (*shared_bytes)(void *self, int64_t tensor);    // scratch that all panels read
    void (*begin)(void *self, int64_t tensor, void *shared);
    void (*panel)(void *self, int64_t tensor, int64_t first, int64_t last, void *scratch);
    void (*combine)(void *self, int64_t tensor, int64_t panels, void *scratch, int64_t stride_bytes);
};

int64_t panel_rows(int64_t rows, int64_t cols);

// False: out of memory, nothing was touched.
bool run_plan(const Plan &plan, int threads);
