"""Square roots rounded correctly.

PyTorch's own root on the CPU comes from a vector library that is off by one unit in the last place for about one number
in five (float32; torch 2.13 with MKL, against NumPy): results would then differ between machines and from every other
backend. NumPy uses the processor's instruction, which IEEE 754 requires to be exact; so do GPUs.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor


def square_root_(values: Tensor) -> Tensor:
    """The correctly rounded roots, in place; NaN and infinity stay."""
    if not values.is_cpu:
        return values.sqrt_()
    numbers = values.numpy()
    with np.errstate(invalid="ignore"):
        np.sqrt(numbers, out=numbers)
    return values
