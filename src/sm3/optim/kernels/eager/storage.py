"""One bit per sign: bit i of byte b is element 8 b + i, set where the first moment is > 0.

The layout is `rules.shapes.packed_sign_shape`: padded to whole bytes per row of dimension 0, or one flat vector.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# Bytes 0/1 at bit positions 0, 8, .. 56 of a word, times this, have their bits side by side in the top byte:
# term i times 2^(56 - 7 i) lands on bit 56 + i, every other product lands below bit 56 without carry, or overflows.
_GATHER = sum(1 << (56 - 7 * i) for i in range(8))


def pack(bits: Tensor) -> Tensor:
    """Booleans (..., 8 k) to bytes (..., k)."""
    words = bits.contiguous().view(torch.int64)
    return ((words * _GATHER) >> 56).bitwise_and_(0xFF).to(torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """Bytes (..., k) to booleans (..., 8 k): a look-up of 8 booleans per byte."""
    return _words_of_bytes(packed.device)[packed.int()].view(torch.bool)


@lru_cache(maxsize=8)
def _words_of_bytes(device: torch.device) -> Tensor:
    """For each byte its 8 bits as 8 bytes of 0 or 1, in one int64."""
    words = [int.from_bytes([byte >> bit & 1 for bit in range(8)], "little") for byte in range(256)]
    return torch.tensor(words, dtype=torch.int64, device=device)


def read_signs(signs: Tensor, numel: int, start: int, stop: int) -> Tensor:
    """Booleans of flat elements [start, stop) of a parameter with `numel` elements."""
    block, _, offset, per_row = _block(signs, numel, start, stop)
    return unpack(block)[:, :per_row].reshape(-1)[offset : offset + stop - start]


def write_signs_(signs: Tensor, numel: int, start: int, stop: int, positive: Tensor) -> None:
    """Set the bits of flat elements [start, stop); the other bits of the bytes they share are kept."""
    block, first, offset, per_row = _block(signs, numel, start, stop)
    bits = unpack(block)
    if per_row == bits.shape[1]:
        bits.view(-1)[offset : offset + stop - start] = positive
    else:
        inner = bits[:, :per_row].contiguous()
        inner.view(-1)[offset : offset + stop - start] = positive
        bits[:, :per_row] = inner
    rows = signs if signs.dim() == 2 and per_row % 8 else signs.view(-1, 1)
    rows[first : first + block.shape[0]] = pack(bits)


def _block(signs: Tensor, numel: int, start: int, stop: int) -> tuple[Tensor, int, int, int]:
    """Rows of bytes that hold the range, the first of them, where `start` lies in them, elements per row.

    A flat vector, and rows without padding, are one stream of bits: there a row is one byte.
    """
    per_row = numel // signs.shape[0] if signs.dim() == 2 else 8
    if signs.dim() == 1 or per_row % 8 == 0:
        rows, per_row = signs.view(-1, 1), 8
    else:
        rows = signs
    first, last = start // per_row, -(-stop // per_row)
    return rows[first:last], first, start - first * per_row, per_row
