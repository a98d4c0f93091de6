"""Gradient release: each parameter steps as soon as its gradient is complete, and the gradient is freed at once.

During backward then a few gradients are alive instead of all. The step is the optimizer's own, for one parameter: the
result equals backward followed by `step()` bit for bit. Idea: Lv et al. 2023, "Full parameter fine-tuning for large
language models with limited resources" (LOMO), arXiv 2306.09782.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from sm3.errors import GradientError, ParameterError, SettingError, explain
from sm3.optim.rules.hyperparameters import Integer, Real
from sm3.optim.torch import inputs
from sm3.optim.torch.boxes import is_sharded, to_local
from sm3.optim.torch.loop import RuleOptimizer

ACCUMULATE = Integer("accumulate", 1, low=1, high=2**31, about="backward passes per step")
MAX_NORM = Real(
    "max_norm", None, low=0.0, low_open=True, none="no clipping", about="bound of the gradients' total norm"
)


class GradientRelease:
    """Steps inside backward until `remove()`; also a context manager.

    The loop stays as it is: `backward()`, `optimizer.step()`, `scheduler.step()`, `zero_grad()`. When `step()` is
    called the parameters have moved; it steps those whose gradients are still there (set by hand, or of an accumulation
    that ended early) and opens the next round.

    Parameters
    ----------
    optimizer : SM3 or SMMF
        Parameters of groups added later are not released.
    accumulate : int >= 1, default 1
        Backward passes per step. With k > 1 a gradient lives until its k-th pass, so nothing is saved between passes;
        the result equals ordinary accumulation bit for bit.
    max_norm : None or float > 0, default None
        Clip by the total norm of the *last* step's gradients: all are scaled by min(1, max_norm / last norm). The norm
        of this step is known only after its gradients are gone; the first step is not clipped. A spike thus passes
        once and the next step is shortened: choose a bound you would not mind to exceed once. Of sharded parameters
        it takes one more collective per parameter.

    Notes
    -----
    Raises `SettingError` for `nonfinite="skip"` or `"error"`, which need all gradients at once; `ParameterError` for
    two parameters in one memory; `GradientError` in backward for a second pass before `step()`.

    Memory: frees all gradients but those that backward holds at one time; on its own a few bytes per parameter.

    Examples
    --------
    >>> import torch
    >>> from sm3 import SMMF
    >>> from sm3.optim.torch import GradientRelease
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = SMMF(model.parameters(), lr=0.1)
    >>> before = model.weight.detach().clone()
    >>> with GradientRelease(optimizer):
    ...     model(torch.ones(3, 4)).sum().backward()
    ...     print(model.weight.grad, torch.equal(model.weight, before))
    ...     optimizer.step()
    None False
    """

    def __init__(self, optimizer: RuleOptimizer, *, accumulate: int = 1, max_norm: float | None = None):
        self.optimizer = optimizer
        self.accumulate = ACCUMULATE.check(accumulate)
        self.max_norm = MAX_NORM.check(max_norm)
        self.last_norm: float | None = None  # total norm of the gradients of the last finished step
        self._squares: list[Tensor] = []
        self._passes: dict[Tensor, int] = {}
        _refuse_unfit(optimizer)
        optimizer.begin_release(self._finish)
        self._handles: list[Any] = [
            param.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                self._hook(param, number, group_number, position)
            )
            for number, (group_number, position, param) in enumerate(_numbered(optimizer))
            if param.requires_grad
        ]

    def remove(self) -> None:
        """Go back to ordinary steps. Gradients that are waiting stay where they are."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.optimizer.end_release()

    def __enter__(self) -> GradientRelease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _hook(self, param: Tensor, index: int, group_number: int, position: int) -> Callable[[Tensor], None]:
        def release(_: Tensor) -> None:
            passes = self._passes.get(param, 0) + 1
            if passes > self.accumulate:
                name = inputs.parameter_name(self.optimizer.param_groups[group_number], position, group_number)
                raise _second_backward(name, self.accumulate)
            self._passes[param] = passes
            if passes == self.accumulate:
                self._clip(param)
                self.optimizer.step_one(param, group_number, position, index)
                param.grad = None

        return release

    @torch.no_grad()
    def _clip(self, param: Tensor) -> None:
        if self.max_norm is None or param.grad is None:
            return
        norm: Any = torch.linalg.vector_norm(param.grad, dtype=torch.float64)
        self._squares.append((norm.full_tensor() if is_sharded(norm) else norm).square())
        if self.last_norm is not None and self.last_norm > self.max_norm:
            param.grad.mul_(self.max_norm / self.last_norm)  # ours to change: it is freed right after

    def _finish(self) -> None:
        """`optimizer.step()` was called: the next round begins."""
        self._passes.clear()
        if self._squares:
            device = self._squares[0].device
            self.last_norm = float(torch.stack([square.to(device) for square in self._squares]).sum().sqrt())
            self._squares = []


def _numbered(optimizer: RuleOptimizer) -> list[tuple[int, int, Tensor]]:
    """(group, position, parameter) of every parameter, in the order of their indices."""
    return [
        (number, position, param)
        for number, group in enumerate(optimizer.param_groups)
        for position, param in enumerate(group["params"])
    ]


def _refuse_unfit(optimizer: RuleOptimizer) -> None:
    for group in optimizer.param_groups:
        if group["nonfinite"] != "propagate":
            raise SettingError(
                explain(
                    "gradient release cannot judge a step as a whole.",
                    got=f"nonfinite={group['nonfinite']!r}",
                    accepted="nonfinite='propagate': other parameters have moved before the last gradient is known",
                    do="build the optimizer without `nonfinite`, or step without release",
                )
            )
    owner: dict[Any, str] = {}
    for number, position, param in _numbered(optimizer):
        with torch.no_grad():
            local = to_local(param)
        if local.numel() == 0 or local.device.type == "meta":
            continue
        name = inputs.parameter_name(optimizer.param_groups[number], position, number)
        place = (local.device, local.untyped_storage().data_ptr())
        if place in owner:
            raise ParameterError(
                explain(
                    f"parameters {owner[place]} and {name} share memory.",
                    got="two parameters that are views of one storage",
                    accepted="parameters with memory of their own; one tied parameter used twice is fine",
                    do="tie the modules to one nn.Parameter, or clone one of the two",
                )
            )
        owner[place] = name


def _second_backward(name: str, accumulate: int) -> GradientError:
    return GradientError(
        explain(
            f"the gradient of parameter {name} arrived again before optimizer.step().",
            got=f"backward pass {accumulate + 1} of this step",
            accepted=f"accumulate={accumulate} backward pass{'es' if accumulate > 1 else ''} per step",
            do="call optimizer.step() after each round, or pass accumulate=k to GradientRelease",
        )
    )
