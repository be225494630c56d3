"""How the steps of an optimizer grow along the axis of comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.answers.words import number_text, place_text, preposition, times_text, value_words
from quadsim.simulator.sweeps.results.comparison import TIE, Group, Ratio

__all__ = ["growth_sentence"]


def growth_sentence(config: SweepGrid, groups: Sequence[Group], optimizers: Sequence[str]) -> str:
    """The largest growth of the steps along the axis, and that of the others; empty where there is one value alone."""
    growths = [_growth(config, group, name) for group in groups for name in optimizers]
    known = [growth for growth in growths if growth is not None]
    if not known:
        return _single(config, groups, optimizers)
    largest = max(known, key=lambda growth: growth.size)
    if largest.size < TIE and largest.low != largest.high and not config.is_categorical:
        who = "any optimizer" if len(optimizers) > 1 else config.names[optimizers[0]]
        ends = f"{value_words(largest.low)} to {value_words(largest.high)}"
        return f"From {config.axis_short} {ends}, steps do not grow by 10% or more for {who}."
    others = [growth for growth in known if growth.optimizer != largest.optimizer and growth.whole]
    every = len(others) == len(groups) * (len(optimizers) - 1)
    return f"{largest.words(config)}{_growth_of_others(config, largest, others, every=every)}."


def _growth_of_others(config: SweepGrid, largest: "_Growth", others: Sequence["_Growth"], *, every: bool) -> str:
    """The largest growth of the optimizers that reach the tolerance along the whole axis, after that of another one.

    Args:
        config: the grid.
        largest: the growth that was told.
        others: the others that reach the tolerance along the whole axis.
        every: whether these are all others.
    """
    if not others:
        return ""
    second = max(others, key=lambda growth: growth.size)
    who, verb = _who(config, second), "differ" if config.is_categorical else "grow"
    several = len({growth.optimizer for growth in others}) > 1
    all_others = "the others" if every else "the others that reach it everywhere"
    of = all_others if several else config.names[second.optimizer]
    if second.size < TIE:
        return f"; those of {of} {verb} by less than 10%"
    # They are told along the whole axis, which may go on where the first one does not reach the tolerance any more.
    same = config.is_categorical or (second.low, second.high) == (largest.low, largest.high)
    where = "" if same else f"from {value_words(second.low)} to {value_words(second.high)}"
    times = f"{'by ' * config.is_categorical}{'' if len(others) == 1 else 'at most '}{times_text(second.size)}"
    if len(others) == 1:
        return f"; those of {who} {verb} {times}{where and f' {where}'}"
    return f"; those of {of} {verb} {times} ({who if several else second.label}{where and f', {where}'})"


@dataclass(frozen=True)
class _Growth:
    """How the steps of an optimizer grow from one value of the axis to another, the last at which it reaches the tolerance."""

    optimizer: str
    label: str
    low: Any
    high: Any
    ratio: Ratio
    size: float
    whole: bool

    def words(self, config: SweepGrid) -> str:
        """The sentence on it, without its end."""
        who = _who(config, self)
        if self.low == self.high:
            return f"{who} reaches the tolerance within {config.steps} steps at {value_words(self.low)} alone"
        if config.is_categorical:
            text = f"Steps differ most for {who}, {times_text(self.ratio.value)} more on {self.high} than on {self.low}"
        else:
            text = f"From {config.axis_short} {value_words(self.low)} to {value_words(self.high)}, steps "
            text += f"grow {times_text(self.ratio.value)} for {who}"
        text += _interval(self.ratio)
        if self.whole:
            return text
        if config.is_categorical:
            return f"{text}; on some cases it does not reach the tolerance within {config.steps} steps"
        return f"{text}, which does not reach the tolerance within {config.steps} steps beyond"


def _growth(config: SweepGrid, group: Group, name: str) -> _Growth | None:
    """None where the optimizer reaches the tolerance nowhere, or starts within it, or where there is one value."""
    comparison = group.comparison
    points = comparison.points
    reached = [p for p in points if np.isfinite(comparison.medians[p, name]) and comparison.medians[p, name] > 0.0]
    starts_within = any(comparison.medians[p, name] == 0.0 for p in points)
    if len(points) < 2 or not reached or (starts_within and len(reached) < 2):
        return None
    low, high = reached[0], reached[-1]
    if config.is_categorical:
        low, high = (pick(reached, key=lambda p: comparison.medians[p, name]) for pick in (min, max))
    whole = len(reached) == len(points) if config.is_categorical else points[-1] == high
    ratio = comparison.ratio((high, name), (low, name))
    # One that no longer reaches the tolerance would need more than the length of the runs.
    size = ratio.value if whole else max(ratio.value, comparison.steps / comparison.medians[low, name])
    return _Growth(name, group.label, comparison.values[low], comparison.values[high], ratio, size, whole)


def _single(config: SweepGrid, groups: Sequence[Group], optimizers: Sequence[str]) -> str:
    """Where nothing grows along the axis: the steps of the only optimizer."""
    every = [(g, p, name) for g in groups for p in g.comparison.points for name in optimizers]
    medians = {key: key[0].comparison.medians[key[1:]] for key in every}
    if len(optimizers) > 1:
        return ""
    name = config.names[optimizers[0]]
    low, high = (pick(every, key=lambda key: medians[key]) for pick in (min, max))
    texts = []
    for key in dict.fromkeys((low, high)):
        where = f"{preposition(config)} {place_text(config, *key[:2])}"
        number = f"over {config.steps}" if np.isinf(medians[key]) else f"{medians[key]:g}"
        texts.append(f"{number} steps {where}")
    if medians[high] == 0.0:
        return f"{name} starts within the tolerance."
    return f"{name} needs {' to '.join(texts)}."


def _who(config: SweepGrid, growth: _Growth) -> str:
    return config.names[growth.optimizer] + (f" at {growth.label}" if growth.label else "")


def _interval(ratio: Ratio) -> str:
    """The interval in brackets; an end that is no number is not printed."""
    if not np.isfinite(ratio.low) and not np.isfinite(ratio.high):
        return ""
    if not np.isfinite(ratio.high):
        return f" (95% CI above {number_text(ratio.low)})" if ratio.low > 0.0 else ""
    if not ratio.low > 0.0:
        return f" (95% CI below {number_text(ratio.high)})"
    return f" (95% CI {number_text(ratio.low)}-{number_text(ratio.high)})"
