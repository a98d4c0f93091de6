"""SM3 as data. Anil, Gupta, Koren, Singer 2019, "Memory-Efficient Adaptive Optimization", arXiv 1901.11150."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sm3.optim.rules.hyperparameters import Choice, Hyperparameter, Real
from sm3.optim.rules.shapes import cover_lengths
from sm3.optim.rules.shared import WEIGHT_DECAY, WRITE_BACK
from sm3.optim.rules.state import STEP, Rule, StateTensor, refuse_together
from sm3.optim.rules.storage import accumulator_dtype


@dataclass(frozen=True, kw_only=True)
class SM3Rule(Rule):
    """One vector per dimension of the parameter; with momentum one more tensor of the parameter's shape.

    >>> SM3Rule(momentum=0.0).state_bytes((3072, 768), "float32")  # 4 * (3072 + 768), and the step counter
    15368
    """

    NAME: ClassVar[str] = "SM3"
    HYPERPARAMETERS: ClassVar[tuple[Hyperparameter, ...]] = (
        Real("lr", 0.1, low=0.0, about="learning rate; the paper's runs are of the order of 0.1"),
        Real(
            "momentum", 0.9, low=0.0, high=1.0, high_open=True, about="mean of the preconditioned gradient; 0: no state"
        ),
        Choice("variant", "II", ("I", "II"), about="SM3-II is tighter and reads its gradient once"),
        Real(
            "beta2",
            None,
            low=0.0,
            high=1.0,
            high_open=True,
            none="the sum of squares, as in the paper",
            about="decay of the squares, an exponential mean instead of the sum",
        ),
        WEIGHT_DECAY,
        *WRITE_BACK,
    )

    lr: float = 0.1
    momentum: float = 0.9
    variant: str = "II"
    beta2: float | None = None

    def state(self, shape: tuple[int, ...], dtype: str) -> tuple[StateTensor, ...]:
        """`step`, `accumulator_0` .. one per dimension, and `momentum` if there is one.

        accumulator_a : (shape[a],)   largest nu of each slice along dimension a
        momentum      : shape         mean of grad / sqrt(nu)
        kept          : ()            with cautious: how many entries the last step's mask kept
        rms           : ()            with update_rms: of the last update before it was scaled
        """
        number = accumulator_dtype(dtype)
        accumulators = tuple(
            StateTensor(f"accumulator_{axis}", (length,), number, follows=(axis,) if shape else (), combine="max")
            for axis, length in enumerate(cover_lengths(shape))
        )
        momentum = StateTensor("momentum", shape, number, follows=tuple(range(len(shape))))
        return (STEP, *accumulators, *((momentum,) if self.momentum else ()), *self.optional_state())

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        if settings["cautious"] and settings["momentum"] == 0:
            raise refuse_together(
                "cautious=True",
                "momentum=0",
                "cautious with momentum > 0: without momentum, update and gradient always agree in sign",
                "leave cautious out, or pass momentum=0.9",
            )
