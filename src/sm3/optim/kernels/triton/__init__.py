"""The step as Triton kernels: a whole parameter list in two launches (SM3) or three (SMMF), one pass over memory.

    sm3, smmf    host: the eager signature; tables, launches, and what goes to the eager kernel instead
    table        a parameter list as data: one descriptor a tensor, one row (tensor, kind, row0, col0) a tile
    sm3_tile     device: what a program does with its tile; smmf_tile the same
    storage      device: numbers and sign bits at an address
    update_rms   device: the update's length held at a target (one launch more)
    rounding     device: counter-based noise, exact root and quotient, the cautious mask, the write of a parameter
    traffic      how many bytes the kernels move, by formula

Beside the launches PyTorch copies one table of descriptors to the device and fills SM3's scratch; nothing waits for the
device. The step counter is read on the host, so a step cannot be captured in a CUDA graph.

Checked without a GPU: results against `kernels.eager` in Triton's interpreter (the same operations, each rounded once,
in the same order, except SMMF's sums); compiled for NVIDIA, no fused multiply-add, no approximate root or quotient, no
flushing of denormals. Open until it has run on one: speed, of which nothing is measured (the tile sizes come from byte
counts and ptxas' registers); that no race was overlooked (`sm3` and `storage` say why there is none); whether AMD's
compiler fuses. Importing a file of this folder imports triton.
"""
