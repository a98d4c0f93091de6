"""Whether two runs ended alike, to the bit: parameters, state and settings."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def assert_same_run(model: nn.Module, optimizer: Optimizer, other_model: nn.Module, other_optimizer: Optimizer) -> None:
    """Every parameter, every state tensor in its own dtype, every setting of every group."""
    for (name, param), other in zip(model.named_parameters(), other_model.parameters(), strict=True):
        assert same_bits(param.detach(), other.detach()), name
    one, two = optimizer.state_dict(), other_optimizer.state_dict()
    assert one["param_groups"] == two["param_groups"]
    assert one["state"].keys() == two["state"].keys() != set()
    for index, entry in one["state"].items():
        assert entry.keys() == two["state"][index].keys()
        for key, tensor in entry.items():
            assert same_bits(tensor, two["state"][index][key]), f"{key} of parameter {index}"


def is_whole(optimizer: Optimizer) -> bool:
    """Whether the state that lies in memory has exactly the bytes that were planned: nothing cast, nothing missing."""
    return sum(t.nbytes for entry in optimizer.state.values() for t in entry.values()) == optimizer.state_bytes()
