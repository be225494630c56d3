"""Keep generated source and compiled kernels on disk, so that the next process does not compile them again.

The cache only saves time. If it is damaged, full, read-only or has no folder, kernels are compiled in memory and one warning says
so. A file is used only if it is, bit for bit, what was written: a checksum covers every compiled kernel, and a source file is
compared with the source that was just generated.

The folder must belong to the user and be writable by nobody else (`_why_unusable`): a compiled kernel is machine code
(`machine`) or a pickle, and loading one that somebody else wrote would run their code.
"""

import hashlib
import linecache
import logging
import pickle
import sys
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from quadsim.simulator.support import store
from quadsim.simulator.support.kept import cache_directory, read_kept, warn_once, write_kept

__all__ = ["import_source", "say_if_new", "source_file"]

_LOG = logging.getLogger("quadsim")

_IMPORTING = Lock()
"""Held while a module is executed: it is in `sys.modules` from the start, where another thread would find it unfinished."""


def source_file(source: str, name: str) -> Path | None:
    """Write the source of a module to its file in the cache, if it is not there.

    Args:
        source: the text of the module.
        name: beginning of the file's name, see `import_source`.

    Returns:
        The file; None where the cache cannot be used.
    """
    return _written(f"{_module_name(source, name)}.py", source)


def _module_name(source: str, name: str) -> str:
    return f"quadsim_{name}_{hashlib.sha256(source.encode()).hexdigest()[:24]}"


def import_source(source: str, name: str, *, keep: bool = True) -> ModuleType:
    """Import a module from its source, and write the source to a file that is named after the hash of its content.

    Kernels that Numba compiles are kept beside the file. Python's own compiled form (.pyc) is neither read nor written: it has no
    checksum, so a damaged one would be used.

    Args:
        source: the text of the module. The same text gives the same module object.
        name: beginning of the file's name (`cpu`, `gpu`, `update`), so that a person can recognise the file.
        keep: whether what Numba compiles is kept here; `machine` keeps the machine code alone.

    Returns:
        The module.
    """
    module_name = _module_name(source, name)
    with _IMPORTING:
        return sys.modules.get(module_name) or _imported(source, module_name, keep=keep)


def _imported(source: str, module_name: str, *, keep: bool) -> ModuleType:
    """Execute the source of a module that is not in memory yet."""
    path = _written(f"{module_name}.py", source)
    module = ModuleType(module_name)
    module.__file__ = f"<{module_name}>" if path is None else str(path)
    if path is None:  # Triton and tracebacks ask for the text of a function
        linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
    sys.modules[module_name] = module  # Numba finds a cached function's module here
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
        if path is not None and keep:
            _keep_compiled(module, path)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def say_if_new(file: str | None, what: str) -> None:
    """Log that something will be compiled, if no compiled kernel of this module is in the cache yet.

    Args:
        file: `__file__` of a generated module.
        what: what is compiled, as "adam for blocks of this size".
    """
    path = Path(str(file))
    if not path.is_file():
        _LOG.info("compiling %s (kept in memory)", what)
    elif not any(path.parent.glob(f"{path.stem}.*.kernel")):
        _LOG.info("compiling %s (once; kept in %s)", what, path.parent)


def _written(name: str, source: str) -> Path | None:
    """Return the file with a source; write it if it is missing or differs. None if it cannot be written."""
    folder = cache_directory()
    if folder is None:
        return None
    path, content = folder / name, source.encode()
    try:
        if not path.is_file() or path.read_bytes() != content:
            store.write_bytes(path, content)
            if name.startswith(
                "quadsim_gpu_"
            ):  # Triton compiles at the first launch, and keeps that in a cache of its own
                _LOG.info("compiling new GPU kernels at their first launch (once; source kept in %s)", folder)
    except OSError as error:
        warn_once(f"the cache cannot be written ({error}): kernels stay in memory, and the next process makes its own.")
        return None
    return path


_ENTRIES = ("run_", "start_", "update_")
"""Entry points of generated modules: the functions that Python calls, whose compiled form is kept."""


def _keep_compiled(module: ModuleType, path: Path) -> None:
    """Replace Numba's cache of each entry point of a module by one that reads and writes files beside `path`."""
    for name in _ENTRIES:
        dispatcher: Any = getattr(module, name, None)
        if hasattr(dispatcher, "_cache"):
            dispatcher._cache = _Kernels(path.with_suffix(f".{name}"))


class _Kernels:
    """A cache with the interface of Numba's own: one file for each signature of a function and kind of processor.

    Numba's own cache is not used because it raises an error on a damaged file, and because its index is shared: of two processes
    that compile at the same time, one may leave an index entry that points to the kernel of another signature.
    """

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self.cache_path = str(stem.parent)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature; None if there is none that can be used."""
        from numba.core.compiler import CompileResult

        target_context.refresh()
        key = _key(sig, target_context.codegen())
        content = read_kept(self._path(key))
        if content is None:
            return None
        try:
            stored, data = pickle.loads(content)
            return CompileResult._rebuild(target_context, *data) if stored == key else None
        except Exception as error:  # whole, but nothing that this Numba can use
            _LOG.info("a kernel in the cache cannot be used (%s: %s) and is made again.", type(error).__name__, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled kernel to the cache, unless it refers to objects of this process."""
        from numba.core.serialize import dumps

        if not data.library.has_dynamic_globals and all(lifted.can_cache for lifted in data.lifted):
            key = _key(sig, data.codegen)
            write_kept(self._path(key), dumps((key, data._reduce())))

    def enable(self) -> None:
        """Numba's interface; it is always on."""

    def disable(self) -> None:
        """Numba's interface; it is always on."""

    def flush(self) -> None:
        """Delete all files of this function."""
        for path in self._stem.parent.glob(f"{self._stem.name}.*.kernel"):
            path.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.kernel")


def _key(sig: Any, codegen: Any) -> Any:
    """Return everything that a compiled kernel depends on beside its source, whose hash is in the name of the file."""
    import numba

    return (sig, codegen.magic_tuple(), sys.implementation.cache_tag, numba.__version__)
