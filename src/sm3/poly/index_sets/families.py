"""The usual index sets, grown pair by pair from the zero index, so that nothing outside a set is ever looked at.

    total_degree      sum a_j nu_j <= order
    tensor_product    nu_j <= orders_j
    hyperbolic_cross  prod (a_j nu_j + 1) <= order + 1
    q_norm            (sum (a_j nu_j)^q)^(1/q) <= order: what UQLab and OpenTURNS call hyperbolic; another set
    anchored          the union of all anchored sets of at most `order` indices

All are lower sets. The anisotropy a_j >= 0 is the price of a degree of variable j: 1 is usual, more means fewer
degrees. `max_degree` caps single variables, for measures that have only so many polynomials. The class IndexSet is in
multi_index.py, the rules of the shapes in shapes.py. Sources: Adcock, Brugiapaglia & Webster, Sparse Polynomial
Approximation of High-Dimensional Functions, SIAM 2022; for the q-norm Blatman & Sudret, J. Comput. Phys. 230 (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sm3.errors import SettingError, explain
from sm3.poly.index_sets.multi_index import IndexSet, Ints
from sm3.poly.index_sets.shapes import Additive, Anchored, Box, Multiplicative, Shape

Array = NDArray[np.float64]
Caps = Sequence[int | None] | NDArray[np.int64] | None
Prices = Sequence[float] | Array | None
Kind = Literal["hyperbolic_cross", "total_degree", "tensor_product", "q_norm", "anchored"]
KINDS: tuple[Kind, ...] = ("hyperbolic_cross", "total_degree", "tensor_product", "q_norm", "anchored")
# Chosen: a set beyond this is a mistake in its order, not a model; its pairs alone would fill gigabytes.
LARGEST_SET = 50_000_000
# Chosen: numbers of (node, variable) that are looked at together; 32 MB of doubles.
_BLOCK = 4_000_000


def total_degree(dimension: int, order: float, *, anisotropy: Prices = None, max_degree: Caps = None) -> IndexSet:
    """All nu with sum a_j nu_j <= order: C(order + d, d) of them without prices and caps.

    >>> len(total_degree(10, 3))
    286
    """
    return _complete(_shape("total_degree", dimension, order, anisotropy, max_degree, 1.0))


def tensor_product(dimension: int, orders: int | Sequence[int], *, max_degree: Caps = None) -> IndexSet:
    """All nu with nu_j <= orders_j, one number being the same for all: prod (orders_j + 1) of them.

    >>> len(tensor_product(2, [3, 4]))
    20
    """
    if np.ndim(orders) == 0:
        return _complete(_shape("tensor_product", dimension, float(np.asarray(orders)), None, max_degree, 1.0))
    boxes = np.asarray(orders, dtype=np.float64)
    if boxes.shape != (dimension,) or not (boxes >= 0).all():
        raise _refuse("orders is not accepted.", orders, f"{dimension} integers >= 0", "pass one order per variable")
    return _complete(Box(np.minimum(np.floor(boxes), caps_of(dimension, max_degree))))


def hyperbolic_cross(dimension: int, order: float, *, anisotropy: Prices = None, max_degree: Caps = None) -> IndexSet:
    """All nu with prod (a_j nu_j + 1) <= order + 1. Contains every lower set of at most order + 1 indices (a_j = 1).

    >>> len(hyperbolic_cross(8, 46)), len(hyperbolic_cross(64, 6))
    (8391, 6433)
    """
    return _complete(_shape("hyperbolic_cross", dimension, order, anisotropy, max_degree, 1.0))


def q_norm(
    dimension: int, order: float, q: float = 0.75, *, anisotropy: Prices = None, max_degree: Caps = None
) -> IndexSet:
    """All nu with (sum (a_j nu_j)^q)^(1/q) <= order, 0 < q <= 1: q = 1 is the total degree, less q fewer interactions.

    >>> len(q_norm(2, 4, q=0.5)), len(total_degree(2, 4))
    (10, 15)
    """
    return _complete(_shape("q_norm", dimension, order, anisotropy, max_degree, q))


def anchored(order: int, dimension: int | None = None, *, max_degree: Caps = None) -> IndexSet:
    """The union of all anchored sets of at most `order` indices: the search space where variables come in order.

    A lower set is anchored if with e_j it holds e_1 .. e_{j-1}. The smallest one around nu has prod (nu_k + 1) indices
    below nu and one for each variable before the last active one that nu does not use; nu is in the union if these are
    at most `order`. The set {prod (nu_k + 1) <= order, supp nu in 1 .. order - 1} of the literature contains it.
    `dimension` defaults to order - 1, beyond which no variable can enter.

    >>> anchored(3).dense().tolist()
    [[0, 0], [1, 0], [2, 0], [0, 1]]
    """
    dimension = max(int(order) - 1, 1) if dimension is None else dimension
    return _complete(_shape("anchored", dimension, order, None, max_degree, 1.0))


def largest_order(
    kind: Kind,
    dimension: int,
    max_size: int,
    *,
    anisotropy: Prices = None,
    max_degree: Caps = None,
    q: float = 0.75,
) -> int:
    """The largest integer order whose set has at most `max_size` indices, at least 0 (at least 1 for "anchored").

    Where caps leave no more than `max_size` indices at all, the least order that holds them all.

    >>> largest_order("hyperbolic_cross", 32, 10_000)
    10
    """
    if max_size < 1:
        raise _refuse("max_size is out of range.", max_size, "an integer >= 1", "allow for the constant at least")
    caps = caps_of(dimension, max_degree)
    every = float(np.prod(caps + 1))  # how many indices the caps leave; usually infinite

    def size(order: int) -> int:
        grown = _grow(_shape(kind, dimension, order, anisotropy, max_degree, q), max_size)
        return max_size + 1 if grown is None else len(grown)

    low, high = 0, 1
    while size(high) < min(every, max_size + 1):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if size(middle) <= max_size and size(middle) < every:
            low = middle
        else:
            high = middle
    return high if size(high) <= max_size else low


def largest(
    kind: Kind,
    dimension: int,
    max_size: int,
    *,
    anisotropy: Prices = None,
    max_degree: Caps = None,
    q: float = 0.75,
) -> IndexSet:
    """The set of `largest_order`: the most of its kind that `max_size` allows.

    >>> len(largest("hyperbolic_cross", 16, 10_000))
    8277
    """
    order = largest_order(kind, dimension, max_size, anisotropy=anisotropy, max_degree=max_degree, q=q)
    return _complete(_shape(kind, dimension, order, anisotropy, max_degree, q))


def _shape(kind: Kind, dimension: int, order: float, anisotropy: Prices, max_degree: Caps, q: float) -> Shape:
    """The rule of a set, its settings checked."""
    if kind not in KINDS:
        raise _refuse("this kind of index set is not known.", repr(kind), ", ".join(KINDS), "pass one of these names")
    if not 0 <= order < np.inf:
        raise _refuse("order is out of range.", order, "a finite number >= 0", "pass for example order=5")
    if not 0 < q <= 1:
        raise _refuse("q is out of range.", q, "0 < q <= 1", "pass for example q=0.75")
    caps = caps_of(dimension, max_degree)
    if kind == "tensor_product":
        return Box(np.minimum(np.floor(order), caps))
    if kind == "anchored":
        return Anchored(int(order), caps)
    prices = np.ones(dimension) if anisotropy is None else np.asarray(anisotropy, dtype=np.float64)
    if prices.shape != (dimension,) or not (prices >= 0).all() or not np.isfinite(caps[prices == 0]).all():
        raise _refuse(
            "anisotropy is not accepted.",
            anisotropy,
            f"{dimension} prices > 0, or 0 where max_degree caps the variable",
            "pass 1.0 for a usual variable and more for one that deserves fewer degrees",
        )
    if kind == "hyperbolic_cross":
        return Multiplicative(order, prices, caps)
    return Additive(order, prices, caps, 1.0 if kind == "total_degree" else q)


def caps_of(dimension: int, max_degree: Caps) -> Array:
    """Largest degree of each variable, infinite where there is no limit; shape (d,)."""
    if dimension < 1:
        raise _refuse("dimension is out of range.", dimension, "an integer >= 1", "pass the number of variables")
    if max_degree is None:
        return np.full(dimension, np.inf)
    caps = np.array([np.inf if cap is None else float(cap) for cap in max_degree])
    if caps.shape != (dimension,) or not (caps >= 0).all():
        raise _refuse(
            "max_degree is not accepted.",
            max_degree,
            f"{dimension} integers >= 0, or None for no limit",
            "pass [basis.max_degree for basis in bases]",
        )
    return caps


def _complete(shape: Shape) -> IndexSet:
    grown = _grow(shape, LARGEST_SET)
    if grown is None:
        raise _refuse(
            "the index set is too large.",
            f"more than {LARGEST_SET} indices",
            f"at most {LARGEST_SET}",
            "lower the order, or ask for largest(kind, dimension, max_size)",
        )
    return grown


def _grow(shape: Shape, limit: int) -> IndexSet | None:
    """All indices of a shape, level by level: those with one active variable, with two, ... None beyond the limit."""
    state = shape.start()
    variables = degrees = np.empty((1, 0), dtype=np.int32)  # (nodes of the level, level)
    levels = [(variables, degrees)]
    size = 1
    while len(state):
        children = []
        open_ = np.flatnonzero(shape.alive(state))
        rows = max(1, _BLOCK // len(shape.caps))
        for block in (open_[i : i + rows] for i in range(0, len(open_), rows)):
            parent, variable, degree, count = _children(shape, state[block], limit - size)
            size += count
            if size > limit:
                return None
            children.append((block[parent], variable, degree))
        if not children:
            break
        parent, variable, degree = (np.concatenate(part) for part in zip(*children, strict=True))
        state = shape.spend(state[parent], variable, degree)
        variables = np.column_stack((variables[parent], variable.astype(np.int32)))
        degrees = np.column_stack((degrees[parent], degree.astype(np.int32)))
        levels.append((variables, degrees))
    length = np.repeat([part[0].shape[1] for part in levels], [len(part[0]) for part in levels])
    return IndexSet(
        len(shape.caps),
        np.concatenate(([0], np.cumsum(length, dtype=np.int64))),
        np.concatenate([part[0].ravel() for part in levels]),
        np.concatenate([part[1].ravel() for part in levels]),
    )


def _children(shape: Shape, state: Array, limit: int) -> tuple[Ints, Ints, Ints, int]:
    """Parent (position in the block), variable and degree of every pair that may be appended, and their number.

    Only the number is right where it exceeds the limit.
    """
    dimension = len(shape.caps)
    room = np.minimum(shape.room(state), shape.caps)
    room[np.arange(dimension) <= state[:, -1:]] = 0
    room = np.maximum(room, 0)
    nothing = np.empty(0, dtype=np.int64)
    # A float sum: a mistaken order may ask for more than an integer can hold.
    if room.sum() > limit:
        return nothing, nothing, nothing, limit + 1
    count = room.astype(np.int64).ravel()
    cell = np.repeat(np.arange(len(count)), count)
    degree = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count) + 1
    parent, variable = np.divmod(cell, dimension)
    return parent, variable, degree, len(cell)


def _refuse(happened: str, got: object, accepted: str, do: str) -> SettingError:
    return SettingError(explain(happened, got=got, accepted=accepted, do=do))
