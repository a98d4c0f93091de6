"""One process gives what N processes give that hold shards of the parameters (FSDP2), from equal global gradients.

The processes are fresh interpreters that talk by gloo on this machine, one thread each; rank 0 writes the gathered
parameters and state to a file. Where gradients come from is left out on purpose: how ranks sum them is PyTorch's, and
not in a fixed order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import sm3
from sm3.verify.difference import difference
from sm3.verify.outcome import BROKEN, REFUSED, Outcome, exact
from sm3.verify.record import Record

JOB = "job.json"
PROGRAM = ("-m", "sm3.verify.one_rank")
# Longer than any small model takes; a process that hangs prints its stacks and ends (chosen).
TIMEOUT = 300.0


def promise(world: int) -> str:
    return f"1 == {world} ranks"


def ranks(records: Sequence[Record], world: int, folder: Path, on_done: Callable[[], None]) -> list[Outcome]:
    """All variants in one go: starting the processes takes most of the time. `on_done` is called once per variant."""
    job = {
        "world": world,
        "timeout": TIMEOUT,
        "variants": [
            {
                "folder": str(record.folder),
                "steps": record.steps,
                "optimizer": record.variant.optimizer,
                "settings": record.variant.settings,
            }
            for record in records
        ],
    }
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    failed = _run(world, folder, [record.folder for record in records], on_done)
    return [_judge(record, world, failed) for record in records]


def _judge(record: Record, world: int, failed: str) -> Outcome:
    label = record.variant.label
    refused = record.folder / "refused.txt"
    if refused.exists():
        return Outcome(promise(world), label, REFUSED, reason=refused.read_text(encoding="utf-8"))
    gathered = record.folder / "gathered.pt"
    if not gathered.exists():
        return Outcome(promise(world), label, BROKEN, float("inf"), reason=failed or "the ranks wrote no result")
    found = difference(torch.load(gathered, weights_only=True), record.end)
    compared = f"{found.tensors} tensors after {record.steps} steps of equal gradients"
    return exact(promise(world), label, found, compared)


def _run(world: int, folder: Path, folders: Sequence[Path], on_done: Callable[[], None]) -> str:
    """Start the ranks and wait for all; why one failed, or nothing. One that fails ends the others."""
    # Loopback: nothing leaves the machine. The name of its interface is Linux's.
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    # This very sm3, also where it was found by a relative path.
    search = [str(Path(sm3.__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **network, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(search)}
    logs = [(folder / f"rank_{rank}.txt").open("w+", encoding="utf-8", errors="replace") for rank in range(world)]
    processes = [
        subprocess.Popen(
            [sys.executable, *PROGRAM, str(folder), str(rank)],
            stdout=log,
            stderr=log,
            env=environment,
        )
        for rank, log in enumerate(logs)
    ]
    try:
        told = 0
        while any(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0) for process in processes):
                break
            finished = sum(any((f / name).exists() for name in ("gathered.pt", "refused.txt")) for f in folders)
            for _ in range(told, finished):
                on_done()
            told = finished
            time.sleep(0.05)
        for _ in range(told, len(folders)):
            on_done()
        bad = next((rank for rank, process in enumerate(processes) if process.poll() not in (None, 0)), None)
        if bad is None:
            return ""
        processes[bad].wait()
        logs[bad].seek(0)
        lines = [line for line in logs[bad].read().splitlines() if line.strip()]
        return f"rank {bad}: {lines[-1] if lines else f'exit status {processes[bad].returncode}'}"
    finally:
        for process, log in zip(processes, logs, strict=True):
            process.kill()
            process.wait()
            log.close()
