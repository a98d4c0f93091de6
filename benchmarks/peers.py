"""Other implementations of the same algorithms, and neighbours, on GPT-2 small's parameters, one thread, float32.

    python -m benchmarks.peers [--rounds 5] [--json]

The packages are installed, with the versions below and nothing they depend on, into build/peers of this repository; the
environment is not touched and PyTorch is not installed again. They run few rounds, for they are slow.

The authors' SMMF is no package. It is re-created: our plain PyTorch kernels with `published=True`, which is their
trajectory, their matrix shapes and their order of operations, in PyTorch's own operations. What is timed is that
algorithm without a kernel of its own, not the authors' file; ours works in tiles, which saves it temporaries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adafactor, Optimizer

from benchmarks.command import ROOT, own_process, run
from benchmarks.conditions import conditions, load_average, load_text
from benchmarks.contestants import BASE, CONTROL, LR, Make, contestants
from benchmarks.measure import clock_for, figures, interleaved, valid, verdict
from benchmarks.shapes import HEADLINE, parameters, shapes_of
from sm3 import SM3, SMMF
from sm3.plan.measure import state_nbytes

PINNED = {"pytorch_optimizer": "4.1.0", "came-pytorch": "0.1.3"}
FOLDER = ROOT / "build" / "peers"
ROUNDS = 5  # they are slow; their ratios are not near 1 (chosen)
HERE = "--in-this-process"

PEER_SM3, PEER_SM3_WITHOUT = "SM3, pytorch_optimizer", "SM3, pytorch_optimizer, no momentum"
PEER_SMMF = "SMMF published, re-created"
# The same algorithm: peer -> ours.
SAME = {PEER_SM3: "SM3", PEER_SM3_WITHOUT: "SM3 without momentum", PEER_SMMF: "SMMF"}


def install() -> Path:
    """The folder to import the peers from; installs what is not there. Raises `CalledProcessError` where pip fails."""
    versions = {found.metadata["Name"]: found.version for found in metadata.distributions(path=[str(FOLDER)])}
    wanted = {name.replace("_", "-"): version for name, version in PINNED.items()}
    if {name.replace("_", "-"): version for name, version in versions.items()} != wanted:
        pins = [f"{name}=={version}" for name, version in PINNED.items()]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--upgrade", "--target", str(FOLDER), *pins], check=True, stdout=sys.stderr)
    return FOLDER


def peers() -> dict[str, Make]:
    """Name -> how to make it. The packages must be importable."""
    from came_pytorch import CAME
    from pytorch_optimizer import SM3 as PeerSM3

    return {
        PEER_SM3: lambda params: PeerSM3(params, lr=LR, momentum=0.9),
        PEER_SM3_WITHOUT: lambda params: PeerSM3(params, lr=LR, momentum=0.0),
        PEER_SMMF: lambda params: SMMF(params, lr=LR, published=True, backend="eager"),
        "Adafactor, torch": lambda params: Adafactor(params, lr=LR),
        "CAME": lambda params: CAME(params, lr=LR),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """In this process with the peers at hand; otherwise install them and do it in a process that has them."""
    if not options.in_this_process:
        arguments = [HERE, "--rounds", str(options.rounds), "--set", options.set]
        found: dict[str, Any] = own_process("peers", arguments, path=install())["metrics"]
        return found
    torch.set_num_threads(1)
    load = [load_average()]
    agreement = agree(peers()[PEER_SM3])
    params = parameters(shapes_of(options.set), torch.float32)
    numel = sum(param.numel() for param in params)
    ours = {name: make for name, make in contestants().items() if name in (BASE, CONTROL, *SAME.values())}
    optimizers = {name: make(params) for name, make in {**ours, **peers()}.items()}
    steps = {name: optimizer.step for name, optimizer in optimizers.items()}
    seconds = interleaved(steps, options.rounds)
    rows = figures(seconds, BASE, clock_for(1))
    state = {name: state_nbytes(optimizer) / numel for name, optimizer in optimizers.items()}
    times = {
        peer: statistics.median(
            theirs / own for theirs, own in zip(seconds[peer]["cpu"], seconds[mine]["cpu"], strict=True)
        )
        for peer, mine in SAME.items()
    }
    return {
        "set": options.set,
        "numel": numel,
        "packages": PINNED,
        "agreement": agreement,
        "rounds": options.rounds,
        "order": list(rows),  # JSON objects have none
        "rows": {name: {**row, "state": state[name]} for name, row in rows.items()},
        "times_ours": times,
        "control": rows[CONTROL]["ratio"],
        "valid": valid(rows[CONTROL]["ratio"], options.rounds, ROUNDS),
        "conditions": conditions(),
        "load_average": [*load, load_average()],
        "seconds": seconds,
    }


def agree(make: Callable[[list[Tensor]], Optimizer]) -> float:
    """That it is the same algorithm: the largest difference of an entry after 3 steps, as a share of the longest way.

    Rounding accounts for 1e-6 (a dozen float32 roundings). Raises `AssertionError` above 1e-4 (chosen).
    """
    starts = [param.detach() for param in parameters([(96, 64), (64,), (8, 3, 5, 5)], torch.float32)]
    theirs = [start.clone() for start in starts]
    ours = [start.clone() for start in starts]
    peer, mine = make(theirs), SM3(ours, lr=LR)
    for group in (*peer.param_groups, *mine.param_groups):
        group["lr"] = 0.1
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for one, other in zip(theirs, ours, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        peer.step()
        mine.step()
    went = max(float((own - start).abs().max()) for own, start in zip(ours, starts, strict=True))
    difference = max(float((one - other).abs().max()) for one, other in zip(theirs, ours, strict=True)) / went
    assert difference < 1e-4, f"pytorch_optimizer's SM3 and ours went apart by {difference:.1e} of their way"
    return difference


def text(metrics: dict[str, Any]) -> list[str]:
    """The table, then the ratios to ours."""
    per_element = 1e9 / metrics["numel"]
    load = load_text(metrics["load_average"])
    packages = ", ".join(f"{name} {version}" for name, version in metrics["packages"].items())
    lines = [
        "",
        f"peers on {metrics['set']}, float32, 1 thread, CPU time, {metrics['rounds']} rounds; {packages}; load {load}",
        "  SMMF published is a re-creation: the published algorithm in plain PyTorch operations, not the authors' file",
        f"  pytorch_optimizer's SM3 and ours differ by {metrics['agreement']:.0e} of their way after 3 steps",
        "",
        f"  {'':37}{'cpu ms':>9}{'ns/el':>9}{'min':>9}{'p90':>9}{'state B':>9}{'ratio':>8}",
    ]
    for name in metrics["order"]:
        row = metrics["rows"][name]
        lines.append(
            f"  {name:37}{1e3 * row['median']:9.1f}{per_element * row['median']:9.3f}{per_element * row['min']:9.3f}"
            f"{per_element * row['p90']:9.3f}{row['state']:9.4f}{row['ratio']:8.3f}"
        )
    lines.append("")
    for peer, mine in SAME.items():
        lines.append(f"  {peer} takes {metrics['times_ours'][peer]:.1f} times as long as our {mine}")
    return [*lines, f"  {verdict(metrics['control'], metrics['rounds'], ROUNDS)}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--set", default=HEADLINE, help="as in native_step")
    parser.add_argument(HERE, action="store_true", help="the peers can be imported here: do not install them")
    run("peers", parser, measure, text)


if __name__ == "__main__":
    main()
