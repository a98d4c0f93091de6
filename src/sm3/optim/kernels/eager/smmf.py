"""SMMF in plain PyTorch. Park & Lee 2025, algorithm 1: decompress, update, compress, apply.

    M = b_m S (r_m x c_m) + (1 - b_m) grad         S = +1 where the sign bit is set, else -1
    V = b_v (r_v x c_v)   + (1 - b_v) grad^2
    r, c = row sums and column sums of |M| and of V; c is divided by its sum (rows >= columns, so c is the shorter)
    param -= lr M / (sqrt(V) + eps)                with M and V before compression

Departures from the text: the matrix is walked in panels of whole rows, old factors are read while new sums gather
beside them. Columns are summed panel by panel and panels added in their order, so that other ranks may sum some of
them (kernels/smmf_shards.py). Where the gradient is exactly zero no update is applied: a zero momentum is stored as
negative, so the published rule moves entries that never had a gradient (`published=True` does). Matrices with a
missing tail (`rules.shapes.near_square`) keep it at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sm3.optim.kernels.eager.cautious import CautiousMask
from sm3.optim.kernels.eager.roots import square_root_
from sm3.optim.kernels.eager.rounding import NoiseKey, WriteBack
from sm3.optim.kernels.eager.storage import read_signs, write_signs_
from sm3.optim.kernels.eager.tiles import TILE_NUMEL, Tile, gradient_tile, tiles
from sm3.optim.kernels.eager.update_rms import UpdateRms
from sm3.optim.kernels.shard_plan import Member
from sm3.optim.kernels.window import Job, Window
from sm3.optim.rules.panels import Panel, Runs
from sm3.optim.rules.shapes import near_square
from sm3.optim.rules.smmf import SMMFRule

# PyTorch's sum of one vector is shared out to threads from this length on, and then depends on their number.
_SUMMED_BY_ONE_THREAD = 1 << 15


def smmf_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SMMFRule.state of each; `step` already counts this step; updated in place
    rule: SMMFRule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
) -> None:
    """One step of SMMF on every parameter of the list. Temporaries are as large as a tile (2^17 elements)."""
    for param, grad, state, index in zip(params, grads, states, indices, strict=True):
        numel = param.numel()
        if numel > 0:
            step = SmmfStep(numel, state, rule, index)
            window = Window(param, grad, 0, state.get("m_sign"), numel, 0)
            step.finish_(step.run_(window, first, last) for first, last in panel_rows_of(numel, rule))


def run_(
    members: Sequence[Member],
    states: Sequence[dict[str, Tensor]],
    rule: SMMFRule,
    indices: Sequence[int],
    jobs: Iterable[Job],
    counts: Tensor,  # (members, 3) int64; what is counted is added
) -> None:
    """Step some rows of some parameters; sums go to the jobs' records. Factors stay as they are."""
    for job in jobs:
        step = SmmfStep(members[job.member].cut.numel, states[job.member], rule, indices[job.member])
        panel = step.run_(job.window, job.first, job.last)
        if job.record is not None:
            torch.cat([sums for moment in panel.moments for sums in moment], out=job.record)
            counts[job.member] += step.counts()


def finish_(
    members: Sequence[Member],
    states: Sequence[dict[str, Tensor]],
    rule: SMMFRule,
    indices: Sequence[int],
    records: Sequence[Sequence[Tensor]],  # of each parameter, of all its panels in their order
    counts: Tensor,  # (members, 3) int64, of all panels
) -> None:
    """New factors, and the state of what was counted."""
    for member, state, index, panels, counted in zip(members, states, indices, records, counts, strict=True):
        if member.cut.numel > 0:
            step = SmmfStep(member.cut.numel, state, rule, index)
            step.set_counts(counted)
            step.finish_(_sums_in(record, panel, member) for panel, record in zip(member.panels, panels, strict=True))


def _sums_in(record: Tensor, panel: Panel, member: Member) -> PanelSums:
    lengths = [panel.last - panel.first, member.matrix[1]]
    parts = torch.split(record.clone(), lengths * member.moments)
    moments = tuple(zip(parts[::2], parts[1::2], strict=True))
    return PanelSums(panel.first, panel.last, moments)


