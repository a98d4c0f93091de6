"""An Optuna study in a folder: made from a space, run to the end, and continued after a kill.

All trials wait in the study before the first one runs, each with its row in `draws`. What was running when the process
died is told FAIL at the next start, and its row waits again. How many run side by side changes no trial.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sm3.errors import InputError, SettingError, explain
from sm3.extras import require
from sm3.tune import draws
from sm3.tune.evaluate import Ending, evaluate, raised
from sm3.tune.outcomes import ENDING, INTERRUPTED, REPEAT, ROW, SPACE, open_storage
from sm3.tune.space import Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STUDY, NAME = "study.journal", "sm3-tune"
# A setting that takes the process down three times (no memory, a crash in native code) has ended badly. Chosen.
MOST_KILLS = 3
# A function that raises in each of its first trials has a mistake, and does not diverge. Chosen.
ALL_RAISED = 5


class Watch:
    """What a run tells about itself while it goes on; this one is silent."""

    def expect(self, trials: int) -> None: ...

    def step(self, ending: Ending) -> None: ...


def open_study(space: Space, folder: Path) -> Study:
    """The study of a space in a folder, made or continued. Raises `InputError` if it belongs to another space."""
    optuna = require("optuna")
    path = folder / STUDY
    _drop_partial_line(path)
    study: Study = optuna.create_study(
        study_name=NAME,
        storage=open_storage(str(path)),
        direction="minimize" if space.better == "lower" else "maximize",
        load_if_exists=True,
    )
    found, wanted = study.user_attrs.get(SPACE), space.as_data()
    if found is None:
        study.set_user_attr(SPACE, wanted)
    elif found != wanted:
        other = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise InputError(
            explain(
                f"the folder {str(folder)!r} holds the trials of another space.",
                got=f"other values of: {', '.join(other)}",
                accepted="a new folder, or one with this function, these hyper-parameters, sampler and seed",
                do="leave --output out (every space has a folder of its own), choose another, or discard with --fresh",
            )
        )
    return study


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second process, which would take our running trials for killed ones."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock; there the guard is missing
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingError(
                explain(
                    "another process is running these trials.",
                    got=str(folder),
                    accepted="one process for a folder",
                    do="wait for it, or stop it and give the next one more --workers",
                )
            ) from error
        # What Optuna's own lock left behind when a process was killed while it wrote; nobody else can hold it now.
        (folder / f"{STUDY}.lock").unlink(missing_ok=True)
        yield


def enqueue(study: Study, space: Space, *, retry: bool = False) -> int:
    """Let every row wait that has not ended yet, with `retry` also those that raised; how many trials wait now."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # without an ending: its process was killed
    held: set[tuple[int, int]] = set()
    killed: dict[tuple[int, int], list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        key = (trial.user_attrs[ROW], trial.user_attrs[REPEAT])
        ending = trial.user_attrs.get(ENDING, INTERRUPTED)
        if trial.state == TrialState.WAITING or (ending != INTERRUPTED and not (retry and raised(ending))):
            held.add(key)
        elif ENDING not in trial.user_attrs and trial.params:
            killed.setdefault(key, []).append(trial)
    rows = draws.settings(space, space.trials)
    for key in [(row, 0) for row in range(space.trials)] + [(row, 1) for row in range(min(space.repeats, len(rows)))]:
        attributes = {ROW: key[0], REPEAT: key[1]}
        if key in held:
            continue
        if len(killed.get(key, ())) >= MOST_KILLS:
            _give_up(study, killed[key][-1], attributes)
        else:
            study.enqueue_trial(dict(rows[key[0]]), user_attrs=attributes)
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _give_up(study: Study, trial: FrozenTrial, attributes: dict[str, Any]) -> None:
    """A row that took the process down each time: its bad end is written down once, and counts."""
    made = require("optuna.trial").create_trial(
        state=trial.state,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attributes | {ENDING: f"killed {MOST_KILLS} times"},
    )
    study.add_trial(made)


def ask(study: Study, space: Space) -> tuple[Trial, dict[str, Any]] | None:
    """The next trial that waits, with what its function is to be called with; None where none waits."""
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return None  # Optuna's `ask` would make a trial of its own
    trial = study.ask()
    found: dict[str, Any] = {}
    for parameter in space.parameters:
        name, low, high = parameter.name, parameter.low, parameter.high
        if not parameter.active(found):
            continue
        if parameter.choices:
            found[name] = trial.suggest_categorical(name, parameter.choices)
        elif parameter.kind == "int":
            found[name] = trial.suggest_int(name, int(low), int(high), log=parameter.log)
        else:
            found[name] = trial.suggest_float(name, low, high, log=parameter.log)
    # With repeats the function is told which run this is; no two trials have the same seed.
    seed = {"seed": 2 * trial.user_attrs[ROW] + trial.user_attrs[REPEAT]} if space.repeats else {}
    return trial, {**space.fixed, **found, **seed}


def tell(study: Study, trial: Trial, ending: Ending) -> None:
    """Write down how a trial ended. A bad end is FAIL for Optuna, with the reason beside it."""
    from optuna.trial import TrialState

    trial.set_user_attr(ENDING, ending.how)
    if ending.score is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, ending.score)


