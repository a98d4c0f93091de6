"""State is data: the full list of state tensors of one parameter.

Four readers, one truth: the optimizer allocates exactly these, the planner sums their bytes, the sharder reads
`follows` and `combine`, the loader checks names, shapes and dtypes before it touches anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any, ClassVar, Literal, Self

from sm3.errors import SettingError, explain
from sm3.optim.rules.hyperparameters import Hyperparameter
from sm3.optim.rules.storage import BYTES_PER_ELEMENT


@dataclass(frozen=True)
class StateTensor:
    """One state tensor of one parameter, in global (unsharded) terms."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # a key of storage.BYTES_PER_ELEMENT
    # For each dimension of this tensor, the dimension of the parameter that it runs along and is cut with; None: it
    # runs along no single one. Empty: every rank holds the whole tensor, however the parameter is cut.
    follows: tuple[int | None, ...] = ()
    # How ranks that saw different shards agree on a tensor that every rank holds; None: nothing to agree on.
    # "mean square": a root mean square is made from the sum of all ranks' integers, before it is stored.
    combine: Literal["max", "sum", "mean square"] | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * BYTES_PER_ELEMENT[self.dtype]


# The step counter is one int64 per parameter: exact for ever, where a float32 counter stops at 2^24.
STEP = StateTensor("step", (), "int64")


# State that an option asks for, whatever the rule: how many entries the last step's mask kept (cautious), and the
# root mean square of the last update before it was scaled, 0 before there was one (update_rms).
KEPT = StateTensor("kept", (), "int64", combine="sum")
RMS = StateTensor("rms", (), "float32", combine="mean square")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a rule must offer: `NAME`, `HYPERPARAMETERS`, one field per hyper-parameter, and `state`.

    The fields here are those that every rule has; `HYPERPARAMETERS` says what each means and accepts.
    """

    NAME: ClassVar[str]
    HYPERPARAMETERS: ClassVar[tuple[Hyperparameter, ...]]

    lr: float
    weight_decay: float = 0.0
    rounding: str = "nearest"
    seed: int = 0
    cautious: bool = False
    update_rms: float | None = None
    maximize: bool = False
    nonfinite: str = "propagate"
    backend: str | None = None

    def state(self, shape: tuple[int, ...], dtype: str) -> tuple[StateTensor, ...]:
        """State tensors of one parameter of this global shape and dtype, in the order they are saved."""
        raise NotImplementedError

    def optional_state(self) -> tuple[StateTensor, ...]:
        """State of the options that every rule has; it comes after the rule's own."""
        return ((KEPT,) if self.cautious else ()) + ((RMS,) if self.update_rms is not None else ())

    def state_bytes(self, shape: tuple[int, ...], dtype: str) -> int:
        """Bytes of state of one parameter, the step counter included."""
        return sum(tensor.nbytes for tensor in self.state(shape, dtype))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {hyper.name: hyper.default for hyper in cls.HYPERPARAMETERS}

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are hyper-parameters of this rule, each checked and converted; the rest are left out.

        Raises `SettingError` (a `ValueError`) or `SettingTypeError` (a `TypeError`) naming the setting.
        """
        checked = {
            hyper.name: hyper.check(settings[hyper.name]) for hyper in cls.HYPERPARAMETERS if hyper.name in settings
        }
        cls.check_together({**cls.defaults(), **checked})
        return checked

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        """Refuse settings that are each accepted and contradict each other."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The rule of a parameter group; settings that are not hyper-parameters (a scheduler's, say) are ignored."""
        return cls(**{field.name: settings[field.name] for field in fields(cls)})


def refuse_together(first: str, second: str, why: str, do: str) -> SettingError:
    """The error for two settings that contradict each other."""
    return SettingError(
        explain(f"{first} and {second} cannot go together.", got=f"{first}, {second}", accepted=why, do=do)
    )
