"""Tests of a door run in the extra environment only; elsewhere `test_every_door.py` starts them there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from doors import environment
from doors.pages import run_code

collect_ignore_glob = [] if environment.is_this_process() else ["test_doors_*.py"]


def let_torchvision_be_imported() -> None:
    """Declare the two operators that torchvision needs declared, where its own are not to be had.

    The package index holds torchvision for CUDA only. Beside a CPU build of PyTorch its compiled operators do not load,
    which it allows, and then its import fails over these two. No optimizer uses them; timm and torchmetrics import it.
    """
    import torch

    if torch.version.cuda is None:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if environment.is_this_process():
    let_torchvision_be_imported()


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`run_code` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_code
