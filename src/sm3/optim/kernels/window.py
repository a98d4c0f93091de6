"""Where some elements of a parameter lie in memory: in the tensor itself, in a rank's shard, in a copy of some rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Flat element e is number e - origin of `param` and `grad`, and number e - signs_origin of the packed signs."""

    param: Tensor
    grad: Tensor
    origin: int
    signs: Tensor | None  # packed as by kernels/eager/storage.py; None: no first moment
    signs_numel: int  # how many signs it holds
    signs_origin: int


@dataclass(frozen=True)
class Job:
    """Rows [first, last) of a parameter's matrix, to be stepped in a window."""

    member: int  # which parameter of the list
    window: Window
    first: int
    last: int
    # Where sums go, accumulators' dtype: of the rows, of the columns, of the second moment and then of the first. None:
    # sums and counts are of no use, because only some of the elements are real.
    record: Tensor | None
