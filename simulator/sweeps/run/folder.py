"""Result folders: checked, made and locked by one rule for all commands.

The folder of a sweep is also compared with what is asked for, and cleaned of what a killed process left.
"""

import hashlib
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.sameness import differences
from quadsim.simulator.sweeps.results.integrity import EXTENSION, damaged_files, place_of

__all__ = [
    "FAILURES",
    "JOBS",
    "UNITS",
    "check_folder",
    "check_same",
    "folder_for_one",
    "has_finished",
    "has_leftovers",
    "locked_folder",
    "make_folder",
    "no_room",
    "remove_leftovers",
    "restored",
    "settle",
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
    folder = place_of(folder)
    damaged = damaged_files(folder)
    if store.CONFIG not in damaged:
        check_same(folder, config)
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


def check_folder(
    folder: Path, earlier: str, marker: str, is_leftover: Callable[[Path], bool] = lambda path: False
) -> None:
    """Refuse a folder in which a command must not write; the rule is the same for all commands.

    A command may write where there is nothing yet, or an empty folder, or an earlier result of its own.

    Args:
        folder: an absolute path.
        earlier: what an earlier result is called, as "an earlier sweep".
        marker: name of the file by which it is known.
        is_leftover: whether a process that was killed before it wrote the marker may have left a path.

    Raises:
        ValueError: a file, or a folder with other content or that cannot be read.
    """
    try:
        is_folder = folder.is_dir()
        if folder.exists() and not is_folder:
            raise ValueError(f"out must be a folder, got the file {folder}; choose another name.")
        free = not is_folder or (folder / marker).is_file() or all(is_leftover(path) for path in folder.iterdir())
    except OSError as error:  # as of a name that is too long, or a folder that must not be read
        raise ValueError(_not_writable(folder, error)) from error
    if not free:
        raise ValueError(f"out must be empty or hold {earlier}, got {folder} with other files; choose another folder.")


def make_folder(folder: Path, earlier: str, marker: str) -> None:
    """Check a folder as `check_folder` and make it, before the work whose result it takes.

    Raises:
        ValueError: as `check_folder`, or a folder that cannot be made.
    """
    check_folder(folder, earlier, marker)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(_not_writable(folder, error)) from error


@contextmanager
def folder_for_one(
    folder: Path, earlier: str, marker: str, is_leftover: Callable[[Path], bool] = lambda path: False
) -> Iterator[None]:
    """Check a folder as `check_folder`, make it, and keep other processes out of it.

    The lock is the kernel's: it goes when the process does, however it ends.

    Raises:
        ValueError: as `check_folder`, another process at work, or a folder that cannot be written.
    """
    check_folder(folder, earlier, marker, lambda path: path.name == _LOCK or is_leftover(path))
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
        except OSError as error:
            raise ValueError(_not_writable(folder, error)) from error
        yield
    finally:
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)  # while it is held: whoever opened it before finds it gone
        lock.release()


@contextmanager
def locked_folder(folder: Path, config: dict[str, Any], *, clean: bool = True) -> Iterator[None]:
    """The folder of a sweep for one process alone, made where it is not there, and cleaned of files that were never finished.

    Args:
        folder: an absolute path.
        config: of the sweep.
        clean: False where another process may write a file that needs no lock, as the table that a command has printed.

    Raises:
        ValueError: other content, another configuration, another process at work, or a folder that cannot be written.
    """
    with folder_for_one(folder, "an earlier sweep", store.CONFIG, _is_partial_config):
        try:
            if (folder / store.CONFIG).is_file():
                if not store.is_finished(folder):  # of a finished one has_finished compares more closely
                    check_same(folder, config)
            else:
                store.write_json(folder / store.CONFIG, config)
            if clean:
                _remove_partial(folder)
            settle(folder)
        except OSError as error:
            raise ValueError(_not_writable(folder, error)) from error
        yield


def has_leftovers(folder: Path) -> bool:
    """Whether there is anything that `remove_leftovers` drops."""
    return any((folder / name).exists() for name in (UNITS, FAILURES, JOBS, _LOCK))


def settle(folder: Path) -> None:
    """Put the files of a finished extension in place of those of the sweep; only where the folder is locked.

    The extension is whole until all its files are in place, so that the folder can be read whenever the process ends.

    Raises:
        ValueError: a folder that cannot be written.
    """
    place = place_of(folder)
    if place == folder:
        return
    with writable(folder):
        shutil.rmtree(folder / store.FIGURES, ignore_errors=True)  # it shows the earlier results, as the two files do
        for name in (store.REPORT, store.TABLE):
            (folder / name).unlink(missing_ok=True)
        for name in (store.SUMMARY, store.CURVES, store.HISTOGRAM, store.GUARANTEES, store.CONFIG, store.MANIFEST):
            if (place / name).is_file():
                store.write_whole(folder / name, partial(_link, place / name))
        (place / store.MANIFEST).unlink()  # from here on the files of the folder itself are read
        for each in folder.glob(f"{EXTENSION}*"):  # others, which were never finished, were made of the earlier results
            shutil.rmtree(each, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def remove_leftovers(folder: Path) -> None:
    """Drop the chunks once the whole is written, and what an earlier process was killed before it could drop."""
    for name in (UNITS, FAILURES, JOBS):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):  # a finished sweep may well lie in a folder that can only be read
        (folder / _LOCK).unlink(missing_ok=True)


def _is_partial_config(path: Path) -> bool:
    """Whether a process that was killed while it wrote its configuration may have left this."""
    return path.name.startswith(f"{Path(store.CONFIG).stem}{store.PARTIAL}")


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


def check_same(folder: Path, config: Mapping[str, Any], *, repeats: bool = True) -> None:
    """Compare the configuration that a folder holds with the one asked for.

    Args:
        folder: with a configuration.
        config: the one asked for.
        repeats: whether the command takes the stored one with --config, which the message then says.

    Raises:
        ValueError: they differ; the message says in what.
    """
    stored = store.read_json(folder / store.CONFIG, "config in out")
    if stored != config:
        again = f", or repeat it with --config {folder / store.CONFIG}" if repeats else ""
        raise ValueError(
            f"out must hold the same configuration, got {folder} with another one ({_difference(stored, config)}); choose "
            f"another folder{again}."
        )


def _difference(stored: Any, asked: Mapping[str, Any]) -> str:
    """Fields that differ, with both values."""
    if not isinstance(stored, dict):
        return "which is none"
    found = differences(stored, asked)
    return "; ".join(f"{name}: {there} there, {wanted} asked" for name, (there, wanted) in found.items())


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(store.json_text(config).encode()).hexdigest()


def _stated(folder: Path, name: str) -> str:
    return str(store.read_json(folder / store.MANIFEST, "manifest")["files"][name])
