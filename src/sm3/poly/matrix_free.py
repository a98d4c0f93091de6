"""Products with a design matrix that is never stored.

First form: blocks of the matrix are made in a buffer and multiplied.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sm3.poly.products import Products

Array = NDArray[np.float64]


class MatrixFree:
    """A x and A^T r for chunks of rows."""

    def __init__(self, products: Products) -> None:
        self.products = products
        self.chunk = max(16, min(4096, 2**23 // max(products.size, 1)))

    def times(self, points: Array, scale: Array | None, x: Array) -> Array:
        block = np.empty((self.products.size, len(points)))
        self.products.fill(points, scale, block)
        return block.T @ x

    def add_transposed_times(self, points: Array, scale: Array | None, r: Array, out: Array) -> None:
        block = np.empty((self.products.size, len(points)))
        self.products.fill(points, scale, block)
        out += block @ r
