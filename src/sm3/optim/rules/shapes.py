"""Shape arithmetic: SM3's covers, SMMF's near-square matrix, packed signs. Integers in, integers out."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, isqrt, prod

# Below this many elements a factorised vector saves too little to be worth another shape than the paper's (chosen).
PAD_FROM_NUMEL = 4096
# Rows per column above which the paper's divisor pair costs more than twice the bytes of a square (chosen):
# the factor bytes grow by (sqrt(aspect) + 1/sqrt(aspect)) / 2, which is 2.1 at 16.
PAD_FROM_ASPECT = 16
# Rows shorter than this are not padded to whole bytes each: the padding would cost more than an eighth (chosen).
PACK_ROWS_FROM = 64


def cover_lengths(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lengths of SM3's accumulators: one vector per dimension, whose sets are the slices of co-dimension 1.

    A scalar has one set (Adagrad on a scalar). Anil et al. 2019, section 4.

    >>> cover_lengths((3072, 768))
    (3072, 768)
    >>> cover_lengths(())
    (1,)
    """
    return shape if shape else (1,)


def rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fold a tensor to dimension 0 against all the rest; a vector is one column, a scalar one element.

    >>> rows_and_columns((64, 3, 7, 7)), rows_and_columns((5,)), rows_and_columns(())
    ((64, 147), (5, 1), (1, 1))
    """
    return (shape[0], prod(shape[1:])) if shape else (1, 1)


@lru_cache(maxsize=4096)
def divisor_pair(numel: int) -> tuple[int, int]:
    """The pair n * m = numel, n >= m, with n - m smallest (Park & Lee 2025, square matricization).

    >>> divisor_pair(50257 * 768), divisor_pair(31), divisor_pair(0)
    ((6932, 5568), (31, 1), (0, 1))
    """
    for columns in range(isqrt(numel), 0, -1):
        if numel % columns == 0:
            return numel // columns, columns
    return 0, 1


def near_square(numel: int, *, published: bool = False) -> tuple[int, int]:
    """The matrix (n, m) whose rows follow each other in the flat tensor; n * m >= numel, the missing tail is zero.

    The paper's divisor pair, except where that is long and thin and large: a prime number of elements would be one
    column, and cost 8 bytes per parameter. There the columns are isqrt(numel), the rows as many as needed.
    `published=True` keeps the paper's pair always.

    >>> near_square(1_000_003), near_square(1_000_003, published=True)
    ((1001, 1000), (1000003, 1))
    """
    rows, columns = divisor_pair(numel)
    if published or numel < PAD_FROM_NUMEL or rows <= PAD_FROM_ASPECT * columns:
        return rows, columns
    columns = isqrt(numel)
    return ceil(numel / columns), columns


def packed_sign_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the uint8 tensor that holds one bit per element of a parameter.

    Rows of dimension 0 are padded to whole bytes each, so that a parameter sharded along dimension 0 has its signs
    sharded along dimension 0. Where a row is short and not a multiple of 8 that would waste up to 7 bits of 8: then
    all bits stand one after another in a flat vector, which every rank holds.

    >>> packed_sign_shape((3072, 768)), packed_sign_shape((64, 3, 7, 7)), packed_sign_shape((768,))
    ((3072, 96), (64, 19), (96,))
    """
    rows, columns = rows_and_columns(shape)
    if signs_follow_rows(shape):
        return rows, (columns + 7) // 8
    return ((rows * columns + 7) // 8,)


def signs_follow_rows(shape: tuple[int, ...]) -> bool:
    """Whether signs are stored row by row of dimension 0 (and shard with it), or as one flat vector."""
    _, columns = rows_and_columns(shape)
    return columns > 0 and (columns % 8 == 0 or columns >= PACK_ROWS_FROM)
