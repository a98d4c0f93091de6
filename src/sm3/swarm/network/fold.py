"""From a trained member to one that only answers: normalisations folded into convolutions, weights in half precision.

Folded first and rounded second, so that every front end reads the same rounded numbers; each computes in float32.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_normalisations(module: nn.Module) -> None:
    """Replace each convolution that a batch normalisation follows by the one convolution that does both, in place."""
    module.eval()
    for part in module.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for index in range(len(part) - 1):
            convolution, norm = part[index], part[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[index] = fuse_conv_bn_eval(convolution, norm)
                part[index + 1] = nn.Identity()


def round_weights(module: nn.Module) -> None:
    """Round all that a state dict of `module` holds to the nearest half-precision number, in place; it stays float32.

    Constants that are computed anew with every module are left alone.
    """
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
