"""The only step loop of the package: closure, groups, checks, state, kernel. An optimizer is this class and a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.optim import Optimizer

from sm3.errors import SettingError, explain
from sm3.optim.kernels.dispatch import Kernel, count_steps, kernel_for
from sm3.optim.rules import Rule
from sm3.optim.torch import inputs
from sm3.optim.torch.boxes import Box, is_sharded
from sm3.optim.torch.pieces import local_gradient
from sm3.optim.torch.state import bytes_here, complete_, layout_of
from sm3.optim.torch.state_dict import VERSION, cloned, load_
from sm3.optim.torch.together import Shards, Together, refuse_sharded
from sm3.optim.torch.work import Seen, Work


class RuleOptimizer(Optimizer):
    """A `torch.optim.Optimizer` whose mathematics, state and hyper-parameters are those of a rule."""

    RULE: ClassVar[type[Rule]]
    # Set while gradients are released in backward (`release.py`); a copy of the optimizer starts without.
    _on_step: Callable[[], None] | None = None

    # By `Work.key`. Emptied by loading, absent from copies; so is what was agreed with other ranks.
    _seen: dict[int, Seen]
    _kernels: dict[int, tuple[str | None, Kernel]]
    _together: Together

    def __init__(self, params: Any, settings: dict[str, Any]):
        self._forget()
        checked = inputs.check_settings(self.RULE, settings)
        super().__init__(params, {**checked, "optimizer": self.RULE.NAME, "state_version": VERSION})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its own settings are checked by the same ranges. A refused group is not added.

        Keys that are no hyper-parameters are kept, not judged: schedulers and trainers store theirs there.
        """
        super().add_param_group(param_group)
        number = len(self.param_groups) - 1
        group = self.param_groups[number]
        try:
            if group["optimizer"] != self.RULE.NAME:
                raise _foreign_group(self.RULE.NAME, group["optimizer"])
            group.update(inputs.check_settings(self.RULE, group))
            for position, param in enumerate(group["params"]):
                name = inputs.parameter_name(group, position, number)
                inputs.check_parameter(name, param)
                self._box(name, param)
            if any(map(is_sharded, group["params"])):
                refuse_sharded(self._rule(group))
        except Exception:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on every parameter that has a gradient; parameters without one are left alone, state included.

        closure: computes the loss again, with gradients; its result is returned.
        Raises `GradientError` or `ParameterError`, naming the parameter, before anything is modified.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if is_dynamo_compiling():
            from sm3.optim.torch import compiled  # here: it loads PyTorch's compiler, which takes seconds

            compiled.step_(self)
        else:
            self.step_now()
        return loss

    def step_now(self) -> None:
        """The step itself, without closure and hooks, under no_grad and never traced; `compiled.py` calls it, too."""
        work = list(self._gather())
        kernels = [self._kernel(part) for part in work]  # refused now, before another group has moved
        apart = [i for i, part in enumerate(work) if part.is_sharded]
        shards = Shards(self, [work[i] for i in apart]) if apart else None
        if self._may_step(work, shards):
            for part, kernel in zip(work, kernels, strict=True):
                if not part.is_sharded:
                    self._step_group(part, kernel)
            if shards is not None:
                shards.step_([kernels[i] for i in apart])
        if self._on_step is not None:
            self._on_step()

    @torch.no_grad()
    def step_one(self, param: Tensor, group_number: int, position: int, index: int) -> None:
        """The same step for one parameter, whose gradient has just arrived; `release.py` calls it inside backward."""
        group = self.param_groups[group_number]
        if param.grad is not None:
            _check_pair(param, param.grad, group, position, group_number)
            rule, first = self._rule(group), index - position
            kernel = kernel_for(self.RULE.NAME, rule.backend, [param])
            if is_sharded(param):
                Shards(self, [self._gather_sharded(rule, group_number, first, [position])]).step_([kernel])
            else:
                look = inputs.Look.at([param])
                work = Work(rule, group_number, first, [param], [param.grad], [position], look)
                self._run(work, kernel, [self._state_of(param, layout_of(rule))])

    def begin_release(self, on_step: Callable[[], None]) -> None:
        """Call `on_step` at the end of every `step()`, until `end_release`. Raises `SettingError` if one is active."""
        if self._on_step is not None:
            raise SettingError(
                explain(
                    "this optimizer releases its gradients already.",
                    got="a second GradientRelease",
                    accepted="one at a time",
                    do="call remove() on the first one",
                )
            )
        self._on_step = on_step

    def end_release(self) -> None:
        """Back to ordinary steps."""
        self._on_step = None

    def _gather(self) -> Iterator[Work]:
        """The parameters that have gradients, group by group, each checked; sharded ones apart, also those without."""
        first = 0
        for number, group in enumerate(self.param_groups):
            params = group["params"]
            positions: Sequence[int] = range(len(params))
            rule = self._rule(group)
            if not inputs.are_plain_types(params):
                apart = [i for i in positions if is_sharded(params[i])]
                positions = [i for i in positions if not is_sharded(params[i])]
                if apart:
                    yield self._gather_sharded(rule, number, first, apart)
            grads = [param.grad for param in params]
            if len(positions) < len(params) or any(grad is None for grad in grads):
                positions = [position for position in positions if grads[position] is not None]
                params, grads = [params[i] for i in positions], [grads[i] for i in positions]
            look = inputs.Look.at(params)
            if not inputs.are_plain_pairs(params, grads, look):
                for position, param, grad in zip(positions, params, grads, strict=True):
                    _check_pair(param, grad, group, position, number)
            yield Work(rule, number, first, params, grads, positions, look)
            first += len(group["params"])

    def _gather_sharded(self, rule: Rule, number: int, first: int, positions: Sequence[int]) -> Work:
        """The DTensors of a group that are trained; where this rank has no gradient, another may have one."""
        group = self.param_groups[number]
        at = [i for i in positions if group["params"][i].requires_grad or group["params"][i].grad is not None]
        params = [group["params"][position] for position in at]
        for position, param in zip(at, params, strict=True):
            inputs.check_gradient(inputs.parameter_name(group, position, number), param)
        present = [param.grad is not None for param in params]
        return Work(rule, number, first, params, list(map(local_gradient, params)), at, inputs.Look.at(params), present)

    def _may_step(self, work: list[Work], shards: Shards | None) -> bool:
        """Obey `nonfinite`: go on, leave the whole step undone, or raise. Nothing is read for "propagate"."""
        judged = [part for part in work if part.rule.nonfinite != "propagate"]
        found = next((part for part in judged if not inputs.all_finite(part.grads)), None)
        verdict = "propagate" if found is None else found.rule.nonfinite
        if judged and shards is not None:
            verdict = shards.worst(verdict)
        if verdict == "error":
            group = self.param_groups[found.number] if found else {}
            positions = found.positions if found else ()
            names = [inputs.parameter_name(group, i, found.number if found else 0) for i in positions]
            raise inputs.refuse_nonfinite(names, found.grads if found else ())
        return verdict == "propagate"

    def _kernel(self, work: Work) -> Kernel:
        """The kernel of a group, kept from step to step where it has a memory of its own."""
        backend = work.rule.backend
        kept = self._kernels.get(work.key)
        if kept is not None and kept[0] == backend and backend in (None, "cpu"):
            return kept[1]
        kernel = kernel_for(self.RULE.NAME, backend, work.params)
        self._kernels[work.key] = backend, kernel
        return kernel

    def _step_group(self, work: Work, kernel: Kernel) -> None:
        layout, seen = layout_of(work.rule), self._seen.get(work.key)
        if seen is None or not seen.still(layout, work, self.state):
            states = [self._state_of(param, layout) for param in work.params]
            seen = self._seen[work.key] = Seen(layout, list(work.params), states, work.look)
        self._run(work, kernel, seen.states)

    def _run(self, work: Work, kernel: Kernel, states: list[dict[str, Tensor]]) -> None:
        if states:
            count_steps([state["step"] for state in states])
        kernel(work.params, work.grads, states, work.rule, work.indices)

    def _rule(self, group: dict[str, Any]) -> Rule:
        """The rule of a group as it is now: schedulers may have changed it, so it is checked again (10 microseconds).

        A tensor learning rate is read here, at the step.
        """
        return self.RULE.of(self.RULE.check(group))

    def _state_of(self, param: Tensor, layout: Rule) -> dict[str, Tensor]:
        """The state of a parameter, allocated where missing, on the parameter's device (`step` on the CPU)."""
        return complete_(self.state[param], param, layout, self._box("", param))

    def _box(self, name: str, param: Tensor) -> Box | None:
        """How a sharded parameter is cut; None for a whole one. Raises `ParameterError` where it cannot be stepped."""
        return self._together.box(name, param) if is_sharded(param) else None

    def _forget(self) -> None:
        self._seen, self._kernels, self._together = {}, {}, Together()

    @torch.no_grad()
    def create_state(self, places: Sequence[tuple[int, int]]) -> None:
        """Allocate the state of some parameters, (group, position) each, as their next step would."""
        for number, position in places:
            group = self.param_groups[number]
            self._state_of(group["params"][position], layout_of(self._rule({**group, "lr": 0.0})))

    @torch.no_grad()
    def materialize(self) -> None:
        """Allocate the state of every trainable parameter now, as zeros, instead of at its first step.

        Memory then peaks before the run, not at step 1, and a checkpoint of step 0 is complete. Changes no result.
        """
        for param, rule in self._trainable():
            self._state_of(param, layout_of(rule))

    def state_bytes(self) -> int:
        """Exact bytes of state once every trainable parameter has stepped; known before the first step.

        Equal to what `sm3 plan` says, and to the sum of the bytes of the real state tensors. Of sharded parameters,
        this rank's bytes.
        """
        return sum(bytes_here(param, rule, self._box("", param)) for param, rule in self._trainable())

    def _trainable(self) -> Iterator[tuple[Tensor, Rule]]:
        for group in self.param_groups:
            rule = self._rule(group)
            yield from ((param, rule) for param in group["params"] if param.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in PyTorch's format; its tensors are copies, so later steps do not change it."""
        return cloned(super().state_dict())

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over settings and state, bit for bit and in the declared dtypes, whatever the parameters' dtype.

        Everything is checked first; raises `StateMismatchError` and changes nothing when the dict belongs to another
        optimizer, model or newer version. Where both sides have parameter names, they are matched by name.
        """
        load_(self, state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        for group in self.param_groups:  # settings that an older version did not have yet
            for name, default in self.RULE.defaults().items():
                group.setdefault(name, default)
            group.setdefault("optimizer", self.RULE.NAME)
            group.setdefault("state_version", VERSION)


def _check_pair(param: Tensor, grad: Tensor, group: dict[str, Any], position: int, number: int) -> None:
    """Refuse what cannot be stepped; the usual kind passes by one look, and its name is not even built."""
    if not inputs.is_plain_pair(param, grad):
        inputs.check_gradient(inputs.parameter_name(group, position, number), param)


def _foreign_group(ours: str, theirs: object) -> SettingError:
    return SettingError(
        explain(
            "the parameter group belongs to another optimizer.",
            got=f"optimizer={theirs!r}",
            accepted=f"groups of {ours}, or groups without this key",
            do='build the group from {"params": ...} and the settings you want',
        )
    )
