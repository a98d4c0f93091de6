"""The judge of SM3 is judged by the paper's theorems, by sets written out one by one, and by hand.

One long file: every theorem draws from the same shapes and streams, and they read as one list.

Most comparisons are exact. Rounding is monotone: a <= b gives fl(a + s) <= fl(b + s), so every inequality of the paper
holds between the rounded numbers too, and maxima and minima do not round at all.
"""

from __future__ import annotations

import itertools
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from sm3.optim.reference import SM3

SHAPES = [
    (),  # one set
    (0,),  # no entry
    (0, 3),  # no entry, three empty sets
    (1,),
    (7,),  # rank 1: Adagrad
    (1, 5),  # a size-1 axis
    (13, 2),  # long and thin
    (3, 4),
    (2, 3, 4),
    (2, 1, 2, 2, 1, 2),  # rank 6
]
shapes = st.one_of(st.sampled_from(SHAPES), array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3))
seeds = st.integers(0, 2**32 - 1)
variants = st.sampled_from(["I", "II"])
beta2s = st.sampled_from([None, 0.0, 0.75, 0.99])


def stream(shape: tuple[int, ...], seed: int, steps: int = 6) -> list[np.ndarray]:
    """Gradients with heavy-tailed scales, about a quarter of them exactly zero."""
    rng = np.random.default_rng(seed)
    size = (steps, *shape)
    values = rng.standard_normal(size) * np.exp(3 * rng.standard_normal(size)) * (rng.random(size) > 0.25)
    return list(values)


def run(gradients: list[np.ndarray], w0: np.ndarray | float = 0.0, **settings_: object) -> tuple[SM3, list[np.ndarray]]:
    """The optimizer after the stream, and the trajectory w_1, w_2, ..."""
    optimizer = SM3(**{"alpha": 0.5, **settings_})
    w = np.broadcast_to(w0, gradients[0].shape)
    trajectory = []
    for g in gradients:
        w = optimizer.step(w, g)
        trajectory.append(w)
    return optimizer, trajectory


class LiteralSM3:
    """The paper's loops over sets and members, with Python floats; no NumPy reduction and no broadcasting."""

    def __init__(self, shape: tuple[int, ...], variant: str, beta2: float | None) -> None:
        self.variant = variant
        self.old, self.new = (1.0, 1.0) if beta2 is None else (beta2, 1 - beta2)
        self.entries = list(itertools.product(*map(range, shape)))
        if shape:
            self.sets = {(a, r): [i for i in self.entries if i[a] == r] for a, n in enumerate(shape) for r in range(n)}
        else:
            self.sets = {(0, 0): [()]}
        self.mu = dict.fromkeys(self.sets, 0.0)

    def nu(self, g: np.ndarray) -> dict[tuple[int, ...], float]:
        s = {i: float(g[i]) * float(g[i]) for i in self.entries}  # not ** 2: libm's pow may be one bit off
        if self.variant == "I":
            for r, members in self.sets.items():
                self.mu[r] = self.old * self.mu[r] + self.new * max([s[i] for i in members], default=0.0)
            return {i: self.least(i) for i in self.entries}
        nu = {i: self.old * self.least(i) + self.new * s[i] for i in self.entries}
        self.mu = {r: max([nu[i] for i in members], default=0.0) for r, members in self.sets.items()}
        return nu

    def least(self, i: tuple[int, ...]) -> float:
        return min(self.mu[r] for r, members in self.sets.items() if i in members)


@settings(max_examples=60)
@given(shapes, seeds, variants, beta2s)
def test_accumulators_equal_the_sets_written_out_one_by_one(shape, seed, variant, beta2):
    """mu, nu and the step are those of loops over sets and their members, bit for bit."""
    literal = LiteralSM3(shape, variant, beta2)
    optimizer = SM3(alpha=0.5, beta1=0.0, beta2=beta2, variant=variant)
    w = np.zeros(shape)

    for g in stream(shape, seed, steps=3):
        before, w = w, optimizer.step(w, g)
        nu = literal.nu(g)

        assert {(a, r): mu for a, vector in enumerate(optimizer.mu) for r, mu in enumerate(vector)} == literal.mu
        assert {i: optimizer.nu[i] for i in literal.entries} == nu
        for i in literal.entries:
            assert w[i] == before[i] - 0.5 * (g[i] / sqrt(nu[i]) if nu[i] else 0.0)


