"""What all commands share: bad input in one line, one JSON document, text in columns, comma lists."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

__all__ = ["comma_list", "library_messages", "number", "print_json", "usage_errors"]

T = TypeVar("T")


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the library's ValueError into one line on stderr and exit code 2, its text unchanged.

    Raises:
        Exit: with code 2, where the library raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None


@contextmanager
def library_messages(*, quiet: bool) -> Iterator[None]:
    """Show what the library has to say while it works (that it compiles a kernel, say) on stderr."""
    log, handler = logging.getLogger("quadsim"), logging.StreamHandler(sys.stderr)
    level = log.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    if not quiet:
        log.setLevel(logging.INFO)
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def print_json(document: Any) -> None:
    """The one document of a command with --json. NaN and inf are not JSON: they must be null by now."""
    print(json.dumps(document, indent=2, allow_nan=False))


def number(text: str) -> Any:
    """An int or a float where the text is one; else the text itself, for the library to complain about.

    As `checks.as_number`, which cannot be had without loading the whole library.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def comma_list(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """Items between commas, read one by one; empty items are dropped, so that an empty text is an empty list."""
    return tuple(read(item.strip()) for item in text.split(",") if item.strip())
