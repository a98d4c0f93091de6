"""The certificate: a table for people, a dict for JSON. Both name what was compared, and where it differs most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sm3 import run_record
from sm3.extras import require
from sm3.verify.outcome import BROKEN, HOLDS, REFUSED, SKIPPED, Outcome
from sm3.verify.run import Certificate
from sm3.verify.sizes import PROMISE as SIZES

if TYPE_CHECKING:
    from rich.console import Console


def cell(outcome: Outcome) -> str:
    """A cell of the table: the largest difference, or the verdict where there is none."""
    if outcome.verdict == REFUSED:
        return "refused"
    if outcome.verdict == SKIPPED:
        return "not here"
    if outcome.promise == SIZES:
        size = f"{outcome.largest:,.0f} B"
    elif outcome.bound:
        size = f"{outcome.largest:.1e} *"
    else:
        size = "0" if outcome.verdict == HOLDS else f"{outcome.largest:.3g}"
    return size if outcome.verdict == HOLDS else f"BROKEN {size}"


def headline(certificate: Certificate) -> str:
    """What was verified."""
    c = certificate
    return (
        f"{c.subject}: {c.parameters:,} trained parameters, {c.steps} steps; the largest difference of any two numbers"
    )


def sentences(certificate: Certificate) -> list[str]:
    """What the table cannot say: what is broken and where, what was refused and why, what a star is allowed."""
    said = []
    for outcome in certificate.outcomes:
        if outcome.verdict == BROKEN:
            where = f" in {outcome.where}" if outcome.where else ""
            allowed = f", allowed {outcome.bound:.1e}" if outcome.bound else ""
            why = f": {outcome.reason}" if outcome.reason else ""
            said.append(
                f"BROKEN: {outcome.promise}, {outcome.variant}: differs by {outcome.largest:.6g}{where}{allowed} "
                f"({outcome.compared or 'nothing to compare'}){why}"
            )
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for outcome in certificate.outcomes:
        if outcome.verdict in (REFUSED, SKIPPED):
            reasons.setdefault((outcome.promise, outcome.verdict, outcome.reason), []).append(outcome.variant)
    for (promise, verdict, reason), variants in reasons.items():
        word = "refused" if verdict == REFUSED else "not verified here"
        said.append(f"{promise}, {', '.join(variants)}: {word}: {' '.join(reason.split())}")
    if starred := [o for o in certificate.outcomes if o.bound and o.verdict == HOLDS]:
        said.append(
            f"* of a factor, relative: its sum is made in another order, which may change it by up to "
            f"{max(o.bound for o in starred):.1e}; parameters and all other state differ by 0."
        )
    holds = sum(outcome.verdict == HOLDS for outcome in certificate.outcomes)
    broken = sum(outcome.verdict == BROKEN for outcome in certificate.outcomes)
    said.append(f"{holds} of {len(certificate.outcomes)} hold, {broken} broken.")
    return said


def show(certificate: Certificate, console: Console | None = None) -> None:
    """Print headline, table and sentences to stdout, as wide as they are."""
    require("rich")
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("promise", no_wrap=True)
    for variant in certificate.variants:
        table.add_column(variant.label, justify="right", no_wrap=True)
    table.add_column(f"compared, {certificate.variants[0].label}", no_wrap=True)
    for promise in certificate.promises():
        row = {outcome.variant: outcome for outcome in certificate.outcomes if outcome.promise == promise}
        cells = [cell(row[variant.label]) for variant in certificate.variants]
        compared = next((outcome.compared for outcome in row.values() if outcome.compared), "")
        table.add_row(promise, *cells, compared.partition(":")[0])
    console = console or Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, Console(width=10_000).measure(table).maximum)
    console.print(headline(certificate), end="\n\n", soft_wrap=True)
    console.print(table)
    console.print()
    console.print(*sentences(certificate), sep="\n", soft_wrap=True)


def as_dict(certificate: Certificate) -> dict[str, Any]:
    """The certificate as JSON can hold it, with what is needed to repeat it."""
    return {
        "subject": certificate.subject,
        "trained_parameters": certificate.parameters,
        "steps": certificate.steps,
        "ranks": certificate.world,
        "threads": certificate.threads,
        "variants": [
            {"optimizer": v.optimizer, "precision": v.precision, "settings": v.settings} for v in certificate.variants
        ],
        "holds": certificate.holds,
        "outcomes": [outcome.as_dict() for outcome in certificate.outcomes],
        "machine": run_record.machine(),
        "versions": run_record.versions(),
    }
