"""Switching from AdamW in the middle of a run: with the state converted, from an empty state, or not at all.

    python -m benchmarks.switching [--steps 500] [--seeds 5] [--picture FILE.svg] [--json]

The byte-level GPT, the text, the batches and the schedule are those of `sm3 compare`. AdamW trains the first half;
from there every way goes on from the same weights with the same batches, and the loss is measured on held-out text
after a few steps and at the end. Every way that changes the optimizer runs at AdamW's learning rate and at twice it.
A run is some minutes on one core; losses repeat bit for bit.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from benchmarks.command import progress, run
from sm3 import SM3, SMMF, convert_adamw_state
from sm3.compare import data, protocol
from sm3.compare.protocol import schedule
from sm3.compare.task import Start, Task, byte_task, mean_loss
from sm3.compare.train import threads
from sm3.optim.torch.lean import RECIPES

LR = 4e-3  # AdamW's best of those that `sm3 compare` tries, at 250 steps
STEPS, SEEDS = 500, 5
AFTER = (1, 2, 5, 10, 20, 50, 100, 250)  # steps after the switch at which the loss is measured, besides the last
Make = Callable[[Any, dict[str, Any], float], Optimizer]  # named parameters, AdamW's state dict, lr


def _adamw(params: Any, saved: dict[str, Any], lr: float) -> Optimizer:
    optimizer = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    if saved:
        optimizer.load_state_dict(saved)
    return optimizer


def _converted(to: type[Optimizer], **settings: Any) -> Make:
    return lambda params, saved, lr: convert_adamw_state(saved, to, params=params, lr=lr, **settings).optimizer


def _cold(to: type[Optimizer], **settings: Any) -> Make:
    return lambda params, _, lr: to(params, lr=lr, **settings)  # type: ignore[call-arg]


SM3_RECIPE = {**RECIPES["SM3"], "momentum": 0.9}
# name: (how the optimizer of the second half is made, its learning rate over AdamW's)
WAYS: dict[str, tuple[Make, float]] = {
    "AdamW stays": (_adamw, 1.0),
    "SMMF converted": (_converted(SMMF), 1.0),
    "SMMF converted, 2 lr": (_converted(SMMF), 2.0),
    "SMMF converted, growth 1, 2 lr": (_converted(SMMF, growth_rate=1.0), 2.0),
    "SMMF cold": (_cold(SMMF), 1.0),
    "SMMF cold, 2 lr": (_cold(SMMF), 2.0),
    "SM3 converted, 2 lr": (_converted(SM3, cautious=True), 2.0),
    "SM3 cold, 2 lr": (_cold(SM3, **SM3_RECIPE), 2.0),
}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The losses of every way and seed, and what the conversion said of the first seed."""
    chosen = protocol.adjusted(protocol.QUICK, steps=options.steps, seeds=options.seeds)
    found: dict[str, Any] = {"steps": chosen.steps, "switch": chosen.steps // 2, "lr": LR, "seeds": list(chosen.seeds)}
    with threads(1):
        task = byte_task(data.standard_library(), chosen)
        found["task"] = dict(task.settings)
        found["ways"] = {name: [] for name in WAYS}
        found["before"] = []
        for seed in chosen.seeds:
            weights, saved, before, found["conversion"] = _first_half(task, seed, chosen.steps)
            found["before"].append(before)
            for name, (make, factor) in WAYS.items():
                progress(f"seed {seed}, {name}")
                start = _at_the_switch(task, seed, weights, chosen.steps // 2)
                optimizer = make(start.model.named_parameters(), saved, LR)
                points = list(
                    _train(start, optimizer, range(chosen.steps // 2, chosen.steps), chosen.steps, factor * LR)
                )
                found["ways"][name].append(points)
    progress("")
    if options.picture:
        draw(found, Path(options.picture))
    return found


def _first_half(task: Task, seed: int, steps: int) -> tuple[dict[str, Any], dict[str, Any], float, dict[str, float]]:
    """Weights and AdamW's state at the switch, the loss there, and the errors of folding that state."""
    start = task.start(seed)
    optimizer = _adamw(start.model.named_parameters(), {}, LR)
    for _ in _train(start, optimizer, range(steps // 2), steps, LR):
        pass
    conversion = convert_adamw_state(optimizer, SMMF)
    errors = {
        name: getattr(conversion, name) for name in ("first_error", "second_error", "update_error", "update_ratio")
    }
    weights = {name: value.clone() for name, value in start.model.state_dict().items()}
    return weights, optimizer.state_dict(), mean_loss(start), errors


def _at_the_switch(task: Task, seed: int, weights: dict[str, Any], switch: int) -> Start:
    """The run again, with the weights it had there and the batches it has not seen yet."""
    start = task.start(seed)
    start.model.load_state_dict(weights)
    for _ in range(switch):
        next(start.batches)
    return start


def _train(start: Start, optimizer: Optimizer, part: range, steps: int, lr: float) -> Iterator[tuple[int, float]]:
    """Train a part of the run; (steps since its first, held-out loss) where it is asked for."""
    for step in part:
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps)
        loss = start.loss(start.model, next(start.batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        since = step + 1 - part.start
        if part.start and (since in AFTER or step + 1 == steps):
            yield since, mean_loss(start)


def text(metrics: dict[str, Any]) -> list[str]:
    """Median and range over seeds, at a few steps after the switch and at the end."""
    end = metrics["steps"] - metrics["switch"]
    shown = [*(at for at in (5, 20) if at < end), end]
    size, seeds = metrics["task"]["model"]["name"], len(metrics["seeds"])
    lines = [
        "",
        f"byte-level GPT {size}, {seeds} seeds, {metrics['steps']} steps, AdamW at lr {metrics['lr']:g} until step "
        f"{metrics['switch']};",
        "held-out loss in bits/byte, median [min, max], so many steps after the switch; the last is the end of the run",
        "",
        f"{'way':30}" + "".join(f"{f'after {at} steps':>23}" for at in shown) + f"{'end - AdamW':>26}",
        f"{'at the switch':30}{_spread(metrics['before']):>23}",
    ]
    stayed = [run[-1][1] for run in metrics["ways"]["AdamW stays"]]
    for name in WAYS:
        runs = metrics["ways"][name]
        apart = [run[-1][1] - other for run, other in zip(runs, stayed, strict=True)]
        losses = "".join(f"{_spread([dict(run)[at] for run in runs]):>23}" for at in shown)
        lines.append(f"{name:30}{losses}{_spread(apart, '+.3f'):>26}")
    said = metrics["conversion"]
    lines += [
        "end - AdamW: the last loss minus that of the same seed where AdamW stays",
        "",
        f"conversion to SMMF, last seed: relative error of the first moment {said['first_error']:.2f}, of the second "
        f"{said['second_error']:.2f},",
        f"of the update {said['update_error']:.2f}; the update is {said['update_ratio']:.2f} times as long as AdamW's",
        "growth 1: growth_rate=1.0, as AdamW's first moment, which does not fade; SM3: beta2=0.95, cautious=True",
    ]
    return lines


def _spread(losses: list[float], form: str = ".3f") -> str:
    return f"{statistics.median(losses):{form}} [{min(losses):{form}}, {max(losses):{form}}]"


def draw(metrics: dict[str, Any], path: Path) -> None:
    """Loss minus AdamW's of the same seed, median and range over seeds; steps on a logarithmic axis."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = ("SMMF converted, 2 lr", "SMMF cold, 2 lr", "SM3 converted, 2 lr", "SM3 cold, 2 lr")
    styles = (("#12a07a", "-"), ("#12a07a", "--"), ("#2d8fd5", "-"), ("#2d8fd5", "--"))
    with rc_context({"svg.hashsalt": "sm3", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot(
            xlabel="steps after the switch", ylabel="held-out loss minus AdamW's, bits/byte", xscale="log"
        )
        stayed = [dict(run) for run in metrics["ways"]["AdamW stays"]]
        axes.axhline(0.0, color="#6e6e6e", linewidth=1)
        for name, (colour, dashes) in zip(shown, styles, strict=True):
            runs = [dict(run) for run in metrics["ways"][name]]
            at = sorted(runs[0])
            columns = [[run[step] - other[step] for run, other in zip(runs, stayed, strict=True)] for step in at]
            axes.plot(at, [statistics.median(c) for c in columns], color=colour, linestyle=dashes, label=name)
            axes.fill_between(at, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, loc="upper right")
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the whole run; the switch is half way")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--picture", metavar="FILE.svg", help="draw the losses after the switch")
    run("switching", parser, measure, text)


if __name__ == "__main__":
    main()
