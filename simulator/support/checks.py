"""Check arguments. Every error has one form: name of the argument, what is allowed, what was given, what to do."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "MOST_COUNTED",
    "MOST_RATIO",
    "MOST_WORKERS",
    "as_number",
    "check_choice",
    "check_count",
    "check_interval",
    "check_known",
    "check_name_or_number",
    "check_ratio",
    "check_seed",
    "check_workers",
    "named_options",
]

MOST_COUNTED = 2**53
"""Largest whole number up to which float64 holds every whole number."""

MOST_RATIO = 1e100
"""Largest allowed ratio of curvatures or gradients; its squares and their sums are far from overflow."""

MOST_WORKERS = 10_000
"""Largest number of worker processes of one command."""


def check_interval(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
    fix: str = "",
) -> float:
    """Return `value` as a float if it is a finite number in the interval.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        low: smallest allowed value.
        high: largest allowed value.
        low_open: whether `low` itself is excluded.
        high_open: whether `high` itself is excluded.
        fix: advice for the message; by default it is derived from the interval.

    Raises:
        ValueError: a value that is not a number, not finite, or outside the interval.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    below = number <= low if low_open else number < low
    above = number >= high if high_open else number > high
    if not math.isfinite(number) or below or above or isinstance(value, bool):
        raise ValueError(
            f"{name} must be a number {_interval(low, high, low_open, high_open)}, got {value!r}; "
            f"{fix or 'give a value in that range'}."
        )
    return number


def check_count(name: str, value: Any, low: int = 1, high: int | None = MOST_COUNTED, *, fix: str = "") -> int:
    """Return `value` as an int if it is a whole number from `low` to `high`.

    Raises:
        ValueError: a value that is not a whole number, or out of range.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole:
        try:
            whole = float(value) == int(value) and not isinstance(value, (bool, str))
        except (TypeError, ValueError, OverflowError):
            whole = False
    if not whole or int(value) < low:
        raise ValueError(
            f"{name} must be a whole number of at least {low}, got {value!r}; {fix or f'give {low} or more'}."
        )
    if high is not None and int(value) > high:
        raise ValueError(
            f"{name} must be a whole number of at most {high}, got {value!r}; {fix or 'give a smaller one'}."
        )
    return int(value)


def check_workers(value: Any) -> int:
    """Return `value` as an int if it is a number of worker processes.

    Raises:
        ValueError: a value that is not a whole number, below 1, or above MOST_WORKERS.
    """
    return check_count("workers", value, high=MOST_WORKERS)


def check_ratio(name: str, value: Any) -> float:
    """Return `value` as a float if it is a ratio of curvatures or gradients, largest over smallest.

    Raises:
        ValueError: a value that is not a number, below 1, or above MOST_RATIO.
    """
    ratio = check_interval(name, value, 1.0)
    if ratio > MOST_RATIO:
        raise ValueError(f"{name} must be a number of at most {MOST_RATIO:g}, got {value!r}; give a smaller one.")
    return ratio


def check_seed(value: Any) -> int:
    """Return `value` as an int if it fits in 64 bits; a larger seed would silently give the draws of its low bits.

    Raises:
        ValueError: a value that is not a whole number, or out of range.
    """
    number = check_count("seed", value, 0, None)
    if number >= 1 << 64:
        raise ValueError(f"seed must be below 2^64, got {number}; give a smaller one.")
    return number


def check_choice(name: str, value: Any, allowed: Iterable[str], other_names: Mapping[str, str] | None = None) -> str:
    """Return `value` if it is one of `allowed`; the error names the nearest one.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        allowed: the allowed values.
        other_names: other names in the field, in lower case, to an allowed value; they are suggested, but not accepted.

    Raises:
        ValueError: a value that is not allowed.
    """
    options = list(allowed)
    if value in options:
        return str(value)
    spelled = str(value).strip().casefold().replace("_", "-").replace(" ", "-")
    known = {**{option.casefold(): option for option in options}, **(other_names or {})}
    near = difflib.get_close_matches(spelled, known, n=1, cutoff=0.4)
    fix = f"did you mean {known[near[0]]!r}?" if near else "choose one of these."
    raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}; {fix}")


def check_name_or_number(name: str, value: Any, allowed: Iterable[str]) -> str | float:
    """Return one of the allowed names, or a number above 0 as a float; the text of a number counts as one.

    Raises:
        ValueError: another name, or a number that is not finite and above 0.
    """
    options = list(allowed)
    if value in options:
        return str(value)
    try:
        float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be one of {', '.join(options)} or a number above 0, got {value!r}; choose one of these."
        ) from None
    return check_interval(name, value, 0.0, low_open=True)


def check_known(name: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Check that every key in `given` is one of `allowed`.

    Raises:
        ValueError: an unknown key; the message names the nearest one.
    """
    options = list(allowed)
    for key in given:
        if key not in options and not options:
            raise ValueError(f"{name} must not be given, as there is none, got {key!r}; leave it out.")
        check_choice(name, key, options)


def named_options(what: str, text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of `NAME` or `NAME:key=value:key=value`; numbers are converted, other values stay text.

    Raises:
        ValueError: a part that is not `key=value`, or a key that stands twice.
    """
    name, *parts = str(text).strip().split(":")
    if "=" in name:
        raise ValueError(
            f"{what} must be NAME or NAME:key=value:key=value, got {text!r}; put a : before every option, and no comma, which "
            "begins the next name."
        )
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                f"{what} must be NAME or NAME:key=value, got {text!r}; put an = between an option and its value."
            )
        if "," in value:
            raise ValueError(
                f"{what} must be NAME:key=value:key=value, got {text!r}; put a : between options, no comma."
            )
        if key in options:
            raise ValueError(f"{what} must have every option once, got {key} twice in {text!r}; leave one out.")
        options[key] = as_number(value)
    return name, options


def as_number(text: str) -> Any:
    """Return the int or float that a text is; else the text itself, which a later check refuses."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _interval(low: float, high: float, low_open: bool, high_open: bool) -> str:
    if math.isinf(low) and math.isinf(high):
        return "that is finite"
    if math.isinf(high):
        return f"{'above' if low_open else 'of at least'} {low:g}"
    if math.isinf(low):
        return f"{'below' if high_open else 'of at most'} {high:g}"
    return f"in {'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
