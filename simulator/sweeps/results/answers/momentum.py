"""What momentum alone does: every optimizer with momentum over the one that it is without."""

from collections.abc import Sequence

import numpy as np

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.answers.words import MOST_NAMED, listed, preposition, times_text, value_words
from quadsim.simulator.sweeps.results.comparison import TIE, Comparison, Group

__all__ = ["end_points", "momentum_pairs", "momentum_sentence"]


def momentum_sentence(config: SweepGrid, groups: Sequence[Group]) -> str:
    """What momentum alone does: every optimizer with momentum over the one that it is without."""
    pairs, comparison = momentum_pairs(config), groups[0].comparison
    parts: list[str] = []
    for old, new in pairs[:MOST_NAMED]:
        places: dict[str, list[str]] = {}
        for point in end_points(comparison):
            ratio = comparison.ratio((point, new), (point, old))
            where = (
                f"{preposition(config)} {value_words(comparison.values[point])}" if len(comparison.points) > 1 else ""
            )
            text = _fewer(ratio.value, comparison, (point, new), (point, old))
            places.setdefault(text, []).append(where)
        places.pop("", None)
        said: list[str] = []
        for text, wheres in places.items():
            than = f" {'as' if text.startswith('about') else 'than'} {config.names[old]}"
            said.append(f"{text}{'' if said else than} {listed(wheres)}".rstrip())
        if said:
            parts.append(f"{config.names[new]} {'needs ' if not parts else ''}{listed(said)}")
    if not parts:
        return ""
    further = len(pairs) - MOST_NAMED
    more = f"; and {further} more pair{'s' * (further > 1)}" if further > 0 else ""
    label = f" ({groups[0].label})" if groups[0].label else ""
    return f"Momentum alone{label}: {'; '.join(parts)}{more}."


def momentum_pairs(config: SweepGrid) -> list[tuple[str, str]]:
    """Every optimizer without momentum, and the one that is the same with it."""
    return [(old.text, new.text) for new in config.swept for old in config.swept if new.adds_momentum_to(old)]


def end_points(comparison: Comparison) -> list[int]:
    """The first and the last point; a single one once."""
    return list(dict.fromkeys((comparison.points[0], comparison.points[-1])))


def _fewer(ratio: float, comparison: Comparison, new: tuple[int, str], old: tuple[int, str]) -> str:
    """A ratio of steps as "14x fewer steps", "3.4x more steps" or "about as many steps"; empty where neither is reached."""
    steps, known = comparison.steps, [np.isfinite(comparison.medians[key]) for key in (new, old)]
    if not any(known):
        return ""
    if not known[1]:
        return f"over {times_text(steps / max(comparison.medians[new], 1.0))} fewer steps"
    if not known[0]:
        return f"over {times_text(steps / max(comparison.medians[old], 1.0))} more steps"
    if np.isnan(ratio) or 1 / TIE <= ratio <= TIE:
        return "about as many steps"
    return f"{times_text(ratio)} more steps" if ratio > 1 else f"{times_text(1 / ratio)} fewer steps"
