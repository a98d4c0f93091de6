"""An optimizer by name and settings, ours or a peer: checked here, and reduced to what it allocates for one shape."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sm3.errors import ParameterError, SettingError, explain
from sm3.optim.rules import RULES
from sm3.optim.rules.hyperparameters import Hyperparameter
from sm3.optim.rules.storage import PARAMETER_DTYPES
from sm3.plan.peers import PEERS, Evidence, StateBytes
from sm3.plan.shapes import ParameterSpec

OPTIMIZERS: tuple[str, ...] = (*RULES, *PEERS)


@dataclass(frozen=True)
class Optimizer:
    """What is known of an optimizer before it exists: `state` gives the bytes of its tensors for (shape, dtype)."""

    name: str
    settings: Mapping[str, Any]  # as given, checked and converted; defaults are left out
    library: str
    evidence: Evidence
    state: Callable[[tuple[int, ...], str], StateBytes] = field(repr=False)
    dtypes: tuple[str, ...] = PARAMETER_DTYPES
    shared: tuple[str, ...] = ()
    note: str = ""

    @property
    def label(self) -> str:
        """The call that names it, which `optimizer_of` reads back: SM3(momentum=0)."""
        inside = ", ".join(f"{name}={_short(value)}" for name, value in self.settings.items())
        return f"{self.name}({inside})" if inside else self.name

    def refuse_untrainable(self, spec: ParameterSpec) -> None:
        if spec.dtype not in self.dtypes:
            raise ParameterError(
                explain(
                    f"{self.name} cannot train parameter {spec.name!r}.",
                    got=f"dtype {spec.dtype}",
                    accepted=", ".join(self.dtypes),
                    do="pass dtype='bfloat16' to plan all floating weights so, or mark this parameter as not trainable",
                )
            )


def optimizer_of(name: str, settings: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer of a name, "SMMF", or of a call, "SM3(momentum=0)"; `settings` come on top.

    Raises `SettingError` for a name, a setting or a value that is not accepted, and says which are.
    """
    word, written = _read_call(name)
    known = {candidate.casefold(): candidate for candidate in OPTIMIZERS}
    if word.casefold() not in known:
        raise SettingError(
            explain(
                "the optimizer is not known.",
                got=repr(name),
                accepted=", ".join(OPTIMIZERS),
                do=_did_you_mean(word, OPTIMIZERS) or "pass for example optimizer='SMMF'",
            )
        )
    word = known[word.casefold()]
    given = {**written, **(settings or {})}
    return _ours(word, given) if word in RULES else _peer(word, given)


def settings_of(name: str) -> tuple[Hyperparameter, ...]:
    """The settings an optimizer of this exact name accepts here."""
    return RULES[name].HYPERPARAMETERS if name in RULES else PEERS[name].hyperparameters


def read_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings written as key=value: numbers, True, False and None as Python has them, all else is text.

    >>> read_settings(["momentum=0.9", "beta=None", "rounding=stochastic"])
    {'momentum': 0.9, 'beta': None, 'rounding': 'stochastic'}
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip().isidentifier()) or key.strip() in settings:
            happened = "a setting is given twice." if key.strip() in settings else "a setting cannot be read."
            raise SettingError(
                explain(
                    happened, got=repr(text), accepted="KEY=VALUE, each key once", do="write for example momentum=0.9"
                )
            )
        try:
            settings[key.strip()] = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            settings[key.strip()] = value.strip()
    return settings


def _ours(name: str, given: Mapping[str, Any]) -> Optimizer:
    rule_class = RULES[name]
    _refuse_unknown(name, given, [hyper.name for hyper in rule_class.HYPERPARAMETERS])
    checked = rule_class.check(given)
    rule = rule_class(**checked)

    def state(shape: tuple[int, ...], dtype: str) -> StateBytes:
        return {tensor.name: tensor.nbytes for tensor in rule.state(shape, dtype)}

    return Optimizer(name, checked, "sm3", "measured", state)


def _peer(name: str, given: Mapping[str, Any]) -> Optimizer:
    peer = PEERS[name]
    accepted = {hyper.name: hyper for hyper in peer.hyperparameters}
    _refuse_unknown(name, given, list(accepted))
    checked = {key: accepted[key].check(value) for key, value in given.items()}

    def state(shape: tuple[int, ...], dtype: str) -> StateBytes:
        return peer.state(shape, dtype, **checked)

    return Optimizer(name, checked, peer.library, peer.evidence, state, peer.dtypes, peer.shared, peer.note)


def _refuse_unknown(name: str, given: Iterable[str], accepted: list[str]) -> None:
    unknown = next((key for key in given if key not in accepted), None)
    if unknown is None:
        return
    why = "" if name in RULES else " (of a peer, only settings that change its bytes)"
    raise SettingError(
        explain(
            f"{name} has no setting {unknown!r} here.",
            got=unknown,
            accepted=(", ".join(accepted) or "none") + why,
            do=_did_you_mean(unknown, accepted) or f"leave {unknown} out",
        )
    )


def _did_you_mean(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f"did you mean {close[0]}?" if close else ""


def _read_call(text: str) -> tuple[str, dict[str, Any]]:
    r"""SM3(momentum=0)" as its name and settings; values are Python literals, nothing is run."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, {}
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            return call.func.id, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    raise SettingError(
        explain(
            "the optimizer cannot be read.",
            got=repr(text),
            accepted=f"a name ({', '.join(OPTIMIZERS)}), or a name with settings",
            do='write for example "SM3(momentum=0)"',
        )
    )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
