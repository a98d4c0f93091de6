"""Bytes that the kernels move, by formula; a test counts them in Triton's interpreter and compares.

    stream   a parameter is read and written, its gradient read, momentum or signs read and written: every element
    vectors  accumulators, factors and partial sums: terms in 1 / depth and 1 / width of a tile

Counted are the distinct bytes of each access of a program, an atomic as a read and a write; not the descriptors (256
bytes a tensor, read by every program), nor what caches save. The stream alone is the roofline: float32 12 bytes an
element for SM3, 20 with momentum, 12.25 for SMMF (AdamW: 28); bfloat16 6, 14 and 6.25.
"""

from __future__ import annotations

from dataclasses import dataclass

from sm3.optim.kernels.triton.table import GEOMETRY
from sm3.optim.rules.shapes import near_square


@dataclass(frozen=True)
class Traffic:
    """Bytes of one step of one parameter."""

    numel: int
    stream: float
    vectors: float

    @property
    def per_element(self) -> float:
        return (self.stream + self.vectors) / self.numel


def _tiles(rows: int, columns: int) -> tuple[int, int]:
    """Tiles along the rows, and along the columns."""
    depth, width = GEOMETRY.tile(GEOMETRY.kind(columns, aligned=columns % 16 == 0))
    return -(-rows // depth), -(-columns // width)


def sm3_matrix(rows: int, columns: int, *, parameter: int, gradient: int, accumulator: int, momentum: bool) -> Traffic:
    """SM3-II on a matrix (rows > 1), item sizes in bytes.

    Vectors: old accumulators read and new maxima raised by every tile, the fill of the new maxima, the move of them.

    >>> big = sm3_matrix(8192, 4096, parameter=4, gradient=4, accumulator=4, momentum=True)
    >>> big.stream / big.numel, round(big.vectors / big.numel, 3)
    (20.0, 0.145)
    """
    numel = rows * columns
    down, across = _tiles(rows, columns)
    entries = rows + columns
    vectors = 3 * (rows * across + columns * down) + entries + 2 * entries
    stream = numel * (2 * parameter + gradient + 2 * accumulator * momentum)
    return Traffic(numel, stream, vectors * accumulator)


def sm3_vector(numel: int, *, parameter: int, gradient: int, accumulator: int, momentum: bool) -> Traffic:
    """SM3-II on a vector: its accumulator is as long as it is, read and written in place."""
    stream = numel * (2 * parameter + gradient + 2 * accumulator * momentum)
    return Traffic(numel, stream, 2 * numel * accumulator)


def smmf(numel: int, *, parameter: int, gradient: int, accumulator: int, first_moment: bool) -> Traffic:
    """SMMF on a parameter whose matrix has aligned tiles (else signs move as words, twice or more as many bytes).

    Vectors, for each moment: factors read and partial sums written by every tile; partial sums read, factors written;
    columns read twice and written once more.

    >>> big = smmf(8192 * 4096, parameter=4, gradient=4, accumulator=4, first_moment=True)
    >>> big.stream / big.numel, round(big.vectors / big.numel, 3)
    (12.25, 0.287)
    """
    rows, columns = near_square(numel)
    down, across = _tiles(rows, columns)
    moment = 3 * (rows * across + columns * down) + rows + columns + 3 * columns
    stream = numel * (2 * parameter + gradient + 0.25 * first_moment)
    return Traffic(numel, stream, (1 + first_moment) * moment * accumulator)
