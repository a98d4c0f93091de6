"""SMMF as data. Park & Lee 2025, "SMMF: Square-Matricized Momentum Factorization", AAAI 2025, arXiv 2412.08894."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sm3.optim.rules.hyperparameters import Flag, Hyperparameter, Real
from sm3.optim.rules.shapes import near_square, packed_sign_shape, signs_follow_rows
from sm3.optim.rules.shared import WEIGHT_DECAY, WRITE_BACK
from sm3.optim.rules.state import STEP, Rule, StateTensor, refuse_together
from sm3.optim.rules.storage import accumulator_dtype


@dataclass(frozen=True, kw_only=True)
class SMMFRule(Rule):
    """Two vectors per moment of the flat tensor seen as a near-square matrix, and one bit per element for the sign.

    >>> SMMFRule().state_bytes((3072, 768), "float32") / (3072 * 768)  # bytes per parameter; Adam has 8
    0.135...
    """

    NAME: ClassVar[str] = "SMMF"
    HYPERPARAMETERS: ClassVar[tuple[Hyperparameter, ...]] = (
        Real("lr", 1e-3, low=0.0, about="learning rate; about twice AdamW's in sm3 compare"),
        Real(
            "beta",
            0.9,
            low=0.0,
            high=1.0,
            high_open=True,
            none="no first moment, no signs",
            about="decay of the first moment at step 1",
        ),
        Real(
            "growth_rate",
            0.999,
            low=0.0,
            high=1.0,
            low_open=True,
            about="the first moment's decay is beta * growth_rate^(t-1): 0.999 halves it every 693 steps, 1 keeps it",
        ),
        Real(
            "decay_rate",
            -0.5,
            low=-1.0,
            high=0.0,
            high_open=True,
            about="the second moment's decay is 1 - t^decay_rate; authors: -0.5 for CNNs, -0.8 for Transformers",
        ),
        Real("eps", 1e-8, low=0.0, low_open=True, about="added to the root of the second moment"),
        WEIGHT_DECAY,
        Flag(
            "published",
            False,
            about="the authors' trajectory: their matrix shapes, and their drift where a gradient is 0",
        ),
        *WRITE_BACK,
    )

    lr: float = 1e-3
    beta: float | None = 0.9
    growth_rate: float = 0.999
    decay_rate: float = -0.5
    eps: float = 1e-8
    published: bool = False

    def state(self, shape: tuple[int, ...], dtype: str) -> tuple[StateTensor, ...]:
        """`step`, the factors of both moments, and the packed signs of the first.

        m_row, v_row : (n,)   row sums of |first moment|, of the second moment, of the (n, m) matrix
        m_col, v_col : (m,)   column sums, divided by their total
        m_sign       : uint8  one bit per element, set where the first moment is > 0 (`shapes.packed_sign_shape`)
        kept         : ()     with cautious: how many entries the last step's mask kept
        rms          : ()     with update_rms: of the last update before it was scaled
        """
        number = accumulator_dtype(dtype)
        rows, columns = near_square(math.prod(shape), published=self.published)
        by_rows, without_padding = signs_follow_rows(shape), math.prod(shape[1:]) % 8 == 0
        second = (
            StateTensor("v_row", (rows,), number, combine="sum"),
            StateTensor("v_col", (columns,), number, combine="sum"),
        )
        if self.beta is None:
            return (STEP, *second, *self.optional_state())
        first = (
            StateTensor("m_row", (rows,), number, combine="sum"),
            StateTensor("m_col", (columns,), number, combine="sum"),
            StateTensor(
                "m_sign",
                packed_sign_shape(shape),
                "uint8",
                follows=(0, 1 if without_padding else None) if by_rows else (),
                combine=None if by_rows else "sum",  # flat bits: each rank sets its own, the rest are 0
            ),
        )
        return (STEP, *first, *second, *self.optional_state())

    def moment_decays(self, step: int) -> tuple[float, float]:
        """Decay of the first and of the second moment at this step, counted from 1 (first: 0 without one)."""
        first = 0.0 if self.beta is None else self.beta * self.growth_rate ** (step - 1)
        return first, 1.0 - step**self.decay_rate

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        if settings["cautious"] and settings["beta"] is None:
            raise refuse_together(
                "cautious=True",
                "beta=None",
                "cautious with a first moment: without one, update and gradient always agree in sign",
                "leave cautious out, or pass beta=0.9",
            )
        for option, off in (("cautious", False), ("update_rms", None)):
            if settings[option] != off and settings["published"]:
                raise refuse_together(
                    f"{option}={settings[option]!r}",
                    "published=True",
                    "published=True alone: it promises the authors' trajectory",
                    "leave one of the two out",
                )
