"""Time and error against OpenTURNS, chaospy and a scikit-learn pipeline, on the same samples of f3, one thread.

    python -m benchmarks.poly.peers [--cases "d=10 degree 3,sparse"] [--rounds 5] [--json]

The packages are installed, with the versions below and nothing they depend on, into build/poly-peers of this
repository (numpoly may have to be compiled): the environment is not touched, and NumPy stays its own. Everyone fits the
same terms (all of a total degree) to the same uniform samples; the error is relative, in L2, over 10,000 other points.
Slow peers run fewer rounds, which the output says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import CONTROL_TOLERANCE
from benchmarks.poly import contestants
from benchmarks.poly.contestants import CHAOSPY, CONTROL, OPENTURNS, OURS, PIPELINE
from benchmarks.poly.functions import f3
from benchmarks.poly.rounds import figures, interleaved, ratio
from sm3 import run_record

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "poly-peers"
# chaospy computes with numpoly: 1.3.9 takes a fifth of the time of 1.2.14, the last one that needs no compiler
PINNED = {"openturns": "1.27.post1", "chaospy": "4.3.21", "numpoly": "1.3.9"}
HERE = "--in-this-process"
# Of every library that might start threads, before it is loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENTURNS_NUM_THREADS"), "1")
ROUNDS, FRESH = 5, 10_000


@dataclass(frozen=True)
class Case:
    """All terms up to a degree in d variables, from m samples; which peers run, and how many rounds at most."""

    d: int
    degree: int
    m: int
    peers: dict[str, int]  # slow ones fewer: seconds a fit
    goals: dict[str, float] = field(default_factory=dict)  # peer -> times as long as ours, at least
    sparse: bool = False

    @property
    def terms(self) -> int:
        return comb(self.d + self.degree, self.d)


CASES = {
    "d=10 degree 3": Case(10, 3, 600, {OPENTURNS: 99, CHAOSPY: 99, PIPELINE: 99}),
    "d=10 degree 4": Case(10, 4, 2100, {OPENTURNS: 99, CHAOSPY: 3, PIPELINE: 99}, {OPENTURNS: 5.0, CHAOSPY: 15.0}),
    # chaospy makes its basis symbolically: left out here, its place is the case before
    "d=20 degree 3": Case(20, 3, 3600, {OPENTURNS: 3, PIPELINE: 99}, {OPENTURNS: 4.0}),
    "sparse": Case(10, 3, 600, {OPENTURNS: 2}, {OPENTURNS: 30.0}, sparse=True),
}


def install() -> Path:
    """The folder to import the peers from; installs what is not there. Raises `CalledProcessError` where pip fails."""
    there = {found.metadata["Name"]: found.version for found in metadata.distributions(path=[str(FOLDER)])}
    if there != PINNED:
        pins = [f"{name}=={version}" for name, version in PINNED.items()]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--upgrade", "--target", str(FOLDER), *pins], check=True, stdout=sys.stderr)
    return FOLDER


def measure(cases: dict[str, Case], rounds: int) -> dict[str, Any]:
    """In this process, with the peers at hand."""
    load = [os.getloadavg()[0]]
    tables = {name: table(case, rounds) for name, case in cases.items()}
    load.append(os.getloadavg()[0])
    return {"packages": PINNED, "numpy": np.__version__, "load_average": load, "tables": tables}


def table(case: Case, rounds: int) -> dict[str, Any]:
    """One case: everyone once for the error and to warm up, then in rounds."""
    rng = np.random.default_rng(1)
    x, fresh = rng.uniform(-1, 1, (case.m, case.d)), rng.uniform(-1, 1, (FRESH, case.d))
    y, wanted = f3(x), f3(fresh)
    everyone = contestants.ours(x, y, case.degree, sparse=case.sparse)
    made = contestants.peers(x, y, case.degree, sparse=case.sparse)
    everyone |= {name: made[name]() for name in case.peers}
    error = {
        name: float(np.linalg.norm(one.predict(one.fit(), fresh) - wanted) / np.linalg.norm(wanted))
        for name, one in everyone.items()
    }
    counts = {name: min(rounds, case.peers.get(name, rounds)) for name in everyone}
    seconds = interleaved({name: one.fit for name, one in everyone.items()}, counts)
    rows = {
        name: {
            **figures(seconds, name),
            "error": error[name],
            "ratio": ratio(seconds, name, OURS),
            "ratio_solver": ratio(seconds, name, contestants.SOLVER),
        }
        for name in everyone
    }
    control = rows[CONTROL]["ratio"]
    valid = abs(control - 1.0) <= CONTROL_TOLERANCE and rounds >= ROUNDS
    found = {"d": case.d, "degree": case.degree, "terms": case.terms, "m": case.m, "sparse": case.sparse}
    return {**found, "rows": rows, "order": list(rows), "control": control, "valid": valid, "goals": goals(case, rows)}


def goals(case: Case, rows: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Each goal with its figure; of the sparse fit also that its error is no larger."""
    found = [
        {
            "goal": f"{peer} takes at least {least:g} times as long as the estimator",
            "figure": rows[peer]["ratio"],
            "met": rows[peer]["ratio"] >= least,
        }
        for peer, least in case.goals.items()
    ]
    if case.sparse:
        share = rows[OURS]["error"] / rows[OPENTURNS]["error"]
        found.append({"goal": f"error over that of {OPENTURNS}: at most 1", "figure": share, "met": share <= 1.0})
    return found


