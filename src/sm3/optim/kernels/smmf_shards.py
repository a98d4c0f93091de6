"""One step of SMMF on parameters that are cut over ranks: the same bits as on one rank, for any cut.

    step = SmmfShards(plan, params, grads, states, rule, indices)
    incoming = what every rank has for this one in its step.pieces()     gradients and signs of cut panels
    gathered = step.panels_(incoming) of every rank                      sums of panels, counts, shared signs
    step.finish_(gathered)                                               equal factors everywhere

A panel is summed by its owner (rules/panels.py), to whom the others send their parts of its gradient and old signs: it
runs the ordinary kernel on the assembled panel. Updates need old factors only, so every rank writes its own elements at
once: it runs the same kernel on the rows of which it has a part, zeros for the rest, and throws away what became of
them. Nothing here communicates: the caller does, once for all parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sm3.optim.kernels.cpu.call import SERVED, accumulator
from sm3.optim.kernels.eager.smmf import finish_, run_
from sm3.optim.kernels.shard_plan import COUNTS, Piece, ShardPlan
from sm3.optim.kernels.sign_store import SignStore, empty_signs, from_bytes, to_bytes
from sm3.optim.kernels.window import Job, Window
from sm3.optim.rules.panels import Block, Panel, clip
from sm3.optim.rules.smmf import SMMFRule

# Elements of assembled panels that are in memory at a time, above which they are stepped and dropped (chosen: 16 MiB
# of gradient and as much of the parameter).
_ASSEMBLED_NUMEL = 1 << 22


@dataclass
class _Shard:
    """What this rank holds of one parameter, flat."""

    number: int
    param: Tensor
    grad: Tensor
    signs: SignStore | None


class SmmfShards:
    """One step, in three calls; between them two collectives of the caller.

    params : this rank's part of each parameter, as its memory has it (Cut.holdings); may have no elements. Updated.
    grads  : of the same parts; read only
    states : v_row, v_col, m_row, m_col whole; `m_sign` as the cut says; `step` already counts this step. Updated.
    """

    def __init__(
        self,
        plan: ShardPlan,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[dict[str, Tensor]],
        rule: SMMFRule,
        indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
    ):
        self.plan, self.rule, self.params, self.states, self.indices = plan, rule, params, states, indices
        self._device = params[0].device
        self._shards = [
            _Shard(number, param.detach().reshape(-1), _flat_gradient(param, grad), self._signs(number))
            for number, (param, grad) in enumerate(zip(params, grads, strict=True))
        ]

    def pieces(self) -> Tensor:
        """Bytes for all ranks, one after another, `plan.sent[r]` for rank r."""
        sent = self.plan.sent
        buffer = self._bytes(sum(sent))
        for part, pieces in zip(torch.split(buffer, sent), self.plan.outgoing, strict=True):
            for piece in pieces:
                shard = self._shards[piece.member]
                grad = torch.cat([_local(shard.grad, block) for block in piece.blocks])
                part[piece.at : piece.at + piece.grad_nbytes] = grad.view(torch.uint8)
                if shard.signs is not None:
                    bits = torch.cat([shard.signs.read(block) for block in piece.blocks])
                    start = piece.at + piece.grad_nbytes
                    part[start : start + piece.sign_nbytes] = to_bytes(bits)
        return buffer

    def panels_(self, incoming: Tensor) -> Tensor:
        """Step everything; the message to all ranks.

        incoming : what each rank had for this one in `pieces()`, one after another, `plan.received[r]` bytes of rank r
        """
        message = self._bytes(self.plan.message_nbytes)
        places = self.plan.places[self.plan.rank]
        counts = message[: 8 * COUNTS * len(self._shards)].view(torch.int64).view(-1, COUNTS)
        batch: list[tuple[Job, Panel | None]] = []
        waiting = 0
        for job, panel in self._jobs(incoming, message):
            batch.append((job, panel))
            waiting += job.window.param.numel() if panel is not None else 0
            if waiting >= _ASSEMBLED_NUMEL:
                self._run(batch, counts)
                batch, waiting = [], 0
        self._run(batch, counts)
        for number, at in places.signs.items():
            signs, holding = self._shards[number].signs, self.plan.members[number].cut.holdings[self.plan.rank]
            assert signs is not None
            bits = torch.cat([signs.read(block) for block in clip(holding, 0, self.plan.members[number].cut.numel)])
            packed = to_bytes(bits)
            message[at : at + packed.numel()] = packed
        for param, shard in zip(self.params, self._shards, strict=True):
            if not param.is_contiguous():
                param.copy_(shard.param.view(param.shape))
        return message

    def finish_(self, gathered: Tensor) -> None:
        """New factors, counts and shared signs.

        gathered : (ranks, plan.message_nbytes), the messages of all ranks
        """
        head = gathered[:, : 8 * COUNTS * len(self._shards)].contiguous().view(torch.int64)
        counts = head.view(self.plan.ranks, -1, COUNTS).sum(0)
        records = [
            [self._record(gathered[panel.owner], number, panel) for panel in member.panels]
            for number, member in enumerate(self.plan.members)
        ]
        finish_(self.plan.members, self.states, self.rule, self.indices, records, counts)
        for rank, places in enumerate(self.plan.places):
            for number, at in places.signs.items() if rank != self.plan.rank else ():
                self._take_signs(number, rank, gathered[rank, at:])

    def _bytes(self, nbytes: int) -> Tensor:
        return torch.zeros(nbytes, dtype=torch.uint8, device=self._device)

    def _signs(self, number: int) -> SignStore | None:
        if self.rule.beta is None:
            return None
        cut = self.plan.members[number].cut
        numel = cut.numel if cut.signs_shared else cut.held(self.plan.rank)
        return SignStore(self.states[number]["m_sign"], numel, cut.signs_shared)

    def _record(self, message: Tensor, number: int, panel: Panel) -> Tensor:
        at = self.plan.places[panel.owner].records[number, panel.number]
        member, dtype = self.plan.members[number], self.states[number]["v_row"].dtype
        return message[at : at + member.record_numel(panel) * member.number_bytes].view(dtype)

    def _jobs(self, incoming: Tensor, message: Tensor) -> Iterator[tuple[Job, Panel | None]]:
        """Rows to step: in place where this rank holds a whole panel; else on copies, and then with their panel."""
        arrived: dict[tuple[int, int], list[tuple[Piece, Tensor]]] = {}
        for part, pieces in zip(torch.split(incoming, self.plan.received), self.plan.incoming, strict=True):
            for piece in pieces:
                arrived.setdefault((piece.member, piece.panel.number), []).append((piece, part))
        for shard, member in zip(self._shards, self.plan.members, strict=True):
            for panel in member.panels:
                blocks = panel.held_by(self.plan.rank)
                if not blocks:
                    continue
                owned = panel.owner == self.plan.rank
                record = self._record(message, shard.number, panel) if owned else None
                if panel.whole:
                    yield Job(shard.number, self._in_place(shard, blocks[0]), panel.first, panel.last, record), None
                elif owned:
                    window = self._copy(shard, panel, panel.first, panel.last)
                    for piece, part in arrived[shard.number, panel.number]:
                        _take_piece(window, piece, part)
                    yield Job(shard.number, window, panel.first, panel.last, record), panel
                else:
                    columns = member.matrix[1]
                    first = min(block.runs.start for block in blocks) // columns
                    last = -(-max(block.runs.start + block.runs.span for block in blocks) // columns)
                    yield Job(shard.number, self._copy(shard, panel, first, last), first, last, None), panel

    def _in_place(self, shard: _Shard, block: Block) -> Window:
        origin = block.runs.start - block.local
        if shard.signs is None:
            return Window(shard.param, shard.grad, origin, None, 0, 0)
        signs = shard.signs
        return Window(shard.param, shard.grad, origin, signs.packed, signs.numel, 0 if signs.shared else origin)

    def _copy(self, shard: _Shard, panel: Panel, first: int, last: int) -> Window:
        """Rows with what this rank holds of them, zeros elsewhere."""
        member = self.plan.members[shard.number]
        columns = member.matrix[1]
        start, stop = first * columns, min(last * columns, member.cut.numel)
        param, grad = shard.param.new_zeros(stop - start), shard.grad.new_zeros(stop - start)
        bits_from = start - start % 8
        signs = None if shard.signs is None else empty_signs(stop - bits_from, self._device)
        window = Window(param, grad, start, signs, stop - bits_from, bits_from)
        for block in panel.held_by(self.plan.rank):
            shape = block.runs.count, block.runs.length
            _strided(param, start, block).copy_(_local(shard.param, block).view(shape))
            _strided(grad, start, block).copy_(_local(shard.grad, block).view(shape))
            if shard.signs is not None:
                _bits_of(window).write_(block, shard.signs.read(block))
        return window

    def _run(self, batch: Sequence[tuple[Job, Panel | None]], counts: Tensor) -> None:
        run_(self.plan.members, self.states, self.rule, self.indices, [job for job, _ in batch], counts)
        for job, panel in batch:
            shard = self._shards[job.member]
            for block in panel.held_by(self.plan.rank) if panel is not None else ():
                stepped = _strided(job.window.param, job.window.origin, block)
                _local(shard.param, block).view(stepped.shape).copy_(stepped)
                if shard.signs is not None:
                    shard.signs.write_(block, _bits_of(job.window).read(block))

    def _take_signs(self, number: int, rank: int, packed: Tensor) -> None:
        """The bits of what another rank holds."""
        signs, cut = self._shards[number].signs, self.plan.members[number].cut
        assert signs is not None
        numel = cut.held(rank)
        bits = from_bytes(packed[: -(-numel // 8)], numel)
        for block in clip(cut.holdings[rank], 0, cut.numel):
            signs.write_(block, bits[block.local : block.local + block.runs.numel])


def exchanged_dtype(param: Tensor, grad: Tensor) -> torch.dtype:
    """The gradient's own, which is least to send, where every kernel reads it; else the accumulators'."""
    return grad.dtype if (param.dtype, grad.dtype) in SERVED else accumulator(param.dtype)


def _flat_gradient(param: Tensor, grad: Tensor) -> Tensor:
    return grad.detach().resolve_neg().to(exchanged_dtype(param, grad)).reshape(-1)


def _local(flat: Tensor, block: Block) -> Tensor:
    """A block of what a rank holds, as its memory has it; a view."""
    return flat[block.local : block.local + block.runs.numel]


def _strided(rows: Tensor, origin: int, block: Block) -> Tensor:
    """The same block, (runs, length), of some rows that begin with flat element `origin`; a view."""
    runs = block.runs
    at = rows.storage_offset() + runs.start - origin
    return rows.as_strided((runs.count, runs.length), (runs.stride, 1), at)


def _bits_of(window: Window) -> SignStore:
    assert window.signs is not None
    return SignStore(window.signs, window.signs_numel, shared=True, origin=window.signs_origin)


def _take_piece(window: Window, piece: Piece, part: Tensor) -> None:
    """Gradient and signs that another rank sent, into an assembled panel."""
    end = piece.at + piece.grad_nbytes
    grad = part[piece.at : end].view(window.grad.dtype)
    bits = from_bytes(part[end : end + piece.sign_nbytes], piece.numel) if window.signs is not None else None
    at = 0
    for block in piece.blocks:
        numel, runs = block.runs.numel, block.runs
        _strided(window.grad, window.origin, block).copy_(grad[at : at + numel].view(runs.count, runs.length))
        if bits is not None:
            _bits_of(window).write_(block, bits[at : at + numel])
        at += numel
