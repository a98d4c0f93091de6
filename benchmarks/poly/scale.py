"""A greedy fit without the matrix: f3 in 81 variables, 102,088 functions, 10,000 samples; seconds and memory.

    python -m benchmarks.poly.scale [--dimension 81] [--samples 10000] [--terms 1500]

One JSON object. A process of its own, so that the peak of its memory is the fit's. The matrix would take 8 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.poly.functions import f3
from sm3.poly import Legendre, hyperbolic_cross
from sm3.poly.design.matrix import Design
from sm3.poly.solvers.omp import omp

ORDER = 7  # with 81 variables the smallest cross of 100,000 functions
GROWTH = 0.2  # the bulk of a pass: 1500 terms in about 40 passes
FRESH = 10_000


def fit(dimension: int, samples: int, terms: int) -> dict[str, Any]:
    """Seconds (wall and CPU) of index set, products and fit, relative L2 error on new points, peak memory in bytes."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (samples, dimension))
    values = f3(points)
    wall, cpu = time.perf_counter(), time.process_time()
    bases = [Legendre()] * dimension
    index_set = hyperbolic_cross(dimension, ORDER)
    scale = np.full(samples, samples**-0.5)
    design = Design(bases, index_set, points, row_scale=scale, store=False)
    found = omp(design, (values * scale)[:, None], index_set.weights(bases), max_terms=terms, growth=GROWTH)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    fresh = rng.uniform(-1, 1, (FRESH, dimension))
    wanted = f3(fresh)
    error = Design(bases, index_set.take(found.support), fresh).times(found.coef[:, 0]) - wanted
    return {
        "functions": len(index_set),
        "samples": samples,
        "terms": len(found.support),
        "passes": found.n_iter,
        "wall": wall,
        "cpu": cpu,
        "peak_bytes": peak,
        "error": float(np.linalg.norm(error) / np.linalg.norm(wanted)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, default=81)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--terms", type=int, default=1500)
    options = parser.parse_args()
    print(json.dumps(fit(options.dimension, options.samples, options.terms), sort_keys=True))


if __name__ == "__main__":
    main()
