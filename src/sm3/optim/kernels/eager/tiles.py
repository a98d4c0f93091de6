"""Walk a tensor, in logical order, as tiles of a rows x columns matrix.

A tile is a contiguous range of the flat tensor: some whole rows, or a part of one row that is too long. Temporaries
are as large as a tile, not as large as the tensor. Contiguous tensors are read through views; others (channels_last,
transposed, strided) copy the few slices of dimension 0 that a tile touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Elements per tile. A step keeps about five float32 temporaries of a tile; measured on 2 cores (Zen 4, 1 MiB L2 each):
# 2^16 to 2^18 are equal within noise, 2^15 and 2^20 are slower (GPT-2 shapes, 2026-11-24).
TILE_NUMEL = 1 << 17


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the matrix, and the flat range [start, stop) they stand for."""

    rows: slice
    columns: slice
    start: int
    stop: int


def tiles(rows: int, columns: int) -> Iterator[Tile]:
    """Tiles of a rows x columns matrix from the first element to the last; none for an empty matrix."""
    if rows == 0 or columns == 0:
        return
    if columns > TILE_NUMEL:
        for row in range(rows):
            for first in range(0, columns, TILE_NUMEL):
                last = min(first + TILE_NUMEL, columns)
                yield Tile(slice(row, row + 1), slice(first, last), row * columns + first, row * columns + last)
        return
    height = TILE_NUMEL // columns
    for first in range(0, rows, height):
        last = min(first + height, rows)
        yield Tile(slice(first, last), slice(0, columns), first * columns, last * columns)


def read(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Flat elements [start, stop) in logical order; a view where the tensor is contiguous, so do not write to it."""
    if tensor.is_contiguous():
        return tensor.view(-1)[start:stop]
    first, last, offset = _slices(tensor, start, stop)
    return tensor[first:last].reshape(-1)[offset : offset + stop - start]


def write_(tensor: Tensor, start: int, stop: int, values: Tensor) -> None:
    """Set flat elements [start, stop), rounding to the tensor's dtype (nearest, ties to even)."""
    if tensor.is_contiguous():
        tensor.view(-1)[start:stop].copy_(values)
        return
    first, last, offset = _slices(tensor, start, stop)
    block = tensor[first:last].contiguous()
    block.view(-1)[offset : offset + stop - start] = values.to(tensor.dtype)
    tensor[first:last].copy_(block)


def _slices(tensor: Tensor, start: int, stop: int) -> tuple[int, int, int]:
    """Slices [first, last) of dimension 0 that hold flat elements [start, stop), and where `start` lies in them."""
    per_slice = tensor.numel() // tensor.shape[0]
    first, last = start // per_slice, -(-stop // per_slice)
    return first, last, start - first * per_slice


def gradient_tile(grad: Tensor, tile: Tile, dtype: torch.dtype, *, maximize: bool) -> Tensor:
    """The gradient of a tile as (rows, columns) in the accumulators' dtype; elements past the tensor's end are zero.

    It may be a view of the gradient: never written to.
    """
    height, width = tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start
    stop = min(tile.stop, grad.numel())
    flat = read(grad, tile.start, stop).to(dtype)  # cast before squaring: 300^2 overflows float16
    if maximize:
        flat = -flat
    if stop < tile.stop:
        flat = torch.cat([flat, flat.new_zeros(tile.stop - stop)])
    return flat.view(height, width)
