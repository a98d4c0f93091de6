"""A parameter list as tables: what one launch needs to serve every tensor of the list.

    groups       parameters of one device, parameter dtype and gradient dtype; what Triton does not take goes to eager
    descriptors  `storage.FIELDS` int64 words a tensor, rebuilt and copied at every step (addresses may change)
    tiles        a row (tensor, kind, row0, col0) a program, from shapes alone: built once, kept on the device
    launch       the only place that starts a kernel

A program owns `depth` rows x `width` columns of one tensor and walks them `height` rows at a time. Four widths, chosen
by the columns of the tensor, so that a convolution of 9 columns does not waste 247 lanes of 256. The kernel branches
on the kind once; kind 3 is a wide matrix whose addresses and columns are multiples of 16, where loads can be 16 bytes;
kind 4 is a vector (one row).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from sm3.optim.kernels.eager.rounding import NoiseKey
from sm3.optim.kernels.triton.update_rms import RMS
from sm3.optim.rules.state import Rule

# param, grad, state, index
Member = tuple[Tensor, Tensor, dict[str, Tensor], int]

NUMBERS = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
}
# Rows and columns are int32 in the kernels; elements are counted in int64.
LONGEST = 2**31 - 2**16
# Fusing a multiply and an add would round once where the eager kernel rounds twice: off.
OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}


@dataclass(frozen=True)
class Geometry:
    """Sizes of tiles, powers of two.

    4 x 256 elements at a time, 4 a thread: 128 registers at most and no spills (ptxas for compute capability 8.0; at
    8 a thread 242). 128 rows deep: partial sums then cost SMMF 16/128 + 16/256 bytes an element. No time was measured.
    """

    area: int = 1024
    widths: tuple[int, int, int] = (16, 64, 256)
    steps: int = 32
    few: int = 4  # slices a program of SM3's second launch reduces at a time
    block: int = 1024  # entries of a vector a program of the small kernels owns

    def kind(self, columns: int, *, aligned: bool) -> int:
        """0, 1, 2: the width; 3: the widest, aligned. 4, one row, is for a kernel to choose."""
        narrow = sum(columns > width for width in self.widths[:2])
        return 3 if aligned and narrow == 2 else narrow

    def tile(self, kind: int) -> tuple[int, int]:
        """Rows and columns of a tile."""
        if kind == 4:
            return 1, self.area
        width = self.widths[min(kind, 2)]
        return self.area // width * self.steps, width


GEOMETRY = Geometry()


@dataclass(frozen=True)
class Flags:
    """What a kernel is compiled for: dtypes, the parts of the rule that are present, sizes of tiles."""

    parameter: Any  # dtypes of triton.language
    gradient: Any
    accumulator: Any
    bits: Any  # integers as wide as the accumulators
    decays: bool
    maximize: bool
    cautious: bool
    held: bool  # the update's root mean square has a target
    stochastic: bool
    averages: bool  # momentum, or a first moment
    mean: bool  # SM3: the exponential mean of squares
    published: bool  # SMMF: updates where the gradient is zero too
    area: int
    narrow: int
    middle: int
    wide: int
    steps: int
    few: int
    block: int

    @classmethod
    def of(cls, group: Group, rule: Rule, *, averages: bool, mean: bool = False, published: bool = False) -> Flags:
        geometry = GEOMETRY
        return cls(
            NUMBERS[group.parameter],
            NUMBERS[group.gradient],
            NUMBERS[group.accumulator],
            tl.int64 if group.accumulator == torch.float64 else tl.int32,
            rule.weight_decay > 0,
            rule.maximize,
            rule.cautious,
            rule.update_rms is not None,
            rule.rounding == "stochastic",
            averages,
            mean,
            published,
            geometry.area,
            *geometry.widths,
            geometry.steps,
            geometry.few,
            geometry.block,
        )


@dataclass
class Group:
    """Parameters of one launch, and what the step knows of each."""

    device: torch.device
    parameter: torch.dtype
    gradient: torch.dtype
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)

    @property
    def accumulator(self) -> torch.dtype:
        return torch.float64 if self.parameter == torch.float64 else torch.float32

    def members(self) -> Iterator[Member]:
        return zip(self.params, self.grads, self.states, self.indices, strict=True)


def grouped(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[dict[str, Tensor]],
    indices: Sequence[int],
    matrix: Callable[[tuple[int, ...]], tuple[int, int]],  # shape to the rows and columns that the kernels walk
) -> tuple[list[Group], Group | None]:
    """The launches of a step, and the parameters that the eager kernel serves: not contiguous, or too long."""
    groups: dict[tuple[Any, ...], Group] = {}
    rest = None
    for param, grad, state, index in zip(params, grads, states, indices, strict=True):
        if param.numel() == 0:
            continue
        if max(matrix(tuple(param.shape))) < LONGEST and served(param, grad, state):
            group = groups.setdefault(
                (param.device, param.dtype, grad.dtype), Group(param.device, param.dtype, grad.dtype)
            )
        else:
            group = rest = rest or Group(param.device, param.dtype, grad.dtype)
        group.params.append(param)
        group.grads.append(grad)
        group.states.append(state)
        group.indices.append(index)
    return list(groups.values()), rest


def served(param: Tensor, grad: Tensor, state: dict[str, Tensor]) -> bool:
    """Whether the kernels take this parameter."""
    return (
        param.dtype in NUMBERS
        and grad.dtype in NUMBERS
        and all(tensor.is_contiguous() for tensor in (param, grad, *state.values()))
    )


def word(value: float) -> int:
    """A float64 as the int64 with the same bits."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def head(
    param: Tensor,
    grad: Tensor,
    state: dict[str, Tensor],
    rule: Rule,
    index: int,
    *,
    rows: int,
    columns: int,
    decays: tuple[float, float],  # of the first and of the second moment, or momentum and accumulators
    count: int,  # address of this step's count of kept entries
) -> list[int]:
    """The first sixteen words of a descriptor, in the order of `storage`."""
    step = int(state["step"])
    low, high = NoiseKey(rule.seed, step, index).words() if rule.rounding == "stochastic" else (0, 0)
    kept = state["kept"].data_ptr() if rule.cautious else 0
    scalars = [1.0 - rule.lr * rule.weight_decay, rule.lr, decays[0], 1.0 - decays[0], decays[1], 1.0 - decays[1]]
    sizes = [rows, columns, param.numel()]
    return [param.data_ptr(), grad.data_ptr(), *sizes, low, high, *map(word, scalars), kept, count, int(step > 1)]


