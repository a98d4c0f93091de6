"""Hyper-parameters that every rule of the package has, stated once."""

from __future__ import annotations

from sm3.optim.rules.hyperparameters import Choice, Flag, Integer, Real

WEIGHT_DECAY = Real(
    "weight_decay",
    0.0,
    low=0.0,
    about="decoupled: the parameter is multiplied by 1 - lr * weight_decay before the update",
)

WRITE_BACK = (
    Choice(
        "rounding",
        "nearest",
        ("nearest", "stochastic"),
        about="how a bfloat16 or float16 parameter is written; float32 and float64 are not affected",
    ),
    Integer("seed", 0, low=0, high=2**63 - 1, about="key of stochastic rounding"),
    Flag("cautious", False, about="apply only entries whose momentum and gradient agree in sign"),
    Real(
        "update_rms",
        None,
        low=0.0,
        low_open=True,
        none="each update has its own length",
        about="root mean square of every tensor's update before lr, held by last step's, at most 10 times enlarged",
    ),
    Flag("maximize", False, about="ascend instead of descend"),
    Choice(
        "nonfinite",
        "propagate",
        ("propagate", "skip", "error"),
        about="what a NaN or an infinity in any gradient does: spread, leave the whole step undone, or raise",
    ),
    Choice(
        "backend",
        None,
        ("eager", "cpu", "triton"),
        none="the fastest one that is available",
        about="which kernels run the step",
    ),
)
