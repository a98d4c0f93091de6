"""The least memory that training takes: bfloat16 weights, stochastic rounding, gradients released as they arrive."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from sm3.errors import SettingError, explain
from sm3.optim.torch.loop import RuleOptimizer
from sm3.optim.torch.release import GradientRelease
from sm3.optim.torch.sm3 import SM3
from sm3.optim.torch.smmf import SMMF

_OPTIMIZERS: dict[str, type[RuleOptimizer]] = {"SM3": SM3, "SMMF": SMMF}
# What learned best where every setting had its own learning rate: docs/concept/quality.md. SM3 as published is behind.
RECIPES: dict[str, dict[str, Any]] = {"SM3": {"beta2": 0.95, "cautious": True}, "SMMF": {}}
_DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


class Lean:
    """What `lean` returns: `optimizer` to step and schedule, `training_bytes()`, and `remove()`."""

    def __init__(self, model: nn.Module, optimizer: RuleOptimizer, release: GradientRelease):
        self.model, self.optimizer, self.release = model, optimizer, release

    def training_bytes(self) -> int:
        """Bytes of weights, optimizer state and the largest single gradient; `sm3 plan` says the same.

        Backward may hold more than one gradient at a time: as many as one operation produces.
        """
        trainable = [param.nbytes for param in self.model.parameters() if param.requires_grad]
        weights = sum(param.nbytes for param in self.model.parameters())
        return weights + self.optimizer.state_bytes() + max(trainable, default=0)

    def remove(self) -> None:
        """Go back to ordinary steps; weights and state stay as they are."""
        self.release.remove()

    def __enter__(self) -> Lean:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def lean(
    model: nn.Module,
    optimizer: str = "SMMF",
    *,
    dtype: torch.dtype = torch.bfloat16,
    accumulate: int = 1,
    max_norm: float | None = None,
    **settings: Any,
) -> Lean:
    """Make a model train in about 2.13 bytes per parameter and one gradient, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Its floating parameters and buffers are converted to `dtype`, frozen ones too; parameters keep their identity.
    optimizer : "SMMF" or "SM3", default "SMMF"
        SMMF keeps 0.13 bytes of state per parameter. SM3 comes with ``beta2=0.95, cautious=True``, which learns better
        than the published sum; pass other values to override.
    dtype : torch.bfloat16 (default), torch.float16 or torch.float32
    accumulate, max_norm
        Of `GradientRelease`.
    settings
        Of the optimizer, checked by it; `rounding` is "stochastic" unless you say otherwise.

    Notes
    -----
    The training loop stays as it is. Every step is bit-equal to the same optimizer stepping after backward. Raises
    `SettingError` for an optimizer, dtype or setting that is not accepted; the model is then unchanged.

    Examples
    --------
    >>> import torch, sm3
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 256))
    >>> lean = sm3.lean(model, lr=1e-3)
    >>> numel = sum(param.numel() for param in model.parameters())
    >>> round(lean.training_bytes() / numel, 2), round(16 * numel / lean.training_bytes(), 1)  # AdamW, mixed: 16 bytes
    (3.16, 5.1)
    >>> model(torch.randn(8, 256, dtype=torch.bfloat16)).square().mean().backward()
    >>> lean.optimizer.step()  # the parameters have moved, their gradients are gone
    >>> any(param.grad is not None for param in model.parameters())
    False
    >>> lean.remove()
    """
    if optimizer not in _OPTIMIZERS:
        raise SettingError(
            explain(
                "the optimizer is not known here.",
                got=f"optimizer={optimizer!r}",
                accepted=" or ".join(repr(name) for name in _OPTIMIZERS),
                do="pass optimizer='SMMF', or use GradientRelease on an optimizer you built",
            )
        )
    if dtype not in _DTYPES:
        raise SettingError(
            explain(
                "the dtype is not accepted.",
                got=f"dtype={dtype!r}",
                accepted=", ".join(f"torch.{name}" for name in _DTYPES.values()),
                do="pass dtype=torch.bfloat16",
            )
        )
    trainable = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    # Built before the weights are touched, so that a refused setting leaves the model alone.
    built = _OPTIMIZERS[optimizer](trainable, **{"rounding": "stochastic", **RECIPES[optimizer], **settings})
    release = GradientRelease(built, accumulate=accumulate, max_norm=max_norm)
    _convert_(model, dtype)
    return Lean(model, built, release)


@torch.no_grad()
def _convert_(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert in place: the optimizer and the hooks hold these very parameters."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
            tensor.grad = None