def run(study: Study, space: Space, watch: Watch, workers: int = 1, *, retry: bool = False) -> None:
    """Run every trial that waits, `workers` of them side by side, each in a process of its own if more than one.

    `retry` runs trials again that raised, for example because a disk was full.

    Raises `InputError` if the function breaks its contract, raises in each of the first trials, or kills a worker.
    """
    watch.expect(enqueue(study, space, retry=retry))
    endings: list[Ending] = []
    finished = any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))
    for trial, ending in _endings(study, space, workers):
        tell(study, trial, ending)
        watch.step(ending)
        endings.append(ending)
        finished = finished or not ending.raised
        if not finished and len(endings) == ALL_RAISED:
            raise _always_raises(space, endings)


def _endings(study: Study, space: Space, workers: int) -> Iterator[tuple[Trial, Ending]]:
    if workers > 1:
        yield from _side_by_side(study, space, workers)
        return
    while (asked := ask(study, space)) is not None:
        trial, settings = asked
        try:
            ending = evaluate(space.function, settings)
        except BaseException:
            tell(study, trial, Ending(None, INTERRUPTED))
            raise
        yield trial, ending


def _side_by_side(study: Study, space: Space, workers: int) -> Iterator[tuple[Trial, Ending]]:
    running: dict[Future[Ending], Trial] = {}
    # spawn, not fork: a forked process inherits threads of PyTorch and Optuna that do not run in it
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while True:
                while len(running) < workers and (asked := ask(study, space)) is not None:
                    running[pool.submit(evaluate, space.function, asked[1])] = asked[0]
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    ending = future.result()
                    yield running.pop(future), ending
        except BrokenProcessPool as error:
            raise _worker_died(space) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for trial in running.values():
                tell(study, trial, Ending(None, INTERRUPTED))
            raise


def _always_raises(space: Space, endings: list[Ending]) -> InputError:
    print(endings[-1].trace, file=sys.stderr)
    return InputError(
        explain(
            f"the function {space.function} raised in each of its first {len(endings)} trials.",
            got=endings[-1].how,
            accepted="a function that returns a number; one that raises now and then is counted as diverged",
            do="see the traceback above, correct the function, and run the same command with --retry",
        )
    )


def _worker_died(space: Space) -> InputError:
    return InputError(
        explain(
            f"a process that ran {space.function} died.",
            got="it was killed from outside (out of memory?) or crashed in native code",
            accepted="workers that all fit into memory",
            do="run the same command again with fewer --workers: a trial that dies three times counts as a bad end",
        )
    )


def _drop_partial_line(path: Path) -> None:
    """A kill can leave half a line at the end of the journal; the next entry must not be glued to it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
