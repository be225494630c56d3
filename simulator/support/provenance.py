"""Record the origin of a result: command, versions, machine."""

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
    """Return the manifest of a result folder.

    Args:
        seconds: duration of the work.
        **facts: further entries, as device, dtype and seed.
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
    """Return the producer version: a digest of the installed sources of this package, and the versions of its libraries.

    The version number is not enough: for an editable installation it is that of the day of the installation.
    """
    return ", ".join([f"quadsim {source_digest()}", *(f"{name} {version(name)}" for name in _ARITHMETIC)])


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Return twelve hexadecimal digits of a hash of all Python files of the simulator and of theory (which judges sweeps)."""
    import quadsim.simulator

    digest = hashlib.sha256()
    simulator = Path(quadsim.simulator.__file__).parent
    for folder in (simulator, simulator.parent / "theory"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