def text(metrics: dict[str, Any]) -> list[str]:
    """A table for each case, then its goals."""
    packages = ", ".join(f"{name} {version}" for name, version in metrics["packages"].items())
    low, high = metrics["load_average"]
    lines = [
        f"f3, uniform samples, one thread, CPU time; {packages}, numpy {metrics['numpy']}; load {low:.1f} to {high:.1f}"
    ]
    for name, case in metrics["tables"].items():
        lines += [
            "",
            f"{name}: {'sparse' if case['sparse'] else 'least squares'}, N = {case['terms']}, m = {case['m']}",
            f"  {'':32}{'cpu ms':>10}{'min':>10}{'wall ms':>10}{'rounds':>8}{'error':>10}{'/ ours':>9}{'/ solver':>9}",
        ]
        for one in case["order"]:
            row = case["rows"][one]
            lines.append(
                f"  {one:32}{1e3 * row['cpu']:10.1f}{1e3 * row['min']:10.1f}{1e3 * row['wall']:10.1f}"
                f"{row['rounds']:8d}{row['error']:10.1e}{row['ratio']:9.2f}{row['ratio_solver']:9.2f}"
            )
        lines += [f"  {'MET ' if one['met'] else 'MISSED'} {one['goal']}: {one['figure']:.2f}" for one in case["goals"]]
        control = f"the estimator against itself {case['control']:.3f}"
        lines.append(f"  VALID: {control}" if case["valid"] else f"  contended or few rounds, not quotable: {control}")
    return lines


def in_own_process(options: argparse.Namespace) -> dict[str, Any]:
    """The same command where the peers can be imported and every library has one thread."""
    search = [str(ROOT / "src"), str(install()), *filter(None, [os.environ.get("PYTHONPATH")])]
    arguments = [HERE, "--json", "--rounds", str(options.rounds), "--cases", options.cases]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.poly.peers", *arguments],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(search)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help=f"some of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="one run record instead of text")
    parser.add_argument(HERE, action="store_true", help="the peers can be imported here: do not install them")
    options = parser.parse_args()
    unknown = set(options.cases.split(",")) - set(CASES)
    if unknown or options.rounds < 1:
        parser.error(f"cases are some of {', '.join(CASES)}, rounds at least 1; got {options.cases}, {options.rounds}")
    if not options.in_this_process:
        record = in_own_process(options)
        machine = record["machine"]
        title = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
        print(json.dumps(record, sort_keys=True) if options.json else "\n".join([title, *text(record["metrics"])]))
        return
    metrics = measure({name: CASES[name] for name in options.cases.split(",")}, options.rounds)
    settings = {"cases": options.cases, "rounds": options.rounds}
    print(run_record.RunRecord("poly_peers", 0, settings, metrics).line() if options.json else "\n".join(text(metrics)))


if __name__ == "__main__":
    main()
