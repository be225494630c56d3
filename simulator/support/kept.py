"""The cache folder: generated kernels, and texts that take SymPy a second to make, for the next process.

The cache only saves time: where it is damaged, full, read-only or has no place at all, what it would hold is made again, in
memory, and a warning says so once. Nothing is read from it that is not, to the bit, what was written: every file has a checksum.
"""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path

__all__ = ["KeptFacts", "cache_directory", "kept_document", "read_kept", "warn_once", "write_kept"]

_LOG = logging.getLogger("quadsim")
CACHE_VARIABLE = "QUADSIM_CACHE"
_DIGEST = 32  # bytes of SHA-256


def cache_directory() -> Path | None:
    """The folder of the cache, made where it is missing; only its owner may write to it.

    It is QUADSIM_CACHE where that is set, else `quadsim` in the platform's cache folder.

    Returns:
        The folder; None where it cannot be used, which a warning says once.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        place = chosen or platformdirs.user_cache_path("quadsim", appauthor=False, opinion=False)
        folder = local_path(CACHE_VARIABLE if chosen else "the cache folder", place)
    except (ValueError, RuntimeError) as error:  # of platformdirs where nobody knows a home folder
        warn_once(f"{' '.join(str(error).split())}; what it would hold is made again in every process.")
        return None
    reason = _why_unusable(folder)
    if reason is None:
        return folder
    warn_once(
        f"{CACHE_VARIABLE if chosen else 'the cache'} must be a folder that you own and only you may write to, got "
        f"{folder} ({reason}); choose another with {CACHE_VARIABLE}, or run chmod 700 on it."
    )
    return None


def read_kept(path: Path) -> bytes | None:
    """What `write_kept` wrote; None where there is nothing, or something else."""
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        warn_once(f"the cache cannot be read ({error}): what it holds is made again.")
        return None
    content = whole[_DIGEST:]
    if hashlib.sha256(content).digest() != whole[:_DIGEST]:
        _LOG.info("%s in the cache is damaged and is made again.", path)
        return None
    return content


def write_kept(path: Path, content: bytes) -> None:
    """Write a file of the cache with its checksum, or warn that it cannot be written."""
    try:
        store.write_bytes(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        warn_once(f"the cache cannot be written ({error}): the next process makes its kernels and texts again.")


def kept_document(name: str, depends_on: str, make: Callable[[], Any]) -> Any:
    """Return a JSON document from the cache, or make it and keep it there.

    Args:
        name: what it is, as part of a file name.
        depends_on: everything the document is made of; another text is another document.
        make: makes it. What it raises is raised, and nothing is kept.
    """
    folder = cache_directory()
    if folder is None:
        return make()
    path = folder / f"{name}.{hashlib.sha256(depends_on.encode()).hexdigest()[:24]}.json"
    content = read_kept(path)
    if content is None:
        document = make()
        write_kept(path, json.dumps(document).encode())
        return document
    return json.loads(content)


class KeptFacts:
    """Facts that take a while to derive, in one document of the cache: read with the first one, written with every new one.

    Args:
        name: what they are about, as part of a file name.
        depends_on: everything the facts are derived from; another text is another document.
    """

    def __init__(self, name: str, depends_on: str) -> None:
        self._name, self._depends_on = name, depends_on
        self._facts: dict[str, Any] | None = None

    def get(self, key: str, derive: Callable[[], Any]) -> Any:
        """Return a fact, a value that JSON holds; where it is not known, derive it and keep it."""
        facts = self._facts  # one dictionary here, though another thread may replace it by one without its last fact
        if facts is None:
            facts = self._facts = self._read()
        if key not in facts:
            facts[key] = json.loads(json.dumps(derive()))  # as it is read from the file: a tuple is a list
            if len(facts) <= _MOST_FACTS and (path := self._path) is not None:
                facts = self._facts = {**self._read(), **facts}  # with those of other processes
                write_kept(path, json.dumps(facts).encode())
        return facts[key]

    @property
    def _path(self) -> Path | None:
        folder = cache_directory()
        digest = hashlib.sha256(self._depends_on.encode()).hexdigest()[:24]
        return None if folder is None else folder / f"{self._name}.{digest}.json"

    def _read(self) -> dict[str, Any]:
        content = None if (path := self._path) is None else read_kept(path)
        return {} if content is None else dict(json.loads(content))


_MOST_FACTS = 2000
"""Facts of one document; further ones are derived in every process."""


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
def warn_once(text: str) -> None:
    """Once in a process."""
    _LOG.warning("%s", text)
