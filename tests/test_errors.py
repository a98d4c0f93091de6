"""Every error of ours is also a builtin error, and every message has four parts."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from sm3 import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value is not errors.Sm3Error]
SOURCE = Path(errors.__file__).parent


@pytest.mark.parametrize("error", CLASSES, ids=lambda e: e.__name__)
def test_every_error_is_ours_and_a_builtin_one(error):
    """Code that never heard of sm3 catches it."""
    assert issubclass(error, errors.Sm3Error)
    builtin = [base for base in error.__mro__ if base.__module__ == "builtins"]
    assert any(base not in (Exception, BaseException, object) for base in builtin)
    assert error.__doc__
    assert error.__name__ in errors.__doc__


def test_the_source_raises_only_explained_errors():
    """No bare ValueError or assert-like exception escapes on purpose: what is raised is ours, or passed on."""
    own = {error.__name__ for error in CLASSES}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                name = node.exc.func.id
                foreign = isinstance(getattr(builtins, name, None), type) and name not in own
                # a JSON hook can only raise ValueError; its caller makes an InputError of it
                allowed = {"AttributeError", "NotImplementedError", "IsADirectoryError"}
                allowed |= {"ValueError"} if path.match("plan/shapes.py") else set()
                # no memory is Python's own error; a list the library refuses is a bug of ours, not of the user
                allowed |= {"MemoryError", "AssertionError"} if path.match("kernels/cpu/call.py") else set()
                assert not foreign or name in allowed, f"{path.name}:{node.lineno} raises {name}"
