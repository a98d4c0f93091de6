"""One promise for one variant: the verdict, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sm3.verify.difference import Difference

HOLDS, BROKEN, REFUSED, SKIPPED = "holds", "broken", "refused", "skipped"


@dataclass(frozen=True)
class Outcome:
    """`largest` is 0 where bits are equal, at most `bound` where one is derived; bytes where the promise is bytes."""

    promise: str
    variant: str
    verdict: str  # HOLDS, BROKEN, REFUSED (the optimizer says why), SKIPPED (nothing here to run it on)
    largest: float = 0.0
    bound: float = 0.0  # relative; 0: equal bits are promised
    where: str = ""  # the tensor of the largest difference
    compared: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON has no infinity: a tensor that is missing altogether is null."""
        return {**asdict(self), "largest": None if self.largest == float("inf") else self.largest}


def exact(promise: str, variant: str, found: Difference, compared: str) -> Outcome:
    """Holds where every bit is equal."""
    verdict = BROKEN if found.unequal else HOLDS
    return Outcome(promise, variant, verdict, found.largest, 0.0, found.where, compared)
