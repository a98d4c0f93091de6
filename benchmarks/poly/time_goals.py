"""Goals of time and memory.

srlasso   weighted square-root LASSO to a certified gap, 8391 functions, 316 samples
indices   all Sobol' indices of a model of 10,000 terms
scale     a greedy fit of 10,000 samples with 102,088 functions, in a process of its own
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.poly.finding import Finding
from benchmarks.poly.functions import f1
from sm3.poly import IndexSet, Legendre, hyperbolic_cross
from sm3.poly.design.matrix import Design
from sm3.poly.sensitivity.indices import indices_of
from sm3.poly.solvers.srlasso import srlasso

ROOT = Path(__file__).parents[2]
GAP = 1e-8  # relative
MILLI, GIGA = 1e3, 1e9
# d -> order of a hyperbolic cross of 10,000 functions and more
MODELS = {8: 47, 32: 11, 64: 7}
MOST_BYTES = 1.5e9


def srlasso_goal(order: int = 46, m: int = 316, rounds: int = 3) -> Finding:
    """f1 in 8 variables, lam = 1 / (5 sqrt(m)); making the matrix is part of it."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (m, 8))
    scale = np.full(m, m**-0.5)
    y = (f1(points) * scale)[:, None]
    terms, bases = hyperbolic_cross(8, order), [Legendre()] * 8
    u = terms.weights(bases)
    wall, cpu, gaps = [], [], []
    for _ in range(rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        found = srlasso(Design(bases, terms, points, row_scale=scale), y, u, gap=GAP)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        gaps.append(float("inf") if found.gap is None else found.gap)
    return Finding(
        f"square-root LASSO, N = {len(terms)}, m = {m}, to a gap of {GAP:g}",
        statistics.median(wall),
        4.0,
        "s",
        also=max(gaps) <= GAP,
        timed=True,
        about=f"gap {max(gaps):.0e}, {statistics.median(cpu):.2f} s of CPU, {len(found.support)} terms",
        details={"wall": wall, "cpu": cpu, "gap": gaps},
    )


def indices_goal(size: int = 10_000, rounds: int = 15, dimensions: Sequence[int] = tuple(MODELS)) -> Finding:
    """First, total, and all pairs; the slowest of the dimensions."""
    wall: dict[int, float] = {}
    cpu: dict[int, float] = {}
    for d in dimensions:
        dense = hyperbolic_cross(d, MODELS[d]).take(np.arange(size)).dense()
        coef = np.random.default_rng(0).standard_normal(size)
        taken = []
        for _ in range(rounds):
            model = IndexSet.from_dense(dense)  # a new one: nothing is remembered from the round before
            start, start_cpu = time.perf_counter(), time.process_time()
            found = indices_of(model, coef)
            _ = found.first, found.total, found.pair, found.pair_superset
            taken.append((time.perf_counter() - start, time.process_time() - start_cpu))
        wall[d], cpu[d] = (MILLI * statistics.median(clock) for clock in zip(*taken, strict=True))
    about = ", ".join(f"d = {d}: {wall[d]:.1f} ms, {cpu[d]:.1f} of CPU" for d in wall)
    name = f"all Sobol' indices of {size} terms"
    details = {"wall_ms": wall, "cpu_ms": cpu}
    return Finding(name, max(wall.values()), 50.0, "ms", timed=True, about=about, details=details)


def scale_goals(arguments: Sequence[str] = ()) -> list[Finding]:
    """Seconds, and peak memory."""
    command = [sys.executable, "-m", "benchmarks.poly.scale", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    what = f"without the matrix, N = {found['functions']}, m = {found['samples']}"
    about = (
        f"{found['terms']} terms in {found['passes']} passes, error {found['error']:.1e}, {found['cpu']:.0f} s of CPU"
    )
    return [
        Finding(f"greedy fit {what}", found["wall"], 120.0, "s", timed=True, about=about, details=found),
        Finding(f"peak memory {what}", found["peak_bytes"] / GIGA, MOST_BYTES / GIGA, "GB", details=found),
    ]
