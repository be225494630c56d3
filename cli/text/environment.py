"""The environment as plain data, without importing what it speaks of."""

import ast
import ctypes
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import quadsim.simulator

__all__ = ["environment", "may_see_gpus"]


def environment() -> dict[str, Any]:
    """Versions, devices and engines."""
    packages = ("quadsim", "torch", "numba", "numpy", "sympy", "pandas", "xarray", "seaborn")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "engines": _engines(),
    }


def _gpus() -> list[str]:
    """Names of the GPUs that torch sees. Its import takes seconds, and is left out where it can see none."""
    if not may_see_gpus():
        return []
    import torch

    return (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )


def may_see_gpus() -> bool:
    """Whether this build of torch could see a GPU on this machine; where it could, only torch itself knows."""
    build = version("torch")
    return not build.endswith("+cpu") and ("rocm" in build or _nvidia_driver())


def _nvidia_driver() -> bool:
    """Whether the library of the driver can be loaded, without which no build for CUDA sees a GPU."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _engines() -> dict[str, str]:
    """The first line of each engine's docstring, from its source: importing an engine takes seconds."""
    folder = Path(quadsim.simulator.__file__).parent / "engines"
    out = {}
    for name in ("closed-form", "fused", "reference"):
        module = folder / name.replace("-", "_")
        source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        out[name] = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").splitlines()[0]
    return out
