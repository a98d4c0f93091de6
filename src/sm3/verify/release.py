"""Gradients released inside backward give the bits that backward and then `step()` give."""

from __future__ import annotations

import torch

from sm3.optim.torch.release import GradientRelease
from sm3.verify.difference import Difference, difference, snapshot
from sm3.verify.outcome import BROKEN, SKIPPED, Outcome, exact
from sm3.verify.record import Record
from sm3.verify.subject import Subject
from sm3.verify.training import Training

PROMISE = "release == step"


def release(subject: Subject, record: Record) -> Outcome:
    """The whole run once more, every parameter stepped as soon as its gradient is there."""
    variant = record.variant
    if variant.rule().nonfinite != "propagate":
        reason = "nonfinite looks at all gradients before the step, which released ones are not there for"
        return Outcome(PROMISE, variant.label, SKIPPED, reason=reason)
    training = Training(subject, variant.precision)
    optimizer = variant.make(training.leaves.items())
    losses, kept = [], 0
    with GradientRelease(optimizer):
        for step in range(record.steps):
            losses.append(training.backward(step))
            kept += sum(leaf.grad is not None for leaf in training.leaves.values())
            optimizer.step()
    ours = snapshot(training.leaves, optimizer) | {"loss": torch.tensor(losses, dtype=torch.float64)}
    theirs = record.end | {"loss": torch.tensor(record.losses, dtype=torch.float64)}
    found: Difference = difference(ours, theirs)
    compared = f"{found.tensors - 1} tensors after {record.steps} steps; {record.steps} losses"
    if kept and not found.unequal:
        reason = f"{kept} gradients were still there after backward"
        return Outcome(PROMISE, variant.label, BROKEN, compared=compared, reason=reason)
    return exact(PROMISE, variant.label, found, compared)
