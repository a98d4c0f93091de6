"""One call of the user's function, in this process or in a worker: a finite number, or how it ended badly.

A trial that diverges is a result. Only what breaks the contract of the function, "settings in, one number out", stops
the whole: then every further trial would be wasted.
"""

from __future__ import annotations

import importlib
import math
import numbers
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sm3.errors import InputError, explain

FINISHED = "finished"
NOT_FINITE = ("nan", "inf", "-inf")
_CONTRACT = "function(settings) -> one number, where settings is a dict of the hyper-parameters and of [fixed]"


@dataclass(frozen=True)
class Ending:
    """How a trial ended: with a finite score, or `score=None` and a word or two of what happened instead."""

    score: float | None
    how: str = FINISHED  # else "nan", "inf", "-inf", or "ValueError: what it said"
    trace: str = ""

    @property
    def raised(self) -> bool:
        return bool(self.trace)


def raised(how: str) -> bool:
    """Whether a trial that ended so raised, as against diverging, being pruned, or taking its process down.

    >>> [raised(how) for how in ("OSError: disk full", "nan", "finished", "killed 3 times")]
    [True, False, False, False]
    """
    return how.partition(":")[0].isidentifier() and how not in (
        FINISHED,
        *NOT_FINITE,
        "pruned",
        "failed",
        "interrupted",
    )


def find(name: str) -> Callable[[dict[str, Any]], Any]:
    """The function behind "module:function"; the current folder is looked into first.

    Raises `InputError` if it cannot be imported or is not a function.
    """
    module, _, function = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look into the current folder by itself
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise _broken(name, got, f"check it with: python -c 'import {module}; {module}.{function}'") from error
    if not callable(found):
        raise _broken(name, f"{function} is a {type(found).__name__}", "name a function")
    return found  # type: ignore[no-any-return]


def evaluate(name: str, settings: Mapping[str, Any]) -> Ending:
    """Call the function once. What it prints goes to stderr: stdout is for the result of the command."""
    function = find(name)
    with redirect_stdout(sys.stderr):
        try:
            returned = function(dict(settings))
        except Exception as error:
            return Ending(None, _one_line(error), "".join(traceback.format_exception(error)))
    return _ending(name, returned)


def _ending(name: str, returned: Any) -> Ending:
    # `item` lets NumPy scalars and one-element tensors in; True is a mistake, not a score
    if isinstance(returned, bool) or not (isinstance(returned, numbers.Real) or hasattr(returned, "item")):
        raise _broken(name, f"it returned {returned!r:.80}", "return one number, for example the held-out loss")
    try:
        score = float(returned.item() if hasattr(returned, "item") else returned)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _broken(name, f"it returned {returned!r:.80}", "return one number, not several") from error
    return Ending(score) if math.isfinite(score) else Ending(None, str(score))


def _one_line(error: Exception) -> str:
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"[:120].removesuffix(": ")


def _broken(name: str, got: str, do: str) -> InputError:
    return InputError(explain(f"the function {name} cannot be tuned.", got=got, accepted=_CONTRACT, do=do))
