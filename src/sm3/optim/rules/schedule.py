"""SM3's learning-rate recipe, by its authors: quadratic warm-up, constant, linear cool-down to zero.

The sum of squares makes every entry's rate decay by itself, so nothing decays in between; the cool-down stands in for
averaging the iterates. Source: README of the authors' code (google-research/sm3), section on learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass

from sm3.errors import SettingError, explain
from sm3.optim.rules.hyperparameters import Integer, Real

WARMUP = Real("warmup", 0.05, low=0.0, high=1.0, about="fraction of the run with a rising rate")
COOLDOWN = Real("cooldown", 0.1, low=0.0, high=1.0, about="fraction of the run with a falling rate")
TOTAL_STEPS = Integer("total_steps", 1000, low=1, high=2**53, about="length of the run")


@dataclass(frozen=True)
class WarmupCooldown:
    """Factor on the learning rate, as a function of the number of steps already taken.

    >>> factor = WarmupCooldown(total_steps=100, warmup=0.1, cooldown=0.2)
    >>> [round(factor(step), 2) for step in (0, 4, 9, 50, 79, 90, 99, 100)]
    [0.01, 0.25, 1.0, 1.0, 1.0, 0.48, 0.05, 0.0]
    """

    total_steps: int
    warmup: float = 0.05
    cooldown: float = 0.1

    def __post_init__(self) -> None:
        TOTAL_STEPS.check(self.total_steps)
        WARMUP.check(self.warmup)
        COOLDOWN.check(self.cooldown)
        if self.warmup + self.cooldown > 1.0:
            raise SettingError(
                explain(
                    "warm-up and cool-down overlap.",
                    got=f"warmup={self.warmup}, cooldown={self.cooldown}",
                    accepted="fractions of the run that add up to at most 1",
                    do="pass for example warmup=0.05, cooldown=0.1",
                )
            )

    def __call__(self, taken: int) -> float:
        """((t / warmup steps)^2 while warming up, 1, then linear to 0 after the last step; t = taken + 1."""
        step = taken + 1
        rising = round(self.warmup * self.total_steps)
        falling = round(self.cooldown * self.total_steps)
        if step > self.total_steps:
            return 0.0
        if step < rising:
            return (step / rising) ** 2
        # The last step still moves: its factor is 1 / (falling + 1), and 0 comes after it.
        return min(1.0, (self.total_steps - step + 1) / (falling + 1))
