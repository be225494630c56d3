"""Where a result comes from: command, versions, machine."""

import hashlib
import platform
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["producer", "provenance", "source_digest"]

_PACKAGES = ("quadsim", "torch", "numpy", "sympy", "pandas", "xarray")


def provenance(seconds: float, **facts: Any) -> dict[str, Any]:
    """The manifest of a result folder.

    Args:
        seconds: that the work took.
        **facts: what else is known, as device, dtype and seed.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        **facts,
        "wall_seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


_ARITHMETIC = ("torch", "numpy", "numba")
"""Packages on whose versions the last bits of a result depend."""


def producer() -> str:
    """What computes results here: a digest of the installed sources of this package, and the versions of what it computes with.

    The version of the package does not tell: that of an editable installation is the one of the day it was made.
    """
    return ", ".join([f"quadsim {source_digest()}", *(f"{name} {version(name)}" for name in _ARITHMETIC)])


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Twelve hexadecimal digits of all Python files of the simulator and of theory, whose judge fills columns of a sweep."""
    import quadsim.simulator

    digest = hashlib.sha256()
    simulator = Path(quadsim.simulator.__file__).parent
    for folder in (simulator, simulator.parent / "theory"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
