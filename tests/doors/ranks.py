"""Two processes of a program, joined by gloo over a file: no port, and no wait without an end."""

from __future__ import annotations

import datetime
import faulthandler
import os
import subprocess
import sys
from pathlib import Path

import torch.distributed as dist

RANKS = 2


def run_ranks(program: str, folder: Path) -> None:
    """Run `program folder` on every rank, as a launcher would, and see that all end well."""
    launched = {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    # Accelerate asks for an address; the group exists before it would use one.
    launched |= {"MASTER_ADDR": "localhost"}
    launched["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[1])])
    processes = [
        subprocess.Popen(
            [sys.executable, program, str(folder)],
            env={**os.environ, **launched, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(RANKS)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * RANKS, "\n".join(printed)


def join(folder: Path) -> int:
    """The rank of this process, in a group with the others."""
    faulthandler.dump_traceback_later(90, exit=True)  # a deadlock prints its stacks and ends
    rank = int(os.environ["RANK"])
    store = dist.FileStore(str(folder / "store"), RANKS)
    minute = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS, timeout=minute)
    return rank


def leave() -> None:
    """End together, at once: gloo's threads and the end of the interpreter race."""
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)
