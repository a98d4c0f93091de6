"""SMMF in Triton. Park & Lee 2025, algorithm 1, with the departures of `kernels.eager.smmf`: one pass over memory.

    tiles      decompress, update, signs, param; partial sums of the tile's rows and columns     every element
    sums       rows and columns: partial sums added in the order of the tiles                    vectors only
    normalise  columns divided by their total                                                    vectors only

1. No float atomics: a tile stores the sums of its rows and of its columns in places of its own, so the result does
   not depend on the order in which tiles run. In the last bits it does depend on the shape of tiles, and on the order
   that the compiler chose inside one.
2. The small launches read the scratch and write the factors; old factors are read by the first launch alone.
3. Signs that share a byte with another tile are flipped by atomic xor; `storage` says why that is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sm3.optim.kernels.eager.smmf import smmf_step_ as eager_step_
from sm3.optim.kernels.triton import table
from sm3.optim.kernels.triton.smmf_tile import smmf_normalise, smmf_sums, smmf_tiles
from sm3.optim.kernels.triton.storage import FIELDS
from sm3.optim.kernels.triton.update_rms import store_rms
from sm3.optim.rules.shapes import near_square
from sm3.optim.rules.smmf import SMMFRule


def smmf_step_(
    params: Sequence[Tensor],  # any shape, floating point; updated in place
    grads: Sequence[Tensor],  # same shapes; read only
    states: Sequence[dict[str, Tensor]],  # SMMFRule.state of each; `step` already counts this step; updated in place
    rule: SMMFRule,
    indices: Sequence[int],  # position of each parameter in the optimizer, a key of stochastic rounding
) -> None:
    """One step of SMMF on every parameter of the list: three launches a pair of dtypes, four with `update_rms`."""

    def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
        return near_square(torch.Size(shape).numel(), published=rule.published)

    groups, rest = table.grouped(params, grads, states, indices, matrix)
    for group in groups:
        _step_group(group, rule)
    if rest is not None:
        eager_step_(rest.params, rest.grads, rest.states, rule, rest.indices)


class _Tables:
    """Descriptors of tensors, of the sums of the second launch and of the columns of the third."""

    def __init__(self, group: table.Group, rule: SMMFRule):
        self.tensors: list[list[int]] = []
        self.sums: list[list[int]] = []  # (to, from, number of partial sums, entries)
        self.columns: list[list[int]] = []  # (address, entries, kept, count)
        self.moments = ("v",) if rule.beta is None else ("v", "m")
        members = list(group.members())
        self.shapes = [_shape(param, grad, state, rule) for param, grad, state, _ in members]
        numbers = len(self.moments) * sum(own for shape in self.shapes for own in _partial(shape))
        self.scratch = torch.empty(numbers, dtype=group.accumulator, device=group.device)
        # Of kept entries, then of squares.
        counts = len(members) * (rule.cautious + 2 * (rule.update_rms is not None))
        self.counts = torch.zeros(counts, dtype=torch.int64, device=group.device)
        square = self.counts.data_ptr() + 8 * len(members) * rule.cautious
        address = self.scratch.data_ptr()
        for number, (member, shape) in enumerate(zip(members, self.shapes, strict=True)):
            count = self.counts.data_ptr() + 8 * number if rule.cautious else 0
            address = self._add(member, shape, rule, group.accumulator.itemsize, address, count, square + 16 * number)

    def _add(
        self,
        member: table.Member,
        shape: tuple[int, int, int],
        rule: SMMFRule,
        size: int,
        address: int,  # of this tensor's partial sums
        count: int,
        square: int,
    ) -> int:
        param, grad, state, index = member
        decays = rule.moment_decays(int(state["step"]))
        rows, columns, _ = shape
        head = table.head(param, grad, state, rule, index, rows=rows, columns=columns, decays=decays, count=count)
        factors, places = [], []
        for moment in self.moments:
            for name, numbers, length in zip(("row", "col"), _partial(shape), (rows, columns), strict=True):
                factor = state[f"{moment}_{name}"].data_ptr()
                self.sums.append([factor, address, numbers // length, length])
                factors.append(factor)
                places.append(address)
                address += numbers * size
            kept = state["kept"].data_ptr() if rule.cautious and moment == "v" else 0
            self.columns.append([factors[-1], columns, kept, count])
        absent = [0] * (4 - len(factors))
        signs: list[int] = []
        if rule.beta is not None:
            signs = [state["m_sign"].data_ptr(), *_sign_layout(state["m_sign"], param.numel())]
        words = [*head, table.word(rule.eps), *factors, *absent, *places, *absent, *signs]
        self.tensors.append(table.with_rms(words, state, rule, square))
        return address


def _shape(param: Tensor, grad: Tensor, state: dict[str, Tensor], rule: SMMFRule) -> tuple[int, int, int]:
    """Rows, columns and kind of tile of a parameter; aligned tiles are whole bytes of signs, and miss no tail."""
    rows, columns = near_square(param.numel(), published=rule.published)
    aligned = table.aligned(columns, param, grad) and rows * columns == param.numel()
    if rule.beta is not None:
        per_row, pitch = _sign_layout(state["m_sign"], param.numel())
        aligned = aligned and per_row == pitch
    return rows, columns, table.GEOMETRY.kind(columns, aligned=aligned)


def _partial(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Partial sums of the rows and of the columns, for one moment."""
    rows, columns, kind = shape
    depth, width = table.GEOMETRY.tile(kind)
    return rows * -(-columns // width), columns * -(-rows // depth)


def _sign_layout(signs: Tensor, numel: int) -> tuple[int, int]:
    """Elements, and bits stored, of a row of dimension 0; equal: bit i is element i. See `packed_sign_shape`."""
    per_row = numel // signs.shape[0] if signs.dim() == 2 else 8
    return per_row, -(-per_row // 8) * 8


def _step_group(group: table.Group, rule: SMMFRule) -> None:
    geometry, device = table.GEOMETRY, group.device
    tables = _Tables(group, rule)
    flags = table.Flags.of(group, rule, averages=rule.beta is not None, published=rule.published)
    tensors, sums, columns = table.on_device(
        device, (tables.tensors, FIELDS.value), (tables.sums, 4), (tables.columns, 4)
    )
    tiles = table.tile_table(tuple(tables.shapes), device, geometry)
    table.launch(smmf_tiles, len(tiles), (tensors, tiles), flags)
    lengths = tuple(entry[3] for entry in tables.sums)
    where = table.block_table(lengths, (geometry.widths[2],) * len(lengths), device)
    table.launch(smmf_sums, len(where), (sums, where), flags)
    table.launch(smmf_normalise, len(tables.columns), (columns,), flags)
    if flags.held:
        table.launch(store_rms, len(tables.tensors), (tensors,), flags)
