"""Call compiled kernels of a CPU by their machine code, which the cache keeps: Numba is imported only where one is compiled.

A kernel that Numba has compiled is an object file with one function. LLVM (`llvmlite.binding`, which is small) loads it, and
ctypes calls it; importing Numba and having it load the same code takes a second. The process that compiles a kernel calls it in
the same way, so that there is one way of calling it, and the same bits whether the cache was cold or warm.

The function follows Numba's calling convention. It returns a status and takes the place of a result and that of an exception
(neither is used), and then every argument: integers and numbers as they are, and an array as its owner and parent (two null
pointers: nobody counts references here), number of entries, bytes of an entry, address, shape and strides.
"""

import ctypes
import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from quadsim.simulator.engines.kernels.cache import import_source, source_file
from quadsim.simulator.support.kept import read_kept, write_kept

__all__ = [
    "CompiledModule",
    "compiled_features",
    "jit_is_off",
    "made_with",
    "made_with_vectors",
    "native_lanes",
    "number_of_threads",
]

_LOG = logging.getLogger("quadsim")

_FORMAT = 1
_WITHOUT_ERROR = (0, -2)
"""What a function returns that ends without an exception: a value, or None."""

_NO_OWNER = "NRT_MemInfo_call_dtor"
"""Numba's function that frees an array: linked to, and never called, as no array has an owner."""

_CONFIGURATION = Path(".numba_config.yaml")


def made_with() -> str:
    """The versions of the libraries that compile a kernel, as a part of its source: the cache has one kernel for each."""
    return f"{version('numba')} {version('llvmlite')}"


def made_with_vectors() -> str:
    """The same of a kernel that uses `cpu_vectors`, with the hash of that module: other vector code gives another kernel."""
    vectors = Path(__file__).with_name("cpu_vectors.py")  # imports Numba, so it is read
    return f"{made_with()} {hashlib.sha256(vectors.read_bytes()).hexdigest()}"


class CompiledModule:
    """A generated module whose entry points are compiled: attributes that are called with numbers and arrays.

    Args:
        source: the text of the module, whose entry points Numba compiles without wrappers for Python.
        name: beginning of the names of its files.
        entries: names of the entry points.
    """

    def __init__(self, source: str, name: str, entries: Sequence[str]) -> None:
        path = source_file(source, name)

        def module() -> ModuleType:
            return import_source(source, name, keep=False)

        self.__file__ = f"<{name}>" if path is None else str(path)
        for entry in entries:
            setattr(self, entry, _Entry(None if path is None else path.with_suffix(f".{entry}"), module, entry))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"compiled module has no entry point {name!r}.")


class _Entry:
    """One entry point: called with arguments of the same types every time."""

    def __init__(self, stem: Path | None, module: Callable[[], ModuleType], name: str) -> None:
        self._stem, self._module, self._name = stem, module, name
        self._lock = Lock()
        self._loaded: _Loaded | None = None

    def __call__(self, *arguments: Any) -> None:
        loaded = self._loaded
        if loaded is None:
            with self._lock:  # several threads call a kernel: the first one loads it
                loaded = self._loaded = self._loaded or self._load([_kind(value) for value in arguments])
        loaded(arguments)

    def _load(self, kinds: list[str]) -> "_Loaded":
        """Load the machine code from the cache, or compile the function and keep it there."""
        key = _key(kinds)
        path = None
        if self._stem is not None:
            digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
            path = self._stem.with_name(f"{self._stem.name}.{digest}.kernel")
            content = read_kept(path)
            if content is not None:
                try:
                    return _Loaded(kinds, key, content)
                except (
                    ValueError,
                    KeyError,
                    TypeError,
                    RuntimeError,
                ) as error:  # whole, but nothing that can be used here
                    _LOG.info(
                        "a kernel in the cache cannot be used (%s: %s) and is made again.", type(error).__name__, error
                    )
        content = _compiled(getattr(self._module(), self._name), kinds, key)
        if path is not None:
            write_kept(path, content)
        return _Loaded(kinds, key, content)


class _Loaded:
    """A function in memory.

    Args:
        kinds: see `_kind`, one for each argument.
        key: what the code was compiled for.
        content: what `_compiled` returned.

    Raises:
        ValueError: the content is for something else, or needs a function that this process does not have.
    """

    def __init__(self, kinds: list[str], key: list[Any], content: bytes) -> None:
        head, _, code = content.partition(b"\n")
        found = json.loads(head)
        if found["key"] != key:
            raise ValueError("it was compiled for another processor or other arguments")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        _provide(found["needs"])
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        address = self._engine.get_function_address(found["function"])
        if not address:
            raise ValueError("its function is missing")
        self._kinds = kinds
        types = [ctypes.c_void_p, ctypes.c_void_p, *(kind for each in kinds for kind in _ctypes_of(each))]
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(address)  # releases Python's global lock

    def __call__(self, arguments: Sequence[Any]) -> None:
        result, error = ctypes.c_void_p(), ctypes.c_void_p()
        flat: list[Any] = [ctypes.addressof(result), ctypes.addressof(error)]
        for value, kind in zip(arguments, self._kinds, strict=True):
            if _kind(value) != kind:  # its memory would be read as something else
                raise TypeError(f"argument of a compiled kernel must be {kind}, got {_kind(value)}.")
            if isinstance(value, np.ndarray):
                place = value.__array_interface__["data"][0]
                flat += (None, None, value.size, value.itemsize, place, *value.shape, *value.strides)
            else:
                flat.append(float(value) if kind == "float" else int(value))
        status = self._function(*flat)
        if status not in _WITHOUT_ERROR:
            raise RuntimeError(f"a compiled kernel ended with status {status}.")


