"""inputs.toml: every distribution is read as what it says, and every mistake is told with its line."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sm3.errors import InputError
from sm3.poly import Categorical, Discrete
from sm3.poly.inputs.one_input import input_of
from sm3.poly.tables.inputs_file import DISTRIBUTIONS, read_inputs

ALL = """
[speed]
distribution = "uniform"
lo = 10
hi = 30.5

[rate]
distribution = "log_uniform"
lo = 1e-4
hi = 1e-1

["wind, north"]
distribution = "triangular"
lo = 0
mode = 1
hi = 4

[load]
distribution = "normal"
mean = 5
std = 0.5

[life]
distribution = "lognormal"
median = 100
log_std = 0.3

[share]
distribution = "beta"
a = 2
b = 3
hi = 10

[wait]
distribution = "gamma"
shape = 4
scale = 0.5

[bolts]
distribution = "integer"
lo = 2
hi = 8

[steel]
distribution = "categorical"
values = ["S235", "S355"]
probabilities = [0.75, 0.25]

[measured]
distribution = "auto"
"""


@pytest.fixture
def written(tmp_path):
    """A function: text -> path of a file with it."""

    def write(text: str):
        path = tmp_path / "inputs.toml"
        path.write_text(text)
        return path

    return write


def test_every_distribution_is_read_as_what_it_says(written):
    """Moments in closed form; the order is that of the file."""
    found = read_inputs(written(ALL))
    kinds = "speed, rate, wind, north, load, life, share, wait, bolts, steel, measured"
    assert ", ".join(found) == kinds
    assert found["speed"] == (10, 30.5)
    assert found["measured"] == "auto"
    assert isinstance(found["steel"], Categorical)
    assert found["steel"].levels == ("S235", "S355")
    assert isinstance(found["bolts"], Discrete)
    np.testing.assert_array_equal(found["bolts"].values, np.arange(2, 9))
    # log-uniform: median is the geometric mean of the ends; triangular: (a + b + c) / 3; lognormal: e^{s^2/2} median;
    # beta: 10 * 2/5; gamma: shape * scale
    assert found["rate"].median() == pytest.approx(1e-4**0.5 * 1e-1**0.5)
    assert found["wind, north"].mean() == pytest.approx(5 / 3)
    assert (found["load"].mean(), found["load"].std()) == pytest.approx((5, 0.5))
    assert found["life"].mean() == pytest.approx(100 * np.exp(0.045))
    assert found["share"].mean() == pytest.approx(4)
    assert found["wait"].mean() == pytest.approx(2)


def test_every_distribution_of_the_list_is_in_the_example():
    """So nothing is offered that is not tested."""
    assert set(re.findall(r'distribution = "(\w+)"', ALL)) == set(DISTRIBUTIONS)


def test_what_is_read_has_polynomials(written):
    """Each goes straight into the estimator."""
    for name, spec in read_inputs(written(ALL)).items():
        if spec != "auto":
            assert input_of(spec, name).basis is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[x]\ndistribution = uniform\n", ["is not TOML", "line 2"]),
        ("[x]\n[x]\n", ["is not TOML"]),
        ("# nothing\n", ["describes no input"]),
        ("lo = 1\n[x]\n", ["line 1: 'lo' is not a table"]),
        ("[x]\nlo = 0\nhi = 1\n", ["the distribution of 'x' is missing", "uniform"]),
        ('[x]\ndistribution = "unifrom"\n', ["line 2: the distribution of 'x' is unknown", "did you mean 'uniform'"]),
        (
            '[x]\ndistribution = "uniform"\nlo = 0\nhigh = 1\n',
            ["line 4: in [x]", "no key 'high'", "distribution, lo, hi"],
        ),
        ('[x]\ndistribution = "normal"\nmean = 0\nstdd = 1\n', ["line 4", "did you mean std"]),
        ('[a]\nlo = 3\n[x]\ndistribution = "uniform"\nlo = "0"\nhi = 1\n', ["distribution of 'a'"]),
        ('[x]\ndistribution = "uniform"\nlo = "0"\nhi = 1\n', ["line 3", "'lo' is no number", "lo = '0'"]),
        ('[x]\ndistribution = "uniform"\nlo = true\nhi = 1\n', ["line 3", "'lo' is no number"]),
        ('[x]\ndistribution = "uniform"\nlo = 0\n', ["line 1: in [x], 'hi' is missing", "add a line hi = ..."]),
        (
            '\n\n[x]\ndistribution = "uniform"\nlo = 1\nhi = 1\n',
            ["line 3: 'x' has parameters", "lo = 1, hi = 1", "lo < hi"],
        ),
        ('[x]\ndistribution = "normal"\nmean = 0\nstd = -1\n', ["normal cannot have", "std = -1"]),
        ('[x]\ndistribution = "uniform"\nlo = 0\nhi = nan\n', ["uniform cannot have"]),
        ('[x]\ndistribution = "triangular"\nlo = 0\nmode = 5\nhi = 4\n', ["triangular cannot have"]),
        ('[x]\ndistribution = "log_uniform"\nlo = 0\nhi = 4\n', ["log_uniform cannot have"]),
        ('[x]\ndistribution = "beta"\na = 0\nb = 4\n', ["beta cannot have"]),
        ('[x]\ndistribution = "integer"\nlo = 0.5\nhi = 4\n', ["integer cannot have", "no range of integers"]),
        ('[x]\ndistribution = "integer"\nlo = 0\nhi = 1000000\n', ["integer cannot have"]),
        ('[x]\ndistribution = "categorical"\nvalues = []\n', ["categorical cannot have"]),
        ('[x]\ndistribution = "categorical"\nvalues = ["a", "a"]\n', ["categorical cannot have"]),
        ('[x]\ndistribution = "categorical"\nvalues = ["a", "b"]\nprobabilities = [1]\n', ["categorical cannot have"]),
        ('[x]\ndistribution = "categorical"\nvalues = "a"\n', ["line 3", "values = 'a'"]),
        ('[x]\ndistribution = "auto"\nlo = 0\n', ["line 3", "auto has no key 'lo'"]),
    ],
)
def test_a_mistake_is_told_with_its_line(written, text, expected):
    """What is there, what is accepted, and what to do."""
    with pytest.raises(InputError) as caught:
        read_inputs(written(text))
    message = str(caught.value)
    for part in expected:
        assert part in message
    assert all(part in message for part in ("\n  got ", "\n  accepted ", "\n  do "))
    assert message.count("\n  got ") == 1


def test_a_file_that_is_absent_is_an_error_of_ours(tmp_path):
    """With its path."""
    with pytest.raises(InputError, match=r"absent\.toml"):
        read_inputs(tmp_path / "absent.toml")
