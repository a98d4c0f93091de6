// A pool of threads of our own: no OpenMP runtime, which would fight over the cores with the one PyTorch brings.
#pragma once

#include <cstdint>

// Calls work(context, item) for every item in [0, items), on the calling thread and up to threads - 1 others. Items are
// handed out in order, each once; the call returns when all are done. Workers take over the caller's floating-point
// control word (rounding, flush of denormals), so that results do not depend on who does an item.
//
// If the pool is busy with another caller's list, this one is done by its caller alone.
void run_items(int64_t items, int threads, void (*work)(void *context, int64_t item), void *context);
