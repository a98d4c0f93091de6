"""A run that was stopped half way, written to files and resumed from them, is the run that was never stopped."""

from __future__ import annotations

import torch

from sm3.optim.torch.checkpoint import load, save
from sm3.verify.difference import difference, snapshot
from sm3.verify.outcome import Outcome, exact
from sm3.verify.record import Record
from sm3.verify.subject import Subject
from sm3.verify.training import Training

PROMISE = "resume == no stop"


def resume(subject: Subject, record: Record) -> Outcome:
    """Everything after the stop is new: the model, its parameters, the optimizer, which is built with another lr."""
    variant, half = record.variant, record.steps // 2
    losses = []
    first = Training(subject, variant.precision)
    optimizer = variant.make(first.leaves.items())
    for step in range(half):
        losses.append(first.backward(step))
        optimizer.step()
    save(optimizer, record.folder / "optimizer.safetensors")
    weights = {name: leaf.detach() for name, leaf in first.leaves.items()}
    torch.save({"leaves": weights, "model": first.model.state_dict()}, record.folder / "model.pt")
    del first, optimizer, weights

    second = Training(subject, variant.precision)
    saved = torch.load(record.folder / "model.pt", weights_only=True)
    second.model.load_state_dict(saved["model"])
    for name, leaf in second.leaves.items():
        leaf.data.copy_(saved["leaves"][name])
    optimizer = variant.make(second.leaves.items(), lr=123.0)  # the file has the settings, too
    load(optimizer, record.folder / "optimizer.safetensors")
    for step in range(half, record.steps):
        losses.append(second.backward(step))
        optimizer.step()
    ours = snapshot(second.leaves, optimizer) | {"loss": torch.tensor(losses, dtype=torch.float64)}
    theirs = record.end | {"loss": torch.tensor(record.losses, dtype=torch.float64)}
    found = difference(ours, theirs)
    compared = f"{found.tensors - 1} tensors after {record.steps} steps, stopped after {half}; {record.steps} losses"
    return exact(PROMISE, variant.label, found, compared)
