"""Forward and backward of the subject, with its trainable parameters in another precision where that is asked for.

The model runs in its own precision. Where the leaves are of another one, the model sees them converted, and autograd
brings the gradients back: so any model and any batch will do, and what is stepped are real bfloat16 parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sm3.verify.subject import Subject


class Training:
    """A model that is being trained: `leaves` are what the optimizer steps."""

    def __init__(self, subject: Subject, precision: str):
        self.subject = subject
        self.model = subject.fresh()
        self.model.train()
        dtype = getattr(torch, precision)
        self.leaves: dict[str, nn.Parameter] = {}
        self._seen_as: dict[int, tuple[nn.Parameter, torch.dtype]] = {}  # by the model's own parameter
        for name, param in self.model.named_parameters():
            if param.requires_grad:
                same = param.dtype == dtype
                leaf = param if same else nn.Parameter(param.detach().to(dtype))
                self.leaves[name] = leaf
                if not same:
                    self._seen_as[id(param)] = leaf, param.dtype

    def backward(self, step: int) -> float:
        """The loss of a step, counted from 0, with its gradients in the leaves (or released on the way)."""
        for leaf in self.leaves.values():
            leaf.grad = None
        with self._leaves_in_place():
            loss = self.subject.loss_at(self.model, step)
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    @contextmanager
    def _leaves_in_place(self) -> Iterator[None]:
        """Within the block the model's parameters are the leaves, converted; a tied parameter is converted once."""
        converted: dict[int, Tensor] = {key: leaf.to(dtype) for key, (leaf, dtype) in self._seen_as.items()}
        replaced: list[tuple[nn.Module, str, Any]] = []
        for module in self.model.modules() if converted else ():
            for name, param in module._parameters.items():
                if param is not None and id(param) in converted:
                    replaced.append((module, name, param))
        for module, name, param in replaced:
            module._parameters[name] = converted[id(param)]  # type: ignore[assignment]
            _refresh(module)
        try:
            yield
        finally:
            for module, name, param in replaced:
                module._parameters[name] = param
                _refresh(module)


def _refresh(module: nn.Module) -> None:
    """Recurrent layers keep a list of their weights besides the parameters themselves."""
    if isinstance(module, nn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