def test_sm3_ii_follows_a_trajectory_worked_out_by_hand():
    """Three steps of 2 x 2 with momentum 1/2 and alpha 1; squares are Pythagorean so that every root is rational."""
    optimizer = SM3(alpha=1.0, beta1=0.5)
    w = np.zeros((2, 2))

    # nu = g^2 = [[9, 0], [16, 0]]; g / sqrt(nu) = [[1, 0], [1, 0]]
    w = optimizer.step(w, [[3.0, 0.0], [4.0, 0.0]])
    m1 = np.array([[1 / 2, 0], [1 / 2, 0]])
    assert optimizer.nu.tolist() == [[9, 0], [16, 0]]
    assert [mu.tolist() for mu in optimizer.mu] == [[9, 16], [16, 0]]
    # Four roundings of numbers below 2 per step and entry: 4 * 2^-53 * 2 < 1e-15, for three steps 3e-15.
    np.testing.assert_allclose(w, -m1, rtol=0, atol=3e-15)

    # least = [[min(9, 16), min(9, 0)], [min(16, 16), min(16, 0)]] = [[9, 0], [16, 0]], plus [[16, 144], [9, 0]]
    w = optimizer.step(w, [[4.0, 12.0], [3.0, 0.0]])
    m2 = np.array([[1 / 4 + 2 / 5, 1 / 2], [1 / 4 + 3 / 10, 0]])
    assert optimizer.nu.tolist() == [[25, 144], [25, 0]]
    assert [mu.tolist() for mu in optimizer.mu] == [[144, 25], [25, 144]]
    np.testing.assert_allclose(w, -m1 - m2, rtol=0, atol=3e-15)

    # least = [[25, 144], [25, 25]], plus [[0, 25], [144, 0]]; entry (1, 1) inherits 25 from its row
    w = optimizer.step(w, [[0.0, 5.0], [12.0, 0.0]])
    m3 = m2 / 2 + np.array([[0, 5 / 26], [6 / 13, 0]])
    assert optimizer.nu.tolist() == [[25, 169], [169, 25]]
    assert [mu.tolist() for mu in optimizer.mu] == [[169, 169], [169, 169]]
    np.testing.assert_allclose(w, -m1 - m2 - m3, rtol=0, atol=3e-15)
    np.testing.assert_allclose(optimizer.m, m3, rtol=0, atol=3e-15)


def test_sm3_i_follows_a_trajectory_worked_out_by_hand():
    """Two steps of 2 x 2 without momentum, alpha 1: the first step is already shorter than sign(g)."""
    optimizer = SM3(alpha=1.0, beta1=0.0, variant="I")

    # every row and every column has 9 as its largest square
    w = optimizer.step(np.zeros((2, 2)), [[1.5, 3.0], [-3.0, 1.5]])
    assert [mu.tolist() for mu in optimizer.mu] == [[9, 9], [9, 9]]
    assert w.tolist() == [[-0.5, -1.0], [1.0, -0.5]]

    # rows 9 + 16, 9 + 0; columns 9 + 16, 9 + 16; nu = least of the two
    w = optimizer.step(np.zeros((2, 2)), [[4.0, -4.0], [0.0, 0.0]])
    assert [mu.tolist() for mu in optimizer.mu] == [[25, 9], [25, 25]]
    assert optimizer.nu.tolist() == [[25, 25], [9, 9]]
    assert w.tolist() == [[-0.8, 0.8], [0.0, 0.0]]
    assert optimizer.m is None


def test_exponential_means_follow_trajectories_worked_out_by_hand():
    """beta2 = 3/4 on 1, 2, 4 and their squares: all numbers are dyadic, so all are exact."""
    first, second = [[2.0, 4.0], [8.0, 0.0]], [[4.0, 0.0], [0.0, 2.0]]

    two = SM3(alpha=1.0, beta1=0.0, beta2=0.75)
    two.step(np.zeros((2, 2)), first)
    assert two.nu.tolist() == [[1, 4], [16, 0]]  # a quarter of the squares
    assert [mu.tolist() for mu in two.mu] == [[4, 16], [16, 4]]
    two.step(np.zeros((2, 2)), second)  # 3/4 [[4, 4], [16, 4]] + 1/4 [[16, 0], [0, 4]]
    assert two.nu.tolist() == [[7, 3], [12, 4]]

    one = SM3(alpha=1.0, beta1=0.0, beta2=0.75, variant="I")
    one.step(np.zeros((2, 2)), first)
    assert [mu.tolist() for mu in one.mu] == [[4, 16], [16, 4]]
    one.step(np.zeros((2, 2)), second)  # rows 3/4 [4, 16] + 1/4 [16, 4]; columns 3/4 [16, 4] + 1/4 [16, 4]
    assert [mu.tolist() for mu in one.mu] == [[7, 13], [16, 4]]
    assert one.nu.tolist() == [[7, 4], [13, 4]]


