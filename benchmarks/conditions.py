"""Under what conditions a figure came about: instruction set, page mode, load. Processor and versions: `run_record`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sm3.optim.kernels.cpu import library

# PyTorch's own switch: tensors of 2 MiB and more begin a page and are advised MADV_HUGEPAGE (c10/core/impl/alloc_cpu).
ASK_FOR_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def conditions() -> dict[str, Any]:
    """What the processor and the system do for us at this moment; call it while the tensors live."""
    return {"isa": library.isa(), "pages": pages(), "load_average": load_average()}


def pages() -> dict[str, Any]:
    """The system's setting, whether PyTorch asks for huge pages, and the share of this process that lies in them."""
    return {
        "setting": _setting(),
        "asked_for": os.environ.get(ASK_FOR_HUGE_PAGES) == "1",
        "share_huge": _share_huge(),
    }


def pages_text(found: dict[str, Any]) -> str:
    """In one phrase."""
    asked = f"asked for by {ASK_FOR_HUGE_PAGES}=1" if found["asked_for"] else "not asked for"
    share = "unknown" if found["share_huge"] is None else f"{found['share_huge']:.0%} of memory"
    return f"huge pages {asked}, system says {found['setting']}, in use: {share}"


def load_average() -> float | None:
    """Programs that wanted a core, mean of the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def load_text(loads: Sequence[float | None]) -> str:
    """At the start and at the end: 0.1 to 1.3."""
    return " to ".join("unknown" if load is None else f"{load:.1f}" for load in loads)


def _setting() -> str:
    """always, madvise or never: the word in brackets."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return "nothing"
    return text.partition("[")[2].partition("]")[0]


def _share_huge() -> float | None:
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return kib["AnonHugePages"] / kib["Rss"]
