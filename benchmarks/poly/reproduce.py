"""The experiments of arXiv 2208.09045 with our solvers: ours, the paper's, and the ratio, cell by cell.

    python -m benchmarks.poly.reproduce [--quick] [--workers 2] [--json]

Errors are relative discrete L2 errors on 100,000 uniform points, geometric means over trials. A trial is decided by its
number alone. What differs from the paper: Christoffel points are drawn from their density itself, not from a pool of
100,000 points; and the error grid is another set of points than the samples come from, so nothing is tested where it
was fitted.

    als       adaptive least squares that draws new points at each step, up to m = 1000, Monte Carlo and Christoffel
    paradox   one variable: where Monte Carlo points are a bad choice
    kappa     how far from the worst case the sets are that the adaptive search finds
    cs        the weighted square-root LASSO on the hyperbolic cross of up to 10,000 functions
    auto      the solver that held-out rows choose, on the same samples
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.poly import paper
from benchmarks.poly.functions import FUNCTIONS
from sm3.poly.basis.classical import Legendre
from sm3.poly.design.matrix import Design
from sm3.poly.index_sets.families import largest
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.solvers.adaptive_sampling import adaptive_steps
from sm3.poly.solvers.choose import choose, k_fold
from sm3.poly.solvers.srlasso import srlasso

Array = NDArray[np.float64]
GRID = 100_000  # points the error is measured on
PIECE = 10_000  # of them at once
LARGEST_SET = 10_000  # functions of the hyperbolic cross, ten times the most samples
FOLDS = 5
CS_SIZES = (211, 527)
PDE_GRID = 10_000  # each of its values is a differential equation


@dataclass(frozen=True)
class Cell:
    """One trial of one experiment."""

    kind: str
    function: str
    d: int
    m: int
    trial: int
    measure: str = "monte_carlo"

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        return self.kind, self.function, self.d, self.m, self.measure

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.trial, self.d, self.m, *self.kind.encode(), *self.function.encode()])


def cells(quick: bool) -> list[Cell]:
    """All trials, the long ones first, so that no worker is left with one at the end."""
    trials = {"als": 2, "cs": 1, "auto": 1, "few": 1} if quick else {"als": 20, "cs": 5, "auto": 2, "few": 3}
    wanted: list[Cell] = []
    for d, (n, _) in paper.KAPPA.items():
        if d >= 8:
            wanted += [Cell("kappa", "f1", d, 3000 if n else 0, t) for t in range(trials["few"])]
    for d in paper.CS_PDE:
        wanted += [Cell("auto", "pde", d, 1000, t) for t in range(trials["few"])]
    for (function, d), row in paper.CS.items():
        wanted += [Cell("auto", function, d, m, t) for m in sorted(row, reverse=True) for t in range(trials["auto"])]
        if d <= 16:
            wanted += [Cell("cs", function, d, m, t) for m in CS_SIZES for t in range(trials["cs"])]
    for function, d in paper.ALS:
        for measure in ("monte_carlo", "christoffel"):
            wanted += [Cell("als", function, d, 1000, t, measure) for t in range(trials["als"])]
    for measure in ("monte_carlo", "christoffel"):
        wanted += [Cell("paradox", "f1", 1, 1000, t, measure) for t in range(trials["few"])]
    if quick:
        wanted = [cell for cell in wanted if cell.d <= 8 and cell.m <= 1000]
    return wanted


def measure_cell(cell: Cell) -> tuple[Cell, dict[str, Any]]:
    """The figures of one trial."""
    began = time.perf_counter()
    found = (_adaptive if cell.kind in ("als", "paradox", "kappa") else _given)(cell)
    return cell, found | {"seconds": time.perf_counter() - began}


def _adaptive(cell: Cell) -> dict[str, Any]:
    bases = [Legendre()] * cell.d
    function = FUNCTIONS[cell.function]
    measure: Any = cell.measure
    *_, last = adaptive_steps(function, bases, cell.rng, max_samples=cell.m, measure=measure)
    kappa = float(np.square(last.index_set.weights(bases)).sum())
    return {
        "error": _error(cell, last.index_set, last.solution.coef[:, 0]),
        "condition": last.solution.cond,
        "n": len(last.index_set),
        "m": len(last.sample.points),
        "kappa_over_n": kappa / len(last.index_set),
    }


def _given(cell: Cell) -> dict[str, Any]:
    """A fit on m Monte Carlo samples."""
    bases = [Legendre()] * cell.d
    rng = cell.rng
    points = rng.uniform(-1.0, 1.0, (cell.m, cell.d))
    index_set = largest("hyperbolic_cross", cell.d, LARGEST_SET)
    scale = np.full(cell.m, cell.m**-0.5)
    y = (FUNCTIONS[cell.function](points) * scale)[:, None]
    A = Design(bases, index_set, points, row_scale=scale)
    u = index_set.weights(bases)
    if cell.kind == "cs":
        solution, chosen = srlasso(A, y, u), "srlasso"
    else:
        choice = choose(A, y, u, index_set, k_fold(cell.m, FOLDS, rng), row_scale=scale)
        solution, chosen = choice.solution, choice.solution.solver
    error = _error(cell, index_set.take(solution.support), solution.coef[:, 0])
    return {"error": error, "solver": chosen, "terms": len(solution.support), "gap": solution.gap}


def _error(cell: Cell, index_set: IndexSet, coef: Array) -> float:
    """||f - fit|| / ||f|| on uniform points that no fit has seen."""
    rng = np.random.default_rng([cell.trial, cell.d, 7])
    bases, function = [Legendre()] * cell.d, FUNCTIONS[cell.function]
    difference = size = 0.0
    for _ in range((PDE_GRID if cell.function == "pde" else GRID) // PIECE):
        points = rng.uniform(-1.0, 1.0, (PIECE, cell.d))
        values = function(points)
        fitted = Design(bases, index_set, points, store=False).times(coef)
        difference += float(np.square(values - fitted).sum())
        size += float(np.square(values).sum())
    return math.sqrt(difference / size)


def run(wanted: list[Cell], workers: int) -> dict[tuple[str, str, int, int, str], list[dict[str, Any]]]:
    """All trials; progress on standard error."""
    found: dict[tuple[str, str, int, int, str], list[dict[str, Any]]] = {}
    with ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,)) as pool:  # one core each
        for number, (cell, figures) in enumerate(pool.map(measure_cell, wanted, chunksize=1), 1):
            found.setdefault(cell.key, []).append(figures)
            print(f"\r{number} of {len(wanted)} trials ", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return found


def mean(found: Iterable[Mapping[str, Any]], name: str = "error") -> float:
    """Geometric mean over trials."""
    return math.exp(math.fsum(math.log(max(one[name], 1e-300)) for one in found) / len(list(found)))


@dataclass(frozen=True)
class Line:
    """A cell of a table beside the paper's."""

    group: str
    what: str
    ours: float
    paper: float
    met: bool | None  # None: shown, not judged
    note: str = ""

    def text(self) -> str:
        verdict = {True: "met", False: "NOT MET", None: ""}[self.met]
        return (
            f"  {self.what:34}{self.ours:11.2e}{self.paper:11.2e}{self.ours / self.paper:10.2g}  {verdict:8}{self.note}"
        )


