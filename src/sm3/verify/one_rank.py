"""One process of `ranks`: `python -m sm3.verify.one_rank FOLDER RANK`. It knows parameters and gradients, no model."""

from __future__ import annotations

import datetime
import faulthandler
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from sm3.errors import ParameterError, SettingError
from sm3.optim import torch as optimizers
from sm3.verify.record import START, read_gradients


def main() -> None:
    """Step every variant of the job on this rank's shards; rank 0 writes what was gathered."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    faulthandler.dump_traceback_later(job["timeout"], exit=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(str(folder / "store"), job["world"]),  # type: ignore[attr-defined]
        rank=rank,
        world_size=job["world"],
        timeout=datetime.timedelta(seconds=job["timeout"]),
    )
    mesh = init_device_mesh("cpu", (job["world"],))
    for variant in job["variants"]:
        place = Path(variant["folder"])
        try:
            gathered = _step_all(variant, place, mesh)
        except (ParameterError, SettingError) as error:  # not promised; all ranks refuse alike
            if rank == 0:
                _write(place / "refused.txt", lambda path, text=str(error): path.write_text(text, encoding="utf-8"))
            continue
        if rank == 0:
            _write(place / "gathered.pt", lambda path, found=gathered: torch.save(found, path))
    dist.barrier()
    # Everything is written; at the end of the interpreter gloo's threads can race with it.
    os._exit(0)


def _write(path: Path, write: Any) -> None:
    """Whole or not at all: the other side looks for the file."""
    aside = path.with_name(path.name + ".part")
    write(aside)
    aside.rename(path)


def _step_all(variant: Mapping[str, Any], folder: Path, mesh: Any) -> dict[str, Tensor]:
    """All steps of a variant; parameters and state, gathered."""
    model = _skeleton(torch.load(folder / START, weights_only=True))
    scalars = {param for param in model.parameters() if param.dim() == 0}  # FSDP2 leaves these whole
    fully_shard(model, mesh=mesh, ignored_params=scalars)
    named = dict(model.named_parameters())
    optimizer = getattr(optimizers, variant["optimizer"])(named.items(), **variant["settings"])
    for step in range(variant["steps"]):
        grads = read_gradients(folder, step)
        for name, param in named.items():
            param.grad = _as_sharded(grads[name], param) if name in grads else None
        optimizer.step()
    found = {name: _whole(param.detach()) for name, param in named.items()}
    for name, param in named.items():
        found |= {f"{name}: {key}": _whole(value) for key, value in optimizer.state.get(param, {}).items()}
    return found


def _skeleton(params: Mapping[str, Tensor]) -> nn.Module:
    """A module that only holds these parameters, under their names."""
    root = nn.Module()
    for name, value in params.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.register_parameter(last, nn.Parameter(value))
    return root


def _as_sharded(grad: Tensor, param: Tensor) -> Tensor:
    """The same gradient on every rank, cut as its parameter is; nothing is sent."""
    if not isinstance(param, DTensor):
        return grad
    return distribute_tensor(grad, param.device_mesh, param.placements, src_data_rank=None)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor().clone() if isinstance(tensor, DTensor) else tensor.clone()


if __name__ == "__main__":
    main()
