"""Writes the checkpoints of this folder: python tests/golden/write.py. Run once per file version; older files stay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from sm3 import SM3, SMMF
from sm3.optim.torch import checkpoint, save

FOLDER = Path(__file__).parent
SHAPES = ((5, 7), (9,), (), (64, 33), (3, 2, 2))
MAKE = {"sm3": lambda params: SM3(params, lr=0.05), "smmf": lambda params: SMMF(params, lr=0.01)}


def parameters() -> list[Tensor]:
    """Zeros with gradients that are powers of two, so that every machine computes the same bits."""
    params = [torch.zeros(shape, requires_grad=True) for shape in SHAPES]
    for number, param in enumerate(params):
        param.grad = torch.full_like(param, 2.0**-number)
    return params


def digest(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> str:
    """Of all state, in the order of parameters and names."""
    found = hashlib.blake2b(digest_size=16)
    for param in params:
        for name, tensor in sorted(optimizer.state[param].items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def main() -> None:
    """One file an optimizer, and their digests."""
    version = checkpoint.FILE_VERSION
    digests = {}
    for name, make in MAKE.items():
        params = parameters()
        optimizer = make(params)
        optimizer.step()
        save(optimizer, FOLDER / f"{name}-version-{version}.safetensors")
        digests[name] = digest(optimizer, params)
    (FOLDER / f"version-{version}.json").write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
