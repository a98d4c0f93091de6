"""Another optimizer in the middle of a run, with the state of the old one: AdamW to SMMF or SM3, SMMF to AdamW, Adagrad
to SM3.

What is stored and why is derived once, in `rules/conversion.py`: SMMF gets AdamW's bias-corrected means, folded, and
a step counter at which both decay alike. The error of the folding is measured, per parameter and in all. The
parameters are not touched, the old optimizer neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from sm3.errors import ParameterError, SettingError, SettingTypeError, StateMismatchError, explain
from sm3.optim.torch import convert_source, convert_state, inputs
from sm3.optim.torch.conversion import Conversion, ConvertedParameter
from sm3.optim.torch.convert_source import Entry, Group
from sm3.optim.torch.sm3 import SM3
from sm3.optim.torch.smmf import SMMF

Source = torch.optim.Optimizer | Mapping[str, Any] | str | os.PathLike[str]

# Settings of a group that are no hyper-parameters of any optimizer and outlive it: a scheduler's memory.
_SURVIVES = ("initial_lr",)


@torch.no_grad()
def convert_adamw_state(
    source: Source,
    to: type[torch.optim.Optimizer] = SMMF,
    *,
    params: Iterable[Any] | None = None,
    **settings: Any,
) -> Conversion:
    """Go on with SMMF or SM3 where AdamW is now, or back to AdamW from SMMF, without starting anew.

    Parameters
    ----------
    source : torch.optim.AdamW, torch.optim.Adam or SMMF; its state dict; or the path of a file by `torch.save` with one
        Read only. A file is loaded with ``weights_only=True``; the state dict may stand under a key of it.
    to : SMMF (default), SM3 or torch.optim.AdamW
        The new optimizer. AdamW only from SMMF.
    params : iterable of tensors or (name, tensor) pairs
        Needed where `source` is not a live optimizer: the parameters to train, one flat list. Where both sides have
        names, parameters are matched by name, else by position.
    settings
        Of the new optimizer, for all groups. What is not given is taken from the old groups: lr, weight_decay, eps,
        maximize; SMMF gets ``beta`` from the first beta, SM3 ``momentum`` and ``beta2`` from
        both, AdamW ``betas`` = (beta, 0.999).

    Returns
    -------
    Conversion
        `optimizer`, ready to step; `parameters`, with the error of each; `print(conversion)` says all of it in words,
        the learning rate included, which is the old one unless you give another.

    Raises
    ------
    SettingError, SettingTypeError
        The two optimizers cannot be converted into each other, or a setting of the old one has no equal in the new one
        (Adam's coupled weight decay; SM3 as a sum of squares): said with the way out.
    StateMismatchError
        `params` are other parameters than the old optimizer's.
    ParameterError
        A parameter is sharded, or cannot be trained by the new optimizer.

    Notes
    -----
    Parameters that were never stepped stay so. The new step counter is not a number of steps taken: it is where the new
    optimizer's decays are the old one's. Memory besides the new state: a tile of 2^17 elements (SM3: one tensor).

    Examples
    --------
    >>> import torch
    >>> from sm3 import SMMF, convert_adamw_state
    >>> weight = torch.nn.Parameter(torch.zeros(4, 3))
    >>> adamw = torch.optim.AdamW([weight], lr=0.01)
    >>> rank_one = torch.tensor([[1.0], [-2.0], [3.0], [0.5]]) * torch.tensor([1.0, 2.0, -1.0])
    >>> for _ in range(5):
    ...     weight.grad = rank_one.clone()
    ...     adamw.step()
    >>> conversion = convert_adamw_state(adamw, to=SMMF)
    >>> conversion.first_error < 1e-6, conversion.second_error < 1e-6  # moments of rank one are folded without loss
    (True, True)
    >>> before = weight.detach().clone()
    >>> conversion.optimizer.step()  # as AdamW's next step: lr * sign(grad)
    >>> torch.allclose(before * (1 - 0.01 * 0.01) - weight, 0.01 * rank_one.sign(), atol=1e-5)
    True
    """
    kind, groups = convert_source.read(source, params)
    made: Callable[[Group], dict[str, Any]]
    if kind == "AdamW" and issubclass(to, SMMF):
        made, state_of = convert_state.smmf_settings, convert_state.smmf_from_adamw
    elif kind == "AdamW" and issubclass(to, SM3):
        made, state_of = convert_state.sm3_settings, convert_state.sm3_from_adamw
        _refuse_sum(settings)
    elif kind == "SMMF" and issubclass(to, torch.optim.Adam):
        made, state_of = convert_state.adamw_settings, convert_state.adamw_from_smmf
    else:
        raise _no_such_conversion(kind, to, "AdamW or Adam to SMMF or SM3, SMMF to torch.optim.AdamW")
    return _convert(kind, groups, to, made, state_of, settings)


@torch.no_grad()
def convert_adagrad_state(
    source: Source, to: type[torch.optim.Optimizer] = SM3, *, params: Iterable[Any] | None = None, **settings: Any
) -> Conversion:
    """Go on with SM3 where Adagrad is now: the accumulators bound Adagrad's sum of squares, as SM3's own would.

    `source`, `params` and the result are as for `convert_adamw_state`. The new optimizer gets Adagrad's lr and
    ``momentum=0``, unless you say otherwise; with momentum, that of the new optimizer begins at zero. Vectors and
    scalars lose nothing: SM3 is Adagrad there. Raises `SettingError` for a decaying learning rate or coupled weight
    decay, which SM3 has not, unless lr or weight_decay is given; else as `convert_adamw_state`.

    >>> import torch
    >>> from sm3 import SM3, convert_adagrad_state
    >>> bias = torch.nn.Parameter(torch.zeros(3))
    >>> adagrad = torch.optim.Adagrad([bias], lr=0.1)
    >>> bias.grad = torch.tensor([3.0, 4.0, 0.0])
    >>> adagrad.step()
    >>> convert_adagrad_state(adagrad).optimizer.state[bias]["accumulator_0"]
    tensor([ 9., 16.,  0.])
    """
    kind, groups = convert_source.read(source, params)
    if kind != "Adagrad" or not issubclass(to, SM3):
        raise _no_such_conversion(kind, to, "Adagrad to SM3")
    if settings.get("beta2") is not None:
        raise SettingError(
            explain(
                "Adagrad's sum of squares is not an exponential mean.",
                got=f"beta2={settings['beta2']!r}",
                accepted="beta2=None, SM3 as a sum",
                do="leave beta2 out",
            )
        )
    for group in groups:
        if group.settings.get("lr_decay") and "lr" not in settings:
            raise _no_equal("lr_decay", group.settings["lr_decay"], "SM3's rate does not decay by itself", "lr")
    return _convert(kind, groups, to, convert_state.sm3_settings_from_adagrad, convert_state.sm3_from_adagrad, settings)


StateOf = Callable[[dict[str, Any], Group, Entry], convert_state.Converted]


def _convert(
    kind: str,
    groups: list[Group],
    to: type[torch.optim.Optimizer],
    made: Callable[[Group], dict[str, Any]],
    state_of: StateOf,
    settings: dict[str, Any],
) -> Conversion:
    """The new optimizer over the same groups, and the state of every parameter that had stepped."""
    for group in groups:
        _check(group, settings)
    optimizer: Any = to([_new_group(group, made(group), settings) for group in groups], **settings)
    rows = []
    for number, (group, new) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        for position, entry in enumerate(group.entries):
            name = inputs.parameter_name(new, position, number)
            taken, errors = convert_state.steps(entry), None
            if taken:
                _check_shapes(name, entry)
                state, errors = state_of(new, group, entry)
                optimizer.state[entry.param] = state
            step = int(optimizer.state[entry.param]["step"]) if taken else 0
            rows.append(ConvertedParameter(name, tuple(entry.param.shape), taken, step, errors))
    return Conversion(kind, to.__name__, optimizer, tuple(rows))


def _new_group(group: Group, made: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the new group is built from; what the user gives comes in as defaults, so it must not stand here too."""
    own = {key: _kept(value) for key, value in made.items() if key not in settings}
    survives = {key: _kept(group.settings[key]) for key in _SURVIVES if key in group.settings}
    named = all(entry.name is not None for entry in group.entries)
    params: list[Any] = [(entry.name, entry.param) if named else entry.param for entry in group.entries]
    return {"params": params, **own, **survives}


def _kept(value: Any) -> Any:
    """A tensor learning rate is copied: a scheduler of the old optimizer must not move the new one's."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def _check(group: Group, settings: dict[str, Any]) -> None:
    """Refuse what has no equal in the new optimizer."""
    # Adam says it, Adagrad has no other; a state dict from before PyTorch said it is taken to be AdamW's.
    coupled = group.settings.get("decoupled_weight_decay") is False or "lr_decay" in group.settings
    if coupled and group.settings.get("weight_decay") and "weight_decay" not in settings:
        why = "it decays through the gradient, the new optimizer decays the parameter itself"
        raise _no_equal("weight_decay", group.settings["weight_decay"], why, "weight_decay")
    for entry in group.entries:
        sharded = [t for t in (entry.param, *entry.state.values()) if isinstance(t, Tensor) and _is_sharded(t)]
        if sharded:
            raise ParameterError(
                explain(
                    "sharded parameters cannot be converted.",
                    got="a DTensor",
                    accepted="whole tensors: row and column sums are over all of a parameter",
                    do="gather the full state dict (get_optimizer_state_dict with full_state_dict=True), convert it "
                    "with the whole model on one process, and load the result with set_optimizer_state_dict",
                )
            )


def _is_sharded(tensor: Tensor) -> bool:
    # By name: importing torch.distributed.tensor costs 0.3 s, and who has a DTensor has paid for it already.
    return any(base.__name__ == "DTensor" for base in type(tensor).__mro__)


def _check_shapes(name: str, entry: Entry) -> None:
    shape = tuple(entry.param.shape)
    for key in ("exp_avg", "exp_avg_sq", "sum"):
        if key in entry.state and tuple(entry.state[key].shape) != shape:
            raise StateMismatchError(
                explain(
                    f"the state of parameter {name} is another one's.",
                    got=f"{key} of shape {tuple(entry.state[key].shape)}",
                    accepted=f"shape {shape}",
                    do="pass the parameters in the order the old optimizer had them, or with names on both sides",
                )
            )


def _refuse_sum(settings: Mapping[str, Any]) -> None:
    if "beta2" in settings and settings["beta2"] is None:
        raise SettingError(
            explain(
                "AdamW has forgotten the sum of squares.",
                got="beta2=None, SM3 as a sum",
                accepted="a float: SM3 with an exponential mean, which AdamW's second moment is",
                do="leave beta2 out to keep AdamW's",
            )
        )


def _no_equal(setting: str, value: object, why: str, give: str) -> SettingError:
    return SettingError(
        explain(
            f"{setting} of the old optimizer has no equal in the new one.",
            got=f"{setting}={value}",
            accepted=f"{setting}=0, or {give} given for the new optimizer: {why}",
            do=f"pass {give}=... to the conversion",
        )
    )


def _no_such_conversion(kind: str, to: type, accepted: str) -> SettingTypeError:
    return SettingTypeError(
        explain(
            "these two optimizers cannot be converted into each other here.",
            got=f"{kind} to {getattr(to, '__name__', to)}",
            accepted=accepted,
            do="pass the optimizer to convert, and to=SMMF, SM3 or torch.optim.AdamW (convert_adagrad_state: SM3)",
        )
    )
