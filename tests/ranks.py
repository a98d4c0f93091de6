"""Runs a function of a test file on several ranks: gloo processes on this machine, one thread each, with a watchdog.

A process costs two seconds to start, so a test file runs its whole table in one call and asserts row by row.
"""

from __future__ import annotations

import datetime
import faulthandler
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Ended:
    """How one rank ended."""

    returncode: int
    result: Any  # what the function returned; None if it did not return
    stderr: str


def on_ranks(world: int, function: Callable[..., Any], *, timeout: float = 60.0, **arguments: Any) -> list[Any]:
    """`function(rank, **arguments)` on every rank, in a process group; its results, in the order of the ranks.

    A rank that raises, or takes longer than `timeout` seconds and then prints its stacks, fails the test.
    """
    ended = endings(world, function, timeout=timeout, **arguments)
    for rank, end in enumerate(ended):
        assert end.returncode == 0, f"rank {rank} of {world} in {function.__name__}:\n{end.stderr}"
    return [end.result for end in ended]


def endings(
    world: int, function: Callable[..., Any], *, timeout: float = 60.0, patience: float = 60.0, **arguments: Any
) -> list[Ended]:
    """The same for ranks that may fail. patience: the process group's own timeout, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        request = Path(folder) / "request"
        request.write_bytes(pickle.dumps((world, timeout, patience, arguments)))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": _python_path()}
        command = [sys.executable, "-W", "ignore", __file__, function.__code__.co_filename, function.__name__]
        processes = [
            subprocess.Popen([*command, str(rank), request, store], stderr=subprocess.PIPE, text=True, env=environment)
            for rank in range(world)
        ]
        try:
            errors = [process.communicate(timeout=timeout + 30)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        results = [Path(f"{request}.{rank}") for rank in range(world)]
        return [
            Ended(process.returncode, pickle.loads(path.read_bytes()) if path.exists() else None, error)
            for process, path, error in zip(processes, results, errors, strict=True)
        ]


def _python_path() -> str:
    here = Path(__file__).parent
    return os.pathsep.join([str(here), str(here.parent), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")])


def _main(file: str, name: str, rank: int, request: str, store: str) -> None:
    world, timeout, patience, arguments = pickle.loads(Path(request).read_bytes())
    faulthandler.dump_traceback_later(timeout, exit=True)  # a deadlock prints its stacks and ends
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, world),
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=patience),
    )
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    code = 0
    try:
        result = getattr(module, name)(rank, **arguments)
        Path(f"{request}.{rank}").write_bytes(pickle.dumps(result))
        dist.barrier()
    except BaseException:
        traceback.print_exc()
        code = 1
    # gloo's threads and the end of the interpreter race (seen once: "terminate called").
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
