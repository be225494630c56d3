"""Numbers, places and lists in the sentences of an answer."""

from collections.abc import Sequence

import numpy as np

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.comparison import Group

__all__ = [
    "MOST_NAMED",
    "MOST_SENTENCES",
    "listed",
    "number_text",
    "place_text",
    "preposition",
    "times_text",
    "value_words",
]

MOST_SENTENCES = 5
"""Sentences of an answer, whatever the grid."""

MOST_NAMED = 3
"""Names, leads or pairs that one sentence lists."""


def place_text(config: SweepGrid, group: Group, point: int) -> str:
    """A value of the axis; its name is needed only beside the values of other dials."""
    value = value_words(group.comparison.values[point])
    if not group.label:
        return value
    return f"{value if config.is_categorical else f'{config.axis_short} {value}'}, {group.label}"


def preposition(config: SweepGrid) -> str:
    """The preposition before a value of the axis."""
    return "on" if config.is_categorical else "at"


def times_text(value: float) -> str:
    """A factor, `14x`."""
    return f"{number_text(value)}x"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def value_words(value: object) -> str:
    """A value of the axis."""
    return f"{value:g}" if isinstance(value, float | int | np.floating | np.integer) else str(value)


def number_text(value: float) -> str:
    """Two digits below 10, whole numbers above: more would not survive another draw."""
    if value >= 10_000:
        return f"{value:.2g}"
    if value >= 10 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
