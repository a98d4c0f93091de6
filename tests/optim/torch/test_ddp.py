"""Two processes under DistributedDataParallel (gloo, on the CPU) equal one process, and each other, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import datetime, faulthandler, hashlib, os, sys, warnings
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from sm3 import SM3, SMMF

faulthandler.dump_traceback_later(90, exit=True)  # a deadlock prints its stacks and ends
rank, world, store_path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    store = dist.FileStore(store_path, world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=datetime.timedelta(seconds=60))

make = {
    "SM3": lambda p: SM3(p, lr=0.05),
    "SMMF": lambda p: SMMF(p, lr=0.01),
    "SMMF bf16 stochastic": lambda p: SMMF(p, lr=0.01, rounding="stochastic"),
}
for name, optimizer_of in make.items():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    model = model.to(torch.bfloat16 if "bf16" in name else torch.float64)
    wrapped = DistributedDataParallel(model) if world > 1 else model
    optimizer = optimizer_of(wrapped.named_parameters())
    dtype = next(model.parameters()).dtype
    for step in range(10):
        generator = torch.Generator().manual_seed(step)
        batch = torch.randn(8, 6, generator=generator).to(dtype)
        mine = batch[rank * 8 // world : (rank + 1) * 8 // world]
        optimizer.zero_grad()
        wrapped(mine).square().mean().backward()
        optimizer.step()
    tensors = [p.detach() for p in model.parameters()]
    tensors += [t for p in model.parameters() for _, t in sorted(optimizer.state[p].items())]
    digest = hashlib.blake2b(b"".join(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors))
    total = sum(float(p.detach().double().sum()) for p in model.parameters())
    print(name, digest.hexdigest()[:16], repr(total), sep="|")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
# Everything is said. gloo's threads and the end of the interpreter race (seen once: "terminate called").
sys.stdout.flush()
os._exit(0)
"""


def run(world: int, folder) -> list[list[list[str]]]:
    """The printed lines of each rank, split."""
    program = folder / "ddp.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", program, str(rank), str(world), str(folder / f"store{world}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=150) for process in processes]
    for process, (_, stderr) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, stderr
    return [[line.split("|") for line in stdout.splitlines()] for stdout, _ in outputs]


def test_two_ranks_end_with_equal_bits_and_at_the_result_of_one(tmp_path):
    """State replicates itself, because gradients are equal on all ranks; nothing is communicated by the optimizer."""
    first, second = run(2, tmp_path)
    assert first == second
    (alone,) = run(1, tmp_path)
    for (name, _, total), (_, _, expected) in zip(first, alone, strict=True):
        # DDP averages two half-batch means: float64 rounding only. bfloat16 gradients differ by their rounding, 2^-9.
        tolerance = 0.2 if "bf16" in name else 1e-9
        assert float(total) == pytest.approx(float(expected), abs=tolerance)
