"""What the tests of verify share: a model with everything that is awkward, and a kernel that somebody broke."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch

from sm3.optim.kernels import dispatch
from sm3.optim.kernels.cpu import library
from sm3.verify.subject import Subject

AWKWARD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.convolution = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.2)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.embedding.weight
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.unused = nn.Parameter(torch.ones(3, 5))

    def forward(self, text):
        stream = self.convolution(self.memory(self.embedding(text))[0].transpose(1, 2))
        return self.out(self.frozen(self.dropout(self.norm(stream)).transpose(1, 2))) * self.gain

def job(seed):
    torch.manual_seed(seed)
    net = Net()

    def batches():
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randint(11, (4, 9), generator=generator)

    def loss(model, text):
        return nn.functional.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    return net, batches(), loss
"""


def native_name() -> str:
    """The instruction set of the C++ kernels; empty where there are none."""
    return library.isa() if library.available() else ""


def awkward_subject(steps: int) -> Subject:
    """The model, with batches for so many steps."""
    namespace: dict[str, Any] = {"__name__": "awkward"}
    exec(AWKWARD, namespace)
    job = namespace["job"]
    _, batches, loss = job(0)
    return Subject("awkward", lambda: job(0)[0], loss, tuple(islice(batches, steps)))


def broken_step(
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
    *,
    only_native: bool = False,
    when: Callable[[], bool] = lambda: True,
) -> None:
    """Move the first entry of the first parameter by one unit in the last place, after every step."""
    tables = (dispatch._CPU,) if only_native else (dispatch._CPU, dispatch._EAGER)
    for table in tables:
        real = table[optimizer]

        def step(params: Any, *args: Any, real: Any = real, **kwargs: Any) -> None:
            real(params, *args, **kwargs)
            if when() and len(params):
                flat = params[0].detach().view(-1)[:1]
                flat.view({4: torch.int32, 2: torch.int16}[flat.element_size()]).add_(1)

        monkeypatch.setitem(table, optimizer, step)
