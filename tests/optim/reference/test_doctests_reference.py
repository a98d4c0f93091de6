"""The examples in the reference's docstrings are run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["sm3", "smmf", "rounding"])
def test_examples_in_docstrings_print_what_they_say(name):
    """Every `>>>` line of the module gives the line under it."""
    result = doctest.testmod(import_module(f"sm3.optim.reference.{name}"))

    assert result.attempted > 0
    assert result.failed == 0
