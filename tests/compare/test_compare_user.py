"""A model of the user: the contract is tried before anything is trained, and each breach has its own words."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch

from sm3.compare import train
from sm3.compare.user import SET_ASIDE, user_task
from sm3.errors import InputError

GOOD = """
import torch

def job(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))

    def batches():
        generator = torch.Generator().manual_seed(seed)
        while True:
            x = torch.randn(16, 4, generator=generator)
            yield x, x.sum(1, keepdim=True)

    def loss(model, batch):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    return model, batches(), loss
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder; each has a name of its own, for Python remembers them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(source: str) -> str:
        names.append(f"user_module_{abs(hash((source, str(tmp_path))))}")
        (tmp_path / f"{names[-1]}.py").write_text(textwrap.dedent(source))
        return f"{names[-1]}:job"

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_good_function_is_a_task(module, protocol, contestants):
    """It trains, in its own unit, with dropout and all, and repeats bit for bit."""
    task = user_task(module(GOOD))
    settings = train.run_settings(contestants["SMMF"], 1e-2, protocol, task, threads=1)
    one, other = (train.train(settings, 1, task).metrics for _ in range(2))
    assert task.unit == "loss"
    assert one["training"] == other["training"]
    assert one["final_loss"] == other["final_loss"]
    assert one["planned_state_bytes"] == one["state_bytes"]


def test_the_first_batches_are_set_aside_and_never_trained_on(module):
    """The loss is measured on them."""
    start = user_task(module(GOOD)).start(0)
    assert len(start.held_out) == SET_ASIDE
    assert not any(torch.equal(next(start.batches)[0], batch[0]) for batch in start.held_out)


@pytest.mark.parametrize("form", ["dict(model=m, batches=b, loss=l, held_out=h, unit='cm')", "Parts(m, b, l, h, 'cm')"])
def test_a_mapping_and_an_object_are_accepted_too(module, form):
    """With a held-out list and a unit of its own."""
    source = GOOD.replace("return model, batches(), loss\n", "return pack(model, batches(), loss, [next(batches())])\n")
    source += textwrap.dedent(f"""
        from dataclasses import dataclass

        @dataclass
        class Parts:
            model: object
            batches: object
            loss: object
            held_out: object
            unit: str

        def pack(m, b, l, h):
            return {form}
    """)
    task = user_task(module(source))
    assert task.unit == "cm"
    assert len(task.start(0).held_out) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("return model, batches(), loss", "return model"), "return model, batches, loss"),
        (("return model, batches(), loss", "return model, batches()"), "a tuple of 2"),
        (("return model, batches(), loss", "return 'model', batches(), loss"), "must be a torch.nn.Module"),
        (("return model, batches(), loss", "return torch.nn.Identity(), batches(), loss"), "trainable parameters"),
        (("return model, batches(), loss", "return model, batches, loss"), "must be an iterator"),
        (("return model, batches(), loss", "return model, iter(()), loss"), "no batch at all"),
        (("return model, batches(), loss", "return model, batches(), 3"), "loss must be a function"),
        (("mse_loss(model(batch[0]), batch[1])", "mse_loss(model(batch[0]), batch[1]).item()"), "gave a float"),
        (("mse_loss(model(batch[0]), batch[1])", "mse_loss(model(batch[0]), batch[1]).detach()"), "has a gradient"),
        (("batch[1])", "batch[1], reduction='none')"), r"of shape \(16, 1\)"),
        (("batch[1])", "batch[2])"), "IndexError"),
        (("torch.manual_seed(seed)\n", "raise KeyError('data')\n"), "KeyError: 'data'"),
        (("torch.manual_seed(seed)\n", "torch.seed()\n"), "two calls with the same seed"),
        (("def job(seed):", "def job():"), "TypeError"),
    ],
)
def test_a_function_that_breaks_the_contract_is_refused(module, change, reason):
    """Each breach says what came and what to do."""
    source = GOOD.replace(*change)
    assert source != GOOD
    with pytest.raises(InputError, match=reason):
        user_task(module(source))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing", "no module and function name"), (":f", "no module"), ("no_such:f", "ModuleNotFoundError")],
)
def test_a_name_that_leads_nowhere_is_refused(name, reason):
    """The error holds a line to try."""
    with pytest.raises(InputError, match=reason):
        user_task(name)


def test_what_is_not_a_function_is_refused(module):
    """A module's variable is not called."""
    with pytest.raises(InputError, match="job is a int"):
        user_task(module("job = 3"))


def test_another_source_or_other_data_are_another_task(module):
    """So their runs get another folder."""
    one = user_task(module(GOOD)).settings
    other = user_task(module(GOOD.replace("x.sum(", "2 * x.sum("))).settings
    assert one["source"] != other["source"]
    assert one["first_loss"] != other["first_loss"]


@pytest.mark.parametrize("place", ["docs/guide/compare.md", "sm3.compare.user"])
def test_the_example_to_copy_keeps_the_contract(module, place):
    """The one in the guide and the one in the help are tried as they stand."""
    from pathlib import Path

    import sm3.compare.user

    if place.endswith(".md"):
        text = (Path(__file__).parents[2] / place).read_text(encoding="utf-8")
        source = text.split("```python\n")[1].split("```")[0]
    else:
        source = textwrap.dedent("    " + sm3.compare.user.__doc__.split("\n\n    ", 1)[1].split("\nIt may also")[0])
    assert source.startswith("# my_job.py")
    assert user_task(module(source)).unit == "loss"
