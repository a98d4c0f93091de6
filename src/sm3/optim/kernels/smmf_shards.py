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
from typing import Any

import torch
from torch import Tensor

from sm3.optim.kernels.cpu import smmf_halves as cpu_smmf
from sm3.optim.kernels.cpu.call import SERVED, accumulator
from sm3.optim.kernels.eager import smmf as eager_smmf
from sm3.optim.kernels.shard_plan import Piece, ShardPlan
from sm3.optim.kernels.shards import Shards
from sm3.optim.kernels.sign_store import SignStore, empty_signs, from_bytes, to_bytes
from sm3.optim.kernels.window import Job, Window
from sm3.optim.rules.panels import Block, Panel, clip
from sm3.optim.rules.smmf import SMMFRule

# Elements of copied rows at which those in memory are stepped and dropped (chosen: 16 MiB
# of gradient and as much of the parameter).
_COPIED_NUMEL = 1 << 22


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
        self.plan, self._params = plan, params
        self._shards = Shards(
            plan,
            [param.detach().reshape(-1) for param in params],
            [_flat_gradient(param, grad) for param, grad in zip(params, grads, strict=True)],
            [_sign_store(plan, number, state) for number, state in enumerate(states)],
            states,
            rule,
            indices,
        )
        self._device = params[0].device
        self._kernels: Any = cpu_smmf if plan.native else eager_smmf

    def pieces(self) -> Tensor:
        """Bytes for all ranks, one after another, `plan.sent[r]` for rank r."""
        sent = self.plan.sent
        buffer = self._bytes(sum(sent))
        for part, pieces in zip(torch.split(buffer, sent), self.plan.outgoing, strict=True):
            for piece in pieces:
                grad, signs = self._shards.grads[piece.member], self._shards.signs[piece.member]
                values = torch.cat([_local(grad, block) for block in piece.blocks])
                part[piece.at : piece.at + piece.grad_nbytes] = values.view(torch.uint8)
                if signs is not None:
                    bits = torch.cat([signs.read(block) for block in piece.blocks])
                    start = piece.at + piece.grad_nbytes
                    part[start : start + piece.sign_nbytes] = to_bytes(bits)
        return buffer

    def panels_(self, incoming: Tensor) -> Tensor:
        """Step everything; the message to all ranks, `plan.message_nbytes` bytes.

        incoming : what each rank had for this one in `pieces()`, one after another, `plan.received[r]` bytes of rank r
        """
        message = self._bytes(self.plan.message_nbytes)
        self._kernels.step_whole_(self._shards, message)
        batch: list[tuple[Job, Panel]] = []
        for job, panel in self._copied(incoming, message):
            batch.append((job, panel))
            if sum(job.window.param.numel() for job, _ in batch) >= _COPIED_NUMEL:
                self._step_copies(batch, message)
                batch = []
        self._step_copies(batch, message)
        for number, at in self.plan.places[self.plan.rank].signs.items():
            packed = to_bytes(torch.cat([self._signs(number).read(block) for block in self._blocks(number)]))
            message[at : at + packed.numel()] = packed
        for param, flat in zip(self._params, self._shards.params, strict=True):
            if not param.is_contiguous():
                param.copy_(flat.view(param.shape))
        return message

    def finish_(self, gathered: Tensor) -> None:
        """New factors, counts and shared signs.

        gathered : (ranks, plan.message_nbytes), the messages of all ranks; rows may be parts of longer ones, at
                   multiples of 8 bytes
        """
        self._kernels.finish_(self._shards, gathered)
        for rank, places in enumerate(self.plan.places):
            for number, at in places.signs.items() if rank != self.plan.rank else ():
                self._take_signs(number, rank, gathered[rank, at:])

    def _bytes(self, nbytes: int) -> Tensor:
        return torch.zeros(nbytes, dtype=torch.uint8, device=self._device)

    def _signs(self, number: int) -> SignStore:
        signs = self._shards.signs[number]
        assert signs is not None
        return signs

    def _blocks(self, number: int, rank: int | None = None) -> list[Block]:
        """All that a rank holds, in the order of its memory."""
        cut = self.plan.members[number].cut
        return clip(cut.holdings[self.plan.rank if rank is None else rank], 0, cut.numel)

    def _copied(self, incoming: Tensor, message: Tensor) -> Iterator[tuple[Job, Panel]]:
        """Rows of which this rank holds some elements: all of the panel if it owns it, else those rows alone."""
        arrived: dict[tuple[int, int], list[tuple[Piece, Tensor]]] = {}
        for part, pieces in zip(torch.split(incoming, self.plan.received), self.plan.incoming, strict=True):
            for piece in pieces:
                arrived.setdefault((piece.member, piece.panel.number), []).append((piece, part))
        for number, member in enumerate(self.plan.members):
            for panel in member.panels:
                blocks = panel.held_by(self.plan.rank)
                if panel.whole or not blocks:
                    continue
                if panel.owner == self.plan.rank:
                    window = self._copy(number, panel, panel.first, panel.last)
                    for piece, part in arrived.get((number, panel.number), ()):
                        _take_piece(window, piece, part)
                    record = self._shards.record(message, number, panel)
                    yield Job(number, window, panel.first, panel.last, record), panel
                else:
                    columns = member.matrix[1]
                    first = min(block.runs.start for block in blocks) // columns
                    last = -(-max(block.runs.start + block.runs.span for block in blocks) // columns)
                    yield Job(number, self._copy(number, panel, first, last), first, last, None), panel

    def _copy(self, number: int, panel: Panel, first: int, last: int) -> Window:
        """Rows with what this rank holds of them, zeros elsewhere."""
        member, signs = self.plan.members[number], self._shards.signs[number]
        columns = member.matrix[1]
        start, stop = first * columns, min(last * columns, member.cut.numel)
        bits_from = start - start % 8
        window = Window(
            self._shards.params[number].new_zeros(stop - start),
            self._shards.grads[number].new_zeros(stop - start),
            start,
            None if signs is None else empty_signs(stop - bits_from, self._device),
            stop - bits_from,
            bits_from,
        )
        for block in panel.held_by(self.plan.rank):
            for rows, held in ((window.param, self._shards.params[number]), (window.grad, self._shards.grads[number])):
                place = _strided(rows, start, block)
                place.copy_(_local(held, block).view(place.shape))
            if signs is not None:
                _bits_of(window).write_(block, signs.read(block))
        return window

    def _step_copies(self, batch: Sequence[tuple[Job, Panel]], message: Tensor) -> None:
        """Step, and keep what belongs to this rank."""
        self._kernels.step_copies_(self._shards, [job for job, _ in batch], message)
        for job, panel in batch:
            signs = self._shards.signs[job.member]
            for block in panel.held_by(self.plan.rank):
                stepped = _strided(job.window.param, job.window.origin, block)
                _local(self._shards.params[job.member], block).view(stepped.shape).copy_(stepped)
                if signs is not None:
                    signs.write_(block, _bits_of(job.window).read(block))

    def _take_signs(self, number: int, rank: int, packed: Tensor) -> None:
        """The bits of what another rank holds."""
        numel = self.plan.members[number].cut.held(rank)
        bits = from_bytes(packed[: -(-numel // 8)], numel)
        for block in self._blocks(number, rank):
            self._signs(number).write_(block, bits[block.local : block.local + block.runs.numel])


def _sign_store(plan: ShardPlan, number: int, state: dict[str, Tensor]) -> SignStore | None:
    member = plan.members[number]
    if member.moments == 1:
        return None
    numel = member.cut.numel if member.cut.signs_shared else member.cut.held(plan.rank)
    return SignStore(state["m_sign"], numel, member.cut.signs_shared)


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
