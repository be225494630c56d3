"""Finished chunks of an unfinished sweep: one file each, with a checksum of its content in its name."""

import hashlib
import os
from pathlib import Path

from quadsim.simulator.support import store

__all__ = ["SealedFiles", "seal"]

_DIGITS = 32
_PIECE = 1 << 20


def seal(folder: Path, key: str, suffix: str, content: bytes | memoryview, producer: str) -> Path:
    """Write the result of a chunk to its file, with a checksum.

    Args:
        folder: where.
        key: which chunk.
        suffix: of the file.
        content: of the file.
        producer: what computed it; the checksum covers that as well, so that a chunk of another producer is computed again.

    Returns:
        The file, named `key.checksum.suffix`.
    """
    digest = hashlib.sha256(f"{producer}\n".encode())
    digest.update(content)
    path = folder / f"{key}.{digest.hexdigest()[:_DIGITS]}{suffix}"
    store.write_bytes(path, content)
    return path


class SealedFiles:
    """The chunks in a folder. Damaged ones are removed without being opened, as a damaged file can hang a reader."""

    def __init__(self, folder: Path, producer: str) -> None:
        self._folder, self._producer = folder, producer
        self._found: dict[str, list[str]] = {}
        self.look()

    def look(self) -> None:
        """See what there is now."""
        self._found = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if store.PARTIAL not in entry.name:
                    self._found.setdefault(entry.name.partition(".")[0], []).append(entry.name)

    def get(self, key: str) -> Path | None:
        """The file of a chunk, if it is there as it was written."""
        for name in self._found.get(key, ()):
            if self.is_whole(self._folder / name):
                return self._folder / name
            (self._folder / name).unlink(missing_ok=True)
        return None

    def is_whole(self, path: Path) -> bool:
        """Whether a file is as it was written."""
        digest = hashlib.sha256(f"{self._producer}\n".encode())
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
        except FileNotFoundError:
            return False
        return path.name.split(".")[1:2] == [digest.hexdigest()[:_DIGITS]]
