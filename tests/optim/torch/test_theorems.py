"""Theorems of the papers, on the real optimizers, over random shapes and streams."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cases import CASES, everything, gradient_stream, same
from sm3 import SM3, SMMF
from sm3.optim import reference

shapes = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 6), min_size=1, max_size=6).map(tuple),
    st.sampled_from([(31,), (1, 97), (97, 1), (2, 64), (3, 67), (8, 1, 3, 3), (4099,)]),
)
seeds = st.integers(0, 10_000)


def run(optimizer_class, shape, seed, steps=6, zeros=True, **options):
    """Parameter, optimizer, and the float64 gradients it saw."""
    param = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([param], **options)
    gradients = [gradient_stream(shape, seed, zeros)(step) for step in range(steps)]
    for gradient in gradients:
        param.grad = gradient
        optimizer.step()
    return param, optimizer, gradients


def bound(optimizer, param) -> torch.Tensor:
    """min over dimensions of the accumulators, for every entry."""
    if param.dim() == 0:
        return optimizer.state[param]["accumulator_0"].view(())
    smallest = torch.full(param.shape, torch.inf, dtype=torch.float64)
    for axis in range(param.dim()):
        view = [-1 if dim == axis else 1 for dim in range(param.dim())]
        smallest = torch.minimum(smallest, optimizer.state[param][f"accumulator_{axis}"].view(view))
    return smallest


@given(shapes, seeds)
def test_sm3_lies_between_adagrad_and_sm3_i(shape, seed):
    """sum g^2 <= min of SM3-II's accumulators <= min of SM3-I's, every entry; equal for vectors and scalars."""
    param, second, gradients = run(SM3, shape, seed, variant="II")
    first_param, first, _ = run(SM3, shape, seed, variant="I")
    adagrad = torch.stack([gradient**2 for gradient in gradients]).sum(0)
    tight, loose = bound(second, param), bound(first, first_param)
    # Each side is a sum of 6 positive terms in another order: 6 * 1.1e-16 relative.
    assert (adagrad <= tight * (1 + 1e-15)).all()
    assert (tight <= loose * (1 + 1e-15)).all()
    if len(shape) <= 1:
        torch.testing.assert_close(tight, adagrad, rtol=1e-15, atol=0)


@given(shapes, seeds)
def test_accumulators_of_the_sum_never_decrease(shape, seed):
    """Hence no step size ever grows."""
    param = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    for variant in ("I", "II"):
        optimizer = SM3([param], variant=variant)
        before = torch.zeros(shape, dtype=torch.float64)
        for step in range(5):
            param.grad = gradient_stream(shape, seed, zeros=True)(step)
            optimizer.step()
            now = bound(optimizer, param)
            assert (now >= before).all()
            before = now


@given(shapes, seeds, st.sampled_from([0.5, 0.9, 0.99]))
def test_the_mean_never_falls_below_the_true_mean_of_squares(shape, seed, beta2):
    """The exponential variant still bounds the exponential mean of every entry."""
    param, optimizer, gradients = run(SM3, shape, seed, beta2=beta2)
    true = torch.zeros(shape, dtype=torch.float64)
    for gradient in gradients:
        true = beta2 * true + (1 - beta2) * gradient**2
    assert (true <= bound(optimizer, param) * (1 + 1e-15)).all()


@given(shapes, seeds)
def test_sm3_commutes_with_a_permutation_of_rows(shape, seed):
    """Bit for bit: the order of a dimension means nothing to maxima and minima."""
    if not shape or shape[0] < 2:
        return
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    plain, permuted = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    first, second = SM3([plain]), SM3([permuted])
    for step in range(4):
        plain.grad = gradient_stream(shape, seed)(step)
        permuted.grad = plain.grad[order]
        first.step()
        second.step()
    assert torch.equal(plain[order], permuted)
    assert torch.equal(first.state[plain]["accumulator_0"][order], second.state[permuted]["accumulator_0"])


@given(shapes, seeds)
def test_smmf_keeps_row_and_column_sums_of_the_second_moment(shape, seed):
    """After step 1 (decay 0, V = g^2) the factors rebuild exactly the marginals of g^2."""
    param, optimizer, (gradient,) = run(SMMF, shape, seed, steps=1)
    if param.numel() == 0:
        return
    rows, columns = reference.smmf.matricized_shape(param.numel())
    flat = torch.cat([gradient.reshape(-1), torch.zeros(rows * columns - param.numel(), dtype=torch.float64)])
    squares = flat.view(rows, columns) ** 2
    state = optimizer.state[param]
    rebuilt = state["v_row"].unsqueeze(1) * state["v_col"].unsqueeze(0)
    # Sums of at most 4099 positive terms and one division: 4101 * 1.1e-16 relative, in the worst order.
    torch.testing.assert_close(rebuilt.sum(1), squares.sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(rebuilt.sum(0), squares.sum(0), rtol=1e-12, atol=0)
    assert all((state[name] >= 0).all() for name in ("m_row", "m_col", "v_row", "v_col"))


@given(st.integers(2, 40), st.integers(2, 40), seeds)
def test_smmf_is_dense_while_its_moments_have_rank_one(rows, columns, seed):
    """Gradients a_t u x v with one sign pattern keep |M| and V at rank one: the factored rule is then the dense one."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.rand(max(rows, columns), generator=generator, dtype=torch.float64) + 0.1
    right = torch.rand(min(rows, columns), generator=generator, dtype=torch.float64) + 0.1
    shape = (left.numel(), right.numel())
    if reference.smmf.matricized_shape(left.numel() * right.numel()) != shape:
        return
    param = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimizer = SMMF([param], lr=0.1)
    first = second = torch.zeros(shape, dtype=torch.float64)
    weights = torch.zeros(shape, dtype=torch.float64)
    for step in range(1, 6):
        param.grad = step * left.unsqueeze(1) * right.unsqueeze(0)
        optimizer.step()
        first_decay, second_decay = 0.9 * 0.999 ** (step - 1), 1 - step**-0.5
        first = first_decay * first + (1 - first_decay) * param.grad
        second = second_decay * second + (1 - second_decay) * param.grad**2
        weights = weights - 0.1 * first / (second.sqrt() + 1e-8)
    torch.testing.assert_close(param.detach(), weights, rtol=1e-11, atol=1e-13)


