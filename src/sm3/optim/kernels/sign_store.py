"""The packed signs that a rank stores, read and written by blocks of the flat tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sm3.optim.kernels.eager.storage import pack, read_signs, unpack, write_signs_
from sm3.optim.rules.panels import Block


@dataclass(frozen=True)
class SignStore:
    """Signs of a range of the parameter, usually all of it (`shared`), or of what the rank holds, in that order."""

    packed: Tensor  # uint8, as StateTensor `m_sign` or a rank's rows of it
    numel: int  # signs in it
    shared: bool
    origin: int = 0  # flat element of the first sign, where all of a range are stored

    def read(self, block: Block) -> Tensor:
        """Booleans, in the order of the rank's memory."""
        runs = block.runs
        if not self.shared:
            return read_signs(self.packed, self.numel, block.local, block.local + runs.numel)
        start = runs.start - self.origin
        bits = read_signs(self.packed, self.numel, start, start + runs.span)
        return bits.as_strided((runs.count, runs.length), (runs.stride, 1), bits.storage_offset()).reshape(-1)

    def write_(self, block: Block, positive: Tensor) -> None:
        runs = block.runs
        if not self.shared:
            write_signs_(self.packed, self.numel, block.local, block.local + runs.numel, positive)
            return
        start = runs.start - self.origin
        stop = start + runs.span
        if runs.count > 1:
            bits = read_signs(self.packed, self.numel, start, stop).clone()
            bits.as_strided((runs.count, runs.length), (runs.stride, 1)).copy_(positive.view(runs.count, runs.length))
            positive = bits
        write_signs_(self.packed, self.numel, start, stop, positive)


def to_bytes(bits: Tensor) -> Tensor:
    """Booleans (n,) to bytes (ceil(n / 8),); the last bits of the last byte are 0."""
    padded = bits.new_zeros(-(-bits.numel() // 8) * 8)
    padded[: bits.numel()] = bits
    return pack(padded.view(-1, 8)).view(-1)


def from_bytes(packed: Tensor, numel: int) -> Tensor:
    """The reverse."""
    return unpack(packed.view(-1, 1)).view(-1)[:numel]


def empty_signs(numel: int, device: torch.device) -> Tensor:
    """Room for as many signs, all 0."""
    return torch.zeros(-(-numel // 8), dtype=torch.uint8, device=device)
