"""SM3 for PyTorch."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from sm3.optim.rules import SM3Rule
from sm3.optim.torch.loop import RuleOptimizer


class SM3(RuleOptimizer):
    r"""Adaptive learning rates from one vector per dimension of a parameter (Anil, Gupta, Koren, Singer 2019).

    For a parameter of shape (n_1, .., n_p) the state is p vectors; entry i uses the smallest of its p numbers::

        nu(i)     = min_a accumulator_a[i_a] + grad(i)^2           SM3-II; 0/0 = 0, no epsilon
        accumulator_a[k] = max of nu(i) over all i with i_a = k
        momentum  = momentum_factor * momentum + (1 - momentum_factor) * grad / sqrt(nu)
        param    -= lr * weight_decay * param,  then  param -= lr * momentum

    nu is never below the sum of squares that Adagrad keeps, and never above SM3-I's. It only grows, so the step sizes
    shrink like 1/sqrt(t) by themselves: pair it with `sm3.optim.torch.warmup_cooldown`, the authors' recipe.

    Memory per parameter tensor, in bytes (float64 parameters: 8 in place of 4): ``4 * sum(shape)``, plus
    ``4 * numel`` with momentum, plus 8 for the step counter. GPT-2 small: 0.0103 bytes per parameter without momentum.

    Parameters
    ----------
    params : iterable of tensors, of (name, tensor) pairs, or of group dicts
        Dense float64, float32, bfloat16 or float16, of any shape including scalars and empty tensors.
    lr : float >= 0 or one-element tensor, default 0.1
        The paper's runs are of the order of 0.1; steps are about sign(grad) long at first, so warm up.
    momentum : float in [0, 1), default 0.9
        Mean of the preconditioned gradient, without bias correction. 0 keeps no momentum tensor at all.
    variant : "II" or "I", default "II"
        I is the looser bound of the paper's regret theorem; it needs two passes over the gradient.
    beta2 : None or float in [0, 1), default None
        None is the sum of squares, as in the paper; a float is an exponential mean, which can forget. It has no bias
        correction: with 0.999 the first steps are about 30 times too long without a warm-up.
    weight_decay : float >= 0, default 0.0
        Decoupled: it does not enter nu.
    rounding : "nearest" or "stochastic", default "nearest"
        How bfloat16 and float16 parameters are written. Stochastic keeps updates that nearest would drop; its noise
        is a hash of (seed, step, parameter, element), so it needs no state and repeats exactly.
    seed : int >= 0, default 0
        Key of that noise.
    cautious : bool, default False
        Apply only entries whose momentum and gradient agree in sign, rescaled by the fraction kept at the last step
        (Liang et al. 2024). Costs 8 bytes per tensor; needs momentum.
    update_rms : None or float > 0, default None
        The update before lr is scaled so that its root mean square over the tensor is this; 0.2 is AdamW's (0.2 to 0.4
        by Liu et al. 2025, arXiv 2502.16982, section 2.2), which puts lr and weight_decay on AdamW's scale. A step
        of any tensor is then about lr * update_rms long per entry, whatever its shape, its gradients and the step: the
        sum of squares no longer shortens it, so a schedule must. Scaled by the last step's value, at most 10 times
        enlarged; the first step as it is. Costs 4 bytes per tensor and no second pass, unlike the clipping of Adafactor
        (arXiv 1804.04235, section 6), so it works with gradient release.
    maximize : bool, default False
        Ascend instead of descend.
    nonfinite : "propagate", "skip" or "error", default "propagate"
        "propagate": a NaN or infinity spreads to its rows and columns, for ever, as the maximum carries it. "skip": the
        whole step is left undone, step counter included. "error": `GradientError`, nothing modified. The last two
        read all gradients once more and wait for the device.
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
    >>> from sm3 import SM3
    >>> weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    >>> optimizer = SM3([weight], lr=0.1, momentum=0.0)
    >>> weight.square().sum().backward()
    >>> optimizer.step()  # the first step of SM3-II is lr * sign(grad)
    >>> weight.data
    tensor([[ 0.9000, -1.9000],
            [ 2.9000,  3.9000]])
    >>> optimizer.state_bytes()  # two vectors of two float32, and the step counter
    24

    Source: arXiv 1901.11150, algorithms SM3-I and SM3-II; the exponential mean is from the authors' code.
    """

    RULE = SM3Rule

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.1,
        *,
        momentum: float = 0.9,
        variant: Literal["I", "II"] = "II",
        beta2: float | None = None,
        weight_decay: float = 0.0,
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
                "momentum": momentum,
                "variant": variant,
                "beta2": beta2,
                "weight_decay": weight_decay,
                "rounding": rounding,
                "seed": seed,
                "cautious": cautious,
                "update_rms": update_rms,
                "maximize": maximize,
                "nonfinite": nonfinite,
                "backend": backend,
            },
        )
