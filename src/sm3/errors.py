"""The tree of errors. Each is also a builtin error, so code that never heard of sm3 catches it.

    Sm3Error
      SettingError          ValueError     a hyper-parameter, option or argument has a value we do not accept
        SettingTypeError    TypeError      ... or a type we do not accept
      ParameterError        TypeError      a parameter of the model cannot be trained by this optimizer
      GradientError         RuntimeError   a gradient cannot be used: sparse, wrong shape, not finite
      StateMismatchError    ValueError     a state dict does not belong to this optimizer
      CheckpointError       RuntimeError   a checkpoint file is damaged, foreign, or cannot be read or written
      RankError             RuntimeError   the ranks of a distributed run disagree, or one of them is gone
      InputError            ValueError     a text, shape list or other file from the user cannot be used
      MissingExtraError     ImportError    an optional dependency is not installed

Every message has four parts: what happened, what was given, what is accepted, what to do.
"""

from __future__ import annotations


class Sm3Error(Exception):
    """Root of all errors raised on purpose by sm3."""


class SettingError(Sm3Error, ValueError):
    """A hyper-parameter, option or argument has a value outside the accepted range."""


class SettingTypeError(SettingError, TypeError):
    """A hyper-parameter, option or argument has a type that is not accepted."""


class ParameterError(Sm3Error, TypeError):
    """A parameter of the model cannot be trained by this optimizer."""


class GradientError(Sm3Error, RuntimeError):
    """A gradient cannot be used: sparse, wrong shape, or not finite when a check was asked for."""


class StateMismatchError(Sm3Error, ValueError):
    """A state dict does not belong to this optimizer; nothing was changed."""


class CheckpointError(Sm3Error, RuntimeError):
    """A checkpoint file is damaged or foreign, or cannot be read or written; the old file is intact."""


class RankError(Sm3Error, RuntimeError):
    """The ranks of a distributed run disagree about what they step, or one of them is gone or stuck."""


class InputError(Sm3Error, ValueError):
    """A file or text given by the user cannot be used."""


class MissingExtraError(Sm3Error, ImportError):
    """An optional dependency is not installed; the message holds the install line."""


def explain(happened: str, *, got: object, accepted: str, do: str) -> str:
    """The one form of every error message of the package.

    >>> print(explain("lr is out of range.", got=-1.0, accepted="a finite number >= 0", do="pass for example lr=1e-3"))
    lr is out of range.
      got       -1.0
      accepted  a finite number >= 0
      do        pass for example lr=1e-3
    """
    return f"{happened}\n  got       {got}\n  accepted  {accepted}\n  do        {do}"
