"""Which optimizer, with which settings, in which precision: a column of the certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sm3.errors import SettingError, explain
from sm3.optim.rules import RULES, Rule
from sm3.plan.optimizers import optimizer_of

if TYPE_CHECKING:
    from sm3.optim.torch.loop import RuleOptimizer

PRECISIONS = ("float32", "bfloat16")
# Small enough for any model that trains with AdamW (chosen): what is proved does not depend on it.
RATES = {"SM3": 1e-2, "SMMF": 1e-3}


@dataclass(frozen=True)
class Variant:
    """One optimizer in one precision. bfloat16 parameters are written with stochastic rounding."""

    optimizer: str  # a key of RULES
    given: Mapping[str, Any]  # settings of the user
    precision: str

    @property
    def settings(self) -> dict[str, Any]:
        """All that the optimizer is built with."""
        rounding = {"rounding": "stochastic"} if self.precision == "bfloat16" else {}
        return {"lr": RATES[self.optimizer], **rounding, **self.given}

    @property
    def label(self) -> str:
        return f"{self.optimizer} {self.precision}"

    @property
    def folder(self) -> str:
        """A name for its files."""
        return f"{self.optimizer}-{self.precision}"

    def rule(self) -> Rule:
        """The rule with all settings."""
        rule = RULES[self.optimizer]
        return rule.of({**rule.defaults(), **self.settings})

    def make(self, params: Any, **more: Any) -> RuleOptimizer:
        """The optimizer over these parameters."""
        from sm3.optim import torch as optimizers

        made: RuleOptimizer = getattr(optimizers, self.optimizer)(params, **{**self.settings, **more})
        return made


def variants(names: Sequence[str], precisions: Iterable[str]) -> tuple[Variant, ...]:
    """One variant per optimizer ("SMMF", "SM3(momentum=0)"; none: both) and precision; each optimizer once.

    Raises `SettingError` for an unknown optimizer, setting or precision, before anything is trained.
    """
    found = []
    for name in names or tuple(sorted(RULES)):
        optimizer = optimizer_of(name)
        if optimizer.name not in RULES:
            raise SettingError(
                explain(
                    "only our own optimizers make these promises.",
                    got=repr(name),
                    accepted=", ".join(sorted(RULES)) + ", with settings if you like",
                    do='pass for example --optimizer "SM3(momentum=0)"',
                )
            )
        for precision in precisions or PRECISIONS:
            if precision not in PRECISIONS:
                raise SettingError(
                    explain(
                        "the precision is not known.",
                        got=repr(precision),
                        accepted=" or ".join(PRECISIONS),
                        do="pass for example --precision bfloat16",
                    )
                )
            found.append(Variant(optimizer.name, dict(optimizer.settings), precision))
    if len({variant.label for variant in found}) < len(found):
        raise SettingError(
            explain(
                "an optimizer or a precision is named twice.",
                got=", ".join(variant.label for variant in found),
                accepted="each once",
                do="verify other settings in a second run",
            )
        )
    return tuple(found)
