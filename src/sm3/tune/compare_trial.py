"""A function to tune: one short training of the byte-level GPT of `sm3 compare`, with one of our optimizers::

    function = "sm3.tune.compare_trial:held_out_loss"

The score is the held-out loss in bits per byte after the last step, lower is better; a run that diverges scores
infinity. Settings, each of which may stand in [parameters] or in [fixed]::

    optimizer       "SMMF" (default) or "SM3"
    steps, seed     length of the training (default 100); first weights and batches (default 0)
    model           "2x128" (default, 0.44 M parameters) or "1x16"
    all others      handed to the optimizer: lr, and for SMMF beta, growth_rate, decay_rate, cautious, ..., for SM3
                    momentum, beta2, variant, cautious, ...

The schedule, the text and the batches are those of `sm3 compare`. This is the only file of `sm3.tune` that knows it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sm3.errors import SettingError, explain
from sm3.extras import require

if TYPE_CHECKING:
    from sm3.compare.protocol import Protocol
    from sm3.compare.task import Task

STEPS = 100  # chosen: some seconds on one core, and the loss is past its first fall
BATCH = 8  # as `sm3 compare --quick`
OPTIMIZERS = ("SMMF", "SM3")
OURS = ("optimizer", "steps", "seed", "model")


def held_out_loss(settings: Mapping[str, Any]) -> float:
    """Bits per byte on held-out text after one training; infinity where it diverged.

    The same settings give bitwise the same score on the same machine. Raises `SettingError` for a setting that neither
    this function nor the optimizer knows.
    """
    require("torch")
    from sm3.compare.contestants import Contestant
    from sm3.compare.train import run_settings, train

    own = {name: settings[name] for name in OURS if name in settings}
    rest = {name: value for name, value in settings.items() if name not in OURS}
    optimizer = own.get("optimizer", OPTIMIZERS[0])
    if optimizer not in OPTIMIZERS or "lr" not in rest:
        raise SettingError(
            explain(
                "these settings do not describe a training.",
                got=", ".join(f"{name}={value!r}" for name, value in settings.items()) or "nothing",
                accepted=f"optimizer: {' or '.join(map(repr, OPTIMIZERS))}; lr: a learning rate",
                do="add them to [parameters] or [fixed]",
            )
        )
    lr = rest.pop("lr")
    protocol, task = _task(str(own.get("model", "2x128")), int(own.get("steps", STEPS)))
    contestant = Contestant(str(optimizer), f"sm3.{optimizer}", rest, (lr,))
    record = train(run_settings(contestant, lr, protocol, task, threads=1), int(own.get("seed", 0)), task)
    loss = record.metrics["final_loss"]
    return math.inf if loss is None else float(loss)


@functools.lru_cache(maxsize=1)  # the text is read once for all trials of a process
def _task(model: str, steps: int) -> tuple[Protocol, Task]:
    from sm3.compare.data import standard_library
    from sm3.compare.model import SIZES
    from sm3.compare.protocol import QUICK, adjusted
    from sm3.compare.task import byte_task

    if model not in SIZES:
        raise SettingError(
            explain(
                "there is no such model.",
                got=f"model={model!r}",
                accepted=", ".join(map(repr, SIZES)),
                do="leave it out for the 0.44 M parameters of sm3 compare",
            )
        )
    from dataclasses import replace

    # one measurement of the loss, at the end
    protocol = replace(adjusted(QUICK, steps=steps, seeds=1), model=model, batch=BATCH, checks=1)
    return protocol, byte_task(standard_library(), protocol)