@given(shapes, seeds)
def test_nu_lies_between_the_sum_of_squares_and_nu_of_sm3_i(shape, seed):
    """sum g^2 <= nu_II <= nu_I, with equality for vectors and scalars (Anil et al. 2019, section 3)."""
    one, two = SM3(alpha=0.1, variant="I"), SM3(alpha=0.1)
    total = np.zeros(shape)

    for g in stream(shape, seed):
        total = total + g**2
        one.step(np.zeros(shape), g)
        two.step(np.zeros(shape), g)

        assert np.all(total <= two.nu)
        assert np.all(two.nu <= one.nu)
        if len(shape) <= 1:
            assert np.array_equal(total, one.nu)


@given(shapes, seeds, variants)
def test_nu_of_the_sum_never_decreases(shape, seed, variant):
    """Without beta2 the rate of an entry only shrinks."""
    optimizer, before = SM3(alpha=0.1, variant=variant), np.zeros(shape)

    for g in stream(shape, seed):
        optimizer.step(np.zeros(shape), g)

        assert np.all(before <= optimizer.nu)
        before = optimizer.nu


@given(shapes, seeds, variants, st.sampled_from([0.0, 0.5, 0.999]))
def test_nu_of_the_exponential_mean_is_never_below_the_true_mean(shape, seed, variant, beta2):
    """nu dominates beta2 * (..) + (1 - beta2) g^2 of the entry itself, with equality for vectors and scalars."""
    optimizer, mean = SM3(alpha=0.1, variant=variant, beta2=beta2), np.zeros(shape)

    for g in stream(shape, seed):
        mean = beta2 * mean + (1 - beta2) * g**2
        optimizer.step(np.zeros(shape), g)

        assert np.all(mean <= optimizer.nu)
        if len(shape) <= 1:
            assert np.array_equal(mean, optimizer.nu)


@pytest.mark.parametrize("variant", ["I", "II"])
def test_nu_of_the_exponential_mean_forgets(variant):
    """One large gradient followed by zeros halves nu at every step with beta2 = 1/2."""
    optimizer, _ = run([np.full((2, 3), 8.0)] + [np.zeros((2, 3))] * 3, beta2=0.5, variant=variant)

    assert np.array_equal(optimizer.nu, np.full((2, 3), 32.0 / 8))


@given(shapes, seeds, st.sampled_from([0.0, 0.9]))
def test_first_step_of_sm3_ii_has_one_length(shape, seed, beta1):
    """w_1 = -alpha (1 - beta1) sign(g): sqrt(g^2) is |g| exactly while g^2 neither overflows nor underflows."""
    [g] = stream(shape, seed, steps=1)

    _, [w] = run([g], beta1=beta1)

    assert np.array_equal(w, -0.5 * ((1 - beta1) * np.sign(g)))


@given(shapes, seeds, variants, beta2s, st.integers(-200, 200))
def test_gradient_scale_does_not_matter(shape, seed, variant, beta2, power):
    """g -> c g with c a power of two, from 1e-60 to 1e60, leaves every step the same to the last bit."""
    gradients = stream(shape, seed)

    _, plain = run(gradients, variant=variant, beta2=beta2)
    _, scaled = run([g * 2.0**power for g in gradients], variant=variant, beta2=beta2)

    assert np.array_equal(plain, scaled)


@given(shapes, seeds, variants, beta2s, st.booleans())
def test_flipping_signs_of_entries_flips_their_trajectory(shape, seed, variant, beta2, cautious):
    """Only squares are shared between entries, so a sign flip of some stays with them."""
    gradients = stream(shape, seed)
    flip = np.where(np.random.default_rng(seed).random(shape) < 0.5, -1.0, 1.0)
    options = {"variant": variant, "beta2": beta2, "cautious": cautious, "weight_decay": 0.1}

    _, plain = run(gradients, w0=np.ones(shape), **options)
    _, flipped = run([g * flip for g in gradients], w0=flip, **options)

    assert np.array_equal(np.array(plain) * flip, flipped)


@given(shapes, seeds, variants, beta2s)
def test_permuting_along_an_axis_commutes_with_the_step(shape, seed, variant, beta2):
    """The cover has no order."""
    rng = np.random.default_rng(seed)
    gradients = stream(shape, seed)
    permutations = [rng.permutation(n) for n in shape]
    index = np.ix_(*permutations) if shape else ()

    plain_state, plain = run(gradients, variant=variant, beta2=beta2)
    state, permuted = run([g[index] for g in gradients], variant=variant, beta2=beta2)

    assert all(np.array_equal(w[index], p) for w, p in zip(plain, permuted, strict=True))
    assert all(
        np.array_equal(mu[p], other) for mu, p, other in zip(plain_state.mu, permutations, state.mu, strict=False)
    )


