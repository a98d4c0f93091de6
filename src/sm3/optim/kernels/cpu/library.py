"""Finds and loads the shared library of the CPU kernels. Absence is no error here: `why_not()` says the reason.

SM3_ISA             generic, avx2 or avx512: use this instruction set, for tests; by default the best there is
SM3_REQUIRE_NATIVE  1: absence is an error, when installing and when the first step is taken
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, Structure, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sm3.errors import MissingExtraError, SettingError, explain

ABI = 4  # SM3K_ABI of abi.h
MAX_RANK = 8  # SM3K_MAX_RANK
ISAS = ("generic", "avx2", "avx512")

# Results of a step, as in abi.h.
NONFINITE, BAD_ARGUMENT, OUT_OF_MEMORY = 1, -1, -2

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
PATH = Path(__file__).with_name(f"libsm3_cpu{_SUFFIX}")


class Hyper(Structure):
    """sm3k_hyper of abi.h."""

    _fields_ = (
        *((name, c_double) for name in ("lr", "weight_decay", "eps", "beta", "beta2", "growth_rate", "decay_rate")),
        ("grad_scale", c_double),
        ("update_rms", c_double),
        ("seed", c_uint64),
        *((name, c_int32) for name in ("param_dtype", "grad_dtype", "stochastic", "cautious", "maximize", "published")),
    )


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason."""
    if not PATH.exists():
        return None, f"{PATH.name} is not installed: no C++ compiler was found when sm3 was installed"
    try:
        # ctypes.CDLL releases the interpreter lock during a call.
        library = ctypes.CDLL(str(PATH))
        found = int(library.sm3k_abi())
    except (OSError, AttributeError) as error:
        return None, f"{PATH.name} cannot be loaded: {error}"
    if found != ABI:
        return None, f"{PATH.name} is of another version of sm3 (interface {found}, expected {ABI})"
    _declare(library)
    wanted = os.environ.get("SM3_ISA")
    if wanted:
        _set_isa(library, wanted)
    return library, ""


def _declare(library: ctypes.CDLL) -> None:
    library.sm3k_isa.restype = c_char_p
    library.sm3k_set_isa.argtypes = [c_char_p]
    for step in (library.sm3k_sm3_step, library.sm3k_smmf_step):
        step.argtypes = [c_void_p, c_int64, POINTER(Hyper), c_int32]
    library.sm3k_smmf_rows_step.argtypes = [c_void_p, c_int64, c_void_p, c_int64, POINTER(Hyper), c_int32]
    library.sm3k_smmf_finish.argtypes = [c_void_p, c_int64, c_void_p, c_void_p, POINTER(Hyper), c_int32]
    library.sm3k_count.argtypes = [c_void_p, c_int64]
    library.sm3k_count.restype = None
    library.sm3k_panel_rows.argtypes = [c_int64, c_int64]
    library.sm3k_panel_rows.restype = c_int64
    library.sm3k_probe.argtypes = [c_void_p, c_void_p, c_void_p, c_int64, c_int32]
    library.sm3k_probe.restype = None


def _set_isa(library: ctypes.CDLL, name: str) -> None:
    if name not in ("auto", *ISAS) or library.sm3k_set_isa(name.encode()) != 0:
        raise SettingError(
            explain(
                "the instruction set is not available.",
                got=f"SM3_ISA={name}",
                accepted=f"one of {', '.join(ISAS)} that this processor has",
                do="leave SM3_ISA unset to use the best there is",
            )
        )


def available() -> bool:
    """Whether the CPU kernels can be used."""
    return _load()[0] is not None


def why_not() -> str:
    """Why they cannot be used; empty if they can."""
    return _load()[1]


def library() -> ctypes.CDLL:
    """The library; raises `MissingExtraError` (an `ImportError`) where there is none."""
    found, reason = _load()
    if found is None:
        raise MissingExtraError(
            explain(
                "the CPU kernels are not available.",
                got=reason,
                accepted="an installation of sm3 with its shared library",
                do="install a wheel, or a C++ compiler (g++ or clang++) and reinstall sm3; or use backend='eager'",
            )
        )
    return found


def isa() -> str:
    """The instruction set in use: "generic", "avx2" or "avx512"."""
    return bytes(library().sm3k_isa()).decode()


def set_isa(name: str) -> None:
    """Use another instruction set from now on; for tests. Not while a step runs."""
    _set_isa(library(), name)


def panel_rows(rows: int, columns: int) -> int:
    """Rows of a panel of a (rows, columns) matrix."""
    return int(library().sm3k_panel_rows(rows, columns))


def count(steps: NDArray[np.int64]) -> None:
    """Add 1 to the int64 at each of these addresses."""
    library().sm3k_count(steps.ctypes.data, len(steps))


def probe(first: int, second: int, third: int, numel: int, threads: int) -> None:
    """Three float32 arrays (by address) read, the first two written in place: the benchmark's bandwidth bound."""
    library().sm3k_probe(c_void_p(first), c_void_p(second), c_void_p(third), numel, threads)