def with_rms(words: Sequence[int], state: dict[str, Tensor], rule: Rule, square: int) -> list[int]:
    """The descriptor with the words of `update_rms` at its end; square: address of this step's count of them."""
    if rule.update_rms is None:
        return list(words)
    own = [state["rms"].data_ptr(), square, word(rule.update_rms)]
    return [*words, *[0] * (RMS.value - len(words)), *own]


def on_device(device: torch.device, *sections: tuple[Iterable[Sequence[int]], int]) -> list[Tensor]:
    """Tables of int64 words, each row filled with zeros to its width (even, so that tables start at 16 bytes).

    One copy carries them all, and does not wait for the device.
    """
    lengths: list[int] = []
    flat: list[int] = []
    for rows, width in sections:
        before = len(flat)
        for row in rows:
            flat += [*row, *[0] * (width - len(row))]
        lengths.append(len(flat) - before)
    table = torch.tensor(flat, dtype=torch.int64, pin_memory=device.type == "cuda")
    return list(torch.split(table.to(device, non_blocking=True), lengths))


def aligned(columns: int, *tensors: Tensor) -> bool:
    """Whether 16-byte loads are possible: every address and the distance of rows is a multiple of 16."""
    return columns % 16 == 0 and all(tensor.data_ptr() % 16 == 0 for tensor in tensors)


@lru_cache(maxsize=512)
def tile_table(shapes: tuple[tuple[int, int, int], ...], device: torch.device, geometry: Geometry) -> Tensor:
    """(tensor, kind, row0, col0) of every tile of the matrices (rows, columns, kind), int32 on the device."""
    parts = []
    for tensor, (rows, columns, kind) in enumerate(shapes):
        depth, width = geometry.tile(kind)
        grid = torch.cartesian_prod(torch.arange(0, rows, depth), torch.arange(0, columns, width))
        own = torch.tensor([tensor, kind]).expand(len(grid), 2)
        parts.append(torch.cat([own, grid], 1))
    return ordered(torch.cat(parts).to(torch.int32)).to(device)


@lru_cache(maxsize=512)
def block_table(lengths: tuple[int, ...], blocks: tuple[int, ...], device: torch.device) -> Tensor:
    """(vector, first entry) of every block of the vectors, int32 on the device."""
    parts = []
    for vector, (length, block) in enumerate(zip(lengths, blocks, strict=True)):
        first = torch.arange(0, length, block)
        parts.append(torch.stack([torch.full_like(first, vector), first], 1))
    return ordered(torch.cat(parts).to(torch.int32)).to(device)


def ordered(table: Tensor) -> Tensor:
    """The order in which programs are numbered. Results do not depend on it; a test puts a permutation here."""
    return table


def launch(kernel: Any, programs: int, tables: Sequence[Tensor], flags: Flags) -> None:
    """Start a kernel on the device of its tables."""
    device = tables[0].device
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[(programs,)](*tables, flags, **OPTIONS)
