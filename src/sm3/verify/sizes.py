"""Bytes of state and gradients, planned from shapes, are those of the live tensors."""

from __future__ import annotations

from sm3.plan.bytes import plan_specs
from sm3.plan.measure import state_nbytes
from sm3.plan.optimizers import optimizer_of
from sm3.plan.shapes import ParameterSpec
from sm3.verify.outcome import BROKEN, HOLDS, Outcome
from sm3.verify.record import Record, read_gradients

PROMISE = "planned == measured"


def sizes(record: Record) -> Outcome:
    """Three ways to know the state: `sm3 plan`, `state_bytes()`, and the live tensors after the last step."""
    variant = record.variant
    leaves = record.leaves()
    specs = tuple(ParameterSpec(name, tuple(leaf.shape), variant.precision, True) for name, leaf in leaves.items())
    planned = plan_specs(specs, optimizer_of(variant.optimizer, variant.settings))
    record.optimizer.materialize()  # a parameter that never had a gradient has no state yet
    measured = state_nbytes(record.optimizer)
    grads = read_gradients(record.folder, 0)
    planned_grads = sum(row.gradient_bytes for row in planned.parameters if row.spec.name in grads)
    apart = {
        "sm3 plan": abs(planned.state_bytes - measured),
        "state_bytes()": abs(record.state_bytes - measured),
        "gradients": abs(planned_grads - sum(grad.nbytes for grad in grads.values())),
    }
    where = max(apart, key=lambda name: apart[name])
    verdict = BROKEN if any(apart.values()) else HOLDS
    compared = f"{measured:,} bytes of state, {planned_grads:,} of gradients, {len(specs)} parameters"
    return Outcome(PROMISE, variant.label, verdict, apart[where], 0.0, where if apart[where] else "", compared)
