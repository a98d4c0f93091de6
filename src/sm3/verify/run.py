"""All promises for all variants, one after another, with something to watch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sm3.errors import ParameterError, SettingError, explain
from sm3.verify import backends, judge, ranks, release, resume, sizes, threads
from sm3.verify.difference import difference
from sm3.verify.outcome import BROKEN, REFUSED, Outcome
from sm3.verify.record import Record, record
from sm3.verify.subject import Subject, subject, unrepeatable
from sm3.verify.variant import Variant

FEWEST_STEPS, MOST_STEPS, MOST_RANKS, MOST_THREADS = 2, 10_000, 64, 1024


class Watch:
    """What a caller may want to see; nothing by default."""

    def expect(self, count: int) -> None:
        """So many pieces of work are to come."""

    def begin(self, label: str) -> None:
        """The next one."""

    def done(self) -> None:
        """It is finished."""


@dataclass(frozen=True)
class Certificate:
    """What was found, in the order of promises and variants."""

    subject: str
    parameters: int
    steps: int
    world: int
    threads: int
    variants: tuple[Variant, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool:
        """No promise is broken; refused and skipped ones were not given."""
        return not any(outcome.verdict == BROKEN for outcome in self.outcomes)

    def promises(self) -> list[str]:
        """Each once, in order."""
        return list(dict.fromkeys(outcome.promise for outcome in self.outcomes))


def verify(
    name: str,
    variants: Sequence[Variant],
    *,
    steps: int = 20,
    world: int = 4,
    thread_count: int = 4,
    watch: Watch | None = None,
) -> Certificate:
    """Every promise on "bytegpt" or on "module:function" of the user.

    Raises `InputError` where the subject cannot be verified, `SettingError` for a number out of range.
    """
    for what, value, low, high in (
        ("steps", steps, FEWEST_STEPS, MOST_STEPS),
        ("ranks", world, 1, MOST_RANKS),
        ("threads", thread_count, 1, MOST_THREADS),
    ):
        _check(what, value, low, high)
    watch = watch or Watch()
    watch.expect(1 + 8 * len(variants))
    watch.begin("preparing")
    made = subject(name, steps)
    watch.done()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="sm3-verify-") as place:
        folder, records = Path(place), []
        for variant in variants:
            watch.begin(f"{variant.label}: training")
            records.append(record(made, variant, folder / variant.folder))
            watch.done()
            outcomes += _alone(made, records[-1], folder, thread_count, watch)
        watch.begin(f"{world} ranks")
        outcomes += ranks.ranks(records, world, folder, watch.done)
        parameters = sum(leaf.numel() for leaf in records[0].leaves().values())
    order = [resume.PROMISE, ranks.promise(world), threads.promise(thread_count), release.PROMISE, sizes.PROMISE]
    order += [backends.PROMISE, judge.PROMISE]
    outcomes.sort(key=lambda outcome: order.index(outcome.promise))
    return Certificate(name, parameters, steps, world, thread_count, tuple(variants), tuple(outcomes))


def _alone(made: Subject, base: Record, folder: Path, thread_count: int, watch: Watch) -> list[Outcome]:
    """The promises that need one process."""
    work: tuple[tuple[str, Callable[[], Outcome]], ...] = (
        (resume.PROMISE, lambda: resume.resume(made, base)),
        (release.PROMISE, lambda: release.release(made, base)),
        (threads.promise(thread_count), lambda: threads.threads(base, thread_count)),
        (sizes.PROMISE, lambda: sizes.sizes(base)),
        (backends.PROMISE, lambda: backends.backends(base)),
        (judge.PROMISE, lambda: judge.judge(base)),
    )
    found = []
    for promise, run in work:
        watch.begin(f"{base.variant.label}: {promise}")
        outcome = _run(promise, base, run)
        if outcome.verdict == BROKEN and promise in (resume.PROMISE, release.PROMISE):
            _refuse_if_unrepeatable(made, base, folder / f"{base.variant.folder}-again")
        found.append(outcome)
        watch.done()
    return found


def _run(promise: str, base: Record, run: Callable[[], Outcome]) -> Outcome:
    """The outcome; what the optimizer refuses by name was not promised."""
    try:
        return run()
    except (ParameterError, SettingError) as error:
        return Outcome(promise, base.variant.label, REFUSED, reason=str(error))


def _refuse_if_unrepeatable(made: Subject, base: Record, folder: Path) -> None:
    """Before a promise is called broken: is the model's own run the same twice, without stop or release?"""
    if folder.exists():
        return
    again = record(made, base.variant, folder)
    found = difference(again.end, base.end)
    if found.unequal or again.losses != base.losses:
        raise unrepeatable(made.name, f"another {found.where or 'loss'} after {base.steps} steps of the same run")


def _check(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SettingError(
            explain(
                f"{what} is not accepted.",
                got=f"{what}={value}",
                accepted=f"an integer from {low} to {high}",
                do=f"pass for example --{what} {max(low, 4)}",
            )
        )
