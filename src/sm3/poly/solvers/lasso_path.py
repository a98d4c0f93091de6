"""The whole path of weighted LASSO solutions for one output, walked exactly from event to event.

With the columns scaled by 1/u, every minimiser of ||A x - b||^2 / 2 + mu ||x||_1 is, on its active columns S with signs
s, a linear function of mu, and so are residual and correlations (Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20,
2000; Efron, Hastie, Johnstone & Tibshirani, Ann. Stat. 32, 2004). With A_S = Q R:

    x_S(mu) = xi - mu eta          xi = R^{-1} Q^T b,  eta = R^{-1} omega,  omega = R^{-T} s
    r(mu)   = v + mu Q omega       v = b - Q Q^T b
    a_j^T r(mu) / mu = alpha_j / mu + beta_j       alpha = A^T v,  beta = A^T Q omega,  |.| <= 1 off S

The next event below mu is the largest of: a column enters, mu = alpha_j / (+-1 - beta_j); a coefficient reaches zero,
mu = xi_i / eta_i. Dividing by mu first keeps the correlations exact however small the residual: the path goes down to
the rounding of b, and to mu = 0 itself once the active columns interpolate.

min lam ||x||_1 + ||A x - b|| is the point of this path where mu = lam ||r(mu)||, in closed form on each piece:
mu = lam ||v|| / sqrt(1 - lam^2 ||omega||^2). If the path never gets there, b is interpolated with the least ||x||_1.

Only a working set of columns is looked at from event to event. Every halving of mu all columns are checked; if one has
been missed, the walk goes back to the last check with it in the set. So the result is the same as on all columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sm3.poly.solvers.linear_map import LinearMap
from sm3.poly.solvers.updated_qr import UpdatedQR, back_substitute

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Measured (f1 to f3 of arXiv 2208.09045, d = 8): a working set refreshed at this ratio misses a column at few checks.
_CHECK_RATIO = 0.5
# Chosen: columns beside the active ones in a working set, per sample.
_SPARE = 1.0
# Correlations alpha carry a rounding of eps ||b||; where mu is not above it events are decided by rounding.
_FLOOR = 10 * np.finfo(float).eps
# A part of b outside the span that is no larger is rounding: b is interpolated.
_ROUNDING = 1e2 * np.finfo(float).eps
# A correlation that changes by no more than this until mu is halved does not change.
_STILL = 1e-10
# A correlation may pass 1 by rounding: sums of m products of a column and Q omega.
_MISSED = 1e-9
# mu = lambda ||r|| is met to rounding.
_ARRIVED = 1e-12
# Chosen: a walk of more events than this many per sample is going in circles.
_EVENTS_PER_SAMPLE = 30


class PathStuckError(ArithmeticError):
    """The path goes in circles (columns that tie exactly); another method has to take over."""


class LassoPath:
    """Walks down the path of b (m,) on the columns A_j / u_j; `advance` goes on to a smaller lambda.

    A: (m, N). b: (m,). u: (N,) > 0. Raises `PathStuckError` where the walk does not end.

    >>> from sm3.poly.solvers.linear_map import DenseMap
    >>> path = LassoPath(DenseMap(np.eye(2)), np.array([3.0, -1.0]), np.ones(2))
    >>> path.advance(0.8)
    >>> path.active, path.values().round(3).tolist(), round(path.mu, 3)
    ([0], [1.667], 1.333)
    """

    def __init__(self, A: LinearMap, b: Array, u: Array) -> None:
        self.A, self.b, self.u = A, b, u
        self.qr = UpdatedQR(b[:, None], tolerance=1e-12)
        self.active: list[int] = []  # positions in the index set, in the order of the factorisation
        self.signs = np.zeros(0)
        self.omega = np.zeros(0)  # R^{-T} signs
        self.events = self.checks = 0
        correlation = A.transposed_times(b) / u
        self.mu = float(np.abs(correlation).max(initial=0.0))
        self.interpolates = self.mu == 0.0
        self.correlation = correlation / (self.mu or 1.0)  # of the dual vector r / mu with all columns
        # Per check, of the dual vector y: <b, y>, the largest correlation with any column, the norm.
        self._proofs = [(float(b @ b), self.mu, float(np.linalg.norm(b)))]
        self._working = np.zeros(0, dtype=np.int64)
        self._columns = np.zeros((len(b), 0), order="F")
        self._look_at(self._closest(_SPARE))

    def advance(self, lam: float) -> None:
        """On to the solution for this lambda, or to interpolation, whichever comes first."""
        while not self.interpolates and self.mu > lam * self._residual_norm() * (1 + _ARRIVED):
            before = (self.qr.copy(), self.active.copy(), self.signs, self.omega, self.mu)
            floor = _FLOOR * float(np.linalg.norm(self.b))
            self._walk(lam, max(_CHECK_RATIO * self.mu, floor))
            self.checks += 1
            self.correlation = self.A.transposed_times(self.dual()) / self.u
            missed = np.abs(self.correlation) > 1 + _MISSED
            missed[self._working] = False
            if missed.any():
                spare = np.union1d(self._closest(_SPARE / 4), np.flatnonzero(missed))
                self.qr, self.active, self.signs, self.omega, self.mu = before
                self.interpolates = False
                self._look_at(np.union1d(self._working, spare))
                continue
            if self.mu <= floor:
                self.interpolates = True
            y = self.dual()
            reach = float(np.abs(self.correlation).max(initial=0.0))
            self._proofs.append((float(self.b @ y), reach, float(np.linalg.norm(y))))
            self._look_at(self._closest(_SPARE))

    def values(self) -> Array:
        """(k,) coefficients of the scaled columns A_j / u_j on `active`."""
        xi, eta = self._line()
        return np.asarray(xi - self.mu * eta)

    def end_values(self) -> Array:
        """The same for mu = 0, least squares on `active`: a path that stopped at the rounding of b ends better so."""
        return self._line()[0]

    def least_objective(self, lam: float) -> float:
        """No x has lam ||x||_1 + ||A x - b|| below this: <b, y> of the best dual vector so far, shrunk to be feasible.

        Not always the last one: close to interpolation it is a difference of numbers far larger than the residual.
        """
        return max(value / max(reach / lam, norm) if norm > 0 else 0.0 for value, reach, norm in self._proofs)

    def dual(self) -> Array:
        """(m,) y = r / mu: |A_j^T y| <= u_j for all columns, with equality and the sign of x_j on the active ones."""
        y = self.qr.q @ self.omega
        return y if self.mu == 0 else y + self._v() / self.mu

    def _walk(self, lam: float, floor: float) -> None:
        """Down to the solution for lam on the working set, to the floor, or to interpolation."""
        came_out = -1  # the column that left last: it may not come back by rounding
        while True:
            self.events += 1
            if self.events > _EVENTS_PER_SAMPLE * len(self.b) + 100:
                raise PathStuckError(f"{self.events} events, {len(self.active)} columns")
            v = float(np.linalg.norm(self.qr.residual))
            exact = bool(self.qr.size == len(self.b) or v <= _ROUNDING * float(np.linalg.norm(self.b)))
            left = 1 - (lam * float(np.linalg.norm(self.omega))) ** 2
            target = lam * v / np.sqrt(left) if left > 0 and not exact else 0.0
            stop = float(max(target, 0.0 if exact else floor))
            mu_in, entering, sign = self._next_in(came_out) if not exact else (0.0, -1, 0.0)
            mu_out, leaving = self._next_out()
            if exact and mu_out <= _FLOOR * np.linalg.norm(self.b):
                mu_out = 0.0  # a coefficient that ends at zero, but for its rounding
            self.mu = float(min(self.mu, max(stop, mu_in, mu_out)))
            came_out = -1
            if stop >= max(mu_in, mu_out):
                self.interpolates = exact and self.mu == 0.0
                return
            if mu_in >= mu_out:
                self._enter(entering, sign)
            else:
                came_out = self._position(self.active[leaving])
                self._leave(leaving)

    def _next_in(self, came_out: int) -> tuple[float, int, float]:
        """The next column to enter: where its correlation reaches +-1, its position in the working set, its sign."""
        sign = np.where(self._alpha >= 0, 1.0, -1.0)
        toward = 1 - sign * self._beta  # the distance to the bound that alpha / mu has to make up
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(toward > 0, np.abs(self._alpha) / toward, np.inf)
        # A column in the span of the active ones, such as a repeat, has alpha = 0 and keeps its correlation.
        at[np.abs(self._alpha) <= _STILL * self.mu] = 0.0
        at[self._is_active] = 0.0
        if came_out >= 0:
            at[came_out] = 0.0
        if not len(at):
            return 0.0, -1, 0.0
        best = int(at.argmax())
        return float(at[best]), best, float(sign[best])

    def _next_out(self) -> tuple[float, int]:
        """The next coefficient to reach zero: where, and its position among the active ones."""
        xi, eta = self._line()
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(self.signs * xi < 0, xi / eta, 0.0)
        if not len(at):
            return 0.0, -1
        best = int(at.argmax())
        return float(at[best]), best

    def _enter(self, position: int, sign: float) -> None:
        """A column of the working set joins with this sign."""
        column = self._columns[:, position : position + 1]
        if not self.qr.append(column)[0]:
            self._make_room(column, sign)
            if not self.qr.append(column)[0]:
                raise PathStuckError("a column that enters depends on columns that stay")
        k = self.qr.size - 1
        r = self.qr.triangle[:, k]
        last = (sign - r[:k] @ self.omega) / r[k]
        along = self._columns.T @ self.qr.q[:, k]
        self._alpha -= along * self.qr.projection[k, 0]
        self._beta += along * last
        self.active.append(int(self._working[position]))
        self.signs = np.append(self.signs, sign)
        self.omega = np.append(self.omega, last)
        self._is_active[position] = True

    def _leave(self, place: int) -> None:
        """An active column goes; `along` belongs to the direction that the span loses."""
        unit = np.zeros(self.qr.size)
        unit[place] = 1.0
        lost = self._transposed(unit)
        lost /= np.linalg.norm(lost)
        along = self._columns.T @ (self.qr.q @ lost)
        self._alpha += along * (lost @ self.qr.projection[:, 0])
        self._beta -= along * (lost @ self.omega)
        self.qr.remove(place)
        self._is_active[self._position(self.active.pop(place))] = False
        self.signs = np.delete(self.signs, place)
        self.omega = self._transposed(self.signs)

    def _make_room(self, column: Array, sign: float) -> None:
        """A dependent column enters: move along the null direction, which costs nothing, until another one is zero."""
        direction = sign * back_substitute(self.qr.buffer, self.qr.q.T @ column)[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(self.signs * direction > 0, self.values() / direction, np.inf)
        if not np.isfinite(steps).any():
            raise PathStuckError("a column that enters repeats another")
        self._leave(int(np.maximum(steps, 0.0).argmin()))

    def _look_at(self, working: Ints) -> None:
        """Make this the working set, its columns scaled; what stays is copied, the rest asked for."""
        working = np.union1d(working, np.array(self.active, dtype=np.int64))
        columns = np.empty((len(self.b), len(working)), order="F")
        old = np.isin(working, self._working, assume_unique=True)
        columns[:, old] = self._columns[:, np.searchsorted(self._working, working[old])]
        new = working[~old]
        if len(new):
            columns[:, ~old] = self.A.columns(new) / self.u[new]
        self._working, self._columns = working, columns
        self._is_active = np.zeros(len(working), dtype=bool)
        self._is_active[np.searchsorted(working, self.active)] = True
        # From scratch at every check, so that rounding of the updates between does not add up.
        self._alpha, self._beta = np.stack([self._v(), self.qr.q @ self.omega]) @ columns

    def _closest(self, spare: float) -> Ints:
        """The columns nearest to entering: `spare` per sample, and at least 16."""
        size = np.abs(self.correlation)
        size[self.active] = 0.0
        count = min(len(size), max(16, int(spare * len(self.b))))
        return np.sort(np.argpartition(-size, count - 1)[:count]) if count else np.zeros(0, dtype=np.int64)

    def _line(self) -> tuple[Array, Array]:
        """xi and eta of the piece: x = xi - mu eta."""
        both = back_substitute(self.qr.buffer, np.column_stack([self.qr.projection[:, 0], self.omega]))
        return both[:, 0], both[:, 1]

    def _v(self) -> Array:
        """(m,) the part of b outside the span, made orthogonal to it once more; zero where it is rounding."""
        q, v = self.qr.q, self.qr.residual[:, 0]
        if self.qr.size == len(self.b) or np.linalg.norm(v) <= _ROUNDING * np.linalg.norm(self.b):
            return np.zeros_like(v)
        return np.asarray(v - q @ (q.T @ v))

    def _residual_norm(self) -> float:
        return float(np.hypot(np.linalg.norm(self._v()), self.mu * np.linalg.norm(self.omega)))

    def _transposed(self, right: Array) -> Array:
        return back_substitute(self.qr.buffer, right, transposed=True)

    def _position(self, index: int) -> int:
        return int(np.searchsorted(self._working, index))
