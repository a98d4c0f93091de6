"""From the graph's numbers to a judgement: probability, range, label set, decision, and the reason where there is none.

Plain arithmetic on plain numbers, so that the page in the browser can repeat it line by line (page/judging.mjs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SWARMING, SWIMMING, CANNOT_TELL = "swarming", "swimming", "cannot tell"
UNDECIDED = (0.2, 0.8)  # probabilities between which no label is given


@dataclass(frozen=True)
class Judgement:
    """`probability` of swarming, the range over members and copies, a decision and why; `labels` is the conformal
    set.
    """

    probability: float
    low: float
    high: float
    decision: str
    reason: str
    labels: tuple[str, ...]


def probability_of(logit: float, calibration: Mapping[str, Any]) -> float:
    """1 / (1 + exp(-(slope logit + offset))).

    >>> probability_of(0.0, {"slope": 1.0, "offset": 0.0})
    0.5
    """
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, calibration["slope"] * logit + calibration["offset"]))))


def judge(logits: Sequence[float], measures: Mapping[str, float], card: Mapping[str, Any]) -> Judgement:
    """The judgement of one well: `logits` of every member and copy, `measures` as `refusal` reads them, the model's
    card.
    """
    calibration = card["calibration"]
    every = [probability_of(logit, calibration) for logit in logits]
    probability = probability_of(sum(logits) / len(logits), calibration)
    quantiles = calibration["quantiles"]
    labels = tuple(
        label for label, own in ((SWARMING, probability), (SWIMMING, 1 - probability)) if 1 - own <= quantiles[label]
    )
    reason = refusal(measures, card["limits"])
    if not reason and (len(labels) == 2 or UNDECIDED[0] < probability < UNDECIDED[1]):
        reason = "both labels are possible: image the well again later, or look at the film"
    decision = CANNOT_TELL if reason else SWARMING if probability > calibration["threshold"] else SWIMMING
    return Judgement(probability, min(every), max(every), decision, reason, labels)


def refusal(measures: Mapping[str, float], limits: Mapping[str, Any]) -> str:
    """Why a well cannot be assessed, or nothing. The first reason counts; each ends in what to do.

    `measures`: colour, clipped, contrast, rim, diameter_um, sharpness, unevenness, distance.
    """
    narrow, wide = limits["diameter_um"]
    wrong_size = f"the circle is {measures['diameter_um']:.0f} um wide, outside {narrow:.0f} to {wide:.0f}"
    # written as `not within`, so that a number that is none is refused, too
    checks = (
        (measures["colour"] <= limits["colour"], "a colour picture: give the camera's grey image"),
        (
            measures["clipped"] <= limits["clipped"],
            "too dark or too bright: part of the well is at the end of the scale; change the exposure",
        ),
        (
            measures["contrast"] >= limits["contrast"][0],
            "blank: no streaks in the well; focus, or choose a filled well",
        ),
        (measures["rim"] >= limits["rim"], "no round rim was found: crop the image to one whole well"),
        (narrow <= measures["diameter_um"] <= wide, f"{wrong_size}: check the pixel size"),
        (measures["contrast"] <= limits["contrast"][1], "too much contrast for moving bacteria: is this a well?"),
        (measures["sharpness"] >= limits["sharpness"][0], "out of focus: focus on the cells"),
        (
            measures["sharpness"] <= limits["sharpness"][1],
            "noise or single sharp cells instead of streaks: expose for a third of a second",
        ),
        (measures["unevenness"] <= limits["unevenness"], "the well is unevenly bright: look for dirt or a bubble"),
        (measures["distance"] <= limits["distance"], "unlike every well the model was trained on: look at the film"),
    )
    return next((reason for within, reason in checks if not within), "")
