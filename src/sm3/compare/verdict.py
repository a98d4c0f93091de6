"""What came out: one row per contestant, and the sentences one may say about them. No drawing, no files.

Lower loss is better. Nothing is ranked whose ranges over seeds overlap, and nothing at all from a single seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sm3.compare.contestants import BASELINE
from sm3.compare.sweep import Outcome, final_loss
from sm3.run_record import RunRecord

BUSY = 1.25  # chosen: medians of the same forward and backward pass further apart than this were disturbed


@dataclass(frozen=True)
class Row:
    """One contestant; bytes and milliseconds of `large_*` are from `timing`, all else from the training runs."""

    name: str
    lr: float | None
    edge: str | None  # the best rate is the "lowest" or "highest" tried
    losses: tuple[float, ...]  # one per seed, infinite for a diverged run
    diverged_in_sweep: int
    rates_tried: int
    state_bytes: int
    planned_state_bytes: int
    state_share: float  # of the baseline's
    peak_bytes: int | None  # of the process, over the training runs
    optimizer_ms: float | None
    large_ms: float
    large_peak_bytes: int | None  # on top of weights and gradients
    steps_to_baseline: float  # reached by half of the seeds; infinite if not
    seconds_to_baseline: float

    @property
    def median(self) -> float:
        return statistics.median(self.losses) if self.losses else math.inf

    @property
    def low(self) -> float:
        return min(self.losses, default=math.inf)

    @property
    def high(self) -> float:
        return max(self.losses, default=math.inf)

    @property
    def diverged(self) -> int:
        return sum(math.isinf(loss) for loss in self.losses)

    def as_data(self) -> dict[str, Any]:
        derived = {"median": self.median, "low": self.low, "high": self.high, "diverged": self.diverged}
        return asdict(self) | {"losses": list(self.losses)} | derived


def rows(outcomes: Sequence[Outcome], timing: RunRecord) -> list[Row]:
    """The rows, in the order of the contestants."""
    baseline = next(outcome for outcome in outcomes if outcome.contestant.name == BASELINE)
    losses = [final_loss(record) for record in baseline.full]
    target = statistics.median(losses) if losses else -math.inf
    bytes_of_baseline = baseline.sweep[0].metrics["state_bytes"]
    return [_row(outcome, target, bytes_of_baseline, timing.metrics["rows"]) for outcome in outcomes]


def _row(outcome: Outcome, target: float, bytes_of_baseline: int, large: Mapping[str, Any]) -> Row:
    records = outcome.full or outcome.sweep
    metrics = records[0].metrics
    reached = [reaches(record, target) for record in outcome.full] or [(math.inf, math.inf)]
    peaks = [record.metrics["peak_bytes"] for record in records if record.metrics["peak_bytes"]]
    times = [record.metrics["optimizer_ms"] for record in records if record.metrics["optimizer_ms"]]
    figures = large[outcome.contestant.name]
    return Row(
        name=outcome.contestant.name,
        lr=outcome.lr,
        edge=outcome.edge,
        losses=tuple(final_loss(record) for record in outcome.full),
        diverged_in_sweep=sum(math.isinf(final_loss(record)) for record in outcome.sweep),
        rates_tried=len(outcome.sweep),
        state_bytes=metrics["state_bytes"],
        planned_state_bytes=metrics["planned_state_bytes"],
        state_share=metrics["state_bytes"] / bytes_of_baseline,
        peak_bytes=max(peaks, default=None),
        optimizer_ms=statistics.median(times) if times else None,
        large_ms=figures["ms"],
        large_peak_bytes=figures["peak_bytes"],
        steps_to_baseline=statistics.median_low(steps for steps, _ in reached),
        seconds_to_baseline=statistics.median_low(seconds for _, seconds in reached),
    )


def reaches(record: RunRecord, target: float) -> tuple[float, float]:
    """(steps, seconds of training) at the first held-out loss not above the target; infinite if there is none."""
    for step, seconds, loss in record.metrics["held_out"]:
        if loss is not None and loss <= target:
            return float(step), float(seconds)
    return math.inf, math.inf


def overlap(one: Row, other: Row) -> bool:
    """Whether the ranges over seeds touch; two that both diverged every time overlap as well."""
    return one.low <= other.high and other.low <= one.high


def sentences(table: Sequence[Row], unit: str, parameters: int, steps: int) -> list[str]:
    """The verdict in words: who is first, everyone against AdamW, what went wrong, what all this does not show."""
    baseline = next(row for row in table if row.name == BASELINE)
    others = [row for row in table if row.name != BASELINE]
    return [
        _first(table, unit),
        *[_against(row, baseline, unit) for row in others],
        *[text for row in table for text in _troubles(row)],
        f"What this does not show: a model of {parameters / 1e6:.2g} M parameters trained for {steps} steps tells that "
        "an optimizer works and in which direction it differs, not which loss a billion parameters would reach.",
        "Losses repeat bit for bit on this machine; seconds and milliseconds are this machine's, and only its.",
    ]


def _first(table: Sequence[Row], unit: str) -> str:
    best, *rest = sorted(table, key=lambda row: (row.median, row.name))
    if math.isinf(best.median):
        return "No winner: every contestant diverged."
    if len(best.losses) < 2:
        return (
            f"No ranking: one seed cannot tell a difference from chance. {best.name} has the lowest loss, "
            f"{best.median:.3f} {unit}."
        )
    level = [row.name for row in rest if overlap(best, row)]
    if level:
        return (
            f"No single winner: {best.name} has the lowest median loss, {best.median:.3f} {unit}, but its range over "
            f"seeds overlaps with that of {_and(level)}."
        )
    if not rest:
        return f"{best.name} ends at {best.median:.3f} {unit}; there is nothing to compare it with."
    return (
        f"{best.name} wins on loss: {best.median:.3f} {unit}, and its worst seed is better than the best of any other."
    )


def _against(row: Row, baseline: Row, unit: str) -> str:
    """One contestant against AdamW: loss and what it costs in bytes."""
    state = f"with {_percent(row.state_share)} of its optimizer state"
    if math.isinf(row.median) or math.isinf(baseline.median):
        loser, winner = (row, baseline) if math.isinf(row.median) else (baseline, row)
        both = math.isinf(row.median) and math.isinf(baseline.median)
        return f"{row.name} and AdamW both diverged." if both else f"{loser.name} diverged; {winner.name} did not."
    difference = _difference(row.median, baseline.median, unit)
    if len(row.losses) < 2 or len(baseline.losses) < 2:
        return f"{row.name} ends {difference} AdamW {state}; one seed each, so this may be chance."
    if overlap(row, baseline):
        return f"{row.name} ends {difference} AdamW, ranges overlap: no difference can be told, {state}."
    if row.median > baseline.median:
        return f"AdamW beats {row.name}, which ends {difference} it, {state}."
    return f"{row.name} beats AdamW here: it ends {difference} it, {state}."


def _difference(loss: float, baseline: float, unit: str) -> str:
    where = "above" if loss > baseline else "below"
    # A per cent of a loss means something only if both are positive, which is not so for any loss of a user.
    share = f" or {_percent(abs(loss / baseline - 1))}" if min(loss, baseline) > 0 else ""
    return f"{abs(loss - baseline):.3f} {unit}{share} {where}"


def _troubles(row: Row) -> list[str]:
    found = []
    if row.diverged:
        found.append(f"{row.name} diverged in {row.diverged} of {len(row.losses)} runs at its best learning rate.")
    if row.diverged_in_sweep:
        found.append(f"{row.name} diverged at {row.diverged_in_sweep} of {row.rates_tried} learning rates.")
    if row.edge and row.lr is not None:
        found.append(
            f"The best learning rate of {row.name}, {row.lr:g}, is still the {row.edge} one tried: it may do better "
            "beyond it."
        )
    if row.state_bytes != row.planned_state_bytes:
        found.append(
            f"{row.name}: planned {row.planned_state_bytes} bytes of state, measured {row.state_bytes}. They must be "
            "equal; a parameter that got no gradient has no state yet."
        )
    return found


def disturbances(records: Sequence[RunRecord], timing: RunRecord, kernels: str) -> list[str]:
    """Why not to trust the times: no fast kernels, or something else was running.

    Forward and backward are the same work for every contestant, and AdamW is as fast as itself.
    """
    found = []
    if kernels == "eager":
        found.append(
            "SM3 and SMMF ran on plain PyTorch: their C++ kernels, many times faster, are not installed here. "
            "Install a C++ compiler, then sm3 again."
        )
    medians = [r.metrics["gradient_ms"] for r in records if r.metrics["gradient_ms"] is not None]
    if medians and max(medians) > BUSY * min(medians):
        found.append(
            "Contended: forward and backward are the same work in every run, yet their medians went from "
            f"{min(medians):.1f} to {max(medians):.1f} ms. Read the seconds of the training runs with caution."
        )
    if timing.metrics["contended"]:
        found.append(
            f"Contended: on large tensors AdamW took {timing.metrics['control']:.2f} times as long as itself. "
            "Read the milliseconds with caution."
        )
    return found


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(share: float) -> str:
    """Two significant digits: 2.5 %, 0.49 %, 100 %."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
