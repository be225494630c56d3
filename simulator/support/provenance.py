"""Where a result comes from: command, versions, machine."""

import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

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
