"""What the numbers of a fitted model say, in sentences, and what they do not: no ranking where intervals overlap.

Sobol' indices always add up to 1, also those of a polynomial that fits badly; so Q2 is told first, and below
`LEAST_Q2` nothing is ranked.
"""

from __future__ import annotations

import numpy as np

from sm3.poly.report.analysis import Analysis

# Chosen: with half of the variance unexplained, any input may be the most important one.
LEAST_Q2 = 0.5
# Chosen: an input that has a hand in less than this part may be held fixed for most purposes.
NEGLIGIBLE = 0.05
# Chosen: names in one sentence.
_NAMED = 5


def sentences(analysis: Analysis, output: int = 0) -> list[str]:
    """About one output: how good the model is, what matters, what does not, and what acts together."""
    found = [_quality(analysis, output)]
    if not analysis.variance[output] > 0:
        return [*found, "The output does not vary, so there are no indices."]
    if analysis.q2[output] < LEAST_Q2:
        return [
            *found,
            f"With Q2 below {LEAST_Q2:g} nothing is ranked here: the indices below are those of the polynomial, which "
            "does not describe the data. More rows may help, or inputs that are missing.",
        ]
    return [*found, _importance(analysis, output), *_negligible(analysis, output), _interactions(analysis, output)]


def _quality(analysis: Analysis, output: int) -> str:
    name, q2 = analysis.outputs[output], analysis.q2[output]
    if np.isnan(q2):
        return f"{name}: nothing was held out, so it is not known how well the model predicts."
    low, high = (share(end, like=q2) for end in analysis.q2_ends[:, output])
    missed = percent(analysis.unexplained[output])
    return (
        f"{name}: on rows it had not seen, the model has Q2 = {share(q2)} [{low}, {high}], where 1 is "
        f"perfect; {missed} of the variance is unexplained."
    )


def _importance(analysis: Analysis, output: int) -> str:
    total = analysis.total[:, output]
    order = np.argsort(-total, kind="stable")
    best = int(order[0])
    name = analysis.inputs[best]
    if analysis.total_ends is None:
        return f"{name} has the largest total index, {share(total[best])}; without intervals this is no ranking."
    low, high = analysis.total_ends[:, :, output]
    # where intervals overlap, any of these may be the first
    rivals = [int(j) for j in order if high[j] >= low.max() and j != best]
    told = f"{share(total[best])} [{share(low[best])}, {share(high[best])}]"
    if not rivals:
        return f"{name} matters most: its total index is {told}."
    others = listed(analysis, rivals)
    return f"{name} has the largest total index, {told}, but is not told apart from {others}: their intervals overlap."


def _negligible(analysis: Analysis, output: int) -> list[str]:
    if analysis.total_ends is None:
        return []
    high = analysis.total_ends[1, :, output]
    found = [int(j) for j in np.argsort(high, kind="stable") if high[j] < NEGLIGIBLE]
    if not found:
        return []
    each = "each has" if len(found) > 1 else "it has"
    part = percent(NEGLIGIBLE)
    return [f"{listed(analysis, found)} could be held fixed: {each} a hand in less than {part} of the variance."]


def _interactions(analysis: Analysis, output: int) -> str:
    alone = float(np.nansum(analysis.first[:, output]))
    together = max(0.0, 1.0 - alone)
    if together < 0.01:
        return "The inputs act one by one: what they do together makes less than 1 % of the variance."
    text = f"What inputs do together makes {percent(together)} of the polynomial's variance"
    if not len(analysis.pairs) or not np.nanmax(analysis.pair[:, output]) > 0:
        return text + ", none of it in pairs."
    largest = int(np.nanargmax(analysis.pair[:, output]))
    one, other = (analysis.inputs[j] for j in analysis.pairs[largest])
    told = share(analysis.pair[largest, output])
    if analysis.pair_ends is not None:
        low, high = analysis.pair_ends[:, largest, output]
        told += f" [{share(low)}, {share(high)}]"
    return f"{text}; the largest pair is {one} with {other}, {told}."


def listed(analysis: Analysis, inputs: list[int]) -> str:
    """Names of inputs, not more than are read."""
    names = [analysis.inputs[j] for j in inputs]
    if len(names) > _NAMED:
        return ", ".join(names[:_NAMED]) + f" and {len(names) - _NAMED} more"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def share(value: float, like: float | None = None) -> str:
    """An index with three digits, or more near 1 where they tell how far from it; with as many as `like` would have.

    >>> share(0.25), share(0.99987), share(0.9, like=0.99987), share(1.0), share(-1.5), share(float("nan"))
    ('0.250', '0.99987', '0.90000', '1.000', '-1.500', '-')
    """
    if not np.isfinite(value):
        return "-"
    measure = value if like is None else like
    close = 0.999 <= measure < 1 - 1e-12
    return f"{value:.{min(int(np.ceil(-np.log10(1 - measure))) + 1, 12) if close else 3}f}"


def percent(value: float) -> str:
    """A part in percent, two digits.

    >>> percent(0.2437), percent(0.00004321), percent(0.0)
    ('24 %', '0.0043 %', '0 %')
    """
    if not np.isfinite(value):
        return "-"
    return f"{100 * value:.2g} %" if 100 * abs(value) < 99.5 else f"{100 * value:.0f} %"
