"""Optional dependencies: `require("torch")` gives the module, or an error that holds the install line."""

from __future__ import annotations

import importlib
from types import ModuleType

from sm3.errors import MissingExtraError, explain

# module -> the extra of pyproject.toml that installs it
EXTRA_OF_MODULE = {
    "torch": "torch",
    "safetensors": "torch",
    "safetensors.torch": "torch",
    "matplotlib": "plot",
    "scipy": "poly",
    "sklearn": "poly",
    "triton": "triton",
    "optuna": "tune",
    "optuna.importance": "tune",
    "optuna.storages": "tune",
    "optuna.storages.journal": "tune",
    "optuna.trial": "tune",
    "numba": "swarm-train",
    "scipy.ndimage": "swarm-train",
    "onnx": "swarm-train",
    "onnxscript": "swarm-train",
    "bioimageio.core": "swarm-train",
    "bioimageio.spec": "swarm-train",
    "onnxruntime": "swarm",
    "tifffile": "swarm",
    "PIL": "swarm",
    "PIL.Image": "swarm",
    "skimage": "swarm",
    "imagecodecs": "swarm",
    "typer": "cli",
    "rich": "cli",
}


def require(module: str) -> ModuleType:
    """Import an optional dependency.

    Raises `MissingExtraError` (an `ImportError`) naming the extra and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise  # the module is there, something it needs is not: that is not ours to rename
        extra = EXTRA_OF_MODULE.get(module, module.split(".")[0])
        raise MissingExtraError(
            explain(
                f"{module} is needed here and is not installed.",
                got=f"no module named {module}",
                accepted=f"an environment with the extra {extra!r}",
                do=f'pip install "sm3[{extra}]"',
            )
        ) from error
