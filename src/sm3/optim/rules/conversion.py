r"""Step counters for a switch between AdamW and SMMF in the middle of a run. Numbers in, numbers out.

AdamW divides its means by what was missing from them: m^_T = m_T / (1 - b^T), and v^_T alike. Put into its recursion,
the quotient is an exponential mean of weight one whose decay depends on the step:

    m^_(T+1) = a m^_T + (1 - a) g        1 - a = (1 - b) / (1 - b^(T+1))                              (1)

SMMF's moments have this form as they are: decay beta growth_rate^(t-1) of the first, 1 - t^decay_rate of the second,
at step t from 1. So m^ and v^ are what SMMF has to store, not m and v. This is also the best for decays a' that
differ: the next moments are a m^ + (1 - a) g and a' x + (1 - a') g, and for a gradient of mean m^ and variance s
their expected squared difference is (a' (x - m^))^2 + (a - a')^2 s, least at x = m^ whatever a and a' are. The same
holds for v^ and g^2.

What is left, (a - a')^2 s, is the counter's: it must bring SMMF's next decays near AdamW's. One counter serves both
moments, so the two errors are weighed by what they do to the update M / sqrt(V), to first order and for gradients that
are mostly noise, g ~ N(0, v): then M^2 is v (1 - b) / (1 + b) in the mean and g^2 varies by 2 v^2, so

    J(t) = (a - a'(t))^2 (1 + b) / (1 - b) + (c - c'(t))^2 / 2                                        (2)

is the squared relative error of the update; b, a belong to the first moment, c to the second. With growth_rate = 1
and beta = b the first term is (a - b)^2, nothing once AdamW has taken some tens of steps, and the second can be made
nothing: the next update of SMMF is then AdamW's, apart from the folding. A first moment that fades is further from
AdamW's next update and ended lower all the same (benchmarks/switching.py), so it stays the default.
"""

from __future__ import annotations

import math

from sm3.optim.rules.smmf import SMMFRule

# The counter is an int64 and enters a power in float64: beyond this neighbours are one number.
LARGEST_COUNTER = 2**53 - 1


def bias_correction(beta: float, taken: int) -> float:
    """1 - beta^taken, which AdamW divides its mean by after so many steps; exact also where beta^taken is nearly 1.

    >>> round(bias_correction(0.9, 2), 3), bias_correction(0.0, 3)
    (0.19, 1.0)
    """
    return 1.0 if beta == 0.0 else -math.expm1(taken * math.log(beta))


def corrected_decay(beta: float, taken: int) -> float:
    """Decay of AdamW's bias-corrected mean at its next step, after `taken` steps: a of equation (1).

    >>> corrected_decay(0.9, 0), round(corrected_decay(0.9, 1), 3), round(corrected_decay(0.9, 1000), 3)
    (0.0, 0.474, 0.9)
    """
    return 1.0 - (1.0 - beta) / bias_correction(beta, taken + 1)


def smmf_counter(rule: SMMFRule, betas: tuple[float, float], taken: int) -> int:
    """The step counter at which SMMF goes on most like AdamW would after `taken` steps: the least J of equation (2).

    With growth_rate = 1 the decays of the second moments become equal, to the rounding of a counter; otherwise a first
    moment that fades pulls the counter down.

    >>> smmf_counter(SMMFRule(growth_rate=1.0), (0.9, 0.999), taken=10_000)  # 1 - t^-0.5 = 0.999 at the millionth step
    999909
    >>> smmf_counter(SMMFRule(growth_rate=0.999), (0.9, 0.999), taken=10_000)
    25
    """
    fade = 1.0 if rule.beta is None else rule.growth_rate
    second = 1.0 - corrected_decay(betas[1], taken)  # = t^decay_rate, were the counter a real number
    size = min(math.log(second) / rule.decay_rate, math.log(LARGEST_COUNTER))  # its logarithm
    highest = min(math.ceil(math.exp(size)), LARGEST_COUNTER)
    if fade < 1.0:
        highest = max(highest, _faded(rule, corrected_decay(betas[0], taken)))
    # Beyond it both terms grow, so the least is at or below it: a geometric grid, then the neighbours.
    grid = [highest] if fade == 1.0 else [round(highest ** (i / 512)) for i in range(513)]

    def cost(step: int) -> float:
        return _cost(rule, betas, taken, step)

    best = min(grid, key=cost)
    while best > 1 and cost(best - 1) < cost(best):
        best -= 1
    while best < highest and cost(best + 1) < cost(best):
        best += 1
    return best - 1


def _faded(rule: SMMFRule, decay: float) -> int:
    """The step at which the first moment's decay has faded to `decay`, 1 where it never was above."""
    if not rule.beta or decay >= rule.beta:
        return 1
    steps = math.log(decay / rule.beta) / math.log(rule.growth_rate) if decay > 0.0 else math.inf
    return min(1 + math.ceil(min(steps, LARGEST_COUNTER)), LARGEST_COUNTER)


def _cost(rule: SMMFRule, betas: tuple[float, float], taken: int, step: int) -> float:
    """J of equation (2) at SMMF's step, counted from 1."""
    first, second = rule.moment_decays(step)
    error = 0.5 * (corrected_decay(betas[1], taken) - second) ** 2
    if rule.beta is None:
        return error
    return error + (corrected_decay(betas[0], taken) - first) ** 2 * (1.0 + betas[0]) / (1.0 - betas[0])


def adamw_counter(rule: SMMFRule, beta2: float, counter: int) -> int:
    """The number of steps after which AdamW's second moment decays like SMMF's after `counter`; the way back.

    Where SMMF's memory is longer than AdamW can have with this beta2, the number from which on both corrections are 1
    to float64: AdamW then decays by beta2, the longest it can.

    >>> rule = SMMFRule(growth_rate=1.0)
    >>> adamw_counter(rule, 0.999, smmf_counter(rule, (0.9, 0.999), taken=200))
    200
    """
    if beta2 == 0.0:
        return 1
    settled = math.ceil(54 * math.log(2.0) / -math.log(beta2))
    missing = (1.0 - beta2) * (counter + 1) ** -rule.decay_rate  # 1 - beta2^(T+1) by equation (1)
    if missing >= 1.0:
        return settled
    return max(1, min(settled, round(math.log1p(-missing) / math.log(beta2)) - 1))
