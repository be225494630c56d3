"""Reading documents of strangers: whatever is not what it should be is left out, and nothing is longer than a page can bear."""

import math
import shlex
from pathlib import Path
from typing import Any

from quadsim.simulator.support import store

__all__ = ["document_of", "listed", "mapping", "number", "shown_command", "text", "texts"]

_LARGEST = 20_000_000
"""Bytes of a document; ours have some hundred thousand."""

_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}
"""No text needs them, and HTML does not allow them all."""


def document_of(path: Path) -> dict[str, Any]:
    """A JSON document from a folder.

    Raises:
        ValueError: a file that cannot be read, is not a document, or is far larger than one.
    """
    name = path.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"{name} must be a readable file, got {path} ({error}); run the command again.") from error
    if size > _LARGEST:
        raise ValueError(f"{name} must have at most {_LARGEST:,} bytes, got {size:,} in {path}; make it again.")
    content = store.read_json(path, name, "run the command that made it again")
    if not isinstance(content, dict):
        raise ValueError(f"{name} must hold one object, got {type(content).__name__} in {path}; make it again.")
    return content


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any, most: int = 1000) -> list[Any]:
    """The first entries of a list; nothing of anything else."""
    return value[:most] if isinstance(value, list) else []


def text(value: Any, most: int = 4000) -> str:
    """Text, or a number as text; nothing of anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    said = str(value).translate(_CONTROLS)
    return said if len(said) <= most else f"{said[:most]}…"


def texts(value: Any, most: int = 1000) -> list[str]:
    """The texts of a list."""
    return [said for said in (text(entry) for entry in listed(value, most)) if said]


def number(value: Any) -> float:
    """A number; NaN for anything else."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        else math.nan
    )


def shown_command(manifest: dict[str, Any]) -> str:
    """The command of a manifest as one would type it; a call of the module is shown as `quadsim`."""
    words = texts(manifest.get("command"))
    if words and words[0] == "__main__.py":
        words[0] = "quadsim"
    return shlex.join(words)
