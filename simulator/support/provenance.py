"""Record the origin of a result: command, versions, machine."""

import hashlib
import platform
import shlex
import subprocess
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["commit", "origin", "producer", "provenance", "source_digest"]

_PACKAGES = ("quadsim", "torch", "numpy", "sympy", "pandas", "xarray")


def provenance(seconds: float, **facts: Any) -> dict[str, Any]:
    """Return the manifest of a result folder.

    Args:
        seconds: duration of the work.
        **facts: further entries, as device, dtype and seed.
    """
    return {
        "command": _command(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        **facts,
        "wall_seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def origin() -> dict[str, str]:
    """Return date, commit and command of a result that may stand beside results of other runs, as a row of a table does."""
    return {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "command": shlex.join(_command())}


def _command() -> list[str]:
    """The command of this process; `python -m quadsim` is the command quadsim."""
    name = Path(sys.argv[0]).name
    return ["quadsim" if name == "__main__.py" else name, *sys.argv[1:]]


@lru_cache(maxsize=1)
def commit() -> str:
    """Return the commit of the sources that run, shortened, with "-dirty" where files were changed since.

    Git is asked where the sources lie in a repository that tracks them (an environment inside another repository is not
    tracked by it). Elsewhere the version of the package names the commit from which it was built. Without both: "unknown".
    """
    sources = Path(__file__).parent
    found = ""
    if _git(sources, "ls-files", "--error-unmatch", Path(__file__).name):
        found = _git(sources, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return found or version("quadsim").partition("+g")[2].partition(".")[0] or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """What git prints there; nothing where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


_ARITHMETIC = ("torch", "numpy", "numba")
"""Packages on whose versions the last bits of a result depend."""


@lru_cache(maxsize=1)
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
