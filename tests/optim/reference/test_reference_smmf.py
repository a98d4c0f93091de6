"""The judge of SMMF is judged by the factorization's theorems, by loops over entries, and by hand.

One long file: every theorem draws from the same shapes and streams, and they read as one list.

u = 2^-53 is the rounding unit of float64. A sum of k numbers >= 0 in any order is within (k - 1) u of the true one,
relatively; a product or quotient adds one u each.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, isqrt, prod, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from sm3.optim.reference import SMMF
from sm3.optim.reference.smmf import compress, decompress, matricized_shape

U = 2.0**-53

SHAPES = [
    (),  # 1 x 1
    (0,),
    (0, 3),  # 0 x 1
    (1,),
    (31,),  # prime: one column, uncompressed
    (12,),  # a vector becomes 4 x 3
    (13, 2),  # long and thin
    (5, 5),
    (4, 3, 2),
    (2, 1, 2, 3, 1, 2),  # rank 6
]
shapes = st.one_of(st.sampled_from(SHAPES), array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3))
seeds = st.integers(0, 2**32 - 1)
betas = st.sampled_from([None, 0.0, 0.9])
gammas = st.sampled_from([-0.5, -0.8])
matrices = st.tuples(st.integers(1, 9), st.integers(1, 9), seeds)


def stream(shape: tuple[int, ...], seed: int, steps: int = 4, zeros: float = 0.25) -> list[np.ndarray]:
    """Gradients with heavy-tailed scales, a share of them exactly zero; none where zeros = 0."""
    rng = np.random.default_rng(seed)
    size = (steps, *shape)
    values = rng.standard_normal(size) * np.exp(2 * rng.standard_normal(size)) * (rng.random(size) >= zeros)
    return list(values)


def run(
    gradients: list[np.ndarray], w0: np.ndarray | float = 0.0, **settings_: object
) -> tuple[SMMF, list[np.ndarray]]:
    """The optimizer after the stream, and the trajectory w_1, w_2, ..."""
    optimizer = SMMF(**{"eta": 0.5, **settings_})
    w = np.broadcast_to(w0, gradients[0].shape)
    trajectory = []
    for g in gradients:
        w = optimizer.step(w, g)
        trajectory.append(w)
    return optimizer, trajectory


def nonnegative(rows: int, columns: int, seed: int) -> np.ndarray:
    """A random matrix >= 0 over several orders of magnitude, some entries 0."""
    [matrix] = stream((rows, columns), seed, steps=1)
    return np.abs(matrix)


# Matrix shapes


@pytest.mark.parametrize(
    ("size", "pair"),
    [
        (50257 * 768, (6932, 5568)),  # a token embedding
        (32003 * 4096, (32003, 4096)),  # 7.8 rows per column: kept
        (4096 * 11008, (8192, 5504)),
        (768, (32, 24)),
        (31, (31, 1)),  # prime and small: uncompressed
        (4093, (4093, 1)),  # the largest prime below 4096: still the paper's
        (16 * 16 * 16, (64, 64)),
        (1, (1, 1)),
        (0, (0, 1)),
    ],
)
def test_matrix_shape_is_the_divisor_pair(size, pair):
    """Known pairs of the paper's square matricization; ours agrees with it where it is neither large nor thin."""
    assert matricized_shape(size, published=True) == pair
    assert matricized_shape(size) == pair


@pytest.mark.parametrize(
    ("size", "theirs", "ours"),
    [
        (1_000_003, (1_000_003, 1), (1001, 1000)),  # prime, 997 missing
        (4099, (4099, 1), (65, 64)),  # the first prime above 4096, 61 missing
        (2 * 2053, (2053, 2), (65, 64)),
        (16 * 257, (257, 16), (65, 64)),  # 16.06 rows per column: padded
        (16 * 256, (64, 64), (64, 64)),
        (67 * 1009, (1009, 67), (1009, 67)),  # 15.06 rows per column: kept
    ],
)
def test_large_and_thin_sizes_are_padded_to_nearly_square(size, theirs, ours):
    """From 4096 entries on, more than 16 rows per column make isqrt(N) columns and as many rows as needed."""
    assert matricized_shape(size, published=True) == theirs
    assert matricized_shape(size) == ours