def panel_height(columns: int) -> int:
    """Rows of a panel: a tile's."""
    return max(TILE_NUMEL // columns, 1)


def panel_rows_of(numel: int, rule: SMMFRule) -> Iterator[tuple[int, int]]:
    """First and last row of each panel."""
    rows, columns = near_square(numel, published=rule.published)
    height = panel_height(columns)
    for first in range(0, rows, height):
        yield first, min(first + height, rows)


@dataclass
class PanelSums:
    """Row sums (of the panel's rows) and column sums of the second moment and, where there is one, of the first."""

    first: int
    last: int
    moments: tuple[tuple[Tensor, Tensor], ...]


class _Moment:
    """The factors of one moment."""

    def __init__(self, row: Tensor, column: Tensor):
        self.row, self.column = row, column

    def decompress(self, tile: Tile) -> Tensor:
        return self.row[tile.rows].unsqueeze(1) * self.column[tile.columns].unsqueeze(0)

    def empty_sums(self, rows: int) -> tuple[Tensor, Tensor]:
        return self.row.new_zeros(rows), torch.zeros_like(self.column)


class SmmfStep:
    """One parameter, one step: what its panels share. Factors are old until `finish_`, which comes after all panels."""

    def __init__(self, numel: int, state: dict[str, Tensor], rule: SMMFRule, index: int):
        self.numel, self.rule = numel, rule
        self.columns = near_square(numel, published=rule.published)[1]
        second = _Moment(state["v_row"], state["v_col"])
        # With a first moment, it is the last of two.
        first = [] if rule.beta is None else [_Moment(state["m_row"], state["m_col"])]
        self.moments = (second, *first)
        self.dtype = second.row.dtype
        step = int(state["step"])
        self.first_decay, self.second_decay = rule.moment_decays(step)
        noise = NoiseKey(rule.seed, step, index) if rule.rounding == "stochastic" else None
        self.rms = UpdateRms.of(rule, state, numel, self.dtype)
        self.write_back = WriteBack(rule.lr, rule.weight_decay, noise, self.rms.step_size if self.rms else None)
        self.mask = CautiousMask(state["kept"], numel, step, self.dtype) if rule.cautious else None

    def run_(self, window: Window, first: int, last: int) -> PanelSums:
        """Step rows [first, last) of the matrix where `window` has them; parameters and signs are written.

        Rows without all their elements are stepped as well, on what stands there; only their sums are of no use.
        """
        panel = PanelSums(first, last, tuple(moment.empty_sums(last - first) for moment in self.moments))
        numel = min(last * self.columns, self.numel) - window.origin
        write_back = replace(self.write_back, holding=(Runs(window.origin, numel, numel, 1),))
        for tile in self._tiles(first, last):
            start, stop = tile.start - window.origin, min(tile.stop, self.numel) - window.origin
            here = Tile(tile.rows, tile.columns, start, tile.stop - window.origin)
            grad = gradient_tile(window.grad, here, self.dtype, maximize=self.rule.maximize)
            variance = (
                self.moments[0]
                .decompress(tile)
                .mul_(self.second_decay)
                .add_((grad * grad).mul_(1.0 - self.second_decay))
            )
            self._clear_tail(tile, variance)
            _gather(panel, 0, tile, variance)
            update = grad.clone() if self.rule.beta is None else self._first_moment(window, panel, tile, grad)
            if self.mask is not None:
                update = self.mask.apply(update, grad)
            update.div_(square_root_(variance).add_(self.rule.eps))
            if not self.rule.published:
                update.masked_fill_(grad == 0, 0.0)
            if self.rms is not None:
                self.rms.add(update)
            write_back.apply_(window.param, start, stop, update.view(-1)[: stop - start])
        return panel

    def finish_(self, panels: Iterable[PanelSums]) -> None:
        """New factors from the sums of all panels, in their order; and the state of what was counted."""
        columns: list[Tensor] = []
        for panel in panels:
            for moment, (row, _) in zip(self.moments, panel.moments, strict=True):
                moment.row[panel.first : panel.last] = row  # no other panel reads these
            if not columns:
                columns = [column for _, column in panel.moments]
                continue
            for total, (_, column) in zip(columns, panel.moments, strict=True):
                total += column
        for moment, column in zip(self.moments, columns, strict=True):
            total = torch.stack([part.sum() for part in torch.split(column, _SUMMED_BY_ONE_THREAD)]).sum()
            # where, not `if`: a branch would wait for the device.
            moment.column.copy_(column / torch.where(total == 0, torch.ones_like(total), total))
        if self.mask is not None:
            self.mask.finish_()
        if self.rms is not None:
            self.rms.finish_()

    def counts(self) -> Tensor:
        """What was counted since the step was made, (3,) int64: kept entries, squares, whether any update is not 0."""
        zero = torch.zeros((), dtype=torch.int64, device=self.moments[0].row.device)
        kept = zero if self.mask is None else self.mask.count
        squares, moved = (zero, zero) if self.rms is None else (self.rms.count, self.rms.moved.long())
        return torch.stack([kept, squares, moved])

    def set_counts(self, counts: Tensor) -> None:
        """As if all that was counted here."""
        if self.mask is not None:
            self.mask.count = counts[0]
        if self.rms is not None:
            self.rms.count, self.rms.moved = counts[1], counts[2] > 0

    def _tiles(self, first: int, last: int) -> Iterator[Tile]:
        before = first * self.columns
        for tile in tiles(last - first, self.columns):
            if before + tile.start >= self.numel:
                return  # a tile of the missing tail alone
            rows = slice(first + tile.rows.start, first + tile.rows.stop)
            yield Tile(rows, tile.columns, before + tile.start, before + tile.stop)

    def _first_moment(self, window: Window, panel: PanelSums, tile: Tile, grad: Tensor) -> Tensor:
        assert window.signs is not None
        start, stop = tile.start - window.signs_origin, min(tile.stop, self.numel) - window.signs_origin
        magnitude = self.moments[-1].decompress(tile)
        positive = read_signs(window.signs, window.signs_numel, start, stop)
        flat = magnitude.view(-1)[: stop - start]
        flat.copy_(torch.where(positive, flat, -flat))
        moment = magnitude.mul_(self.first_decay).add_(grad * (1.0 - self.first_decay))
        self._clear_tail(tile, moment)
        _gather(panel, 1, tile, moment.abs())
        write_signs_(window.signs, window.signs_numel, start, stop, moment.view(-1)[: stop - start] > 0)
        return moment

    def _clear_tail(self, tile: Tile, values: Tensor) -> None:
        """Elements past the tensor's end do not exist: they must not enter the sums."""
        if tile.stop > self.numel:
            values.view(-1)[self.numel - tile.start :] = 0.0


def _gather(panel: PanelSums, number: int, tile: Tile, values: Tensor) -> None:
    row, column = panel.moments[number]
    row[tile.rows.start - panel.first : tile.rows.stop - panel.first] += values.sum(1)
    column[tile.columns] += values.sum(0)
