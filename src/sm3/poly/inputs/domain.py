"""What happens to a row outside the domain of the inputs: a warning, an error, the nearest point inside, or nan.

A polynomial grows like its degree's power outside the box it was fitted on: a value there is no prediction. What the
domain of an input is, one_input.py decides; this file counts, names and acts.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.poly.inputs.one_input import Input

POLICIES = ("warn", "raise", "clip", "nan")
# Features named in one message. Chosen: the worst ones say what is wrong, a longer list is not read.
NAMED = 5


class ExtrapolationWarning(UserWarning):
    """Rows lie outside the domain of the model; their predictions are an extrapolation."""


def check_policy(policy: object) -> None:
    """`SettingError` unless it is one of "warn", "raise", "clip", "nan"."""
    if policy not in POLICIES:
        raise SettingError(
            explain(
                "extrapolate has an unknown value.",
                got=repr(policy),
                accepted=", ".join(map(repr, POLICIES)),
                do='leave it at "warn": one warning per call that names the features and the worst distance',
            )
        )


def inside(
    x: NDArray[np.float64],  # (m, d) physical values
    inputs: Sequence[Input],  # d
    names: Sequence[str],  # d
    policy: str,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The rows to evaluate, and which of them the answer nan is due for (none unless the policy is "nan").

    One `ExtrapolationWarning` for "warn", `InputError` for "raise"; both name the features that are worst, and how far
    out in widths of the domain. "clip" and "nan" are silent: they were asked for.

    >>> from sm3.poly.inputs.one_input import box
    >>> x, _ = inside(np.array([[0.5], [7.0]]), [box(0.0, 2.0)], ["speed"], "clip")
    >>> x.ravel().tolist()
    [0.5, 2.0]
    """
    outside = np.zeros(len(x), dtype=np.bool_)
    moved = x.copy() if policy == "clip" else x
    worst: list[tuple[float, str]] = []
    for j, (one, name) in enumerate(zip(inputs, names, strict=True)):
        nearest = one.nearest(x[:, j])
        excess = np.abs(x[:, j] - nearest)
        out = excess > one.tolerance
        if not out.any():
            continue
        outside |= out
        if policy == "clip":
            moved[:, j] = nearest
            continue
        worst.append(_sentence(one, name, x[:, j], excess, int(out.sum())))
    if worst and policy in ("warn", "raise"):
        _say(policy, int(outside.sum()), len(x), [text for _, text in sorted(worst, reverse=True)])
    return moved, outside & (policy == "nan")


def _sentence(
    one: Input, name: str, column: NDArray[np.float64], excess: NDArray[np.float64], count: int
) -> tuple[float, str]:
    row = int(excess.argmax())
    lo, hi = one.domain
    # a feature that never varied has no width: its distance is told in its own size
    widths = float(excess[row]) / ((hi - lo) or max(abs(hi), 1.0))
    where = f"one of {len(one.values)} values" if one.values is not None else f"[{lo:.6g}, {hi:.6g}]"
    text = f"{name} in {count} rows, the farthest {column[row]:.6g}, {widths:.3g} widths off {where}"
    return widths, text


def _say(policy: str, count: int, rows: int, sentences: list[str]) -> None:
    shown = "; ".join(sentences[:NAMED]) + ("; ..." if len(sentences) > NAMED else "")
    happened = f"{count} of {rows} rows lie outside the domain of the model."
    if policy == "raise":
        raise InputError(
            explain(
                happened,
                got=shown,
                accepted="rows inside the domain of every input (extrapolate='raise')",
                do="remove these rows, fit on a wider range, or choose extrapolate='clip' or 'nan'",
            )
        )
    warnings.warn(
        explain(
            f"{happened} Their predictions are extrapolations.",
            got=shown,
            accepted="any row (extrapolate='warn')",
            do="fit on a wider range, or choose extrapolate='clip', 'nan' or 'raise'",
        ),
        ExtrapolationWarning,
        stacklevel=_level_of_the_caller(),
    )


def _level_of_the_caller() -> int:
    """How many frames up the first one is that is neither ours nor scikit-learn's: the line the user wrote."""
    frame: FrameType | None = sys._getframe(1)
    level = 0
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("sm3", "sklearn"):
        frame, level = frame.f_back, level + 1
    return level + 1


def refuse_impossible(x: NDArray[np.float64], inputs: Sequence[Input], names: Sequence[str]) -> None:
    """`InputError` when a training row has a value that the given distribution cannot produce.

    Unlike at prediction there is no policy: such a row says that the stated distribution is wrong.
    """
    for j, (one, name) in enumerate(zip(inputs, names, strict=True)):
        possible = one.possible(x[:, j])
        if not possible.all():
            row = int(np.argmin(possible))
            values = "" if one.values is None else f", {len(one.values)} values"
            raise InputError(
                explain(
                    f"the data contradict the distribution given for {name!r}.",
                    got=f"{int((~possible).sum())} of {len(x)} rows outside, first row {row} with {x[row, j]:.9g}",
                    accepted=f"values from {one.support[0]:.9g} to {one.support[1]:.9g}{values}",
                    do="correct the distribution or these rows; inputs='auto' takes the range of the data",
                )
            )
