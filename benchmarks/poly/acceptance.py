"""What `sm3.poly` promises, measured: one line for each goal, with its figure, the goal, and whether it is met.

    python -m benchmarks.poly.acceptance [--quick] [--only ishigami,scale] [--json]

Figures of accuracy come from the estimator or solver as it is shipped, on fixed seeds; times are wall-clock seconds and
depend on what else the machine does, so the load is printed. --quick takes few seeds: to see that it works, not to
quote. The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.poly import accuracy_goals as accuracy
from benchmarks.poly import time_goals
from benchmarks.poly.finding import Finding
from sm3 import run_record

# name -> (quick) -> findings
GOALS: dict[str, Callable[[bool], list[Finding]]] = {
    "ishigami": lambda quick: [accuracy.ishigami_goal(3 if quick else 20)],
    "g-function": lambda quick: [accuracy.g_function_goal(2 if quick else 20)],
    "recovery": lambda quick: [accuracy.recovery_goal(d, 6 if quick else 100) for d in accuracy.ORDERS],
    "q2": lambda quick: accuracy.q2_goals(range(1) if quick else range(5)),
    "srlasso": lambda quick: [time_goals.srlasso_goal(rounds=1 if quick else 3)],
    "indices": lambda quick: [time_goals.indices_goal(rounds=3 if quick else 15)],
    "scale": lambda quick: time_goals.scale_goals(["--terms", "300"] if quick else []),
}


def measure(names: list[str], *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Each goal in turn; its line is said as soon as it is known."""
    load = [os.getloadavg()[0]]
    findings = []
    for name in names:
        for finding in GOALS[name](quick):
            say(finding.line())
            findings.append({**asdict(finding), "met": finding.met})
    load.append(os.getloadavg()[0])
    return {"quick": quick, "load_average": load, "findings": findings}


def conclusion(metrics: dict[str, Any]) -> str:
    """How many goals are met, and under what load."""
    met = [finding["met"] for finding in metrics["findings"]]
    start, end = metrics["load_average"]
    quick = ", few seeds" if metrics["quick"] else ""
    return f"{sum(met)} of {len(met)} goals met{quick}; load average {start:.1f} to {end:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few seeds: to see that it works, not to quote")
    parser.add_argument("--only", default=",".join(GOALS), help=f"some of: {', '.join(GOALS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one run record instead of text")
    options = parser.parse_args()
    names = options.only.split(",")
    if set(names) - set(GOALS):
        parser.error(f"goals are some of {', '.join(GOALS)}; got {options.only}")
    if not options.json:
        machine, versions = run_record.machine(), run_record.versions()
        packages = ", ".join(f"{name} {version}" for name, version in versions.items())
        print(f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {packages}", flush=True)
    metrics = measure(names, quick=options.quick, say=(lambda _: None) if options.json else _print)
    if options.json:
        print(
            run_record.RunRecord("poly_acceptance", 0, {"only": options.only, "quick": options.quick}, metrics).line()
        )
    else:
        print(conclusion(metrics))
    sys.exit(0 if all(finding["met"] for finding in metrics["findings"]) else 1)


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
