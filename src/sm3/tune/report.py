"""The result in words and numbers: the tables and sentences of the terminal and the page, and the JSON object."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sm3.run_record import versions as recorded_versions
from sm3.tune import bad_ends, peers
from sm3.tune.effects import Effect
from sm3.tune.rank import Ranking
from sm3.tune.refusal import LEAST_Q2

if TYPE_CHECKING:
    from rich.table import Table

    from sm3.tune.job import Result, Verdict

FORMAT = 1
PIPED_WIDTH = 118

# Title and one cell per row; the terminal's table and the page's are the same columns.
COLUMNS = ("place", "hyper-parameter", "alone,\n% of variance", "with interactions,\n% of variance", *peers.NAMES)
# What the columns mean.
NOTES = (
    "alone, with interactions: first-order and total Sobol' index; 95 % intervals for the function itself, so what the "
    "polynomial misses widens them. Places are those that the intervals of the totals leave open.",
    "fANOVA, PED-ANOVA: Optuna's, in % of their sum, from the finished trials; neither has an interval. PED-ANOVA "
    "answers another question: what it takes to be among the best tenth.",
)


def cells(effect: Effect, shares: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """The cells of a row, in the order of `COLUMNS`."""
    first, last = effect.places
    return (
        f"{first}" if first == last else f"{first}-{last}",
        effect.name,
        _with_interval(effect.first, effect.first_interval),
        _with_interval(effect.total, effect.total_interval),
        *[f"{100 * shares[peer][effect.name]:.0f}" if peer in shares else "-" for peer in peers.NAMES],
    )


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    """In percent. Ends outside [0, 1] are sampling error, and are shown at the limit."""
    low, high = (min(max(100 * end, 0.0), 100.0) for end in interval)
    return f"{100 * value:.0f} [{low:.0f}, {high:.0f}]"


def headline(result: Result) -> str:
    """One sentence that says it."""
    found = [(verdict.branch.label, verdict.ranking) for verdict in result.verdicts]
    parts = [f"{label}: {_head(ranking)}" if label else _head(ranking) for label, ranking in found]
    return " ".join(parts)


def _head(ranking: Ranking) -> str:
    if not ranking.ranked:
        return "No ranking." if ranking.refusals[0].reason != "few" else "No ranking: too few trials."
    surely = [effect for number, effect in enumerate(ranking.effects, 1) if effect.places == (number, number)]
    if not surely or surely[0] is not ranking.effects[0]:
        last = ranking.effects[0].places[1]
        names = ", ".join(effect.name for effect in ranking.effects if effect.places[0] == 1)
        return f"The first {last} places are open between {names}."
    first = surely[0]
    return f"{first.name} matters most: {100 * first.total:.0f} % of the variance, interactions included."


def sentences(result: Result, verdict: Verdict) -> list[str]:
    """What is to be said about a branch beside its table; the refusals first."""
    ranking, target = verdict.ranking, verdict.target
    said = [refusal.text for refusal in ranking.refusals]
    if ranking.ranked:
        low, high = ranking.q2_interval
        said.append(
            f"Q2 = {ranking.q2:.2f} [{low:.2f}, {high:.2f}] on trials that were not fitted: "
            f"{100 * (1 - ranking.q2):.0f} % of the variance of the {target.name} is in no row of the table."
        )
    if ranking.ceiling is not None:
        low, high = ranking.ceiling.interval
        said.append(
            f"Noise of single runs leaves a Q2 of at most {ranking.ceiling.q2:.2f} [{low:.2f}, {high:.2f}], by "
            f"{ranking.ceiling.pairs} pairs of runs with the same settings."
        )
    said.extend(_bad(verdict))
    if verdict.branch.constant:
        said.append(f"With one value only, and so without influence here: {', '.join(verdict.branch.constant)}.")
    if result.left_out:
        said.append(f"Left out, as asked: {result.left_out} failed or pruned trials.")
    return said


def _bad(verdict: Verdict) -> Iterator[str]:
    """Bad ends: how many, where, and what decides whether a trial ends badly."""
    if counted := bad_ends.sentence(verdict.target):
        yield counted
        yield bad_ends.told(verdict.signs, verdict.target)
    ranking = verdict.bad_ranking
    if ranking is not None and ranking.ranked:
        sure = [effect for effect in ranking.effects if effect.total_interval[0] > 0] or ranking.effects[:1]
        shares = ", ".join(f"{effect.name} {100 * effect.total:.0f} %" for effect in sure)
        yield f"Whether a trial ends badly (Q2 = {ranking.q2:.2f}), by total index: {shares}."


def subject(result: Result) -> str:
    outcomes = result.outcomes
    unended = f", {outcomes.unended} not ended" if outcomes.unended else ""
    return (
        f"{outcomes.title}: {len(outcomes.first) + len(outcomes.repeats)} trials{unended}, {outcomes.better} is better"
    )


def show(result: Result) -> None:
    """Tables and sentences, on stdout."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)  # Rich would fold the table into 80 columns
    console.print(subject(result), markup=False, highlight=False)
    for verdict in result.verdicts:
        label = f"{verdict.branch.label}: " if verdict.branch.label else ""
        console.print(f"\n{label}{_head(verdict.ranking)}", markup=False, highlight=False, style="bold")
        if verdict.ranking.ranked:
            console.print(table(verdict))
        for text in sentences(result, verdict):
            console.print(f"- {text}", markup=False, highlight=False)
        if not verdict.ranking.ranked and verdict.peers:
            console.print(_peers_alone(verdict), markup=False, highlight=False)
    console.print()
    for text in NOTES:
        console.print(text, markup=False, highlight=False, style="dim")


