"""What two configurations share: points that are the same, and entries that differ."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["differences", "point_key"]


def point_key(point: Any) -> str:
    """What makes a point of a grid: two with the same columns have the same problems."""
    return repr(sorted(point.columns.items()))


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The entries of two stored configurations that differ, with both values as text; `nothing` where one has none.

    Where the kinds differ, that alone: then nothing else is comparable.
    """
    absent = object()

    def text(value: Any) -> str:
        return "nothing" if value is absent else json.dumps(value)

    names = list(dict.fromkeys([*second, *first]))
    if first.get("kind", absent) != second.get("kind", absent):
        names = ["kind"]
    both = {name: (first.get(name, absent), second.get(name, absent)) for name in names}
    return {name: (text(a), text(b)) for name, (a, b) in both.items() if a != b}
