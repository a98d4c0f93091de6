"""What a conversion did: the new optimizer, and in numbers and words what was lost and what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sm3.optim.torch.fold import Errors

# Best rates of `sm3 compare` and benchmarks/switching.py over AdamW's best.
_ADVICE = {
    ("AdamW", "SMMF"): "lr is AdamW's unless given; SMMF trained best at 1 to 2 times AdamW's",
    ("AdamW", "SM3"): "lr is AdamW's unless given; SM3 trained best at 2 to 4 times AdamW's, with cautious=True",
}
_SHOWN = 5  # parameters with the largest errors, in the text (chosen)


@dataclass(frozen=True)
class ConvertedParameter:
    """One parameter: steps the old optimizer had taken, the new step counter, and the errors (None: never stepped).

    `errors.first`, `.second` and `.update` have `.relative`, the relative Frobenius error of what is stored.
    """

    name: str
    shape: tuple[int, ...]
    taken: int
    counter: int
    errors: Errors | None


@dataclass(frozen=True)
class Conversion:
    """What `convert_adamw_state` and `convert_adagrad_state` return; `print` it to read what was done.

    The relative Frobenius errors are over all parameters together, 0 where nothing was folded: of the first and of the
    second moment, and of the update that they make, m / (sqrt(v) + eps), where AdamW would move at all.
    `update_ratio` is the length of the update from what is stored over the old one's: the step at the same lr.
    """

    source: str
    target: str
    optimizer: torch.optim.Optimizer
    parameters: tuple[ConvertedParameter, ...]

    @property
    def first_error(self) -> float:
        return self._all().first.relative

    @property
    def second_error(self) -> float:
        return self._all().second.relative

    @property
    def update_error(self) -> float:
        return self._all().update.relative

    @property
    def update_ratio(self) -> float:
        return self._all().update.ratio

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict per parameter; JSON can hold it."""
        return [
            {
                "name": row.name,
                "shape": list(row.shape),
                "steps_taken": row.taken,
                "step_counter": row.counter,
                "first_error": row.errors.first.relative if row.errors else None,
                "second_error": row.errors.second.relative if row.errors else None,
                "update_error": row.errors.update.relative if row.errors else None,
            }
            for row in self.parameters
        ]

    def _all(self) -> Errors:
        total = Errors()
        for row in self.parameters:
            if row.errors:
                total.merge(row.errors)
        return total

    def __str__(self) -> str:
        stepped = [row for row in self.parameters if row.errors]
        lines = [
            f"{self.source} to {self.target}: {len(stepped)} parameters converted, "
            f"{len(self.parameters) - len(stepped)} never stepped",
            *self._settings(),
            f"relative error of what is stored: first moment {self.first_error:.2g}, second moment "
            f"{self.second_error:.2g}, update {self.update_error:.2g}",
            f"length of the update at the same lr: {self.update_ratio:.3g} of {self.source}'s",
        ]
        if advice := _ADVICE.get((self.source, self.target)):
            lines.append(advice)
        if counters := sorted({(row.taken, row.counter) for row in stepped}):
            shown = ", ".join(f"{taken} to {counter}" for taken, counter in counters[:_SHOWN])
            lines.append(f"step counters, {self.source}'s to {self.target}'s: {shown}{_more(counters)}")
        worst = sorted(stepped, key=lambda row: -(row.errors.second.relative if row.errors else 0.0))
        for row in worst[:_SHOWN]:
            assert row.errors is not None
            lines.append(
                f"  {row.name} {row.shape}: first moment {row.errors.first.relative:.2g}, "
                f"second moment {row.errors.second.relative:.2g}"
            )
        return "\n".join(lines) + (f"\n  {_more(stepped).strip(' ,')}" if len(stepped) > _SHOWN else "")

    def _settings(self) -> list[str]:
        """What every group has now, the learning rate first."""
        lines = []
        hidden = ("params", "param_names", "lr", "optimizer", "state_version", "foreach", "fused", "differentiable")
        for number, group in enumerate(self.optimizer.param_groups):
            rest = ", ".join(f"{key}={value!r}" for key, value in group.items() if key not in hidden)
            lines.append(f"group {number}: lr={float(group['lr']):g}, {rest}")
        return lines


def _more(items: list[Any]) -> str:
    return f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
