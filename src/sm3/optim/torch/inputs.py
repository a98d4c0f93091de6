"""What the optimizers refuse, one clear error each, naming the parameter, before anything is modified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Self

import torch
from torch import Tensor

from sm3.errors import GradientError, ParameterError, explain
from sm3.optim.rules import Rule
from sm3.optim.rules.storage import PARAMETER_DTYPES
from sm3.optim.torch.boxes import is_sharded

_PLAIN_TYPES = {Tensor, torch.nn.Parameter}
_PLAIN_DTYPES = {getattr(torch, name) for name in PARAMETER_DTYPES}
_dtype, _shape, _layout, _device, _is_cpu = map(attrgetter, ("dtype", "shape", "layout", "device", "is_cpu"))


def check_settings(rule: type[Rule], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings checked by the rule's ranges; a tensor learning rate stays the tensor that schedulers write to."""
    checked = rule.check(settings)
    if isinstance(settings.get("lr"), Tensor):
        checked["lr"] = settings["lr"]
    return checked


def dtype_name(tensor: Tensor) -> str:
    """The dtype as the rules spell it: "float32", not "torch.float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def parameter_name(group: Mapping[str, Any], position: int, group_number: int) -> str:
    """The name of a parameter where the user gave names, else its place."""
    names: Sequence[str] | None = group.get("param_names")
    return repr(names[position]) if names else f"{position} of group {group_number}"


def check_parameter(name: str, param: Tensor) -> None:
    """Refuse what no step could train."""
    refusal = _refusal(param)
    if refusal is not None:
        got, accepted, do = refusal
        raise ParameterError(
            explain(f"parameter {name} cannot be trained by this optimizer.", got=got, accepted=accepted, do=do)
        )


def _refusal(param: Tensor) -> tuple[str, str, str] | None:
    if getattr(param, "_fsdp_flattened", False):  # PyTorch's own mark: torch/distributed/fsdp/_common_utils.py
        return (
            "a parameter of FullyShardedDataParallel, flattened and cut at any element",
            "parameters that keep their shape: FSDP1 has thrown it away, so no factored state can be exact",
            "use FSDP2: torch.distributed.fsdp.fully_shard",
        )
    if param.layout != torch.strided or param.is_quantized:
        return (
            f"layout {param.layout}, dtype {param.dtype}",
            "dense tensors",
            "convert it with .to_dense() or .dequantize()",
        )
    if dtype_name(param) not in PARAMETER_DTYPES:
        do = (
            "train torch.view_as_real of it"
            if param.is_complex()
            else "leave it out: requires_grad_(False), or filter it"
        )
        return f"dtype {param.dtype}", ", ".join(PARAMETER_DTYPES), do
    if any(stride == 0 and length > 1 for stride, length in zip(param.stride(), param.shape, strict=True)):
        return (
            f"expanded memory (shape {tuple(param.shape)}, strides {param.stride()})",
            "tensors whose elements have a place of their own",
            "pass param.clone().detach().requires_grad_() instead",
        )
    return None


def are_plain_types(params: Sequence[Tensor]) -> bool:
    """Whether no parameter is of a subclass: a DTensor, say."""
    return set(map(type, params)) <= _PLAIN_TYPES


@dataclass(frozen=True)
class Look:
    """What can change about parameters between two steps, column by column: a tenth of the time of one by one."""

    shapes: list[torch.Size]
    dtypes: list[torch.dtype]
    devices: list[torch.device] | None  # None: all on the CPU

    @classmethod
    def at(cls, params: Sequence[Tensor]) -> Self:
        devices = None if all(map(_is_cpu, params)) else list(map(_device, params))
        return cls(list(map(_shape, params)), list(map(_dtype, params)), devices)


def are_plain_pairs(params: Sequence[Tensor], grads: Sequence[Tensor], look: Look) -> bool:
    """Whether all are on the CPU and `is_plain_pair` holds for each."""
    return (
        look.devices is None
        and are_plain_types(params)
        and set(map(type, grads)) <= {Tensor}
        and set(map(_layout, grads)) <= {torch.strided}
        and set(look.dtypes) <= _PLAIN_DTYPES
        and list(map(_dtype, grads)) == look.dtypes
        and list(map(_shape, grads)) == look.shapes
        and all(map(_is_cpu, grads))
    )


def is_plain_pair(param: Tensor, grad: Tensor) -> bool:
    """Whether parameter and gradient are the usual kind, which needs no further look: dense, real, alike."""
    return (
        type(param) in _PLAIN_TYPES
        and type(grad) is Tensor
        and grad.layout is torch.strided
        and grad.dtype is param.dtype
        and grad.shape == param.shape
        and grad.device == param.device
        and grad.device.type != "meta"
        and param.dtype in _PLAIN_DTYPES
    )


def check_gradient(name: str, param: Tensor) -> None:
    """Refuse a gradient that does not fit its parameter, before any parameter is touched."""
    check_parameter(name, param)
    grad = param.grad
    if grad is None:
        return
    if is_sharded(grad) != is_sharded(param):
        raise _sharded_apart(name, param, grad)
    if grad.layout != torch.strided:
        raise GradientError(
            explain(
                f"the gradient of parameter {name} is sparse.",
                got=f"layout {grad.layout}",
                accepted="dense gradients",
                do="use nn.Embedding(..., sparse=False)",
            )
        )
    if grad.shape != param.shape or grad.device != param.device or not grad.is_floating_point():
        raise GradientError(
            explain(
                f"the gradient of parameter {name} does not fit it.",
                got=f"gradient {tuple(grad.shape)} {grad.dtype} on {grad.device}",
                accepted=f"{tuple(param.shape)}, floating point, on {param.device}",
                do="call zero_grad() after moving or reshaping parameters, then backward() again",
            )
        )
    if param.device.type == "meta":
        raise GradientError(
            explain(
                f"parameter {name} has no data to step on.",
                got="a tensor on the meta device",
                accepted="a tensor on a real device",
                do="materialise the model with model.to_empty(device=...), or plan its memory with `sm3 plan`",
            )
        )


def _sharded_apart(name: str, param: Tensor, grad: Tensor) -> GradientError:
    return GradientError(
        explain(
            f"the gradient of parameter {name} is not sharded as the parameter is.",
            got=f"a {type(grad).__name__} for a {type(param).__name__}",
            accepted="both sharded, or both whole",
            do="set it with distribute_tensor(gradient, param.device_mesh, param.placements)",
        )
    )


def all_finite(grads: Sequence[Tensor]) -> bool:
    """Whether no gradient holds a NaN or an infinity: one pass, no temporary, one wait for the device."""
    flags = []
    for grad in grads:
        if grad.numel():
            low, high = torch.aminmax(grad.detach())
            flags.append((low.double().abs() + high.double().abs()).isfinite().cpu())
    return not flags or bool(torch.stack(flags).all())


def refuse_nonfinite(names: Sequence[str], grads: Sequence[Tensor]) -> GradientError:
    """The error of nonfinite="error", naming the first parameters at fault."""
    found = [name for name, grad in zip(names, grads, strict=True) if not all_finite([grad])] or ["another rank"]
    shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return GradientError(
        explain(
            "a gradient is not finite; parameters and state are as before the step.",
            got=f"NaN or infinity in the gradient of {shown}",
            accepted='finite gradients, as nonfinite="error" asks',
            do='look for the cause in the loss, or pass nonfinite="skip" to leave such steps out',
        )
    )
