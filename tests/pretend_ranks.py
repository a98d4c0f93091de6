"""Ranks in one process: parameters are cut, each rank steps its part, messages are handed over in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from native import fresh_state
from sm3.optim.kernels.dispatch import shards_plan
from sm3.optim.kernels.eager.storage import read_signs
from sm3.optim.kernels.shard_plan import ShardPlan
from sm3.optim.kernels.smmf_shards import SmmfShards
from sm3.optim.rules import SMMFRule
from sm3.optim.rules.panels import Cut, Runs, runs_of_block, signs_follow_holdings

Shape = tuple[int, ...]
Holdings = tuple[tuple[Runs, ...], ...]


def bounds(length: int, parts: Sequence[float]) -> list[tuple[int, int]]:
    """A dimension cut into shares of these sizes, rounded; some may be empty."""
    ends = [round(length * sum(parts[:i]) / sum(parts)) for i in range(len(parts) + 1)]
    return list(pairwise(ends))


def grid(shape: Shape, shares: dict[int, Sequence[float]]) -> Holdings:
    """Blocks: each dimension of `shares` (of those the shape has) is cut so; the last dimension changes fastest."""
    blocks: list[list[tuple[int, int]]] = [[]]
    for axis, length in enumerate(shape):
        cuts = bounds(length, shares[axis]) if axis in shares else [(0, length)]
        blocks = [[*block, cut] for block in blocks for cut in cuts]
    return tuple(runs_of_block(shape, tuple(a for a, _ in block), tuple(b - a for a, b in block)) for block in blocks)


def chunks(shape: Shape, axis: int, ranks: int) -> Holdings:
    """As torch.chunk: equal, rounded up, so that the last may be short or empty."""
    size = -(-shape[axis] // ranks)
    found = []
    for rank in range(ranks):
        first, last = min(rank * size, shape[axis]), min((rank + 1) * size, shape[axis])
        offset = tuple(first if a == axis else 0 for a in range(len(shape)))
        found.append(runs_of_block(shape, offset, tuple(last - first if a == axis else n for a, n in enumerate(shape))))
    return tuple(found)


def two_by_two(shape: Shape) -> Holdings:
    """Blocks of dimensions 0 and 1; a vector in four."""
    return grid(shape, {0: (2, 1), 1: (1, 1)}) if len(shape) > 1 else grid(shape, {0: (2, 1, 1, 3)})


# Ways to cut a shape of at least one dimension. A vector is cut along the one it has.
CUTS: dict[str, Callable[[Shape], Holdings]] = {
    "one rank": lambda shape: chunks(shape, 0, 1),
    "rows over two": lambda shape: chunks(shape, 0, 2),
    "rows over three": lambda shape: chunks(shape, 0, 3),
    "rows over five": lambda shape: chunks(shape, 0, 5),
    "uneven rows, one rank empty": lambda shape: grid(shape, {0: (5, 0, 1, 3)}),
    "rows in another order": lambda shape: tuple(chunks(shape, 0, 4)[i] for i in (0, 2, 1, 3)),
    "all on the last rank": lambda shape: grid(shape, {0: (0, 0, 1)}),
    "columns": lambda shape: chunks(shape, min(1, len(shape) - 1), 3),
    "columns of whole bytes": lambda shape: grid(shape, {min(1, len(shape) - 1): (1, 1)}),
    "last dimension": lambda shape: chunks(shape, len(shape) - 1, 2),
    "blocks": two_by_two,
    "three dimensions": lambda shape: grid(shape, {0: (1, 1), 1: (2, 1), 2: (1, 1)}),
    "rows, each twice": lambda shape: tuple(holding for holding in chunks(shape, 0, 2) for _ in range(2)),
}


def part(whole: Tensor, holding: Sequence[Runs]) -> Tensor:
    """A copy of what a rank holds of a tensor, dense."""
    flat = whole.detach().reshape(-1)
    parts = [flat.as_strided((runs.count, runs.length), (runs.stride, 1), runs.start).reshape(-1) for runs in holding]
    return torch.cat(parts) if parts else flat[:0].clone()


class PretendRanks:
    """The same parameters and state on several ranks, each with its part."""

    def __init__(self, rule: SMMFRule, holdings: Sequence[Holdings], params: Sequence[Tensor], *, share_signs: bool):
        self.rule, self.indices = rule, list(range(len(params)))
        self.cuts = [
            Cut(tuple(param.shape), held, share_signs or not signs_follow_holdings(tuple(param.shape), held))
            for param, held in zip(params, holdings, strict=True)
        ]
        self.ranks = range(len(holdings[0]))
        self.plans: dict[int, ShardPlan] = {}
        self.params = [[part(p, cut.holdings[r]) for p, cut in zip(params, self.cuts, strict=True)] for r in self.ranks]
        self.states = [[self._state(p, cut, r) for p, cut in zip(params, self.cuts, strict=True)] for r in self.ranks]

    def _state(self, param: Tensor, cut: Cut, rank: int) -> dict[str, Tensor]:
        state = fresh_state(self.rule, param)
        if "m_sign" in state and not cut.signs_shared:
            held, row = cut.held(rank), prod(cut.shape[1:])
            runs = [run for holding in cut.holdings for run in holding]
            whole_rows = all(run.start % row == run.length % row == 0 for run in runs)
            width = row if whole_rows else 8  # else whole bytes everywhere, one stream of bits
            state["m_sign"] = torch.zeros((held // width, -(-width // 8)), dtype=torch.uint8)
        return state

    def step(self, grads: Sequence[Tensor]) -> None:
        """One step of all ranks on these gradients of the whole parameters."""
        steps = []
        for rank in self.ranks:
            mine = [part(grad, cut.holdings[rank]) for grad, cut in zip(grads, self.cuts, strict=True)]
            for state in self.states[rank]:
                state["step"] += 1
            args = self.params[rank], mine
            if rank not in self.plans:
                self.plans[rank] = shards_plan(self.rule, self.cuts, *args, self.indices, rank)
            steps.append(SmmfShards(self.plans[rank], *args, self.states[rank], self.rule, self.indices))
        outgoing = [torch.split(step.pieces(), step.plan.sent) for step in steps]
        messages = []
        for rank, step in zip(self.ranks, steps, strict=True):
            arrived = [sent[rank] for sent in outgoing]
            assert [len(piece) for piece in arrived] == step.plan.received
            assert step.plan.any_pieces == any(any(other.plan.sent) for other in steps)
            messages.append(step.panels_(torch.cat(arrived)))
        # As parts of longer rows: other things may travel along.
        gathered = torch.full((len(steps), len(messages[0]) + 24), 0xAB, dtype=torch.uint8)
        gathered[:, 8:-16] = torch.stack(messages)
        for step in steps:
            step.finish_(gathered[:, 8:-16])

    def differences(self, params: Sequence[Tensor], states: Sequence[dict[str, Tensor]]) -> list[str]:
        """What is not, bit for bit, the part of these whole parameters and state."""
        found = []
        for rank in self.ranks:
            for number, cut in enumerate(self.cuts):
                held = cut.holdings[rank]
                pairs = {"param": (part(params[number], held), self.params[rank][number].reshape(-1))}
                for name, whole in states[number].items():
                    here = self.states[rank][number][name]
                    if name == "m_sign" and not cut.signs_shared:
                        n = cut.held(rank)
                        whole = part(read_signs(whole, cut.numel, 0, cut.numel), held) if n else whole[:0]
                        here = read_signs(here, n, 0, n) if n else whole
                    pairs[name] = whole, here
                found += [f"rank {rank}, {cut.shape}: {name}" for name, (a, b) in pairs.items() if not _same(a, b)]
        return found


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
