"""One call of the user's function: a finite number, a bad end, or an error that says how the contract was broken."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sm3.errors import InputError
from sm3.tune.evaluate import evaluate, find


@pytest.mark.parametrize("returned", ["1.5", "3", "np.float32(0.5)", "np.array([2.0])", "np.array(2.0)"])
def test_every_kind_of_one_number_is_a_score(job, returned):
    """Python's, NumPy's, and whatever else has `item`."""
    ending = evaluate(job(f"return {returned}"), {})

    assert ending.score == float(np.asarray(eval(returned)).ravel()[0])
    assert ending.how == "finished"


@pytest.mark.parametrize(("returned", "how"), [("math.nan", "nan"), ("math.inf", "inf"), ("-math.inf", "-inf")])
def test_a_number_that_is_not_finite_is_a_bad_end(job, returned, how):
    """Named as what it is; minus infinity is no record, it is a defect."""
    assert (evaluate(job(f"return {returned}"), {}).score, evaluate(job(f"return {returned}"), {}).how) == (None, how)


def test_an_exception_is_a_bad_end_with_its_reason(job):
    """The first line, for the count; the traceback, for the user."""
    ending = evaluate(job("raise FloatingPointError('overflow in step 3\\nlong story')"), {})

    assert ending.score is None
    assert ending.how == "FloatingPointError: overflow in step 3"
    assert ending.raised
    assert "long story" in ending.trace


@pytest.mark.parametrize("returned", ["None", "'0.3'", "True", "np.array([1.0, 2.0])", "{}"])
def test_what_is_no_number_stops_the_search(job, returned):
    """A function that returns the wrong thing does so in every trial."""
    with pytest.raises(InputError, match="returned"):
        evaluate(job(f"return {returned}"), {})


def test_what_the_function_prints_goes_to_stderr(job, capsys):
    """stdout is for the result of the command, with --json one object."""
    evaluate(job("print('epoch 1'); return 0.0"), {})
    out, err = capsys.readouterr()

    assert out == ""
    assert "epoch 1" in err


def test_the_function_may_change_its_settings(job):
    """It gets a copy."""
    settings = {"a": 1}
    evaluate(job("return settings.pop('a')"), settings)

    assert settings == {"a": 1}


def test_keyboard_interrupt_is_not_a_bad_end(job):
    """Ctrl-C ends the search, not a trial."""
    with pytest.raises(KeyboardInterrupt):
        evaluate(job("raise KeyboardInterrupt"), {})


@pytest.mark.parametrize("name", ["no_such_module_at_all:f", "math:no_such", "math:pi"])
def test_a_function_that_is_not_there_is_named(name):
    """With the line that shows why."""
    with pytest.raises(InputError, match="cannot be tuned"):
        find(name)


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch):
    """A mistake in the user's file is the user's message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "tune_broken_job.py").write_text("import math\nmath.nothing\n")
    with pytest.raises(InputError, match="nothing"):
        find("tune_broken_job:score")
    assert math.isfinite(1.0)
