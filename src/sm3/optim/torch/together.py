"""The sharded parameters of one step: who holds pieces of what, and that all ranks are about to do the same.

    pieces     local tensors of parameter, gradient and state; copies where this rank has no gradient (`pieces.py`)
    maxima     SM3: each rank steps its pieces, then all agree on accumulators by their maximum (`maxima.py`)
    sums       SMMF: sums of whole panels, gathered and added in one order (`sums.py`)
    settle     a rank without a gradient keeps its copies if another rank had one: as if its own had been zero

`loop.py` is the only step loop and calls this for the parameters of its groups that are DTensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sm3.errors import SettingError, explain
from sm3.optim.kernels.dispatch import Kernel, count_steps
from sm3.optim.rules import Rule
from sm3.optim.torch import maxima, sums
from sm3.optim.torch.agreement import check_agreement
from sm3.optim.torch.boxes import Box
from sm3.optim.torch.exchange import Groups
from sm3.optim.torch.pieces import Meeting, Part, Piece, pieces_of
from sm3.optim.torch.work import Work

if TYPE_CHECKING:
    from sm3.optim.torch.loop import RuleOptimizer

# (parts of the groups, meetings, memory): steps all pieces and returns those whose copies are to be kept
_STEPS: dict[str, Callable[[Sequence[Part], Sequence[Meeting], dict[Any, Any]], list[Piece]]] = {
    "SM3": maxima.step_,
    "SMMF": sums.step_,
}
# Of `nonfinite`, in the order of what wins.
_VERDICTS = ("propagate", "skip", "error")


class Together:
    """What an optimizer remembers of its ranks. Absent from copies, made anew after loading."""

    def __init__(self) -> None:
        self.groups = Groups()
        self.agreed: set[Any] = set()  # (ranks, indices): who has compared which parameters
        self.plans: dict[Any, Any] = {}  # of `sums.py`
        self._boxes: dict[Any, Box] = {}

    def box(self, name: str, param: Any) -> Box:
        """How a parameter is cut. Raises `ParameterError` where it cannot be stepped exactly."""
        key = param.shape, param.device_mesh, param.placements
        known = self._boxes.get(key)
        if known is None:
            known = self._boxes[key] = Box.of(name, param)
        return known

    def meetings(self, pieces: Iterable[Piece]) -> list[Meeting]:
        """Pieces that differ between ranks, by who must meet about them: usually one meeting for all.

        Parameters on one mesh meet along all mesh dimensions that cut any of them.
        """
        by_mesh: dict[Any, list[Piece]] = {}
        for piece in pieces:
            if piece.box.cut_by:
                by_mesh.setdefault(piece.box.mesh, []).append(piece)
        met = []
        for mesh, members in by_mesh.items():
            axes = tuple(sorted({axis for piece in members for axis in piece.box.cut_by}))
            met.append(Meeting(self.groups.along(mesh, axes), axes, members))
        return met


class Shards:
    """The sharded parameters of one step. Making it compares the ranks, once, before anything is modified."""

    def __init__(self, optimizer: RuleOptimizer, works: Sequence[Work]):
        self.optimizer, self.works = optimizer, works
        for work in works:
            refuse_sharded(work.rule)
        self.pieces = [pieces_of(optimizer, work) for work in works]
        together = optimizer._together
        self.meetings = together.meetings(piece for pieces in self.pieces for piece in pieces)
        for meeting in self.meetings:
            what = meeting.ranks, tuple(piece.index for piece in meeting.members)
            if what not in together.agreed:
                check_agreement(meeting)
                together.agreed.add(what)

    def worst(self, verdict: str) -> str:
        """The most severe verdict on the gradients over all ranks that share a parameter."""
        severity = _VERDICTS.index(verdict)
        for meeting in [*self.meetings, *self.meetings[:-1]]:  # again, so that the first hear what the last said
            severity = meeting.ranks.highest(severity)
        return _VERDICTS[severity]

    def step_(self, kernels: Sequence[Kernel]) -> None:
        """Step all pieces, and agree on what they share; every rank must call it, with or without gradients."""
        parts = [
            Part(work.rule, kernel, pieces)
            for work, kernel, pieces in zip(self.works, kernels, self.pieces, strict=True)
            if pieces
        ]
        count_steps([piece.state["step"] for part in parts for piece in part.pieces])
        step = _STEPS[self.optimizer.RULE.NAME]
        for piece in step(parts, self.meetings, self.optimizer._together.plans):
            piece.settle(self.optimizer)


def refuse_sharded(rule: Rule) -> None:
    """Raise `SettingError` for settings that sharded parameters cannot be stepped with exactly."""
    if getattr(rule, "variant", "II") == "I":
        raise SettingError(
            explain(
                "SM3-I cannot step sharded parameters.",
                got='variant="I" and a DTensor',
                accepted='variant="II": its update needs old state alone, that of I the new maxima over all ranks',
                do='pass variant="II", the tighter bound and the default',
            )
        )
    if rule.backend == "triton":
        raise SettingError(
            explain(
                "the Triton kernels step whole parameters only.",
                got='backend="triton" and a DTensor',
                accepted='backend=None, "eager", or "cpu" where parameters are on the CPU',
                do="leave backend out",
            )
        )
