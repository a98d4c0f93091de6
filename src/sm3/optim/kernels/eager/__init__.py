"""The step in plain PyTorch. Obviously right, not fast.

    tiles        walk a tensor as tiles of a rows x columns matrix; no temporary is larger than a tile
    storage      one bit per sign
    roots        square roots rounded correctly, which PyTorch's own on the CPU are not
    cautious     apply only entries whose momentum and gradient agree in sign
    update_rms   hold the update's length at a target
    rounding     write a parameter: decay and update in float32, rounded once, nearest or stochastic
    sm3, smmf    the rules

Every arithmetic operation here is one PyTorch operation that rounds once (no fused multiply-add hidden in `alpha=`
or `addcmul`), so that a result does not depend on how PyTorch splits a loop over threads or vector lanes.
"""
