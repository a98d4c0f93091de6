"""Swarming or swimming bacteria from one blurry image of a round well.

    SwarmClassifier  the model that ships with the package, or one of your own: files or arrays in, judgements out

The system of Li et al., "Deep Learning-based Detection of Bacterial Swarm Motion Using a Single Image"
(Gut Microbes 17(1):2505115, 2025), trained on wells simulated from the published physics of Chen et al. 2021
(eLife 10:e64176): the images of the paper are not public. Not a diagnostic.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SwarmClassifier"]


def __getattr__(name: str) -> Any:
    if name == "SwarmClassifier":
        from sm3.swarm.predict import SwarmClassifier

        return SwarmClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