def lines(found: Mapping[tuple[str, str, int, int, str], list[dict[str, Any]]]) -> list[Line]:
    """Every cell that was measured, in the order of the groups."""
    made: list[Line] = []
    for make in (_als_lines, _paradox_lines, _kappa_lines, _cs_lines, _auto_lines):
        made += make(found)
    return made


Found = Mapping[tuple[str, str, int, int, str], list[dict[str, Any]]]


def _als_lines(found: Found) -> list[Line]:
    made = []
    for (function, d), (monte_carlo, christoffel) in paper.ALS.items():
        figures = {}
        for measure, published in (("monte_carlo", monte_carlo), ("christoffel", christoffel)):
            trials = found.get(("als", function, d, 1000, measure))
            if trials:
                ours = figures[measure] = mean(trials)
                made.append(
                    Line("als", f"{function} d {d} m 1000, {measure}", ours, published, ours <= 1.5 * published)
                )
        if d >= 16 and len(figures) == 2:
            ratio = figures["christoffel"] / figures["monte_carlo"]
            made.append(
                Line(
                    "als", f"{function} d {d}, Christoffel / MC", ratio, christoffel / monte_carlo, 0.6 <= ratio <= 1.2
                )
            )
    return made


def _paradox_lines(found: Found) -> list[Line]:
    made = []
    goals: tuple[tuple[str, Callable[[float], bool], Callable[[float], bool]], ...] = (
        ("monte_carlo", lambda error: error > 1e-11, lambda condition: condition > 1e8),
        ("christoffel", lambda error: error < 1e-14, lambda condition: condition < 6),
    )
    for number, (measure, error_goal, condition_goal) in enumerate(goals):
        trials = found.get(("paradox", "f1", 1, 1000, measure))
        if trials:
            error, condition = mean(trials), mean(trials, "condition")
            made.append(Line("paradox", f"{measure}, error", error, paper.ALS_ONE_VARIABLE[number], error_goal(error)))
            made.append(
                Line(
                    "paradox",
                    f"{measure}, condition",
                    condition,
                    paper.CONDITION_ONE_VARIABLE[number],
                    condition_goal(condition),
                )
            )
    return made


