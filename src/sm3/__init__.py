"""sm3: do more with less. Train with the optimizer memory of a few vectors, known to the byte before you start.

    optim     PRODUCT: SM3 and SMMF for PyTorch              from sm3 import SM3, SMMF
    plan      BRIDGE:  exact bytes of weights, gradients, state   sm3 plan
    compare   BRIDGE:  one model, several optimizers, honestly    sm3 compare
    cli       the door: one file per command

Importing sm3 imports none of the frameworks; `SM3` and `SMMF` bring in PyTorch when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sm3.optim.torch import SM3, SMMF, convert_adagrad_state, convert_adamw_state, lean

__all__ = ["SM3", "SMMF", "__version__", "convert_adagrad_state", "convert_adamw_state", "lean"]


def __getattr__(name: str) -> object:
    if name in ("SM3", "SMMF", "convert_adagrad_state", "convert_adamw_state", "lean"):
        import sm3.optim.torch as optimizers

        return getattr(optimizers, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("sm3")
    raise AttributeError(f"module 'sm3' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