def table(verdict: Verdict) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, title in enumerate(COLUMNS):
        drawn.add_column(Text(title), justify="left" if number == 1 else "right", no_wrap=True)
    for effect in verdict.ranking.effects:
        drawn.add_row(*(Text(cell) for cell in cells(effect, verdict.peers)))
    return drawn


def _peers_alone(verdict: Verdict) -> str:
    """What Optuna says to the same trials, where we refuse: with the warning that it always says something."""
    parts = [
        f"{peer} {', '.join(f'{name} {100 * share:.0f} %' for name, share in list(shares.items())[:4])}"
        for peer, shares in verdict.peers.items()
    ]
    return "- Optuna's figures for these trials, which come without an interval whatever the trials: " + "; ".join(
        parts
    )


def as_data(result: Result) -> dict[str, Any]:
    """Everything as plain JSON values; what does not exist is null."""
    outcomes = result.outcomes
    found = {
        "kind": "tune",
        "format": FORMAT,
        "command": result.job.command,
        "study": outcomes.study,
        "better": outcomes.better,
        "space": outcomes.space,
        "transform": result.job.transform,
        "least_q2": LEAST_Q2,
        "trials": len(outcomes.first),
        "repeats": len(outcomes.repeats),
        "unended": outcomes.unended,
        "left_out": result.left_out,
        "branches": [_verdict(result, verdict) for verdict in result.verdicts],
        "versions": versions(),
    }
    return _finite(found)  # type: ignore[no-any-return]


def _verdict(result: Result, verdict: Verdict) -> dict[str, Any]:
    return {
        "label": verdict.branch.label,
        "hyper_parameters": [axis.name for axis in verdict.branch.axes],
        "constant": list(verdict.branch.constant),
        "bad_ends": verdict.target.endings,
        "bad_ends_lie": [{"name": sign.name, "text": sign.text, "p": sign.p} for sign in verdict.signs],
        **_ranking(verdict.ranking),
        "bad_end_ranking": None if verdict.bad_ranking is None else _ranking(verdict.bad_ranking),
        "peers": verdict.peers,
        "sentences": sentences(result, verdict),
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    ceiling = ranking.ceiling
    return {
        "ranked": ranking.ranked,
        "trials": ranking.trials,
        "q2": ranking.q2,
        "q2_interval": list(ranking.q2_interval),
        "refusals": [{"reason": one.reason, "text": one.text, "needed": one.needed} for one in ranking.refusals],
        "effects": [
            {
                "name": effect.name,
                "places": list(effect.places),
                "first": effect.first,
                "first_interval": list(effect.first_interval),
                "total": effect.total,
                "total_interval": list(effect.total_interval),
            }
            for effect in ranking.effects
        ],
        "learning_curve": [{"trials": p.trials, "q2": p.q2, "low": p.low, "high": p.high} for p in ranking.curve],
        "noise_ceiling": None
        if ceiling is None
        else {"q2": ceiling.q2, "interval": list(ceiling.interval), "pairs": ceiling.pairs},
    }


def versions() -> dict[str, str]:
    """Python, ours, and the libraries that decide a ranking."""
    return recorded_versions() | {name: metadata.version(name) for name in ("optuna", "scikit-learn", "scipy")}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
