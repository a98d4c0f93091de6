"""What is verified: the user's function is tried before a promise is, and what does not repeat is refused as such."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from awkward import AWKWARD
from sm3.compare.user import user_task
from sm3.errors import InputError
from sm3.verify.subject import subject
from sm3.verify.training import Training

SMALL = """
import torch, os
calls = 0

def job(seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(4, 1)

    def batches():
        generator = torch.Generator().manual_seed(seed)
        for _ in range({count}):
            x = torch.randn(16, 4, generator=generator)
            yield x, x.sum(1, keepdim=True)

    def loss(model, batch):
        global calls
        calls += 1
        found = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        return {loss}

    return {returned}
"""


def small(count="10**9", loss="found", returned="model, batches(), loss"):
    return SMALL.format(count=count, loss=loss, returned=returned)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (small(returned="model"), "return model, batches, loss"),
        (small(returned="None, batches(), loss"), "must be a torch.nn.Module"),
        (small(count=20), "12 batches"),  # 8 are set aside to measure on
        (small(loss="found if calls < 8 else 1 / 0"), "ZeroDivisionError: division by zero, at step"),
        (small(loss="found if calls < 4 else found.item()"), "float, at step"),
        (small(loss="found if calls < 8 else found * float('nan')"), "loss nan at step"),
        (small(loss="found + model.weight.sum() * int.from_bytes(os.urandom(4), 'little')"), "same seed"),
        (small(loss="found + model.weight.sum() * calls * (calls > 3)"), "another gradient of"),
        ("def job(seed):\n    raise RuntimeError('no data here')", "RuntimeError: no data here"),
        ("def job():\n    pass", "TypeError"),
    ],
    ids=lambda value: value if len(value) < 60 else "",
)
def test_a_function_that_cannot_be_verified_is_refused_with_its_own_words(module, source, said):
    """Before anything is said about a promise."""

    def train():
        training = Training(subject(module(source), 13), "float32")
        for step in range(13):
            training.backward(step)

    with pytest.raises(InputError) as caught:
        train()
    assert said in str(caught.value)
    assert "  do  " in str(caught.value)


def test_a_model_elsewhere_is_refused(module, monkeypatch):
    """The ranks are processes on the CPU."""
    name = module(small())
    task = user_task(name)

    def start(seed):
        begun = task.start(seed)
        begun.model.to("meta")
        return begun

    monkeypatch.setattr("sm3.verify.subject.user_task", lambda _: replace(task, start=start))
    with pytest.raises(InputError, match="a parameter on meta"):
        subject(name, 3)


def test_dropout_follows_the_step_and_not_what_was_drawn_before(module):
    """So a resumed run draws what the uninterrupted one drew."""
    made = subject(module(AWKWARD), 3)
    one, other = Training(made, "float32"), Training(made, "float32")
    one.backward(0)
    torch.rand(17)
    other.model.load_state_dict(one.model.state_dict())
    assert one.backward(1) == other.backward(1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_leaves_in_another_precision_get_the_gradients_of_the_model_they_are_seen_as(module, precision):
    """The model computes in float32 with the converted weights; the gradients come back rounded once."""
    made = subject(module(AWKWARD), 2)
    training = Training(made, precision)
    plain = made.fresh()
    with torch.no_grad():
        for name, param in plain.named_parameters():
            if name in training.leaves:
                param.copy_(training.leaves[name])
    loss = made.loss_at(plain, 0)
    loss.backward()
    assert training.backward(0) == float(loss.detach())
    grads = {name: param.grad for name, param in plain.named_parameters() if param.requires_grad}
    assert grads.keys() == training.leaves.keys()
    for name, leaf in training.leaves.items():
        assert leaf.dtype == getattr(torch, precision)
        if grads[name] is None:
            assert leaf.grad is None
        elif name != "embedding.weight":  # tied: two contributions, added before the rounding or after it
            assert torch.equal(leaf.grad, grads[name].to(leaf.dtype)), name


def test_after_backward_the_model_has_its_own_parameters_again(module):
    """In recurrent layers too, whose list of weights is another place."""
    made = subject(module(AWKWARD), 2)
    training = Training(made, "bfloat16")
    before = {name: id(param) for name, param in training.model.named_parameters()}
    training.backward(0)
    assert {name: id(param) for name, param in training.model.named_parameters()} == before
    memory = training.model.memory
    assert all(a is b for a, b in zip(memory._flat_weights, memory.parameters(), strict=True))
    assert all(param.dtype == torch.float32 for param in training.model.parameters())
