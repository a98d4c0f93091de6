"""What one optimizer step costs on large tensors: time, and memory on top of weights and gradients.

The small model of the comparison spends a few per cent of a step in the optimizer, and its tensors fit into the cache:
that time says nothing about a model worth saving memory on. Here every contestant steps the same 17 M parameters with
the same gradients, in turns, and the baseline runs twice: if it differs from itself, the machine was not ours alone.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sm3.compare.contestants import BASELINE, Contestant
from sm3.compare.memory import peak_memory, state_nbytes
from sm3.compare.store import Folder
from sm3.compare.sweep import Watch
from sm3.compare.train import threads
from sm3.run_record import RunRecord

KIND = "compare-timing"
ROUNDS = 7
WARM_UP = 2  # rounds left out: the first allocates state
LR = 1e-6  # so small that the weights stay what they are
CONTESTED = 0.05  # a control further than this from 1 means that the times are not to be trusted

# Chosen: a GPT with an embedding of 8192 x 512 and 4 layers, 16.8 M parameters, 67 MB: several times any core's cache.
WIDTH = 512
LAYER = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH), *[(WIDTH,)] * 4)
SHAPES: tuple[tuple[int, ...], ...] = ((8192, WIDTH), *LAYER * 4, (WIDTH,), (WIDTH,))


def time_large(
    contestants: Sequence[Contestant],
    folder: Folder,
    watch: Watch,
    thread_count: int,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> RunRecord:
    """Milliseconds per step and bytes on top, per contestant, and how far the baseline is from itself."""
    settings = {
        "contestants": [contestant.as_data() for contestant in contestants],
        "shapes": [list(shape) for shape in shapes],
        "rounds": ROUNDS,
        "threads": thread_count,
    }
    if (found := folder.find(KIND, settings, 0)) is not None:
        return found
    watch.expect((WARM_UP + ROUNDS) * (len(contestants) + 1))
    watch.begin("one step on large tensors")
    with threads(thread_count):
        parameters = _parameters(shapes)
        memory = _memory(contestants, parameters)
        seconds = _interleaved(contestants, parameters, watch)
    baseline, control = statistics.median(seconds[BASELINE]), statistics.median(seconds[_CONTROL])
    rows = {c.name: {**memory[c.name], "ms": 1e3 * statistics.median(seconds[c.name])} for c in contestants}
    metrics = {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "rows": rows,
        "control": control / baseline,
        "contended": abs(control / baseline - 1) > CONTESTED,
    }
    return folder.add(RunRecord(KIND, 0, settings, metrics))


_CONTROL = "control"  # the baseline once more, under another name


def _parameters(shapes: Sequence[tuple[int, ...]]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(0.02 * torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = 0.01 * torch.randn(parameter.shape, generator=generator)
    return parameters


def _memory(contestants: Sequence[Contestant], parameters: list[nn.Parameter]) -> dict[str, dict[str, Any]]:
    """State of each optimizer, and the peak above weights and gradients over its first two steps, each alone."""
    figures: dict[str, dict[str, Any]] = {}
    for contestant in (contestants[0], *contestants):  # the first one twice: it also pays for loading code, once
        _give_freed_memory_back()
        with peak_memory() as memory:
            optimizer = contestant.make(parameters, LR)
            optimizer.step()
            optimizer.step()
        known = memory.exact and memory.peak is not None and memory.before is not None
        on_top = memory.peak - memory.before if known else None  # type: ignore[operator]
        figures[contestant.name] = {"state_bytes": state_nbytes(optimizer), "peak_bytes": on_top}
        del optimizer
    return figures


def _give_freed_memory_back() -> None:
    """Memory that was freed but kept by the C library would hide what the next one needs; glibc can hand it back."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)


def _interleaved(
    contestants: Sequence[Contestant], parameters: list[nn.Parameter], watch: Watch
) -> dict[str, list[float]]:
    """Seconds of each step; in every round each optimizer takes one, the baseline one more as control."""
    optimizers: dict[str, Optimizer] = {c.name: c.make(parameters, LR) for c in contestants}
    baseline = next(contestant for contestant in contestants if contestant.name == BASELINE)
    optimizers[_CONTROL] = baseline.make(parameters, LR)
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for turn in range(WARM_UP + ROUNDS):
        for name, optimizer in optimizers.items():
            began = time.perf_counter()
            optimizer.step()
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - began)
            watch.step(1)
    return seconds
