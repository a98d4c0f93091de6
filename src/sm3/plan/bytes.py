"""The exact sum: bytes of weights, gradients and optimizer state, from shapes alone.

Ours is the sum over the list of state tensors from which the optimizer itself allocates (`optim/rules`), a peer's over
the tensors its library makes (`peers`): for both, planned equals measured, and tests hold it at a difference of 0.

Not counted: activations, temporaries of the step, buffers of the model, rounding of the allocator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sm3.errors import SettingTypeError, explain
from sm3.plan.models import specs_of
from sm3.plan.optimizers import Optimizer, optimizer_of
from sm3.plan.shapes import ParameterSpec, with_dtype


@dataclass(frozen=True)
class ParameterBytes:
    """One parameter, and the bytes of what belongs to it."""

    spec: ParameterSpec
    state: Mapping[str, int]  # bytes of each state tensor by its name; empty if the parameter is frozen

    @property
    def weight_bytes(self) -> int:
        return self.spec.weight_bytes

    @property
    def gradient_bytes(self) -> int:
        """A gradient has its parameter's shape and dtype."""
        return self.spec.weight_bytes if self.spec.trainable else 0

    @property
    def state_bytes(self) -> int:
        return sum(self.state.values())


@dataclass(frozen=True)
class Plan:
    """Bytes of one model trained with one optimizer; `plan` makes it."""

    optimizer: Optimizer
    parameters: tuple[ParameterBytes, ...]

    @property
    def weights_bytes(self) -> int:
        return sum(parameter.weight_bytes for parameter in self.parameters)

    @property
    def gradients_bytes(self) -> int:
        """All gradients at once, as they are when `step` is called."""
        return sum(parameter.gradient_bytes for parameter in self.parameters)

    @property
    def largest_gradient_bytes(self) -> int:
        """What remains of `gradients_bytes` where each gradient is freed as soon as it has been used."""
        return max((parameter.gradient_bytes for parameter in self.parameters), default=0)

    @property
    def state_bytes(self) -> int:
        """Optimizer state after the first step, step counters included."""
        return sum(parameter.state_bytes for parameter in self.parameters)

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.gradients_bytes + self.state_bytes

    @property
    def trainable_elements(self) -> int:
        return sum(parameter.spec.numel for parameter in self.parameters if parameter.spec.trainable)

    @property
    def bytes_per_parameter(self) -> float:
        """State bytes per trained number, the "B/param" of the literature; 0 if nothing is trained."""
        return self.state_bytes / self.trainable_elements if self.trainable_elements else 0.0

    def rows(self) -> Iterator[dict[str, Any]]:
        """One plain dict per parameter, in the model's order; JSON can hold it."""
        for parameter in self.parameters:
            yield {
                "name": parameter.spec.name,
                "shape": list(parameter.spec.shape),
                "dtype": parameter.spec.dtype,
                "trainable": parameter.spec.trainable,
                "weight_bytes": parameter.weight_bytes,
                "gradient_bytes": parameter.gradient_bytes,
                "state_bytes": parameter.state_bytes,
                "state": dict(parameter.state),
            }


def plan(model: Any, optimizer: str | Optimizer = "SMMF", *, dtype: str | None = None, **settings: Any) -> Plan:
    """Bytes of training this model with this optimizer, exact and without making a tensor.

    model      a torch.nn.Module (any device, meta too); a built-in name such as "gpt2-small"; a .json shape list, a
               .safetensors file, "module:function"; {"name": shape}, or a list of shapes
    optimizer  "SMMF", "SM3", or a peer: `sm3.plan.OPTIMIZERS`; also a call, "SM3(momentum=0)"
    dtype      plan every floating weight in this dtype, as `model.to(dtype)` would make it; None: as it is
    settings   hyper-parameters of the optimizer, checked as the optimizer checks them

    Raises `InputError` for a model, `SettingError` for an optimizer or a setting that cannot be used, `ParameterError`
    for a parameter that this optimizer cannot train.

    >>> lean, usual = plan([(3072, 768)], "SMMF"), plan([(3072, 768)], "AdamW")
    >>> lean.state_bytes, usual.state_bytes
    (319496, 18874372)
    """
    if isinstance(optimizer, str):
        optimizer = optimizer_of(optimizer, settings)
    elif settings:
        got, accepted = (
            f"{optimizer.label} and {', '.join(settings)}",
            "an optimizer by name with settings, or one made before",
        )
        raise SettingTypeError(explain("settings cannot be added.", got=got, accepted=accepted, do="pass its name"))
    specs = specs_of(model)
    return plan_specs(specs if dtype is None else with_dtype(specs, dtype), optimizer)


def plan_specs(specs: tuple[ParameterSpec, ...], optimizer: Optimizer) -> Plan:
    """The plan of parameters already read; where one model meets several optimizers, it is read once."""
    rows, seen = [], set[str]()
    for spec in specs:
        state: dict[str, int] = {}
        if spec.trainable:
            optimizer.refuse_untrainable(spec)
            state = {name: size for name, size in optimizer.state(spec.shape, spec.dtype).items() if name not in seen}
            seen.update(name for name in optimizer.shared if name in state)
        rows.append(ParameterBytes(spec, state))
    return Plan(optimizer, tuple(rows))