def _kappa_lines(found: Found) -> list[Line]:
    made = []
    for d, (n, published) in paper.KAPPA.items():
        trials = found.get(("kappa", "f1", d, 3000, "monte_carlo"))
        if trials:
            ours = mean(trials, "kappa_over_n")
            note = f"n {mean(trials, 'n'):.0f}, paper {n}"
            made.append(Line("kappa", f"kappa / n, d {d}", ours, published, 0.8 <= ours / published <= 1.2, note))
    return made


def _cs_lines(found: Found) -> list[Line]:
    made = []
    for (function, d), row in paper.CS.items():
        for m, published in row.items():
            trials = found.get(("cs", function, d, m, "monte_carlo"))
            if trials:
                ours = mean(trials)
                # Below 1e-14 both are rounding.
                bound = max((4.0 if function == "f2" else 2.0) * published, 1e-14)
                made.append(Line("cs", f"{function} d {d} m {m}", ours, published, ours <= bound))
    return made


def _auto_lines(found: Found) -> list[Line]:
    made = []
    rows = [*paper.CS.items(), *((("pde", d), {1000: error}) for d, error in paper.CS_PDE.items())]
    for (function, d), row in rows:
        for m, published in row.items():
            trials = found.get(("auto", function, d, m, "monte_carlo"))
            if trials:
                ours = mean(trials)
                bound = max(1.5 * published, 1e-14)
                if (function, d, m) in (("f2", 8, 211), ("f2", 16, 316)):
                    bound = published / 100
                if function == "pde":
                    bound = {4: 1e-6, 8: 2.0e-3}[d]
                solvers = ", ".join(sorted({one["solver"] for one in trials}))
                made.append(Line("auto", f"{function} d {d} m {m}", ours, published, ours <= bound, solvers))
    return made


TITLES = {
    "als": "adaptive least squares, new points at every step (goal: at most 1.5 times the paper's error)",
    "paradox": "one variable: Monte Carlo points are a bad choice",
    "kappa": "kappa(P_S) / n of the sets found (goal: within 20 %)",
    "cs": "square-root LASSO (goal: at most twice the paper's error, four times for f2)",
    "auto": "solver chosen by held-out rows, against the paper's compressed sensing (goal: at most 1.5 times)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few trials, d <= 8: to see that it works")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4), help="processes, one core each")
    parser.add_argument("--only", choices=list(TITLES), help="this experiment alone")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    began = time.perf_counter()
    wanted = [cell for cell in cells(options.quick) if options.only in (None, cell.kind)]
    found = run(wanted, options.workers)
    table = lines(found)
    seconds = time.perf_counter() - began
    if options.json:
        rows = [
            dict(zip(("kind", "function", "d", "m", "measure"), key, strict=True)) | {"trials": trials}
            for key, trials in found.items()
        ]
        print(json.dumps({"seconds": seconds, "rows": rows, "table": [vars(line) for line in table]}))
        return
    for group, title in TITLES.items():
        chosen = [line for line in table if line.group == group]
        if chosen:
            print(f"\n{title}\n  {'':34}{'ours':>11}{'paper':>11}{'ratio':>10}")
            print("\n".join(line.text() for line in chosen))
    judged = [line for line in table if line.met is not None]
    print(
        f"\n{sum(bool(line.met) for line in judged)} of {len(judged)} goals met, {len(wanted)} trials, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
