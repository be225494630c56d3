"""Read untrusted documents: entries of a wrong type are left out, and long ones are cut to a length that a page can show."""

import math
import shlex
from pathlib import Path
from typing import Any

from quadsim.simulator.support import store

__all__ = ["document_of", "listed", "mapping", "number", "shown_command", "text", "texts"]

_LARGEST = 20_000_000
"""Largest size of a document in bytes; those of quadsim have some hundred thousand."""

_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}
"""Control characters, which are removed: no text needs them, and HTML forbids some."""


def document_of(path: Path) -> dict[str, Any]:
    """Return a JSON document of a folder.

    Raises:
        ValueError: a file that cannot be read, is not a document, or is far larger than one.
    """
    name = path.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"{name} must be a readable file, got {path} ({error}); run the command again.") from error
    if size > _LARGEST:
        raise ValueError(f"{name} must have at most {_LARGEST:,} bytes, got {size:,} in {path}; run the command again.")
    content = store.read_json(path, name, "run the command that made it again")
    if not isinstance(content, dict):
        raise ValueError(f"{name} must hold one object, got {type(content).__name__} in {path}; run the command again.")
    return content


def mapping(value: Any) -> dict[str, Any]:
    """Return the value if it is a mapping, else an empty mapping."""
    return value if isinstance(value, dict) else {}


def listed(value: Any, most: int = 1000) -> list[Any]:
    """Return the first entries of a list; an empty list for any other value."""
    return value[:most] if isinstance(value, list) else []


def text(value: Any, most: int = 4000) -> str:
    """Return a text, or a number as text; "" for any other value."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    said = str(value).translate(_CONTROLS)
    return said if len(said) <= most else f"{said[:most]}…"


def texts(value: Any, most: int = 1000) -> list[str]:
    """Return the texts of a list."""
    return [said for said in (text(entry) for entry in listed(value, most)) if said]


def number(value: Any) -> float:
    """Return a number; NaN for any other value."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        else math.nan
    )


def shown_command(manifest: dict[str, Any]) -> str:
    """Return the command of a manifest as a user types it; a call of the module is shown as `quadsim`."""
    words = texts(manifest.get("command"))
    if words and words[0] == "__main__.py":
        words[0] = "quadsim"
    return shlex.join(words)