def _kind(value: Any) -> str:
    """The type of an argument as text: `int`, `float`, or the type and number of axes of an array in C order.

    Raises:
        TypeError: anything else.
    """
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise TypeError("array of a compiled kernel must be in C order, got another order; copy it.")
        return f"{value.dtype.str} {value.ndim}"
    if isinstance(value, int | np.integer):
        return "int"
    if isinstance(value, float):
        return "float"
    raise TypeError(f"argument of a compiled kernel must be a number or an array, got {type(value).__name__}.")


def _ctypes_of(kind: str) -> list[Any]:
    if kind in ("int", "float"):
        return [ctypes.c_int64 if kind == "int" else ctypes.c_double]
    axes = int(kind.partition(" ")[2])
    return [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] + [ctypes.c_int64] * (2 * axes)


def _key(kinds: list[str]) -> list[Any]:
    """Everything that machine code depends on beside the source, whose hash is in the name of its file."""
    features = sorted(name for name, has in llvm.get_host_cpu_features().items() if has)
    settings = {
        name: value for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_") and "THREAD" not in name
    }
    chosen = _CONFIGURATION.read_text(encoding="utf-8") if _CONFIGURATION.is_file() else ""
    place = [llvm.get_default_triple(), llvm.get_host_cpu_name(), ",".join(features), platform.python_version()]
    return [_FORMAT, kinds, place, settings, chosen]


def _compiled(dispatcher: Any, kinds: list[str], key: list[Any]) -> bytes:
    """Compile a function with Numba: a line of JSON that describes it, and its object file."""
    from numba.core import types
    from numba.np.numpy_support import from_dtype

    numbers = {"int": types.int64, "float": types.float64}

    def numba_type(kind: str) -> Any:
        if kind in numbers:
            return numbers[kind]
        dtype, _, axes = kind.partition(" ")
        return types.Array(from_dtype(np.dtype(dtype)), int(axes), "C")

    signature = tuple(numba_type(kind) for kind in kinds)
    dispatcher.compile(signature)
    library = dispatcher.overloads[signature].library
    declared = (function for function in library._final_module.functions if function.is_declaration)
    needs = sorted(function.name for function in declared if not function.name.startswith("llvm."))
    found = {"key": key, "function": dispatcher.overloads[signature].fndesc.llvm_func_name, "needs": needs}
    return json.dumps(found).encode() + b"\n" + bytes(library._get_compiled_object())


_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda owner: None)


def _provide(names: Sequence[str]) -> None:
    """Let LLVM find the functions that machine code calls: it ends the process where one is missing.

    Raises:
        ValueError: one that neither this process nor Numba has.
    """
    missing = [name for name in names if not llvm.address_of_symbol(name)]
    if missing == [_NO_OWNER]:
        llvm.add_symbol(_NO_OWNER, ctypes.cast(_FREE, ctypes.c_void_p).value)
        return
    if missing:
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()  # Numba makes its own functions known
        missing = [name for name in missing if not llvm.address_of_symbol(name)]
    if missing:
        raise ValueError(f"it calls {', '.join(missing)}")


def jit_is_off() -> bool:
    """Whether the user has switched off Numba's compiler (NUMBA_DISABLE_JIT), so that CPU kernels cannot be compiled."""
    if _is_plain("NUMBA_DISABLE_JIT"):
        return False
    import numba  # reads the variable, or the file, in its own way

    return bool(numba.config.DISABLE_JIT)


@cache
def native_lanes(dtype: str) -> int:
    """Return how many numbers fit in one of the widest vectors that this processor has and Numba's settings allow."""
    if all(_is_plain(f"NUMBA_{setting}") for setting in ("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX")):
        features = frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
    else:
        features = compiled_features()
    bits = 512 if "avx512f" in features else 256 if "avx" in features else 128
    return bits // (64 if dtype == "float64" else 32)


@cache
def compiled_features() -> frozenset[str]:
    """Return the features of a processor, as LLVM names them, that Numba compiles for; it is imported.

    They are not always those of this processor: NUMBA_CPU_NAME=generic, as for machines of several kinds, and NUMBA_ENABLE_AVX=0
    take some away. LLVM ends the process where an instruction is asked for that is not among them.
    """
    from numba.core.registry import cpu_target

    *_, text = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(name[1:] for name in text.split(",") if name.startswith("+"))


def number_of_threads() -> int:
    """Return Numba's number of threads, without starting its threading layer (a fork is not safe after that)."""
    if _is_plain("NUMBA_NUM_THREADS"):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    import numba.np.ufunc.parallel

    if numba.np.ufunc.parallel._is_initialized:
        return int(numba.get_num_threads())
    return int(numba.config.NUMBA_NUM_THREADS)


def _is_plain(variable: str) -> bool:
    """Whether nothing can have changed a setting of Numba's from its default."""
    return "numba" not in sys.modules and variable not in os.environ and not _CONFIGURATION.is_file()
