"""Compile CUDA C++ with NVRTC, which every torch for CUDA brings, and launch it through the driver."""

import ctypes
import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch

from quadsim.simulator.support.kept import cache_directory, read_kept, write_kept

__all__ = ["GpuKernel", "why_no_compiler"]

_OPTIONS = ("--std=c++17", "-default-device", "--prec-div=false", "--prec-sqrt=false")
_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


@cache
def _libraries() -> tuple[Any, Any]:
    """Return NVRTC and the driver.

    Raises:
        OSError: one of them is missing.
    """
    major = str(torch.version.cuda).split(".")[0]
    torch.cuda.init()  # type: ignore[no-untyped-call]
    site = Path(torch.__file__).parent.parent
    names = [f"libnvrtc.so.{major}"]
    names += [str(path) for path in sorted(site.glob(f"nvidia/*/lib/libnvrtc.so.{major}*"))]
    return _first(names), _first(["libcuda.so.1"])


def _first(names: Sequence[str]) -> Any:
    errors = []
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            errors.append(str(error))
    raise OSError("; ".join(errors))


@cache
def why_no_compiler() -> str | None:
    """Return the reason why nothing can be compiled for a GPU here, as a clause for an error message; None if it can."""
    if torch.version.cuda is None:
        return "this torch is not built for CUDA"
    try:
        _libraries()
    except (OSError, RuntimeError) as error:
        return f"NVRTC or the driver is missing ({' '.join(str(error).split())[:200]})"
    return None


def _check(result: int, what: str, log: str = "") -> None:
    if result != 0:
        raise RuntimeError(f"{what} failed with code {result}. {log}".strip())


@lru_cache(maxsize=256)
def _binary(source: str, architecture: str) -> bytes:
    """Return the machine code of a source for a GPU, compiled or from the cache folder."""
    nvrtc, _ = _libraries()
    version = (ctypes.c_int(), ctypes.c_int())
    _check(nvrtc.nvrtcVersion(*map(ctypes.byref, version)), "asking NVRTC for its version")
    key = repr((source, architecture, _OPTIONS, [v.value for v in version]))
    folder = cache_directory()
    path = None if folder is None else folder / f"quadsim_stack_{hashlib.sha256(key.encode()).hexdigest()[:24]}.cubin"
    kept = None if path is None else read_kept(path)
    if kept is None:
        kept = _compiled(nvrtc, source, architecture)
        if path is not None:
            write_kept(path, kept)
    return kept


def _compiled(nvrtc: Any, source: str, architecture: str) -> bytes:
    handle = ctypes.c_void_p()
    made = nvrtc.nvrtcCreateProgram(ctypes.byref(handle), source.encode(), b"stack.cu", 0, None, None)
    _check(made, "making a program of NVRTC")
    try:
        options = [option.encode() for option in (*_OPTIONS, f"--gpu-architecture={architecture}")]
        result = nvrtc.nvrtcCompileProgram(handle, len(options), (ctypes.c_char_p * len(options))(*options))
        if result != 0:
            _check(
                result,
                "compiling a kernel",
                _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, handle).decode(),
            )
        return _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, handle)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(handle))


def _text(size_of: Any, read: Any, handle: Any) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(handle, ctypes.byref(size)), "asking NVRTC for a size")
    room = ctypes.create_string_buffer(size.value)
    _check(read(handle, room), "reading from NVRTC")
    return room.raw


class GpuKernel:
    """A compiled kernel `train_` on a device.

    Args:
        source: CUDA C++ that defines it.
        device: a torch device.
        threads: threads of a block.
        shared: bytes of dynamic shared memory of a block.
    """

    def __init__(self, source: str, device: torch.device, threads: int, shared: int) -> None:
        major, minor = torch.cuda.get_device_capability(device)
        _, self._driver = _libraries()
        self._threads, self._shared = threads, shared
        binary = _binary(source, f"sm_{major}{minor}")
        module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        with torch.cuda.device(device):
            torch.cuda.current_stream().synchronize()  # makes the context
            _check(self._driver.cuModuleLoadData(ctypes.byref(module), binary), "loading a kernel")
            found = self._driver.cuModuleGetFunction(ctypes.byref(self._function), module, b"train_")
            _check(found, "finding a kernel")
            _check(self._driver.cuFuncSetAttribute(self._function, _SHARED, shared), "asking for shared memory")

    def __call__(self, blocks: int, arguments: Sequence[Any]) -> None:
        """Launch that many blocks on torch's present stream; arguments are ctypes values."""
        places = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        launched = self._driver.cuLaunchKernel(
            self._function, blocks, 1, 1, self._threads, 1, 1, self._shared, stream, places, None
        )
        _check(launched, "launching a kernel")
