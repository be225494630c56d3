"""The folder of a sweep: made, locked, compared with what is asked for, and cleaned of what a killed process left."""

import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from quadsim.simulator.support import store
from quadsim.simulator.sweeps.results.integrity import damaged_files

__all__ = [
    "FAILURES",
    "JOBS",
    "UNITS",
    "has_finished",
    "locked_folder",
    "no_room",
    "remove_leftovers",
    "restored",
    "writable",
]

_log = logging.getLogger("quadsim")

UNITS = "units"
FAILURES = "failures"
_LOCK = "running.lock"
JOBS = "jobs"


def has_finished(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a folder holds all of this sweep, undamaged.

    Raises:
        ValueError: it holds another sweep, or something else.
    """
    if not store.is_finished(folder):
        return False
    damaged = damaged_files(folder)
    if store.CONFIG not in damaged:
        _check_same(folder, config)
    elif _digest(config) != _stated(folder, store.CONFIG):
        raise ValueError(
            f"out must hold the same configuration, got {folder} with another one, whose {store.CONFIG} was altered; choose "
            "another folder."
        )
    return not damaged


def restored(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a folder, now that it is locked, holds all of this sweep; a finished one that is damaged is no longer finished.

    Its chunks are gone, so that all of it has to be run again; only the configuration can be written as it was.

    Raises:
        ValueError: it holds another sweep.
    """
    if not store.is_finished(folder):
        return False
    if has_finished(folder, config):
        return True
    damaged = damaged_files(folder)
    with writable(folder):
        store.write_json(folder / store.CONFIG, config)
        if damaged == [store.CONFIG]:
            _log.info("%s in %s was damaged and has been restored.", store.CONFIG, folder)
            return True
        (folder / store.MANIFEST).unlink()
    _log.info("%s in %s changed since it was written: the sweep is run again.", " and ".join(damaged), folder)
    return False


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written.

    Raises:
        ValueError: with the reason that the system gives.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(no_room(folder, str(error))) from error


def no_room(folder: Path, reason: str) -> str:
    """The line that says so."""
    return (
        f"out must be a folder with room that can be written, got {folder} ({reason}); make room and give the same command "
        "again: what is finished is kept."
    )


@contextmanager
def locked_folder(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """The folder for one process alone, made where it is not there, and cleaned of files that were never finished.

    The lock is the kernel's: it goes when the process does, however it ends.

    Raises:
        ValueError: other content, another configuration, another process at work, or a folder that cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out must be a folder, got the file {folder}; choose another name.")
    if folder.is_dir() and not (folder / store.CONFIG).is_file() and any(not _is_ours(p) for p in folder.iterdir()):
        raise ValueError(
            f"out must be empty or hold an earlier sweep, got {folder} with other files; choose another folder."
        )
    lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"out must be free, got {folder}, on which {_holder(folder)} works; wait for it, or choose another folder."
        ) from None
    except OSError as error:
        raise ValueError(_not_writable(folder, error)) from error
    try:
        try:
            (folder / _LOCK).write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
            if (folder / store.CONFIG).is_file():
                if not store.is_finished(folder):  # of a finished one has_finished compares more closely
                    _check_same(folder, config)
            else:
                store.write_json(folder / store.CONFIG, config)
            _remove_partial(folder)
        except OSError as error:
            raise ValueError(_not_writable(folder, error)) from error
        yield
    finally:
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)  # while it is held: whoever opened it before finds it gone
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Drop the chunks once the whole is written, and what an earlier process was killed before it could drop."""
    for name in (UNITS, FAILURES, JOBS):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):  # a finished sweep may well lie in a folder that can only be read
        (folder / _LOCK).unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    """Whether a process that was killed before it could write its configuration may have left this."""
    return path.name == _LOCK or path.name.startswith(f"{Path(store.CONFIG).stem}{store.PARTIAL}")


def _remove_partial(folder: Path) -> None:
    for place in (folder, folder / UNITS, folder / store.FIGURES):
        for path in place.glob(f"*{store.PARTIAL}*"):
            path.unlink(missing_ok=True)


def _not_writable(folder: Path, error: OSError) -> str:
    return f"out must be a folder that can be written, got {folder} ({error}); choose another."


def _holder(folder: Path) -> str:
    try:
        number, _, host = (folder / _LOCK).read_text(encoding="utf-8").strip().partition(" ")
    except OSError:
        number = host = ""
    return f"process {number} on {host}" if number and host else "another process"


def _check_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Compare the configuration there with the one asked for.

    Raises:
        ValueError: they differ; the message says in what.
    """
    stored = store.read_json(folder / store.CONFIG, "config in out")
    if stored != config:
        raise ValueError(
            f"out must hold the same configuration, got {folder} with another one ({_difference(stored, config)}); choose "
            f"another folder, or repeat it with --config {folder / store.CONFIG}."
        )


def _difference(stored: Any, asked: Mapping[str, Any]) -> str:
    """Fields that differ, with both values."""
    if not isinstance(stored, dict):
        return "which is none"
    absent = object()

    def text(value: Any) -> str:
        return "nothing" if value is absent else json.dumps(value)

    names = [n for n in dict.fromkeys([*asked, *stored]) if stored.get(n, absent) != asked.get(n, absent)]
    return "; ".join(f"{n}: {text(stored.get(n, absent))} there, {text(asked.get(n, absent))} asked" for n in names)


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(store.json_text(config).encode()).hexdigest()


def _stated(folder: Path, name: str) -> str:
    return str(store.read_json(folder / store.MANIFEST, "manifest")["files"][name])