@given(shapes, seeds, st.sampled_from(CASES))
def test_every_case_follows_its_judge_on_any_shape(shape, seed, case):
    """The whole table against the reference, shapes drawn at random."""
    options = {**case.optimizer.RULE.defaults(), **case.settings}
    common = {key: options[key] for key in ("weight_decay", "cautious", "update_rms")}
    if case.optimizer is SM3:
        names = {"alpha": options["lr"], "beta1": options["momentum"]}
        judge = reference.SM3(**names, beta2=options["beta2"], variant=options["variant"], **common)
    else:
        names = {"eta": options["lr"], "lam": options["growth_rate"], "gamma": options["decay_rate"]}
        judge = reference.SMMF(**names, beta=options["beta"], published=options["published"], **common)
    param, _, gradients = run(case.optimizer, shape, seed, **case.settings)
    weights = torch.zeros(shape, dtype=torch.float64).numpy()
    for gradient in gradients:
        weights = judge.step(weights, gradient.numpy())
    # 6 steps of at most some hundred lr each; sums of 4099 terms: 4099 * 1.1e-16 = 5e-13 of a step.
    torch.testing.assert_close(param.detach(), torch.as_tensor(weights), rtol=1e-11, atol=1e-11)


class Life(RuleBasedStateMachine):
    """An optimizer's life in random order; a twin is saved, reloaded, copied on the way, and must stay equal."""

    @initialize(case=st.sampled_from(CASES), seed=seeds)
    def begin(self, case, seed):
        self.case, self.seed, self.step_number = case, seed, 0
        self.params = [torch.ones(shape, requires_grad=True) for shape in ((3, 67), (), (5,))]
        self.optimizer = case.make(self.params, rounding="stochastic")
        self.twin = copy.deepcopy(self.optimizer)

    def pairs(self):
        for ours, theirs in zip(self.optimizer.param_groups, self.twin.param_groups, strict=True):
            yield from zip(ours["params"], theirs["params"], strict=True)

    @rule()
    def step(self):
        self.step_number += 1
        for number, (ours, theirs) in enumerate(self.pairs()):
            if ours.requires_grad:
                ours.grad = gradient_stream(tuple(ours.shape), self.seed + number)(self.step_number).to(ours.dtype)
                theirs.grad = ours.grad.clone()
        self.optimizer.step()
        self.twin.step()

    @rule(lr=st.floats(0.0, 0.1))
    def change_lr(self, lr):
        for optimizer in (self.optimizer, self.twin):
            optimizer.param_groups[0]["lr"] = lr

    @precondition(lambda self: len(self.optimizer.param_groups) < 3)
    @rule()
    def add_group(self):
        for optimizer in (self.optimizer, self.twin):
            optimizer.add_param_group({"params": [torch.ones(7, 2, dtype=torch.bfloat16, requires_grad=True)]})

    @rule(frozen=st.booleans())
    def freeze_or_unfreeze(self, frozen):
        for param in next(self.pairs()):
            param.requires_grad_(not frozen)
            param.grad = None

    @rule()
    def save_and_load_the_twin(self):
        saved = self.twin.state_dict()
        params = [param.detach().clone().requires_grad_(param.requires_grad) for _, param in self.pairs()]
        groups, position = [], 0
        for group in self.twin.param_groups:
            groups.append({"params": params[position : position + len(group["params"])]})
            position += len(group["params"])
        self.twin = self.case.make(groups, rounding="stochastic")
        self.twin.load_state_dict(saved)

    @rule()
    def copy_the_twin(self):
        self.twin = copy.deepcopy(self.twin)

    @rule()
    def allocate_all_state(self):
        self.optimizer.materialize()
        self.twin.materialize()

    @invariant()
    def both_are_equal_bit_for_bit(self):
        if hasattr(self, "twin"):
            assert same(everything(self.optimizer), everything(self.twin))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=20, deadline=None, derandomize=True)
