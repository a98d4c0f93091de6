"""Builds the CPU kernels (CMakeLists.txt) when sm3 is installed, and goes on without them where that fails.

    editable install   the library lies next to its Python files in src/
    wheel              the library is package data; the tag is py3-none-<platform>: one wheel serves every CPython

Without a compiler the wheel is pure Python and steps run on PyTorch's own operations. SM3_REQUIRE_NATIVE=1 makes that
an error; SM3_NO_NATIVE=1 does not even try.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LIBRARY = f"libsm3_cpu{_SUFFIX}"
FOLDER = Path("sm3", "optim", "kernels", "cpu")


class NativeKernels(BuildHookInterface[Any]):
    """The hook of the wheel target, for editable installs too."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """CMake and Ninja from PyPI where the system has none."""
        return [tool for tool in ("cmake", "ninja") if shutil.which(tool) is None]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        installed = Path(self.root, "src", FOLDER, LIBRARY)
        try:
            built = self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("SM3_REQUIRE_NATIVE") == "1":
                raise RuntimeError(
                    f"SM3_REQUIRE_NATIVE=1, and the CPU kernels could not be built:\n{_reason(error)}"
                ) from error
            self.app.display_warning(f"sm3 is installed without its CPU kernels: {_reason(error)}")
            if version == "editable":
                installed.unlink(missing_ok=True)  # an older library would be another program than its sources
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"
        if version == "editable":
            # Moved, not overwritten: a running process may have the old library mapped.
            fresh = installed.with_suffix(".new")
            shutil.copy2(built, fresh)
            fresh.replace(installed)
        else:
            build_data["force_include"][str(built)] = str(FOLDER / LIBRARY)

    def _build(self) -> Path:
        if os.environ.get("SM3_NO_NATIVE") == "1":
            raise OSError("SM3_NO_NATIVE=1")
        # One folder per compiler: CMake remembers the first it saw.
        folder = Path(self.root, "build", "native" + re.sub(r"\W+", "-", os.environ.get("CXX", "")))
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        _run(["cmake", "-S", self.root, "-B", str(folder), *generator])
        _run(["cmake", "--build", str(folder), "--target", "sm3_cpu", "--parallel"])
        return folder / LIBRARY


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stdout).splitlines() if line.strip()]
        return f"{' '.join(map(str, error.cmd))} failed\n" + "\n".join(lines[-12:])
    return str(error)
