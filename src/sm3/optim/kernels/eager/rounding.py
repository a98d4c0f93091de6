"""Write a parameter: decay and update in the accumulators' dtype, rounded once, to nearest or stochastically.

Stochastic rounding draws no state: the noise of an element is a hash of (seed, step, parameter, element), so it does
not depend on threads, shards, stops or the order of the work.

    float32   s eeeeeeee mmmmmmm|mmmmmmmmmmmmmmmm      bfloat16 keeps what is left of the bar
                                + noise, 16 bits       a carry rounds away from zero
                                then cleared           P(away) = the cut-off bits / 2^16: unbiased
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sm3.optim.kernels.eager import tiles
from sm3.optim.rules.panels import Runs, clip_local

_MASK64 = (1 << 64) - 1
_MASK32 = (1 << 32) - 1
_GOLDEN = 0x9E3779B9  # odd and near 2^32 / golden ratio: its multiples fill the 32-bit circle evenly


@dataclass(frozen=True)
class NoiseKey:
    """What the noise of a parameter at a step depends on, besides the element."""

    seed: int
    step: int
    parameter: int  # position among all parameters of the optimizer, in the order of its groups

    def words(self) -> tuple[int, int]:
        """Two 32-bit keys."""
        key = _mix64(_mix64(_mix64(self.seed) ^ self.step) ^ self.parameter)
        return key & _MASK32, key >> 32


def _mix64(z: int) -> int:
    # SplitMix64's finaliser: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    z = (z + 0x9E3779B97F4A7C15) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)


def _mix32(x: Tensor, key: Tensor) -> Tensor:
    # "lowbias32", a bijection of 32-bit words found by Wellons' hash search (2018), with a key let in after its first
    # product. The products wrap at 2^64, which leaves their low 32 bits right.
    x = x ^ (x >> 16)
    x = ((x * 0x7FEB352D) & _MASK32) ^ key
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK32
    return x ^ (x >> 16)


def noise16(key: NoiseKey, start: int, stop: int, device: torch.device) -> Tensor:
    """16 random bits for each flat element [start, stop), as int32; two elements share one 32-bit hash."""
    low_key, high_key = key.words()
    words = torch.arange(start >> 1, ((stop - 1) >> 1) + 1, dtype=torch.int64, device=device)
    hashed = _mix32((words * _GOLDEN + low_key) & _MASK32, (words >> 32) ^ high_key)
    halves = torch.stack([hashed & 0xFFFF, hashed >> 16], dim=-1).view(-1)
    offset = start & 1
    return halves[offset : offset + stop - start].to(torch.int32)


def noise16_of(key: NoiseKey, holding: Sequence[Runs], start: int, stop: int, device: torch.device) -> Tensor:
    """The same for elements [start, stop) of a rank's memory, which holds these runs of the tensor."""
    parts = []
    for runs in clip_local(holding, start, stop):
        if runs.count == 1:
            parts.append(noise16(key, runs.start, runs.start + runs.length, device))
            continue
        drawn = noise16(key, runs.start, runs.start + runs.span, device)
        parts.append(drawn.as_strided((runs.count, runs.length), (runs.stride, 1), drawn.storage_offset()).reshape(-1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def round_stochastic(values: Tensor, dtype: torch.dtype, noise: Tensor) -> Tensor:
    """float32 values to bfloat16 or float16: one of the two neighbours, with the value as the mean.

    Representable values, infinities and NaN pass unchanged.
    """
    return _to_bfloat16(values, noise) if dtype == torch.bfloat16 else _to_float16(values, noise)


def _to_bfloat16(values: Tensor, noise: Tensor) -> Tensor:
    drawn = ((values.view(torch.int32) + noise) & -0x10000).view(torch.float32)
    # Infinity plus noise would be NaN.
    return torch.where(values.isfinite(), drawn, values).to(torch.bfloat16)


def _to_float16(values: Tensor, noise: Tensor) -> Tensor:
    # Normal range: the same trick on the 13 bits that float16 lacks. Below 2^-14 its spacing is 2^-24 whatever the
    # exponent, so the sum is made in float64, where it is exact.
    normal = ((values.view(torch.int32) + (noise >> 3)) & -0x2000).view(torch.float32)
    steps = values.abs().double() * 2.0**24 + noise.double() * 2.0**-16
    small = torch.copysign(steps.floor() * 2.0**-24, values.double()).float()
    drawn = torch.where(values.abs() >= 2.0**-14, normal, small)
    return torch.where(values.isfinite(), drawn, values).to(torch.float16)


@dataclass(frozen=True)
class WriteBack:
    """How an update reaches a parameter: param = round(param * (1 - lr * weight_decay) - lr * update)."""

    lr: float
    weight_decay: float
    noise: NoiseKey | None  # None: round to nearest
    step_size: Tensor | None = None  # what the update is multiplied by, where it is not lr; one number
    holding: tuple[Runs, ...] | None = None  # what `param` holds of the tensor; None: all of it

    def apply_(self, param: Tensor, start: int, stop: int, update: Tensor) -> None:
        """Update flat elements [start, stop) of `param`; `update` (flat, accumulators' dtype) is used up."""
        value = tiles.read(param, start, stop)
        in_place = value.dtype == update.dtype and param.is_contiguous()
        value = value if in_place else value.to(update.dtype, copy=True)
        if self.weight_decay:
            value.mul_(1.0 - self.lr * self.weight_decay)
        value.sub_(update.mul_(self.lr if self.step_size is None else self.step_size))
        if in_place:
            return
        if self.noise is not None and param.dtype in (torch.bfloat16, torch.float16):
            value = round_stochastic(value, param.dtype, self._drawn(self.noise, start, stop, param.device))
        tiles.write_(param, start, stop, value)

    def _drawn(self, noise: NoiseKey, start: int, stop: int, device: torch.device) -> Tensor:
        if self.holding is None:
            return noise16(noise, start, stop, device)
        return noise16_of(noise, self.holding, start, stop, device)
