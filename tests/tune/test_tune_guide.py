"""The spaces in the guide are read as they stand, and the example that ships is the one that is printed."""

from __future__ import annotations

import re
from pathlib import Path

from sm3.tune.space import parse, read

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
SPACES = re.findall(r"^```toml\n(.*?)^```$", (GUIDE / "tune.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_space_in_the_guide_is_one():
    """A newcomer copies them."""
    assert len(SPACES) == 2
    for text in SPACES:
        assert parse(text).parameters


def test_the_example_that_ships_is_the_one_in_the_guide():
    """Down to the last character but the comment at its top."""
    text = (GUIDE / "smmf.toml").read_text(encoding="utf-8")

    assert text.split("\n", 1)[1] == SPACES[1]
    assert read(GUIDE / "smmf.toml").function == "sm3.tune.compare_trial:held_out_loss"


def test_the_command_help_shows_a_space_that_is_one():
    """The same file format in both places."""
    from sm3.cli.tune import tune

    lines = [line.strip() for line in (tune.__doc__ or "").splitlines()]
    start, end = lines.index("space.toml:") + 1, next(n for n, line in enumerate(lines) if line.startswith("Besides:"))
    assert len(parse("\n".join(lines[start:end])).parameters) == 4
