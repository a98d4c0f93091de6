"""The figures of a plan from live objects: a module's parameters, an optimizer's state, the memory of a step.

The only file of `plan` that imports PyTorch.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sm3.errors import InputError, ParameterError, explain
from sm3.extras import require
from sm3.plan.shapes import ParameterSpec

if TYPE_CHECKING:
    from torch import nn, optim

torch = require("torch")


def parameters_of(module: nn.Module) -> tuple[ParameterSpec, ...]:
    """The parameters of a module on any device, meta included; a tied parameter once, buffers not at all.

    Of a sharded parameter (DTensor) the shape is the global one.
    """
    specs = []
    for name, parameter in module.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise ParameterError(
                explain(
                    f"parameter {name!r} has no shape yet.",
                    got="a lazy module before its first forward",
                    accepted="a module whose parameters have shapes",
                    do="run the module once on an example, then plan",
                )
            )
        dtype = str(parameter.dtype).removeprefix("torch.")
        specs.append(ParameterSpec(name, tuple(parameter.shape), dtype, parameter.requires_grad))
    return tuple(specs)


def state_nbytes(optimizer: optim.Optimizer) -> int:
    """Bytes of all tensors in the state of a live optimizer; a tensor that several parameters share counts once.

    Of a sharded tensor (DTensor) the part on this rank counts.
    """
    tensors = {id(tensor): tensor for tensor in _tensors(optimizer.state)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value.to_local() if hasattr(value, "to_local") else value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def module_from(text: str) -> nn.Module:
    """The module that "package.module:function" returns, without arguments; the current directory is searched too.

    It is built on the meta device, where weights take no memory and no time. If that fails it is built once more where
    it puts itself, for some code reads its own weights. What it prints goes to stderr.
    """
    place, _, name = text.partition(":")
    if not (place and name):
        raise InputError(
            explain(
                f"{text} names no function.",
                got=repr(text),
                accepted="module:function",
                do="write for example train:build_model",
            )
        )
    build = _function(text, place, name)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with torch.device("meta"):
                module: Any = build()
        except (Exception, SystemExit) as error:
            print(f"{text} cannot be built on the meta device ({error!r}); built for real.", file=sys.stderr)
            module = _built_for_real(text, build)
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            explain(
                f"{text} gives no module.",
                got=type(module).__name__,
                accepted="a function without arguments that returns a torch.nn.Module",
                do=f"end {name} with `return model`",
            )
        )
    return cast("nn.Module", module)


def _built_for_real(text: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except (Exception, SystemExit) as error:
        raise _users_error(text, "was called and failed.", error) from error


def _function(text: str, place: str, name: str) -> Callable[[], Any]:
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found = importlib.import_module(place)
            for part in name.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as error:
            raise _users_error(text, "cannot be imported.", error) from error
    if not callable(found):
        got, accepted = f"{name} is of type {type(found).__name__}", "a function without arguments"
        raise InputError(
            explain(f"{text} cannot be called.", got=got, accepted=accepted, do="name the function itself")
        )
    return cast("Callable[[], Any]", found)


def _users_error(text: str, happened: str, error: BaseException) -> InputError:
    """The error of the user's own code, with its last line there; the traceback stays attached as the cause."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    frames = [frame for frame in frames if "importlib" not in frame.filename]
    where = f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return InputError(
        explain(
            f"{text} {happened}",
            got=f"{type(error).__name__}: {error}{where}",
            accepted="module:function, importable from here, that runs without arguments and returns a torch.nn.Module",
            do=f"make this work first: python -c 'from {text.replace(':', ' import ', 1)}'",
        )
    )


@dataclass
class PeakMemory:
    """Resident memory of this process over a block, in bytes; None where the system does not tell.

    `peak - before` is what the block needed on top. `exact` is False where the peak could not be set back at the
    start of the block: then `peak` is the highest since the process began.
    """

    before: int | None = None
    peak: int | None = None
    exact: bool = False


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure a block: `with peak_memory() as memory: optimizer.step()`, then read `memory.peak - memory.before`."""
    memory = PeakMemory(exact=_reset_peak())
    memory.before = resident_bytes()
    try:
        yield memory
    finally:
        memory.peak = peak_resident_bytes()


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM now; None where the system does not tell (it is read on Linux only)."""
    return _status("VmRSS")


def peak_resident_bytes() -> int | None:
    """The most memory this process ever had in RAM, or had since `peak_memory` set the mark back (Linux)."""
    if (peak := _status("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None  # Windows
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024  # bytes on macOS, KiB elsewhere: getrusage(2)


def _status(key: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{key}:")), None)


def _reset_peak() -> bool:
    """Set the high-water mark to the present: writing 5 to clear_refs, proc(5). Refused in some containers."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
