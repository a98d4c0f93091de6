"""A study in a folder: run to the end, continued after a kill at any point, never mixed with another space."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sm3.errors import InputError, SettingError
from sm3.tune import trials
from sm3.tune.outcomes import read
from sm3.tune.space import Space, parse

PARAMETERS = """
[parameters]
x = { kind = "float", low = 0.0, high = 1.0 }
n = { kind = "int", low = 1, high = 8, log = true }
k = { kind = "categorical", choices = ["a", "b"] }
y = { kind = "float", low = 1e-3, high = 1.0, log = true, when = { k = "b" } }
"""
SUM = "return settings['x'] + settings['n'] + settings.get('y', 10.0)"


def space_of(function: str, count: int = 12, more: str = "") -> Space:
    return parse(f'function = "{function}"\ntrials = {count}\n{more}\n{PARAMETERS}')


def run(space: Space, folder: Path, workers: int = 1, watch: trials.Watch | None = None):
    """Everything that is missing; the outcomes as (settings, score, ending) in the order of their rows."""
    study = trials.open_study(space, folder)
    trials.run(study, space, watch or trials.Watch(), workers)
    found = read(study)
    return sorted((o.row, o.repeat, sorted(o.settings.items()), o.score, o.ending) for o in found.first + found.repeats)


class Stop(Exception):
    """What stands for a power cut in these tests."""


class StopAfter(trials.Watch):
    def __init__(self, count: int) -> None:
        self.left = count

    def step(self, ending):  # noqa: ARG002 - the number of calls is what counts
        self.left -= 1
        if not self.left:
            raise Stop


def test_every_row_runs_once_with_the_settings_of_its_draw(job, tmp_path):
    """Conditional hyper-parameters included; the function gets [fixed] besides."""
    space = space_of(job("return settings['x'] + settings['c']"), more="fixed = { c = 5 }")
    found = run(space, tmp_path)

    assert [row for row, *_ in found] == list(range(12))
    for _, _, settings, score, ending in found:
        assert ending == "finished"
        assert score == dict(settings)["x"] + 5
        assert ("y" in dict(settings)) == (dict(settings)["k"] == "b")


@pytest.mark.parametrize("stops", [[1], [3, 1, 4]])
def test_a_stopped_search_ends_with_the_trials_of_one_that_was_not(job, tmp_path, stops):
    """Trial by trial, score by score."""
    space = space_of(job(SUM))
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = run(space, tmp_path / "whole")

    for count in stops:
        with pytest.raises(Stop):
            run(space, tmp_path / "parts", watch=StopAfter(count))

    assert run(space, tmp_path / "parts") == whole


def test_a_killed_process_loses_the_trial_that_was_running_and_no_other(job, tmp_path):
    """SIGKILL in the middle of a trial: nothing can be cleaned up, and the next start goes on."""
    name = job("note('.'); import time; time.sleep(0.05); " + SUM)
    space = space_of(name)
    text = f'function = "{name}"\ntrials = 12\n{PARAMETERS}'
    code = (
        "import sys; from pathlib import Path; from sm3.tune import trials; from sm3.tune.space import parse\n"
        "space = parse(sys.argv[1]); study = trials.open_study(space, Path(sys.argv[2]))\n"
        "trials.run(study, space, trials.Watch())"
    )
    process = subprocess.Popen([sys.executable, "-c", code, text, str(tmp_path)], cwd=tmp_path)
    counter = tmp_path / "count"
    deadline = time.monotonic() + 60
    while not counter.exists() or counter.stat().st_size < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = counter.stat().st_size

    found = run(space, tmp_path)

    assert [row for row, *_ in found] == list(range(12))
    assert all(ending == "finished" for *_, ending in found)
    # One trial ran twice, or none, where the kill fell between two.
    assert counter.stat().st_size in (12, 13)
    assert begun < 12


def test_half_a_line_at_the_end_of_the_journal_is_dropped(job, tmp_path):
    """What a kill in the middle of a write leaves behind: the next entry must not be glued to it."""
    name = job(SUM)
    short = run(space_of(name, 4), tmp_path)
    with (tmp_path / trials.STUDY).open("a") as file:
        file.write('{"op_code": 6, "wor')
    long = run(space_of(name, 8), tmp_path)

    assert long[:4] == short
    assert run(space_of(name, 8), tmp_path) == long


def test_more_trials_are_added_to_those_that_have_run(job, tmp_path):
    """The first ones are kept; none runs twice."""
    name = job("note('.'); " + SUM)
    short = run(space_of(name, 5), tmp_path)
    long = run(space_of(name, 9), tmp_path)

    assert long[:5] == short
    assert (tmp_path / "count").stat().st_size == 9


def test_side_by_side_gives_the_same_trials(job, tmp_path):
    """Two processes, in whatever order they finish."""
    space = space_of(job(SUM), 6)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    assert run(space, tmp_path / "two", workers=2) == run(space, tmp_path / "one")


def test_bad_ends_are_kept_with_their_reason(job, tmp_path):
    """NaN, infinity, an exception: each is an outcome, none stops the search."""
    body = """
        if settings['k'] == 'a': return math.nan
        if settings['n'] > 4: raise OverflowError('too large')
        return math.inf if settings['x'] > 0.5 else settings['x']
    """
    found = run(space_of(job(body), 40), tmp_path)
    endings = {ending for *_, ending in found}

    assert endings == {"nan", "OverflowError: too large", "inf", "finished"}
    assert len(found) == 40
    assert all((score is None) == (ending != "finished") for *_, score, ending in found)


def test_repeats_run_the_first_rows_once_more_with_another_seed(job, tmp_path):
    """The function is told a seed, and no two trials have the same."""
    name = job("note(f\"{settings['seed']} \"); return float(settings['seed'])")
    found = run(space_of(name, 6, "repeats = 3"), tmp_path)
    seeds = (tmp_path / "count").read_text().split()

    assert [(row, repeat) for row, repeat, *_ in found if repeat] == [(0, 1), (1, 1), (2, 1)]
    assert len(set(seeds)) == len(seeds) == 9
    by_key = {(row, repeat): settings for row, repeat, settings, *_ in found}
    assert all(by_key[row, 1] == by_key[row, 0] for row in range(3))


def test_a_function_that_always_raises_stops_after_five_trials(job, tmp_path, capsys):
    """It has a mistake; the traceback is on stderr."""
    name = job("note('.'); return settings['no_such_key']")
    with pytest.raises(InputError, match="first 5 trials"):
        run(space_of(name), tmp_path)

    assert (tmp_path / "count").stat().st_size == 5
    assert "no_such_key" in capsys.readouterr().err


def test_trials_that_raised_run_again_when_asked_for(job, tmp_path):
    """A full disk is no property of a setting; NaN is, and does not run again. Each row counts as it ended last."""
    name = job("""
        note('.')
        if settings['x'] > 0.7: return math.nan
        from pathlib import Path
        if settings['k'] == 'a' and Path('full').exists(): raise OSError('disk full')
        return settings['x']
    """)
    space = space_of(name, 12)
    (tmp_path / "full").touch()
    first = run(space, tmp_path)
    ran = (tmp_path / "count").stat().st_size
    (tmp_path / "full").unlink()
    study = trials.open_study(space, tmp_path)
    trials.run(study, space, trials.Watch(), retry=True)
    found = read(study).first
    full = [ending for *_, ending in first].count("OSError: disk full")

    assert full > 1
    assert (tmp_path / "count").stat().st_size == ran + full
    assert sorted(outcome.row for outcome in found) == list(range(12))
    assert {outcome.ending for outcome in found} == {"finished", "nan"}


def test_a_function_that_raises_often_but_not_always_goes_on(job, tmp_path):
    """Four bad ends and a score are a result."""
    name = job("if settings['x'] > 0.2: raise ValueError('no')\nreturn settings['x']")

    assert len(run(space_of(name, 30), tmp_path)) == 30


def test_a_setting_that_kills_the_process_three_times_counts_as_a_bad_end(job, tmp_path):
    """No endless loop of crash and restart. A kill leaves a trial that was asked for and never told."""
    name = job("return 1.0")
    space = space_of(name, 1)
    for _ in range(trials.MOST_KILLS):
        study = trials.open_study(space, tmp_path)
        assert trials.enqueue(study, space) == 1
        asked = trials.ask(study, space)
        assert asked is not None

    for _ in range(2):
        ((_, _, settings, score, ending),) = run(space, tmp_path)
        assert (dict(settings), score, ending) == (asked[0].params, None, "killed 3 times")
    assert [ending for *_, ending in run(space_of(name, 2), tmp_path)] == ["killed 3 times", "finished"]


def test_ctrl_c_is_no_kill(job, tmp_path):
    """However often it is pressed during the same trial."""
    name = job("if settings['x'] > 0.5: raise KeyboardInterrupt\nreturn 1.0")
    space = space_of(name, 4)
    for _ in range(trials.MOST_KILLS + 1):
        with pytest.raises(KeyboardInterrupt):
            run(space, tmp_path)

    endings = [outcome.ending for outcome in read(trials.open_study(space, tmp_path)).first]
    assert set(endings) <= {"finished"}


def test_another_space_does_not_get_into_the_folder(job, tmp_path):
    """The message says what differs."""
    name = job(SUM)
    run(space_of(name, 2), tmp_path)
    with pytest.raises(InputError, match=r"other values of: better"):
        trials.open_study(space_of(name, 2, 'better = "higher"'), tmp_path)
    with pytest.raises(InputError, match=r"other values of: parameters"):
        trials.open_study(parse(f'function = "{name}"\n[parameters]\nx = {{ kind = "bool" }}'), tmp_path)


def test_a_second_process_is_kept_out(tmp_path):
    """It would take the running trials of the first for killed ones."""
    pytest.importorskip("fcntl")
    with trials.alone(tmp_path), pytest.raises(SettingError, match="another process"), trials.alone(tmp_path):
        pass
    with trials.alone(tmp_path):
        pass
