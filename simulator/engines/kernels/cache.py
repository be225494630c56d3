"""Generated source on disk: kernels are imported from files, so that what was compiled is found by the next process."""

import hashlib
import importlib.util
import logging
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

__all__ = ["cache_directory", "import_source"]

_LOG = logging.getLogger("quadsim")
CACHE_VARIABLE = "QUADSIM_CACHE"


def cache_directory() -> Path:
    """The folder for generated kernels, made where it is missing; only its owner may write to it.

    It is QUADSIM_CACHE where that is set, else the platform's cache folder; where that cannot be used, a new temporary folder.

    Raises:
        ValueError: QUADSIM_CACHE is a folder that cannot be used.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen).expanduser().absolute() if chosen else _platform_cache() / "quadsim"
    reason = _why_unusable(folder)
    if reason is None:
        return folder
    if chosen:
        raise ValueError(
            f"{CACHE_VARIABLE} must name a folder that you own and only you may write to, got {chosen} ({reason}); "
            "choose another or run chmod 700 on it."
        )
    return _temporary_folder()


def import_source(source: str, name: str) -> ModuleType:
    """Import a module from its source, through a file named after the hash of its content.

    Args:
        source: the text of the module.
        name: beginning of the file's name, for people who look.
    """
    module_name = f"quadsim_{name}_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    path = cache_directory() / f"{module_name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        Path(temporary).replace(path)
        if name == "gpu":  # Triton compiles at the first launch and keeps the result in a cache of its own
            _LOG.info("compiling new GPU kernels at their first launch (once; source kept in %s)", path.parent)
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # Numba finds a cached function's module here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _why_unusable(folder: Path) -> str | None:
    """Why code must not be imported from a folder, or cannot be written to it; None if all is well."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return error.strerror or str(error)
    if os.name == "posix":
        if status.st_uid != os.getuid():
            return "another user owns it"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write to it"
    return None if os.access(folder, os.W_OK) else "it is read-only"


@cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="quadsim-"))