@given(st.integers(1, 20_000))
def test_matrix_shape_holds_every_entry_and_has_no_fewer_rows_than_columns(size):
    """Theirs is the divisor pair of smallest difference; ours misses less than one row and is never longer."""
    n, m = matricized_shape(size, published=True)
    assert (n, m) == min(
        ((size // d, d) for d in range(1, isqrt(size) + 1) if size % d == 0), key=lambda p: p[0] - p[1]
    )

    n_ours, m_ours = matricized_shape(size)
    assert n_ours >= m_ours
    assert 0 <= n_ours * m_ours - size < m_ours
    assert (n_ours, m_ours) in {(n, m), (ceil(size / isqrt(size)), isqrt(size))}
    assert n_ours + m_ours <= n + m


@given(st.integers(1, 20_000))
def test_factor_length_grows_with_the_aspect_as_stated(size):
    """n + m = 2 sqrt(N) (sqrt(rho) + 1 / sqrt(rho)) / 2 with rho = n / m: 2.1 times a square's at rho = 16."""
    n, m = matricized_shape(size, published=True)
    rho = n / m

    # Eight roundings of numbers >= 0.
    assert n + m == pytest.approx(2 * sqrt(size) * (sqrt(rho) + 1 / sqrt(rho)) / 2, rel=8 * U)


# Factorization


@given(matrices)
def test_factors_keep_row_sums_column_sums_and_total(matrix):
    """r c^T has the marginals of A, so the error matrix A - r c^T has none."""
    A = nonnegative(*matrix)
    B = decompress(*compress(A))

    # Each side: sums of at most 81 numbers >= 0, twice for the normalised factor and once more here, and 3 operations.
    rel = 4 * 81 * U
    np.testing.assert_allclose(B.sum(axis=1), A.sum(axis=1), rtol=rel)
    np.testing.assert_allclose(B.sum(axis=0), A.sum(axis=0), rtol=rel)
    np.testing.assert_allclose(B.sum(), A.sum(), rtol=rel)
    np.testing.assert_allclose((A - B).sum(axis=1), 0, rtol=0, atol=rel * A.sum())
    np.testing.assert_allclose((A - B).sum(axis=0), 0, rtol=0, atol=rel * A.sum())


@given(matrices)
def test_factors_are_sums_and_the_shorter_one_is_divided_by_its_sum(matrix):
    """r = A 1, c = A^T 1; columns are normalised at equal lengths; nothing is divided where the sum is 0."""
    A = nonnegative(*matrix)
    exact = [[Fraction(a) for a in row] for row in A.tolist()]
    rows = [sum(row) for row in exact]
    columns = [sum(column) for column in zip(*exact, strict=True)]
    total = sum(rows) or 1
    r, c = compress(A)

    wide = A.shape[0] < A.shape[1]
    # At most 9 terms a sum, 9 sums in the total, one quotient: 18 u to first order.
    np.testing.assert_allclose(r, [float(x / total if wide else x) for x in rows], rtol=20 * U)
    np.testing.assert_allclose(c, [float(x if wide else x / total) for x in columns], rtol=20 * U)


def test_factors_of_zero_are_zero():
    """No 0/0 where the matrix is zero."""
    for shape in [(3, 2), (2, 3), (0, 1)]:
        r, c = compress(np.zeros(shape))

        assert (r.tolist(), c.tolist()) == ([0.0] * shape[0], [0.0] * shape[1])


@given(matrices)
def test_compressing_twice_is_compressing_once(matrix):
    """r c^T has the marginals of A, and the factors are nothing but marginals."""
    r, c = compress(nonnegative(*matrix))
    r2, c2 = compress(decompress(r, c))

    np.testing.assert_allclose(r2, r, rtol=4 * 81 * U)  # as for the marginals
    np.testing.assert_allclose(c2, c, rtol=4 * 81 * U)


@given(matrices)
def test_rank_one_matrices_are_kept_exactly(matrix):
    """A = x y^T comes back."""
    rows, columns, seed = matrix
    A = np.outer(nonnegative(rows, 1, seed), nonnegative(columns, 1, seed + 1))

    np.testing.assert_allclose(decompress(*compress(A)), A, rtol=4 * 81 * U)  # as for the marginals


def divergence(A: np.ndarray, B: np.ndarray) -> float:
    """Generalised Kullback-Leibler divergence sum A log(A / B) - A + B, with 0 log 0 = 0; B > 0 where A > 0."""
    ratio = np.divide(A, B, out=np.ones_like(A), where=A > 0)
    return float(np.sum(A * np.log(ratio) - A + B))


@given(matrices)
def test_no_rank_one_matrix_is_nearer_in_divergence(matrix):
    """D(A, x y^T) = D(A, r c^T) + D(r c^T, x y^T) for every x, y > 0, so r c^T is the nearest."""
    rows, columns, seed = matrix
    A = nonnegative(rows, columns, seed)
    B = decompress(*compress(A))
    rng = np.random.default_rng(seed)

    for spread in [1e-3, 0.1, 2.0]:
        # Alternatives near the factors and far from them.
        r, c = A.sum(axis=1) + 1e-9, (A.sum(axis=0) + 1e-9) / (A.sum() + 1e-9)
        other = np.outer(
            r * np.exp(spread * rng.standard_normal(rows)), c * np.exp(spread * rng.standard_normal(columns))
        )
        terms = np.sum(A + B + other) * (1 + np.abs(np.log(np.maximum(A, 1e-300) / other)).max())
        # The divergences are sums of at most 81 terms, each below `terms` and a few u wrong; so 1000 u of it.
        assert divergence(A, other) >= divergence(A, B) - 1000 * U * terms
        assert divergence(A, other) == pytest.approx(divergence(A, B) + divergence(B, other), abs=1000 * U * terms)


# The step


def test_smmf_follows_a_trajectory_worked_out_by_hand():
    """Two steps of 2 x 2 with beta = lambda = 1/2, gamma = -1, eps = 1, eta = 1: all but the roots is rational."""
    options = {"eta": 1.0, "beta": 0.5, "lam": 0.5, "gamma": -1.0, "eps": 1.0}
    ours, theirs = SMMF(**options), SMMF(**options, published=True)

    # beta_M = 1/2, beta_V = 0: M = G/2 = [[1, -2], [0, 1]], V = G^2 = [[4, 16], [0, 4]], M / (sqrt(V) + 1)
    g = [[2.0, -4.0], [0.0, 2.0]]
    w, v = ours.step(np.zeros((2, 2)), g), theirs.step(np.zeros((2, 2)), g)
    first = np.array([[-1 / 3, 2 / 5], [0, -1 / 3]])
    # A dozen roundings of numbers below 34: 12 * 34 * u < 5e-14. The same for the second step.
    np.testing.assert_allclose(w, first, rtol=0, atol=5e-14)
    np.testing.assert_allclose(v, first, rtol=0, atol=5e-14)
    for optimizer in [ours, theirs]:
        np.testing.assert_allclose(optimizer.r_m, [3, 1], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.c_m, [1 / 4, 3 / 4], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.r_v, [20, 4], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.c_v, [1 / 6, 5 / 6], rtol=0, atol=5e-14)
        assert optimizer.S.tolist() == [[True, False], [False, True]]

    # beta_M = 1/2 * 1/2 = 1/4, beta_V = 1 - 1/2.
    # M' = [[3/4, -9/4], [-1/4, 3/4]]: the zero of M came back negative. M = M'/4 + 3/4 G
    # V' = [[10/3, 50/3], [2/3, 10/3]]                                   V = V'/2 + G^2/2
    g = [[4.0, 0.0], [-4.0, 8.0]]
    w, v = ours.step(w, g), theirs.step(v, g)
    M = np.array([[3 / 16 + 3, -9 / 16], [-1 / 16 - 3, 3 / 16 + 6]])
    V = np.array([[5 / 3 + 8, 25 / 3], [1 / 3 + 8, 5 / 3 + 32]])
    second = -M / (np.sqrt(V) + 1)
    np.testing.assert_allclose(v, first + second, rtol=0, atol=5e-14)
    second[0, 1] = 0  # the gradient there is zero
    np.testing.assert_allclose(w, first + second, rtol=0, atol=5e-14)
    for optimizer in [ours, theirs]:
        np.testing.assert_allclose(optimizer.r_m, [60 / 16, 148 / 16], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.c_m, [25 / 52, 27 / 52], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.r_v, [18, 42], rtol=0, atol=5e-14)
        np.testing.assert_allclose(optimizer.c_v, [3 / 10, 7 / 10], rtol=0, atol=5e-14)
        assert optimizer.S.tolist() == [[True, False], [False, True]]


class LiteralSMMF:
    """The step as loops over entries with Python floats; a missing entry is one that the loops never visit."""

    def __init__(self, size: int, pair: tuple[int, int], beta: float | None, gamma: float, published: bool) -> None:
        self.n, self.m = pair
        self.beta, self.gamma, self.published, self.t = beta, gamma, published, 0
        self.entries = [(k, k // self.m, k % self.m) for k in range(size)]
        self.r_m, self.c_m = [0.0] * self.n, [0.0] * self.m
        self.r_v, self.c_v = [0.0] * self.n, [0.0] * self.m
        self.positive = [False] * size
        self.mass = self.reach = (
            0.0  # what cancelled: sum of |beta_M M'| + |(1 - beta_M) G|, and how far that could move w
        )

    def step(self, w: list[float], g: list[float]) -> list[float]:
        self.t += 1
        beta_m = 0.0 if self.beta is None else self.beta * 0.999 ** (self.t - 1)
        beta_v = 1 - self.t**self.gamma
        M = [
            beta_m * (1 if self.positive[k] else -1) * self.r_m[i] * self.c_m[j] + (1 - beta_m) * g[k]
            for k, i, j in self.entries
        ]
        gross = [beta_m * self.r_m[i] * self.c_m[j] + (1 - beta_m) * abs(g[k]) for k, i, j in self.entries]
        V = [beta_v * self.r_v[i] * self.c_v[j] + (1 - beta_v) * g[k] * g[k] for k, i, j in self.entries]
        self.mass = sum(gross)
        self.reach += max([0.5 * x / (sqrt(v) + 1e-8) for x, v in zip(gross, V, strict=True)], default=0.0)
        self.r_m, self.c_m = self.factors([abs(x) for x in M])
        self.r_v, self.c_v = self.factors(V)
        self.positive = [x > 0 for x in M]
        moves = [0.5 * x / (sqrt(v) + 1e-8) for x, v in zip(M, V, strict=True)]
        return [a if b == 0 and not self.published else a - d for a, b, d in zip(w, g, moves, strict=True)]

    def factors(self, A: list[float]) -> tuple[list[float], list[float]]:
        r, c = [0.0] * self.n, [0.0] * self.m
        for k, i, j in self.entries:
            r[i] += A[k]
            c[j] += A[k]
        total = sum(c)
        return r, [x / total if total else x for x in c]


@settings(max_examples=40)
@given(st.one_of(shapes, st.sampled_from([(4099,), (2, 2053)])), seeds, betas, gammas, st.booleans())
def test_step_equals_loops_over_entries(shape, seed, beta, gamma, published):
    """Three steps, padded shapes among them: factors, signs and weights are those of the formulas entry by entry."""
    size = prod(shape)
    pair = matricized_shape(size, published=published)
    literal = LiteralSMMF(size, pair, beta, gamma, published)
    optimizer = SMMF(eta=0.5, beta=beta, gamma=gamma, published=published)
    w, expected = np.zeros(shape), [0.0] * size

    for g in stream(shape, seed, steps=3):
        w, expected = optimizer.step(w, g), literal.step(expected, g.reshape(-1).tolist())

        # A factor is a sum of at most max(n, m) numbers >= 0, divided by one of m, from factors with the same error one
        # step earlier: 3 steps, two factors, 2 (n + m) u each. M is a difference: its error is relative to what
        # cancelled.
        rel = 12 * (sum(pair) + 8) * U
        np.testing.assert_allclose(optimizer.r_v, literal.r_v, rtol=rel)
        np.testing.assert_allclose(optimizer.c_v, literal.c_v, rtol=rel)
        if beta is not None:
            total = sum(literal.r_m) or 1
            np.testing.assert_allclose(optimizer.r_m, literal.r_m, rtol=rel, atol=rel * literal.mass)
            np.testing.assert_allclose(optimizer.c_m, literal.c_m, rtol=rel, atol=rel * literal.mass / total)
            assert optimizer.S.reshape(-1)[:size].tolist() == literal.positive
        np.testing.assert_allclose(w.reshape(-1), expected, rtol=rel, atol=rel * literal.reach)


@given(shapes, seeds, gammas, st.sampled_from([0.0, 0.5, 0.9]), st.booleans())
def test_first_step_has_one_length(shape, seed, gamma, beta, published):
    """beta_V = 0 and both moments are empty, so w_1 = -eta (1 - beta) g / (|g| + eps)."""
    [g] = stream(shape, seed, steps=1)

    _, [w] = run([g], beta=beta, gamma=gamma, eps=1e-8, published=published)

    # sqrt(g^2) = |g| exactly; four roundings remain.
    np.testing.assert_allclose(w, -0.5 * (1 - beta) * g / (np.abs(g) + 1e-8), rtol=4 * U)
    # eps shortens the step by eps / |g|.
    sign = -0.5 * (1 - beta) * np.sign(g)
    assert np.all(np.abs(w - sign) <= np.abs(sign) * (1e-8 / np.maximum(np.abs(g), 1e-300) + 4 * U))


@given(st.sampled_from([(31,), (1,), (), (3,), (1, 7, 1)]), seeds, gammas, st.sampled_from([0.5, 0.9]), st.booleans())
def test_one_column_is_uncompressed(shape, seed, gamma, beta, published):
    """Where m_hat = 1 the column factor is exactly 1, so the rule is the dense recursion bit for bit."""
    gradients = stream(shape, seed, steps=6, zeros=0)
    w, M, V = np.ones(shape), np.zeros(shape), np.zeros(shape)
    _, trajectory = run(gradients, w0=w, beta=beta, gamma=gamma, published=published)

    for t, (g, actual) in enumerate(zip(gradients, trajectory, strict=True), start=1):
        beta_m, beta_v = beta * 0.999 ** (t - 1), 1 - t**gamma
        M = beta_m * M + (1 - beta_m) * g
        V = beta_v * V + (1 - beta_v) * (g * g)
        w = w - 0.5 * (M / (np.sqrt(V) + 1e-8))

        assert np.array_equal(w, actual)


@given(st.sampled_from([(6, 4), (5, 5), (8, 2)]), seeds, gammas)
def test_gradients_of_rank_one_lose_nothing_in_the_second_moment(shape, seed, gamma):
    """While V has rank 1 its factors are exact: with beta = None the rule equals the dense recursion."""
    rng = np.random.default_rng(seed)
    n, m = matricized_shape(prod(shape))
    pattern = np.outer(np.exp(rng.standard_normal(n)), np.exp(rng.standard_normal(m)))
    gradients = [scale * pattern for scale in [1.0, -3.0, 0.5, 2.0]]
    w, V = np.zeros(gradients[0].shape), np.zeros(gradients[0].shape)
    _, trajectory = run([g.reshape(shape) for g in gradients], beta=None, gamma=gamma)

    for t, (g, actual) in enumerate(zip(gradients, trajectory, strict=True), start=1):
        V = (1 - t**gamma) * V + t**gamma * (g * g)
        w = w - 0.5 * g / (np.sqrt(V) + 1e-8)

        # V >= t^gamma g^2, so a move is below 4^0.4 / 2 < 1. Four of them, each with at most four factorizations behind
        # it, below 2 (n + m) u each, and ten operations.
        np.testing.assert_allclose(actual.reshape(w.shape), w, rtol=0, atol=4 * (4 * 2 * 12 + 10) * U)


def test_published_zeros_drift_and_ours_stay():
    """A row that never has a gradient moves as published, because M = 0 is read back as negative; ours leaves it."""
    w0 = np.full((4, 4), 0.25)
    rng = np.random.default_rng(0)
    g = rng.standard_normal((50, 4, 4))
    g[:, 1, 2] = 0
    g[:, 3, :2] = 0

    _, ours = run(list(g), w0=w0, eta=1e-3)
    _, theirs = run(list(g), w0=w0, eta=1e-3, published=True)

    never = ~g.any(axis=0)
    assert np.array_equal(ours[-1][never], w0[never])
    # M is -r_i c_j / something at every step, so all of them climb, and by more than the first step's 1e-4.
    assert np.all(theirs[-1][never] > w0[never] + 1e-4)


@given(shapes, seeds, betas, st.booleans())
def test_entries_without_a_gradient_never_move(shape, seed, beta, cautious):
    """An entry whose gradient was always zero keeps its value bit for bit, whatever shares its row and column."""
    touched = np.random.default_rng(seed).random(shape) < 0.5
    w0 = np.random.default_rng(seed).standard_normal(shape)

    _, trajectory = run([g * touched for g in stream(shape, seed)], w0=w0, beta=beta, cautious=cautious)

    assert all(np.array_equal(w[~touched], w0[~touched]) for w in trajectory)


@given(shapes, seeds, betas, gammas)
def test_ours_is_the_published_trajectory_on_dense_gradients(shape, seed, beta, gamma):
    """Without zeros and without padding not one bit differs, weights and factors."""
    gradients = stream(shape, seed, zeros=0)
    options = {"beta": beta, "gamma": gamma, "weight_decay": 0.1}

    ours, w = run(gradients, w0=np.ones(shape), **options)
    theirs, v = run(gradients, w0=np.ones(shape), published=True, **options)

    assert np.array_equal(w, v)
    for name in ["r_m", "c_m", "S", "r_v", "c_v"]:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_the_missing_tail_is_never_stored():
    """4099 = 65 * 64 - 61: the factors hold the sums of the 4099 entries alone, step after step."""
    gradients = stream((4099,), seed=1, steps=3, zeros=0)
    V = np.zeros(4099)

    optimizer = SMMF(eta=0.1)
    for t, g in enumerate(gradients, start=1):
        beta_v = 1 - t**-0.5
        spread = np.multiply.outer(optimizer.r_v, optimizer.c_v).reshape(-1)[:4099] if t > 1 else V
        V = beta_v * spread + (1 - beta_v) * g**2
        optimizer.step(np.zeros(4099), g)

        # 4099 numbers >= 0 in two orders, and the division by the total.
        np.testing.assert_allclose(optimizer.r_v.sum(), V.sum(), rtol=3 * 4160 * U)
        np.testing.assert_allclose(optimizer.r_v[-1], V[64 * 64 :].sum(), rtol=3 * 64 * U)
        assert (optimizer.r_v.shape, optimizer.c_v.shape) == ((65,), (64,))
        assert not optimizer.S.reshape(-1)[4099:].any()


@given(shapes, seeds, betas, st.booleans())
def test_flipping_the_sign_of_a_dense_stream_flips_the_trajectory(shape, seed, beta, cautious):
    """Without zeros, S = [M > 0] treats both signs alike."""
    gradients = stream(shape, seed, zeros=0)

    _, plain = run(gradients, beta=beta, cautious=cautious)
    _, flipped = run([-g for g in gradients], beta=beta, cautious=cautious)

    assert np.array_equal(np.negative(plain), flipped)


@given(shapes, seeds, betas, st.integers(-60, 60))
def test_gradient_scale_matters_only_through_eps(shape, seed, beta, power):
    """g -> c g and eps -> c eps with c a power of two leaves every step the same to the last bit."""
    gradients, c = stream(shape, seed), 2.0**power

    _, plain = run(gradients, beta=beta, eps=2.0**-20)
    _, scaled = run([c * g for g in gradients], beta=beta, eps=c * 2.0**-20)

    assert np.array_equal(plain, scaled)


@given(seeds)
def test_without_a_first_moment_the_gradient_is_the_numerator(seed):
    """beta = None keeps no r_m, c_m, S, and moves by eta g / (sqrt(V) + eps); beta = 0 moves the same way."""
    gradients = stream((4, 3), seed)

    none, w = run(gradients, beta=None)
    _, v = run(gradients, beta=0.0)

    assert none.r_m is none.c_m is none.S is None
    assert np.array_equal(w, v)


def test_weight_decay_multiplies_before_the_update_and_where_the_gradient_is_zero():
    """w_1 = (1 - eta weight_decay) w_0 - eta (1 - beta) sign(g)."""
    _, [w] = run([np.array([2.0, 0.0])], w0=np.array([2.0, 2.0]), beta=0.5, weight_decay=0.5)

    # eps = 1e-8 against |g| = 2 takes 5e-9 of the step of 0.25.
    assert w == pytest.approx([2 * 0.75 - 0.5 * 0.5, 2 * 0.75], abs=0.25 * 5e-9 + 4 * U)


def test_cautious_follows_a_trajectory_worked_out_by_hand():
    """One column, beta = 1/2, lambda = 1, gamma = -1, eps = 1, eta = 1: a mean of squares, uncompressed."""
    optimizer = SMMF(eta=1.0, beta=0.5, lam=1.0, gamma=-1.0, eps=1.0, cautious=True)
    zero = np.zeros(3)

    # M = [4, 1, 0], V = [64, 4, 0]
    w = optimizer.step(zero, [8.0, 2.0, 0.0])
    # A handful of roundings of numbers below 65: 10 * 65 u < 1e-13.
    np.testing.assert_allclose(w, [-4 / 9, -1 / 3, 0], rtol=0, atol=1e-13)
    assert optimizer.kept == 2

    # M = [2 - 1, 1/2 + 1, -1], V = [(64 + 4) / 2, 4, 2]; the first disagrees with its gradient. Scale 1 / (2/3).
    w = optimizer.step(zero, [-2.0, 2.0, -2.0])
    np.testing.assert_allclose(w, [0, -3 / 2 * 1.5 / 3, 3 / 2 / (1 + sqrt(2))], rtol=0, atol=1e-13)
    assert optimizer.kept == 2

    # M = [1/2 + 2, 3/4 - 1/2, -1/2], V = 2/3 [34, 4, 2] + 1/3 [16, 1, 0]; the second disagrees, the third is 0.
    w = optimizer.step(zero, [4.0, -1.0, 0.0])
    np.testing.assert_allclose(w, [-3 / 2 * 2.5 / (1 + sqrt(28)), 0, 0], rtol=0, atol=1e-13)
    assert optimizer.kept == 1


def test_cautious_scale_stops_at_two():
    """After a step that kept nothing, the update is multiplied by 2 and not by infinity."""
    optimizer, [_, w] = run([np.zeros((2, 2)), np.ones((2, 2))], beta=0.5, lam=1.0, gamma=-1.0, eps=1e-8, cautious=True)

    # M = 1/2, V = 1/2; six roundings, and eps counted.
    np.testing.assert_allclose(w, np.full((2, 2), -0.5 * 2 * 0.5 / (sqrt(0.5) + 1e-8)), rtol=6 * U)
    assert optimizer.kept == 4


def test_cautious_counts_the_entries_of_the_tensor_and_not_the_missing_tail():
    """4099 entries in a 65 x 64 matrix: all kept is a fraction of 1, so the second step is not scaled."""
    gradients = stream((4099,), seed=3, steps=2, zeros=0)

    cautious, w = run(gradients, cautious=True)
    _, plain = run(gradients)

    kept = w[1] != w[0]
    assert np.count_nonzero(kept) == cautious.kept < 4099
    assert np.array_equal(w[1][kept], plain[1][kept])


@given(shapes, seeds, betas, st.booleans(), st.booleans())
def test_maximize_is_the_negated_gradient(shape, seed, beta, published, cautious):
    """Ascent on f is descent on -f; weight decay shrinks w either way."""
    gradients = stream(shape, seed)
    options = {"beta": beta, "published": published, "weight_decay": 0.1, "cautious": cautious}

    _, ascent = run(gradients, w0=np.ones(shape), maximize=True, **options)
    _, descent = run([-g for g in gradients], w0=np.ones(shape), **options)

    assert np.array_equal(ascent, descent)


@given(shapes, seeds, st.booleans(), st.booleans())
def test_everything_stays_in_the_given_dtype_and_shape(shape, seed, published, cautious):
    """float32 in, float32 throughout, scalars included; w and g are left alone."""
    w, g = np.ones(shape, np.float32), stream(shape, seed, steps=1)[0]
    w_before, g_before = w.copy(), g.copy()
    optimizer = SMMF(eta=0.1, published=published, weight_decay=0.1, cautious=cautious, maximize=True, dtype=np.float32)

    for _ in range(2):
        new = optimizer.step(w, g)

    n, m = matricized_shape(g.size, published=published)
    arrays = [new, optimizer.r_m, optimizer.c_m, optimizer.r_v, optimizer.c_v]
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays)
    assert [array.shape for array in arrays] == [shape, (n,), (m,), (n,), (m,)]
    assert (optimizer.S.shape, optimizer.S.dtype, optimizer.t) == ((n, m), np.bool_, 2)
    assert np.array_equal(w, w_before)
    assert np.array_equal(g, g_before)


def test_a_transposed_gradient_is_read_in_logical_order():
    """Memory order is not part of a tensor: a column-major view gives the row-major result."""
    g = np.arange(1.0, 13.0).reshape(4, 3)

    _, w = run([g, g[::-1]])
    _, v = run([np.asfortranarray(g), g[::-1]])

    assert np.array_equal(w, v)


def test_not_a_number_poisons_its_row_and_column_and_then_everything():
    """The normaliser is a sum over all entries, so one NaN reaches every entry at the next step."""
    optimizer = SMMF(eta=0.1)
    g = np.ones((4, 4))
    bad = g.copy()
    bad[1, 2] = np.nan

    w = optimizer.step(np.zeros((4, 4)), bad)
    assert np.isnan(w).sum() == 1
    assert np.isnan(optimizer.step(np.zeros((4, 4)), g)).all()