@given(st.sampled_from([(6, 1), (1, 6), (1, 6, 1), (1, 1, 1, 6)]), seeds, variants, beta2s)
def test_axes_of_length_one_change_nothing(shape, seed, variant, beta2):
    """The accumulator of such an axis is the largest of all, so it is never the strict minimum."""
    gradients = stream((6,), seed)

    _, vector = run(gradients, variant=variant, beta2=beta2)
    _, folded = run([g.reshape(shape) for g in gradients], variant=variant, beta2=beta2)

    assert np.array_equal(vector, np.reshape(folded, (-1, 6)))


@given(seeds, variants)
def test_scalars_and_vectors_are_adagrad(seed, variant):
    """With one entry per set, nu is the entry's own sum of squares."""
    for shape in [(), (5,)]:
        w, total = np.ones(shape), np.zeros(shape)
        optimizer = SM3(alpha=0.5, beta1=0.0, variant=variant)
        expected = w
        for g in stream(shape, seed):
            w = optimizer.step(w, g)
            total = total + g**2
            expected = expected - 0.5 * (g / np.sqrt(np.where(total > 0, total, 1.0)))

            assert w.shape == shape
            assert np.array_equal(expected, w)


@given(shapes, seeds, variants, beta2s, st.booleans())
def test_entries_without_a_gradient_never_move(shape, seed, variant, beta2, cautious):
    """An entry whose gradient was always zero keeps its value bit for bit, whatever its row and column saw."""
    touched = np.random.default_rng(seed).random(shape) < 0.5
    w0 = np.random.default_rng(seed).standard_normal(shape)

    _, trajectory = run(
        [g * touched for g in stream(shape, seed)], w0=w0, variant=variant, beta2=beta2, cautious=cautious
    )

    assert all(np.array_equal(w[~touched], w0[~touched]) for w in trajectory)


def regret_and_bound(optimizer: SM3, shape: tuple[int, ...], seed: int, D: float, rounds: int) -> tuple[float, float]:
    """Regret of the optimizer on absolute errors of a noisy linear model, and the paper's bound for its gradients.

    The losses are convex and not smooth. The paper assumes |w_t - u| <= D for every entry: here w_t is cut to the box
    [-D/2, D/2] that holds u, which is the projection in every diagonal norm, so the proof stands.
    """
    rng = np.random.default_rng(seed)
    u, w = rng.uniform(-D / 2, D / 2, shape), np.zeros(shape)
    sums = [np.zeros(n) for n in shape]
    regret = 0.0
    for _ in range(rounds):
        x = rng.standard_normal(shape)
        y = np.sum(x * u) + 0.1 * rng.standard_normal()
        error = np.sum(x * w) - y
        regret += abs(error) - abs(np.sum(x * u) - y)
        g = np.sign(error) * x
        for axis, total in enumerate(sums):
            total += (g * g).max(axis=tuple(b for b in range(len(shape)) if b != axis))
        w = np.clip(optimizer.step(w, g), -D / 2, D / 2)
    least = [min(sums[axis][r] for axis, r in enumerate(i)) for i in np.ndindex(*shape)]
    return regret, 2 * D * float(np.sqrt(least).sum())


@settings(max_examples=15)
@given(seeds, variants, st.sampled_from([(6,), (3, 3), (2, 2, 2)]))
def test_regret_stays_below_the_bound_of_the_paper(seed, variant, shape):
    """sum l_t(w_t) - l_t(u) <= 2 D sum_i sqrt(min_r sum_t max_{j in S_r} g_t(j)^2) with alpha = D; ascent breaks it."""
    D, rounds = 2.0, 600

    regret, bound = regret_and_bound(SM3(alpha=D, beta1=0.0, variant=variant), shape, seed, D, rounds)
    climbing, its_bound = regret_and_bound(
        SM3(alpha=D, beta1=0.0, variant=variant, maximize=True), shape, seed, D, rounds
    )

    # The bound grows with the root of the number of rounds and the loss of a climber with the number itself, so that
    # 600 rounds part them: regret / bound is 0.15 to 0.4 and 1.3 to 3.2. Rounding, 1e-12 relative, is nothing to that.
    assert regret <= bound
    assert climbing > its_bound


