"""Convert paths that a user gives to absolute paths before any library gets them.

A relative path such as `run:1` or `a::b` is an address to some libraries (pyarrow, pandas and xarray look for a scheme at its
beginning), and `~` is a folder of that name to most. An absolute path begins with a separator or a drive, so that it is neither.
"""

import os
from pathlib import Path

__all__ = ["local_path", "shown"]

_LONGEST = 255
"""Bytes of a name, the limit of almost every file system; beyond it a mere look for a file is an error of the system."""


def local_path(what: str, given: str | os.PathLike[str]) -> Path:
    """Return an absolute path on this machine, with a leading `~` or `~user` replaced by the home folder.

    Symbolic links are not resolved.

    Args:
        what: name of the argument, for the message.
        given: the path; a relative one starts from the working directory.

    Raises:
        ValueError: no path, an empty or too long name, an unknown home folder, or a working directory that was deleted.

    Examples:
        >>> local_path("out", "run:1").is_absolute()
        True
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a path, as text or pathlib.Path, got {given!r}; write it as text.")
    if not text.strip() or "\0" in text or not _is_unicode(text):
        raise ValueError(f"{what} must be the name of a file or folder, in Unicode, got {text!r}; give one.")
    if any(len(os.fsencode(part)) > _LONGEST for part in Path(text).parts):
        raise ValueError(
            f"{what} must be the name of a file or folder, each part of at most {_LONGEST} bytes, got {text[:40]}...; shorten it."
        )
    expanded = os.path.expanduser(text)  # Path.expanduser would also expand "./~"
    if text.startswith("~") and not os.path.isabs(expanded):
        raise ValueError(
            f"{what} must begin with a home folder that is known here, got {text}; write the folder in full, or ./{text} for "
            "a folder of that name."
        )
    try:
        return Path(expanded).absolute()
    except OSError as error:
        raise ValueError(
            f"{what} must be absolute, as the working directory was deleted, got {text} ({error.strerror}); write it in full."
        ) from error


def _is_unicode(text: str) -> bool:
    """Whether a name is valid Unicode. Bytes of another encoding become surrogates, which HDF5 and reports cannot store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: Path) -> str:
    """Return a path for messages: relative if it is inside the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
