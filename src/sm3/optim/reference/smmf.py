"""SMMF on one tensor, in the paper's letters. Not fast and not frugal: M, V and the signs S are full matrices.

    n_hat, m_hat   rows and columns of the matrix that the flat, row-major tensor is seen as
    G, M, V        gradient, first and second moment         (n_hat, m_hat)
    r_m, c_m, S    what is kept of M: row and column factor of |M|, and where M > 0
    r_v, c_v       what is kept of V
    eta            learning rate
    beta, lambda   the first moment's decay is beta_M = beta * lambda^(t-1)
    gamma          the second moment's decay is beta_V = 1 - t^gamma, gamma < 0
    t              steps taken

Source: Park & Lee 2025, "SMMF: Square-Matricized Momentum Factorization", AAAI 2025, arXiv 2412.08894: square
matricization, one-time single matrix factorization, and the step (decompress, update, compress, apply).
`published=True` is that. Ours differs in two places, both named where they happen: near-prime sizes are padded, and an
entry whose gradient is 0 does not move. The cautious mask (Liang et al. 2024, arXiv 2411.16085) and the scaling of
`update_rms` are ours too.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sm3.optim.reference.update_rms import UpdateRms

Array: TypeAlias = npt.NDArray[np.floating[Any]]

# Ours pads from this size on, where the divisor pair has more rows per column than this (chosen: the factors would take
# more than twice the bytes of a square's).
PAD_FROM_SIZE = 4096
PAD_FROM_ROWS_PER_COLUMN = 16

# The cautious scale never exceeds 2 (chosen: a mask that kept next to nothing must not blow the next step up).
LEAST_KEPT_FRACTION = 0.5


def matricized_shape(size: int, *, published: bool = False) -> tuple[int, int]:
    """(n_hat, m_hat) for a tensor of `size` entries.

    Paper: n_hat * m_hat = size, n_hat >= m_hat, n_hat - m_hat smallest; so m_hat is the largest divisor of `size` that
    is not above its root. Ours: where that is large and thin, m_hat = floor(sqrt(size)), n_hat = ceil(size / m_hat),
    and the last n_hat * m_hat - size entries are missing. An empty tensor is (0, 1).

    >>> matricized_shape(50257 * 768)
    (6932, 5568)
    >>> matricized_shape(1_000_003, published=True), matricized_shape(1_000_003)  # a prime
    ((1000003, 1), (1001, 1000))
    """
    m_hat = next((m for m in range(isqrt(size), 0, -1) if size % m == 0), 1)
    n_hat = size // m_hat
    if not published and size >= PAD_FROM_SIZE and n_hat > PAD_FROM_ROWS_PER_COLUMN * m_hat:
        m_hat = isqrt(size)
        n_hat = -(-size // m_hat)
    return n_hat, m_hat


def compress(A: Array) -> tuple[Array, Array]:
    """Factors (r, c) of a matrix A >= 0: r = A 1, c = A^T 1, the shorter one then divided by its sum unless that is 0.

    r is (rows,), c is (columns,). At equal lengths it is c. r c^T has A's row sums, column sums and total; it is A
    where A has rank 1; of all rank-1 matrices it is nearest to A in generalised Kullback-Leibler divergence. Paper: the
    factorization without iteration.

    >>> r, c = compress(np.array([[1.0, 2.0], [0.0, 1.0]]))
    >>> r.tolist(), c.tolist(), decompress(r, c).tolist()
    ([3.0, 1.0], [0.25, 0.75], [[0.75, 2.25], [0.25, 0.75]])
    """
    r = A.sum(axis=1)
    c = A.sum(axis=0)
    if A.shape[0] < A.shape[1]:
        total = r.sum()
        r = r / total if total != 0 else r
    else:
        total = c.sum()
        c = c / total if total != 0 else c
    return r, c


def decompress(r: Array, c: Array) -> Array:
    """The rank-1 matrix r c^T of shape (len(r), len(c)).

    >>> decompress(np.array([3.0, 1.0]), np.array([0.5, 0.5])).tolist()
    [[1.5, 1.5], [0.5, 0.5]]
    """
    return np.asarray(np.multiply.outer(r, c))


class SMMF:
    """SMMF for one tensor of any shape: scalars, empty tensors, any rank.

    With r, c and S all zero (false) at the start, one step is

        w   = (1 - eta weight_decay) w
        M   = beta_M (S ? + : -) r_m c_m^T + (1 - beta_M) G           beta_M = beta lambda^(t-1)
        V   = beta_V             r_v c_v^T + (1 - beta_V) G^2         beta_V = 1 - t^gamma
        r_m, c_m, S = compress |M|, M > 0;   r_v, c_v = compress V
        w   = w - eta M / (sqrt(V) + eps)                             with M and V as they were before compressing

    so this step's gradient enters uncompressed. beta = None keeps no first moment: M = G.

    Args:
        eta: learning rate; may be reassigned between steps.
        beta, lam, gamma, eps: 0.9 or None, 0.999, -0.5, 1e-8 as in the authors' code; they advise gamma = -0.8 for
            Transformers.
        weight_decay: decoupled.
        published: the authors' matrix shape, and their update where G = 0: an entry with M = 0 is read back as
            -r_i c_j, so it drifts. Without it the update is 0 where G = 0 (weight decay still applies).
        cautious: apply only entries where M and G agree in sign, divided by the fraction the mask kept one step earlier
            (1 at the first step). `kept` holds the number of entries the mask of the last step kept.
        update_rms: None, or what the update's root mean square is scaled to by last step's (`reference.update_rms`).
        maximize: use -g for g.
        dtype: of every array and every operation; np.float32 for the computation of the authors' code.

    Attributes:
        r_m (n_hat,), c_m (m_hat,), S (n_hat, m_hat) of bool, all None where beta is None; r_v (n_hat,), c_v (m_hat,);
        kept, t. Arrays appear at the first step.

    One entry has never seen a gradient; the published step moves it all the same:

    >>> ours, theirs = SMMF(eta=0.1), SMMF(eta=0.1, published=True)
    >>> w = v = np.zeros((2, 2))
    >>> for g in ([[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]]):
    ...     w, v = ours.step(w, g), theirs.step(v, g)
    >>> w.round(3).tolist()
    [[0.0, -0.027], [-0.027, -0.031]]
    >>> v.round(3).tolist()
    [[0.01, -0.027], [-0.027, -0.031]]
    """

    def __init__(
        self,
        *,
        eta: float,
        beta: float | None = 0.9,
        lam: float = 0.999,
        gamma: float = -0.5,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        published: bool = False,
        cautious: bool = False,
        update_rms: float | None = None,
        maximize: bool = False,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        self.eta = eta
        self.beta = beta
        self.lam = lam
        self.gamma = gamma
        self.eps = eps
        self.weight_decay = weight_decay
        self.published = published
        self.cautious = cautious
        self.update_rms = None if update_rms is None else UpdateRms(update_rms)
        self.maximize = maximize
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.t = 0
        self.kept = 0
        self.r_m: Array | None = None
        self.c_m: Array | None = None
        self.S: npt.NDArray[np.bool_] | None = None
        self.r_v: Array = np.zeros(0, self.dtype)
        self.c_v: Array = np.zeros(0, self.dtype)

    def step(self, w: npt.ArrayLike, g: npt.ArrayLike) -> Array:
        """One step: the new w, from w and its gradient g of the same shape. Neither is changed; the factors are.

        The first step has the same length for every entry, (1 - beta) eta:

        >>> SMMF(eta=1.0).step([0.0, 0.0, 0.0], [5.0, -0.01, 0.0]).round(5).tolist()
        [-0.1, 0.1, 0.0]
        """
        new_w: Array = np.array(w, self.dtype)
        gradient: Array = np.array(g, self.dtype) * self._number(-1 if self.maximize else 1)
        size = gradient.size
        n_hat, m_hat = matricized_shape(size, published=self.published)
        if self.t == 0:
            self._start(n_hat, m_hat)
        self.t += 1

        # Row-major; the missing tail of a padded matrix has gradient 0.
        G: Array = np.zeros((n_hat, m_hat), self.dtype)
        G.reshape(-1)[:size] = gradient.reshape(-1)

        # A NaN or an infinity spreads, without a warning: the judge says what the formula gives.
        with np.errstate(over="ignore", invalid="ignore"):
            new_w = new_w * self._number(1 - self.eta * self.weight_decay)
            M = self._first_moment(G, size=size)
            V = self._second_moment(G, size=size)
            update = M / (np.sqrt(V) + self._number(self.eps))
            if not self.published:
                update = np.where(G == 0, self._number(0), update)
            if self.cautious:
                update = self._agreeing(update, M, G, size=size)
            return np.asarray(new_w - self._scaled(update.reshape(-1)[:size].reshape(new_w.shape)))

    def _start(self, n_hat: int, m_hat: int) -> None:
        """All factors zero, all signs false."""
        self.r_v, self.c_v = np.zeros(n_hat, self.dtype), np.zeros(m_hat, self.dtype)
        if self.beta is not None:
            self.r_m, self.c_m = np.zeros(n_hat, self.dtype), np.zeros(m_hat, self.dtype)
            self.S = np.zeros((n_hat, m_hat), np.bool_)

    def _first_moment(self, G: Array, *, size: int) -> Array:
        """M of this step; r_m, c_m and S are replaced by its factors and signs."""
        if self.beta is None or self.r_m is None or self.c_m is None or self.S is None:
            return G
        beta_m = self.beta * self.lam ** (self.t - 1)
        magnitude = decompress(self.r_m, self.c_m)
        M: Array = self._number(beta_m) * np.where(self.S, magnitude, -magnitude) + self._number(1 - beta_m) * G
        M.reshape(-1)[size:] = 0  # decompressing filled the missing tail; it must not reach the sums
        self.r_m, self.c_m = compress(np.abs(M))
        self.S = M > 0
        return M

    def _second_moment(self, G: Array, *, size: int) -> Array:
        """V of this step; r_v and c_v are replaced by its factors."""
        beta_v = 1 - self.t**self.gamma
        V: Array = self._number(beta_v) * decompress(self.r_v, self.c_v) + self._number(1 - beta_v) * np.square(G)
        V.reshape(-1)[size:] = 0
        self.r_v, self.c_v = compress(V)
        return V

    def _scaled(self, update: Array) -> Array:
        """The learning rate times the update, scaled to the target where there is one."""
        scale = 1.0 if self.update_rms is None else self.update_rms.scale_and_measure(update)
        return np.asarray(self._number(self.eta * scale) * update)

    def _number(self, x: float) -> Any:
        """A constant, computed in double precision and rounded to dtype once."""
        return self.dtype.type(x)

    def _agreeing(self, update: Array, M: Array, G: Array, *, size: int) -> Array:
        """The update where M and G agree in sign, scaled by one over the fraction that was kept one step earlier."""
        scale = 1.0 if self.t == 1 or size == 0 else 1 / max(self.kept / size, LEAST_KEPT_FRACTION)
        mask = np.sign(M) * np.sign(G) > 0
        self.kept = int(np.count_nonzero(mask))
        return np.asarray(update * mask * self._number(scale))