@pytest.mark.parametrize("variant", ["I", "II"])
def test_weight_decay_multiplies_before_the_update(variant):
    """w_1 = (1 - alpha weight_decay) w_0 - alpha m_1, and nu never sees w."""
    optimizer, [w] = run([np.array([3.0, 0.0])], w0=np.array([2.0, 2.0]), beta1=0.0, weight_decay=0.5, variant=variant)

    assert w.tolist() == [2 * 0.75 - 0.5, 2 * 0.75]
    assert optimizer.nu.tolist() == [9.0, 0.0]


def test_cautious_follows_a_trajectory_worked_out_by_hand():
    """The mask drops the entry whose momentum still points the other way; the next step is doubled."""
    optimizer = SM3(alpha=1.0, beta1=0.5, cautious=True)
    zero = np.zeros(2)

    w = optimizer.step(zero, [12.0, 3.0])  # m = [1/2, 1/2]
    assert (w.tolist(), optimizer.kept) == ([-0.5, -0.5], 2)

    # m = [1/4 - 5/26, 1/4 + 4/10]: the first is positive against a negative gradient. Scale 1 / (2/2).
    w = optimizer.step(zero, [-5.0, 4.0])
    # A handful of roundings of numbers below 2: 1e-15.
    np.testing.assert_allclose(w, [0, -0.65], rtol=0, atol=1e-15)
    assert optimizer.kept == 1

    # nu = [169 + 84^2, 25 + 144] = [85^2, 13^2]; m = [(1/4 - 5/26) / 2 + 42/85, 13/40 + 6/13]. Scale 1 / (1/2).
    w = optimizer.step(zero, [84.0, 12.0])
    m3 = np.array([(1 / 4 - 5 / 26) / 2 + 42 / 85, 13 / 40 + 6 / 13])
    np.testing.assert_allclose(w, -2 * m3, rtol=0, atol=1e-15)
    np.testing.assert_allclose(optimizer.m, m3, rtol=0, atol=1e-15)
    assert optimizer.kept == 2


def test_cautious_scale_stops_at_two():
    """After a step that kept nothing, the update is multiplied by 2 and not by infinity."""
    optimizer, [_, w] = run([np.zeros((2, 2)), np.ones((2, 2))], beta1=0.5, cautious=True)

    assert np.array_equal(w, np.full((2, 2), -0.5 * 0.5 * 2))
    assert optimizer.kept == 4


@given(shapes, seeds, variants, st.booleans())
def test_maximize_is_the_negated_gradient(shape, seed, variant, cautious):
    """Ascent on f is descent on -f; weight decay shrinks w either way."""
    gradients = stream(shape, seed)
    options = {"variant": variant, "weight_decay": 0.1, "cautious": cautious}

    _, ascent = run(gradients, w0=np.ones(shape), maximize=True, **options)
    _, descent = run([-g for g in gradients], w0=np.ones(shape), **options)

    assert np.array_equal(ascent, descent)


@given(shapes, seeds, variants, beta2s, st.booleans())
def test_everything_stays_in_the_given_dtype_and_shape(shape, seed, variant, beta2, cautious):
    """float32 in, float32 throughout, scalars included; w and g are left alone."""
    w, g = np.ones(shape, np.float32), stream(shape, seed, steps=1)[0]
    w_before, g_before = w.copy(), g.copy()
    optimizer = SM3(
        alpha=0.1, variant=variant, beta2=beta2, weight_decay=0.1, cautious=cautious, maximize=True, dtype=np.float32
    )

    for _ in range(2):
        new = optimizer.step(w, g)

    arrays = [new, optimizer.nu, optimizer.m, *optimizer.mu]
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays)
    assert new.shape == optimizer.nu.shape == optimizer.m.shape == shape
    assert [mu.shape for mu in optimizer.mu] == [(n,) for n in shape or (1,)]
    assert optimizer.t == 2
    assert np.array_equal(w, w_before)
    assert np.array_equal(g, g_before)


@pytest.mark.parametrize("variant", ["I", "II"])
def test_not_a_number_reaches_the_weights(variant):
    """A NaN gradient is not hidden by the 0/0 rule, nor by maxima and minima."""
    optimizer, [w] = run([np.array([[np.nan, 1.0], [1.0, 1.0]])], variant=variant)

    assert np.isnan(w[0, 0])
    assert all(np.isnan(mu[0]) for mu in optimizer.mu)


def test_a_square_that_underflows_does_not_move_its_entry():
    """g = 1e-170 squares to zero in float64: nu = 0, and 0/0 = 0 is applied."""
    _, [w] = run([np.array([1e-170, 1.0])], beta1=0.0)

    assert w.tolist() == [0.0, -0.5]
