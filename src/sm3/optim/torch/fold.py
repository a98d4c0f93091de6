"""Full-size moments to factors, signs and covers, and back: one tensor at a time, in tiles, with the error of it.

Source of the factors: Park & Lee 2025, algorithm 1 (row sums and column sums, the columns divided by their total); of
the covers: Anil et al. 2019, section 4. Sums are float64 and rounded once to the state's dtype; errors are those of
what is stored. Nothing here knows of steps or decays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sm3.optim.kernels.eager.storage import read_signs, write_signs_
from sm3.optim.kernels.eager.tiles import Tile, gradient_tile, tiles
from sm3.optim.rules.shapes import near_square, packed_sign_shape


@dataclass
class Distance:
    """Squares of what was stored minus what it stands for, and of the latter; sums of them are the whole model's."""

    squares: float = 0.0
    of: float = 0.0
    stored: float = 0.0  # squares of what was stored

    def add(self, stored: Tensor, exact: Tensor) -> None:
        """Count some more entries, float64."""
        self.squares += float((stored - exact).square().sum())
        self.of += float(exact.square().sum())
        self.stored += float(stored.square().sum())

    def merge(self, other: Distance) -> None:
        self.squares, self.of, self.stored = (
            self.squares + other.squares,
            self.of + other.of,
            self.stored + other.stored,
        )

    @property
    def relative(self) -> float:
        """Relative Frobenius error; 0 of nothing."""
        return math.sqrt(self.squares / self.of) if self.of else (0.0 if not self.squares else math.inf)

    @property
    def ratio(self) -> float:
        """Length of what was stored over the length of what it stands for; 1 of nothing."""
        return math.sqrt(self.stored / self.of) if self.of else 1.0


@dataclass
class Errors:
    """What one tensor, or all of them, lost on the way: first moment, second moment, and the update made of both."""

    first: Distance = field(default_factory=Distance)
    second: Distance = field(default_factory=Distance)
    update: Distance = field(default_factory=Distance)

    def merge(self, other: Errors) -> None:
        self.first.merge(other.first)
        self.second.merge(other.second)
        self.update.merge(other.update)


