"""Formats of a state tensor: a closed set of names and their bytes per element."""

from __future__ import annotations

BYTES_PER_ELEMENT = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int64": 8,
    "uint8": 1,
}

# Parameters these optimizers train. float8 has too few bits for a step to land; integers and complex are refused.
PARAMETER_DTYPES = ("float64", "float32", "bfloat16", "float16")


def accumulator_dtype(parameter_dtype: str) -> str:
    """Sums and maxima are float32 whatever the parameter is, float64 for float64.

    A bfloat16 sum stops at 2^8 equal terms, a float32 sum at 2^24.
    """
    return "float64" if parameter_dtype == "float64" else "float32"
