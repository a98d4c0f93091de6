"""The judge: both optimizers and the rounding as the papers write them, in NumPy. Slow, and meant to be read.

    sm3          SM3-I, SM3-II and their exponential variant      Anil et al. 2019, arXiv 1901.11150
    smmf         square matricization, factors, signs, the step   Park & Lee 2025, arXiv 2412.08894
    update_rms   the update's length held at a target
    rounding     counter-based noise; stochastic rounding to bfloat16 and float16

Every kernel is checked against these files, so nothing here may come from the package: NumPy and the standard library
only. One object is one tensor. Nothing is validated; a NaN or an infinity spreads as arithmetic spreads it.
"""

from sm3.optim.reference.rounding import noise16, round_bfloat16, round_float16
from sm3.optim.reference.sm3 import SM3
from sm3.optim.reference.smmf import SMMF

__all__ = ["SM3", "SMMF", "noise16", "round_bfloat16", "round_float16"]