@dataclass(frozen=True)
class Moments:
    """AdamW's means of one parameter and what corrects them: first * first_scale is the bias-corrected mean."""

    first: Tensor
    second: Tensor
    first_scale: float
    second_scale: float
    eps: float

    def tile(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """Both corrected means of a tile, float64, zeros behind the tensor's end."""
        first = gradient_tile(self.first, tile, torch.float64, maximize=False) * self.first_scale
        second = gradient_tile(self.second, tile, torch.float64, maximize=False) * self.second_scale
        return first, second


def fold(
    moments: Moments, dtype: torch.dtype, *, published: bool, with_first: bool
) -> tuple[dict[str, Tensor], Errors]:
    """SMMF's factors and signs of a parameter's moments, and the error of folding them."""
    shape, numel, device = moments.second.shape, moments.second.numel(), moments.second.device
    rows, columns = near_square(numel, published=published)
    sums = {name: torch.zeros(n, dtype=torch.float64, device=device) for name, n in _lengths(rows, columns)}
    signs = torch.zeros(packed_sign_shape(tuple(shape)), dtype=torch.uint8, device=device)
    for tile in tiles(rows, columns):
        stop = min(tile.stop, numel)
        if tile.start >= numel:
            break  # a tile of the missing tail alone
        first, second = moments.tile(tile)
        for values, row, column in ((first.abs(), "m_row", "m_col"), (second, "v_row", "v_col")):
            sums[row][tile.rows] += values.sum(1)
            sums[column][tile.columns] += values.sum(0)
        write_signs_(signs, numel, tile.start, stop, first.reshape(-1)[: stop - tile.start] > 0)
    for name in ("m_col", "v_col"):
        total = sums[name].sum()
        sums[name] /= torch.where(total == 0, torch.ones_like(total), total)
    factors = {name: value.to(dtype) for name, value in sums.items()}
    stored = {**factors, "m_sign": signs}
    errors = _fold_errors(moments, stored, rows, columns)
    if not with_first:
        stored = {name: stored[name] for name in ("v_row", "v_col")}
        errors.first, errors.update = Distance(), Distance()
    return stored, errors


def _lengths(rows: int, columns: int) -> tuple[tuple[str, int], ...]:
    return ("m_row", rows), ("m_col", columns), ("v_row", rows), ("v_col", columns)


def _fold_errors(moments: Moments, stored: dict[str, Tensor], rows: int, columns: int) -> Errors:
    errors, numel = Errors(), moments.second.numel()
    for tile in tiles(rows, columns):
        if tile.start >= numel:
            break
        exact = moments.tile(tile)
        folded = unfold_tile(stored, tile, numel)
        errors.first.add(folded[0], exact[0])
        errors.second.add(folded[1], exact[1])
        # An entry that never had a gradient has no update in AdamW, and none in SMMF before it has one.
        live = exact[1] > 0
        updates = [torch.where(live, m / (v.sqrt() + moments.eps), 0.0) for m, v in (folded, exact)]
        errors.update.add(*updates)
    return errors


def unfold_tile(stored: dict[str, Tensor], tile: Tile, numel: int) -> tuple[Tensor, Tensor]:
    """Both moments of a tile from factors and signs, float64; 0 behind the tensor's end and without first moment."""
    stop = min(tile.stop, numel)
    moments = []
    for row, column in (("m_row", "m_col"), ("v_row", "v_col")):
        if row not in stored:
            moments.append(torch.zeros_like(stored["v_row"][tile.rows, None] * stored["v_col"][tile.columns]).double())
            continue
        value = stored[row][tile.rows, None].double() * stored[column][tile.columns].double()
        flat = value.reshape(-1)
        flat[stop - tile.start :] = 0.0
        if row == "m_row":
            positive = read_signs(stored["m_sign"], numel, tile.start, stop)
            flat[: stop - tile.start] *= torch.where(positive, 1.0, -1.0)
        moments.append(flat.view_as(value))
    return moments[0], moments[1]


def unfold(stored: dict[str, Tensor], like: Tensor, *, published: bool) -> tuple[Tensor, Tensor]:
    """Both moments of a parameter at full size, float64 for float64 parameters and float32 for all others."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    numel = like.numel()
    first, second = (torch.zeros(numel, dtype=dtype, device=like.device) for _ in range(2))
    for tile in tiles(*near_square(numel, published=published)):
        if tile.start < numel:
            stop = min(tile.stop, numel)
            for target, values in zip((first, second), unfold_tile(stored, tile, numel), strict=True):
                target[tile.start : stop] = values.reshape(-1)[: stop - tile.start]
    return first.view(like.shape), second.view(like.shape)


def cover(second: Tensor, scale: float, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Distance]:
    """SM3's accumulators of a tensor >= 0 times `scale`, their bound of each entry (float64), and its error."""
    exact = second.double() * scale
    if exact.dim() == 0:
        vectors = [exact.reshape(1)]
    else:
        others = [[d for d in range(exact.dim()) if d != axis] for axis in range(exact.dim())]
        vectors = [
            (exact.amax(rest) if rest else exact) if exact.numel() else exact.new_zeros(length)
            for rest, length in zip(others, exact.shape, strict=True)
        ]
    accumulators = [vector.to(dtype) for vector in vectors]
    bound = torch.full_like(exact, math.inf)
    for axis, accumulator in enumerate(accumulators):
        along = [-1 if d == axis else 1 for d in range(max(exact.dim(), 1))]
        bound = torch.minimum(bound, accumulator.double().view(along if exact.dim() else []))
    distance = Distance()
    distance.add(bound, exact)
    return accumulators, bound, distance
