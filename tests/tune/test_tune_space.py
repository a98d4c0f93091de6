"""SPACE.toml: what is read, how a uniform draw becomes a value, and the message for everything that cannot be used."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sm3.errors import InputError
from sm3.tune.space import Parameter, parse, read

WHOLE = """
function = "my_job:score"
better = "higher"
trials = 200
sampler = "sobol"
seed = 7
repeats = 10
[fixed]
steps = 50
[parameters]
lr = { kind = "float", low = 1e-4, high = 1e-1, log = true }
layers = { kind = "int", low = 1, high = 4 }
norm = { kind = "categorical", choices = ["none", "layer", "rms"] }
bias = { kind = "bool" }
eps = { kind = "float", low = 0, high = 1, when = { norm = ["layer", "rms"], bias = true } }
"""


def test_a_whole_file_is_read():
    """Every key arrives, and numbers have the type of their kind."""
    space = parse(WHOLE)

    assert (space.function, space.better, space.trials, space.sampler) == ("my_job:score", "higher", 200, "sobol")
    assert (space.seed, space.repeats, space.fixed) == (7, 10, {"steps": 50})
    assert [parameter.name for parameter in space.parameters] == ["lr", "layers", "norm", "bias", "eps"]
    assert isinstance(space.parameters[1].low, int)
    assert isinstance(space.parameters[4].low, float)


def test_a_conditional_hyper_parameter_exists_only_beside_its_values():
    """All conditions must hold."""
    space = parse(WHOLE)
    draws = dict.fromkeys(("lr", "layers", "eps"), 0.5)

    assert "eps" in space.settings(draws | {"norm": 0.4, "bias": 0.5})
    assert "eps" not in space.settings(draws | {"norm": 0.4, "bias": 0.4})
    assert "eps" not in space.settings(draws | {"norm": 0.3, "bias": 0.5})


def test_what_depends_on_an_absent_hyper_parameter_is_absent_too():
    """A chain of conditions is followed to its end."""
    space = parse(
        'function = "m:f"\n[parameters]\na = { kind = "bool" }\nb = { kind = "bool", when = { a = true } }\n'
        'c = { kind = "bool", when = { b = [true, false] } }'
    )

    assert space.settings({"a": 0.0, "b": 0.9, "c": 0.9}) == {"a": False}


@given(st.floats(0.0, 1.0, exclude_max=True), st.booleans())
def test_values_stay_in_their_range(u, log):
    """Also where rounding could carry them out."""
    real = Parameter("x", "float", low=1e-7, high=0.3, log=log).value(u)
    whole = Parameter("n", "int", low=1, high=5, log=log).value(u)

    assert 1e-7 <= real <= 0.3
    assert 1 <= whole <= 5
    assert type(whole) is int


def test_all_whole_numbers_are_equally_likely():
    """The ends as much as the middle: 1000 equidistant draws, 250 for each of 4 numbers."""
    parameter = Parameter("n", "int", low=1, high=4)
    values = [parameter.value((i + 0.5) / 1000) for i in range(1000)]

    assert [values.count(n) for n in (1, 2, 3, 4)] == [250] * 4


def test_half_of_a_logarithmic_range_lies_below_the_geometric_mean():
    """Uniform in the logarithm."""
    assert Parameter("lr", "float", low=1e-4, high=1e-2, log=True).value(0.5) == pytest.approx(1e-3, rel=1e-12)


def test_how_many_trials_does_not_decide_what_they_are():
    """A longer search goes on with the trials of a shorter one; another range is another space."""
    data = parse(WHOLE).as_data()

    assert parse(WHOLE.replace("trials = 200", "trials = 9")).as_data() == data
    assert parse(WHOLE.replace("repeats = 10", "repeats = 11")).as_data() == data
    assert parse(WHOLE.replace("1e-4", "1e-5")).as_data() != data
    assert parse(WHOLE.replace("repeats = 10", "repeats = 0")).as_data() != data  # the function is told no seed


PARAMETER = 'function = "m:f"\n[parameters]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "parameters"),
        ("x = \ny = 1", "line 1"),
        ('function = "m:f"\n[parameters]\n', "empty"),
        ('[parameters]\nx = { kind = "bool" }', "module:function"),
        ('function = "m"\n[parameters]\nx = { kind = "bool" }', "module:function"),
        ('function = "m:f"\nbeter = "lower"\n[parameters]\nx = { kind = "bool" }', "did you mean 'better'?"),
        ('function = "m:f"\nbetter = "low"\n[parameters]\nx = { kind = "bool" }', "'lower' or 'higher'"),
        ('function = "m:f"\ntrials = 0\n[parameters]\nx = { kind = "bool" }', "from 1 to"),
        ('function = "m:f"\ntrials = true\n[parameters]\nx = { kind = "bool" }', "from 1 to"),
        ('function = "m:f"\nseed = -1\n[parameters]\nx = { kind = "bool" }', "from 0 to"),
        ('function = "m:f"\nfixed = 3\n[parameters]\nx = { kind = "bool" }', "fixed"),
        (PARAMETER + "x = 3", 'kind = "float"'),
        (PARAMETER + 'x = { kind = "real" }', "'float', 'int', 'categorical', 'bool'"),
        (PARAMETER + 'x = { kind = "float", low = 0.0 }', "x without high"),
        (PARAMETER + 'x = { kind = "float", low = 0, hihg = 1 }', "did you mean 'high'?"),
        (PARAMETER + 'x = { kind = "float", low = 1.0, high = 1.0 }', "low < high"),
        (PARAMETER + 'x = { kind = "float", low = nan, high = 1.0 }', "finite"),
        (PARAMETER + 'x = { kind = "float", low = 0.0, high = 1.0, log = true }', "low > 0"),
        (PARAMETER + 'x = { kind = "float", low = 0.1, high = 1.0, log = 1 }', "true or false"),
        (PARAMETER + 'x = { kind = "int", low = 0.5, high = 2 }', "whole"),
        (PARAMETER + 'x = { kind = "int", low = true, high = 2 }', "whole"),
        (PARAMETER + 'x = { kind = "categorical", choices = ["a"] }', "two or more"),
        (PARAMETER + 'x = { kind = "categorical", choices = [1, true] }', "different"),
        (PARAMETER + 'x = { kind = "categorical", choices = [["a"], ["b"]] }', "two or more"),
        (PARAMETER + 'x = { kind = "bool", when = { y = true } }\ny = { kind = "bool" }', "earlier"),
        (PARAMETER + 'y = { kind = "bool" }\nx = { kind = "bool", when = { y = 3 } }', "some of its values"),
        (PARAMETER + 'y = { kind = "bool" }\nx = { kind = "bool", when = { y = [] } }', "some of its values"),
        (PARAMETER + 'y = { kind = "bool" }\nx = { kind = "bool", when = "y" }', "some of its values"),
        ('function = "m:f"\n[fixed]\nx = 1\n[parameters]\nx = { kind = "bool" }', "named twice"),
        ('function = "m:f"\nrepeats = 2\n[parameters]\nseed = { kind = "bool" }', "a seed of its own"),
    ],
)
def test_what_cannot_be_used_is_named(text, told):
    """File, value, what is accepted and what to do: never a bare traceback."""
    with pytest.raises(InputError) as caught:
        parse(text, "my.toml")

    assert told in str(caught.value)
    assert "my.toml" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    """Missing, or not text."""
    path = tmp_path / "space.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"space\.toml"):
        read(path)


def test_huge_bounds_are_refused_before_they_overflow():
    """A range whose length is not finite would give infinite values."""
    with pytest.raises(InputError, match="2\\^53"):
        parse(PARAMETER + 'x = { kind = "float", low = -1e308, high = 1e308 }')
    assert math.isfinite(Parameter("x", "float", low=-(2.0**53), high=2.0**53).value(0.999999))
