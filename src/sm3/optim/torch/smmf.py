"""SMMF for PyTorch."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from sm3.optim.rules import SMMFRule
from sm3.optim.torch.loop import RuleOptimizer


class SMMF(RuleOptimizer):
    r"""Adam-like steps whose two moments are kept as row sums, column sums and sign bits (Park & Lee 2025).

    The flat parameter of N elements is seen as a near-square matrix of n rows and m columns. Each step rebuilds both
    moments from their factors, adds the gradient at full rank, applies the update, and factors again::

        M = b_m * sign * outer(m_row, m_col) + (1 - b_m) * grad       b_m = beta * growth_rate^(t-1)
        V = b_v * outer(v_row, v_col) + (1 - b_v) * grad^2            b_v = 1 - t^decay_rate
        param -= lr * weight_decay * param,  then  param -= lr * M / (sqrt(V) + eps)    where grad != 0
        row = row sums, col = column sums / their total, sign = M > 0

    Row and column sums of ``|M|`` and V are preserved exactly. Where the gradient is exactly zero nothing is applied:
    the published rule stores a zero momentum as negative and moves entries that never had a gradient.

    Memory per parameter tensor, in bytes (float64 parameters: 8 in place of 4): ``8 * (n + m)`` for the factors,
    ``ceil(N / 8)`` for the signs (rows of 64 and more elements are padded to whole bytes each), 8 for the step counter;
    ``beta=None``: ``4 * (n + m) + 8``. GPT-2 small: 0.135 bytes per parameter, 0.005 without first moment.

    Parameters
    ----------
    params : iterable of tensors, of (name, tensor) pairs, or of group dicts
        Dense float64, float32, bfloat16 or float16, of any shape including scalars and empty tensors.
    lr : float >= 0 or one-element tensor, default 1e-3
        About twice AdamW's in `sm3 compare`: the first moment is not bias-corrected.
    beta : None or float in [0, 1), default 0.9
        Decay of the first moment at step 1. None keeps no first moment and no signs: the gradient is the numerator.
    growth_rate : float in (0, 1], default 0.999
        The first moment's decay shrinks by this factor per step: with 0.999 it is halved every 693 steps and below 1 %
        after 4,498, so a long run ends without momentum. 1.0 keeps it; for a run of T steps, 0.5 ** (1 / T) halves it
        over the run.
    decay_rate : float in [-1, 0), default -0.5
        The second moment's decay is 1 - t^decay_rate; the authors advise -0.5 for CNNs, -0.8 for Transformers.
    eps : float > 0, default 1e-8
        Added to the root, outside of it. It shortens steps once gradients come near it.
    weight_decay : float >= 0, default 0.0
        Decoupled.
    published : bool, default False
        The authors' trajectory: their matrix shapes, also where a prime number of elements makes one long column
        (8 bytes per parameter and more), and their drift where a gradient is zero. Not with `cautious`
        or `update_rms`.
    rounding : "nearest" or "stochastic", default "nearest"
        How bfloat16 and float16 parameters are written. Stochastic keeps updates that nearest would drop; its noise
        is a hash of (seed, step, parameter, element), so it needs no state and repeats exactly.
    seed : int >= 0, default 0
        Key of that noise.
    cautious : bool, default False
        Apply only entries whose momentum and gradient agree in sign, rescaled by the fraction kept at the last step
        (Liang et al. 2024). Costs 8 bytes per tensor; needs a first moment.
    update_rms : None or float > 0, default None
        The update before lr is scaled so that its root mean square over the tensor is this; 0.2 is AdamW's (0.2 to 0.4
        by Liu et al. 2025, arXiv 2502.16982, section 2.2), which puts lr and weight_decay on AdamW's scale. A step
        of any tensor is then about lr * update_rms long per entry, whatever its shape, its gradients and what is left
        of the first moment. Scaled by the last step's value, at most 10 times enlarged; the first step as it is. Costs
        4 bytes per tensor and no second pass, unlike the clipping of Adafactor (arXiv 1804.04235, section 6), so it
        works with gradient release. Not with `published`.
    maximize : bool, default False
        Ascend instead of descend.
    nonfinite : "propagate", "skip" or "error", default "propagate"
        "propagate": a NaN or infinity enters the sums and stays in the whole tensor, for ever. "skip": the whole step
        is left undone, step counter included. "error": `GradientError`, nothing modified. The last two read all
        gradients once more and wait for the device.
    backend : None, "eager", "cpu" or "triton", default None
        Which kernels run the step. None: "cpu" (C++) for parameters on the CPU where it is installed, else "eager"
        (plain PyTorch). "triton" is for CUDA parameters and has not been timed or run on a card yet: ask for it.

    Raises
    ------
    SettingError (ValueError), SettingTypeError (TypeError)
        A hyper-parameter is out of range or of a wrong type; also per group.
    ParameterError (TypeError)
        A parameter is complex, integer, sparse, expanded or sharded.

    Examples
    --------
    >>> import torch
    >>> from sm3 import SMMF
    >>> weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.0, 4.0]]))
    >>> optimizer = SMMF([weight], lr=0.1)
    >>> weight.square().sum().backward()
    >>> optimizer.step()  # the first step is lr * (1 - beta) * sign(grad), and nothing where the gradient is zero
    >>> weight.data
    tensor([[ 0.9900, -1.9900],
            [ 0.0000,  3.9900]])
    >>> SMMF([torch.nn.Parameter(torch.zeros(4096, 4096))]).state_bytes() / 4096**2  # Adam: 8
    0.128...

    Source: arXiv 2412.08894 (AAAI 2025), algorithm 1; the authors' code for the order of operations.
    """

    RULE = SMMFRule

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        *,
        beta: float | None = 0.9,
        growth_rate: float = 0.999,
        decay_rate: float = -0.5,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        published: bool = False,
        rounding: Literal["nearest", "stochastic"] = "nearest",
        seed: int = 0,
        cautious: bool = False,
        update_rms: float | None = None,
        maximize: bool = False,
        nonfinite: Literal["propagate", "skip", "error"] = "propagate",
        backend: Literal["eager", "cpu", "triton"] | None = None,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "beta": beta,
                "growth_rate": growth_rate,
                "decay_rate": decay_rate,
                "eps": eps,
                "weight_decay": weight_decay,
                "published": published,
                "rounding": rounding,
                "seed": seed,
                "cautious": cautious,
                "update_rms": update_rms,
                "maximize": maximize,
                "nonfinite": nonfinite,
                "backend": backend,
            },
        )
