"""The answer of a sweep in words: at most five sentences, whatever the grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.comparison import ENOUGH_SEEDS, TIE, Comparison, Lead, Ratio
from quadsim.simulator.sweeps.results.crossover import Crossover

__all__ = ["MOST_SENTENCES", "Group", "answer", "growth_sentence", "number_text"]

MOST_SENTENCES = 5

_MOST_NAMED = 3
"""Names, leads or pairs that one sentence lists."""

_MOST_SEGMENTS = 3
"""Changes of the lead along the axis that one sentence tells; of more, it tells how often each leads."""


@dataclass(frozen=True, eq=False)
class Group:
    """The points that differ along the axis of comparison alone.

    Attributes:
        label: the values of the other dials, `alignment -1`; empty where they have one value each.
        comparison: the optimizers at these points.
    """

    label: str
    comparison: Comparison


def answer(config: SweepGrid, groups: Sequence[Group], further: str = "") -> list[str]:
    """The result in words: the largest effect, who leads within each family and from where on, momentum alone, how sure.

    Args:
        config: the grid.
        groups: one for every combination of the other dials.
        further: a sentence of the family of problems.
    """
    if not any(np.isfinite(median) for group in groups for median in group.comparison.medians.values()):
        return [_nobody(config, groups, list(config.names))]
    found = [growth_sentence(config, groups, list(config.names))]
    compared = _compared(config)
    found += [_lead_sentence(config, groups, names, begin) for begin, names in compared]
    found += [_momentum_sentence(config, groups), further]
    sure = _sure_sentence(config, groups, [names for _, names in compared])
    sentences = [text for text in found if text]
    if len(sentences) >= MOST_SENTENCES:
        return [*sentences[: MOST_SENTENCES - 1], f"{sentences[MOST_SENTENCES - 1].removesuffix('.')}; {_lower(sure)}"]
    return [*sentences, sure]


def _compared(config: SweepGrid) -> list[tuple[str, list[str]]]:
    """The optimizers that are compared with each other, with the words that begin their sentence.

    They are those of a family. Where every optimizer is alone in its family, all are compared, and the words say so.
    """
    families = config.families
    several = [(name, texts) for name, texts in families.items() if len(texts) > 1]
    if len(families) == 1:
        return [("", texts) for _, texts in several]
    if several:
        return [(f"{FAMILY_WORDS[name].capitalize()}, ", texts) for name, texts in several]
    unlike = " and ".join(f"{config.names[texts[0]]} {FAMILY_WORDS[name]}" for name, texts in families.items())
    return [(f"Unlike with unlike ({unlike}): ", [text for texts in families.values() for text in texts])]


def growth_sentence(config: SweepGrid, groups: Sequence[Group], optimizers: Sequence[str]) -> str:
    """The largest growth of the steps along the axis, and that of the others; empty where there is one value alone."""
    growths = [_growth(config, group, name) for group in groups for name in optimizers]
    known = [growth for growth in growths if growth is not None]
    if not known:
        return _single(config, groups, optimizers)
    largest = max(known, key=lambda growth: growth.size)
    if largest.size < TIE and largest.low != largest.high and not config.is_categorical:
        who = "any optimizer" if len(optimizers) > 1 else config.names[optimizers[0]]
        ends = f"{_value(largest.low)} to {_value(largest.high)}"
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
    where = "" if same else f"from {_value(second.low)} to {_value(second.high)}"
    times = f"{'by ' * config.is_categorical}{'' if len(others) == 1 else 'at most '}{_times(second.size)}"
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
            return f"{who} reaches the tolerance within {config.steps} steps at {_value(self.low)} alone"
        if config.is_categorical:
            text = f"Steps differ most for {who}, {_times(self.ratio.value)} more on {self.high} than on {self.low}"
        else:
            text = f"From {config.axis_short} {_value(self.low)} to {_value(self.high)}, steps "
            text += f"grow {_times(self.ratio.value)} for {who}"
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
        where = f"{_at(config)} {_place(config, *key[:2])}"
        number = f"over {config.steps}" if np.isinf(medians[key]) else f"{medians[key]:g}"
        texts.append(f"{number} steps {where}")
    if medians[high] == 0.0:
        return f"{name} starts within the tolerance."
    return f"{name} needs {' to '.join(texts)}."


def _nobody(config: SweepGrid, groups: Sequence[Group], optimizers: Sequence[str]) -> str:
    """Where no optimizer reaches the tolerance: who came furthest, if that is known."""
    text = f"No optimizer reaches the tolerance within {config.steps} steps on half of the problems of any point"
    value = family_of(config).value
    ends = {
        (group, point, name): group.comparison.ends[point, name]
        for group in groups
        for point in group.comparison.points
        for name in optimizers
        if np.isfinite(group.comparison.ends[point, name])
    }
    if not ends:
        return f"{text}."
    group, point, name = min(ends, key=lambda key: ends[key])
    where = "" if len(ends) == len(optimizers) else f" at {_value(group.comparison.values[point])}"
    least = f"{ends[group, point, name]:.3g} of the start, median"
    return f"{text}; the lowest {value} at the end is that of {config.names[name]}{where} ({least})."


def _lead_sentence(config: SweepGrid, groups: Sequence[Group], names: Sequence[str], begin: str) -> str:
    """Who leads where among the optimizers that are compared, and where the lead changes."""
    leads = [[group.comparison.lead(point, names) for point in group.comparison.points] for group in groups]
    segments = _segments(groups[0].comparison, leads[0])
    if len(groups) > 1 or config.is_categorical or len(segments) > _MOST_SEGMENTS:
        return begin + _counted_leads(config, groups, leads) + "."
    comparison = groups[0].comparison
    parts = [_segment(config, comparison, segments, position, names) for position in range(len(segments))]
    return f"{begin}{_listed(parts)}{_crossing(config, comparison, segments)}."


def _segments(comparison: Comparison, leads: Sequence[Lead]) -> list[list[Lead]]:
    """Return neighbouring points with the same optimizers ahead; points that are solved at the start stand alone."""
    out: list[list[Lead]] = []
    for lead in leads:
        if out and _kind(comparison, out[-1][-1]) == _kind(comparison, lead):
            out[-1].append(lead)
        else:
            out.append([lead])
    return out


def _kind(comparison: Comparison, lead: Lead) -> tuple[tuple[str, ...], bool]:
    """Return who is ahead at a point, and whether its start is within the tolerance already."""
    return lead.ahead, bool(lead.ahead) and comparison.medians[lead.point, lead.ahead[0]] == 0.0


def _segment(
    config: SweepGrid, comparison: Comparison, segments: Sequence[list[Lead]], position: int, names: Sequence[str]
) -> str:
    """One stretch of the axis: who is ahead, where, and by how much over whom."""
    segment = segments[position]
    first, last = (comparison.values[segment[i].point] for i in (0, -1))
    ahead = [config.names[name] for name in segment[0].ahead]
    if ahead and all(comparison.medians[lead.point, lead.ahead[0]] == 0.0 for lead in segment):
        who = f"the start is within the tolerance already ({_listed(ahead)})"
    elif not ahead:
        who = f"no optimizer reaches the tolerance within {config.steps} steps"
    else:
        who = f"{_listed(ahead)} {'tie' if len(ahead) > 1 else 'is ahead'}"
    if len(segments) == 1:
        where = f"at {_value(first)}" if first == last else f"at every {config.axis_short}"
    elif position == 0:
        where = (
            f"at {config.axis_short} {_value(first)}" if first == last else f"up to {config.axis_short} {_value(last)}"
        )
    elif position == len(segments) - 1:
        where = f"at {_value(last)}" if first == last else f"from {_value(first)} on"
    else:
        where = f"at {_value(first)}" if first == last else f"from {_value(first)} to {_value(last)}"
    factors = _factors(config, comparison, segments, position, names)
    return f"{who} {where}{factors}"


def _factors(
    config: SweepGrid, comparison: Comparison, segments: Sequence[list[Lead]], position: int, names: Sequence[str]
) -> str:
    """By how much a stretch is led, at its ends: over who leads the neighbouring stretch, else over the next."""
    segment = segments[position]
    leader = _best(comparison, segment[0])
    neighbour = segments[position - 1] if position else segments[1] if len(segments) > 1 else None
    rival = "" if neighbour is None else next((n for n in neighbour[0].ahead if n not in segment[0].ahead), "")
    rival = rival or segment[0].next
    if not leader or not rival:
        return ""
    ends = list(dict.fromkeys((segment[0].point, segment[-1].point)))
    parts: list[str] = []
    for point in ends:
        where = f" at {_value(comparison.values[point])}" if len(ends) > 1 else ""
        own, other = (comparison.medians[point, name] for name in (_best(comparison, segment[0], point), rival))
        if own == 0.0:
            continue
        least = f"over {_times(comparison.steps / own)}" if not np.isfinite(other) else _times(other / own)
        parts.append(f"{least} fewer steps than {config.names[rival]}{where}" if not parts else f"{least}{where}")
    return f" ({', '.join(parts)})" if parts else ""


def _best(comparison: Comparison, lead: Lead, point: int | None = None) -> str:
    """The one of those ahead that needs the fewest steps at a point."""
    at = lead.point if point is None else point
    return min(lead.ahead, key=lambda name: comparison.medians[at, name], default="")


def _crossing(config: SweepGrid, comparison: Comparison, segments: Sequence[list[Lead]]) -> str:
    """Where the lead passes from the first stretch to the last, or where a tie ends."""
    led = [segment[0] for segment in segments if segment[0].ahead]
    if len(led) < 2 or config.is_categorical:
        return ""
    first, last = led[0], led[-1]
    old = next((name for name in first.ahead if name not in last.ahead), "")
    new = next((name for name in last.ahead if name not in first.ahead), "")
    if old and new:
        return _crossed("; they cross", comparison.crossover(old, new), config)
    if old:  # a tie that one of them leaves
        return _crossed("; they part", comparison.crossover(old, _best(comparison, last), TIE), config)
    return ""


def _crossed(begin: str, found: Crossover, config: SweepGrid) -> str:
    """The crossover, with its interval or the name of its outcome."""
    if found.outcome != "found":
        return f"{begin}: {found.outcome}"
    if np.isnan(found.low):
        return f"{begin} near {number_text(found.at)}"
    low = "below the grid" if found.low == 0.0 else number_text(found.low)
    high = "beyond the grid" if found.high == np.inf else number_text(found.high)
    between = "-" if found.low > 0.0 and found.high < np.inf else " to "
    return f"{begin} at {number_text(found.at)} (95% CI {low}{between}{high})"


def _counted_leads(config: SweepGrid, groups: Sequence[Group], leads: Sequence[Sequence[Lead]]) -> str:
    """How often each leads, where that takes too long to tell point by point, and the largest lead."""
    if len(groups) == 1 and config.is_categorical and len(leads[0]) <= MOST_SENTENCES:
        return _by_case(config, groups[0].comparison, leads[0])
    where: dict[tuple[str, ...], int] = {}
    largest: tuple[float, str] = (0.0, "")
    for group, each in zip(groups, leads, strict=True):
        for lead in each:
            where[lead.ahead] = where.get(lead.ahead, 0) + 1
            best = _best(group.comparison, lead)
            if len(lead.ahead) != 1 or not lead.next or group.comparison.medians[lead.point, best] == 0.0:
                continue
            other = group.comparison.medians[lead.point, lead.next]
            times = min(other, group.comparison.steps) / group.comparison.medians[lead.point, best]
            at = f"{_at(config)} {_place(config, group, lead.point)}"
            text = f"{config.names[best]} by {'over ' if np.isinf(other) else ''}{_times(times)} {at}"
            largest = max(largest, (times, text))
    total = sum(where.values())
    order = sorted(where, key=lambda ahead: (not ahead, -where[ahead]))  # at which points nobody arrives is said last
    named = [ahead for ahead in order if ahead][:_MOST_NAMED]
    said = [
        f"{_listed([config.names[name] for name in ahead])} {'tie' if len(ahead) > 1 else 'leads'} at {where[ahead]}"
        for ahead in named
    ]
    more = []
    if rest := sum(where[ahead] for ahead in order if ahead and ahead not in named):
        more.append(f"others lead or tie at {rest}")
    if () in where:
        more.append(f"no optimizer reaches the tolerance at {where[()]}")
    most = f"; the largest lead is that of {largest[1]}" if largest[1] else ""
    return f"{_listed([*said, *more])} of {total} points{most}"


def _by_case(config: SweepGrid, comparison: Comparison, leads: Sequence[Lead]) -> str:
    """Every case with who leads it."""
    parts = []
    for ahead in dict.fromkeys(lead.ahead for lead in leads):
        here = [lead for lead in leads if lead.ahead == ahead]
        names = [config.names[name] for name in ahead]
        who = (
            f"{_listed(names)} {'tie' if len(names) > 1 else 'is ahead'}"
            if names
            else "no optimizer reaches the tolerance"
        )
        cases = []
        for lead in here:
            best, other = _best(comparison, lead), comparison.medians.get((lead.point, lead.next), np.nan)
            times = min(other, comparison.steps) / comparison.medians[lead.point, best] if best else np.nan
            over = "over " if np.isinf(other) else ""
            by = f" ({over}{_times(times)} fewer steps than {config.names[lead.next]})" if np.isfinite(times) else ""
            cases.append(f"{comparison.values[lead.point]}{by}")
        parts.append(f"{who} on {_listed(cases)}")
    return "; ".join(parts)


def _momentum_sentence(config: SweepGrid, groups: Sequence[Group]) -> str:
    """What momentum alone does: every optimizer with momentum over the one that it is without."""
    pairs, comparison = _momentum_pairs(config), groups[0].comparison
    parts: list[str] = []
    for old, new in pairs[:_MOST_NAMED]:
        places: dict[str, list[str]] = {}
        for point in _ends(comparison):
            ratio = comparison.ratio((point, new), (point, old))
            where = f"{_at(config)} {_value(comparison.values[point])}" if len(comparison.points) > 1 else ""
            text = _fewer(ratio.value, comparison, (point, new), (point, old))
            places.setdefault(text, []).append(where)
        places.pop("", None)
        said: list[str] = []
        for text, wheres in places.items():
            than = f" {'as' if text.startswith('about') else 'than'} {config.names[old]}"
            said.append(f"{text}{'' if said else than} {_listed(wheres)}".rstrip())
        if said:
            parts.append(f"{config.names[new]} {'needs ' if not parts else ''}{_listed(said)}")
    if not parts:
        return ""
    further = len(pairs) - _MOST_NAMED
    more = f"; and {further} more pair{'s' * (further > 1)}" if further > 0 else ""
    label = f" ({groups[0].label})" if groups[0].label else ""
    return f"Momentum alone{label}: {'; '.join(parts)}{more}."


def _momentum_pairs(config: SweepGrid) -> list[tuple[str, str]]:
    """Every optimizer without momentum, and the one that is the same with it."""
    return [(old.text, new.text) for new in config.swept for old in config.swept if new.adds_momentum_to(old)]


def _ends(comparison: Comparison) -> list[int]:
    """The first and the last point; a single one once."""
    return list(dict.fromkeys((comparison.points[0], comparison.points[-1])))


def _fewer(ratio: float, comparison: Comparison, new: tuple[int, str], old: tuple[int, str]) -> str:
    """A ratio of steps as "14x fewer steps", "3.4x more steps" or "about as many steps"; empty where neither is reached."""
    steps, known = comparison.steps, [np.isfinite(comparison.medians[key]) for key in (new, old)]
    if not any(known):
        return ""
    if not known[1]:
        return f"over {_times(steps / max(comparison.medians[new], 1.0))} fewer steps"
    if not known[0]:
        return f"over {_times(steps / max(comparison.medians[old], 1.0))} more steps"
    if np.isnan(ratio) or 1 / TIE <= ratio <= TIE:
        return "about as many steps"
    return f"{_times(ratio)} more steps" if ratio > 1 else f"{_times(1 / ratio)} fewer steps"


def _sure_sentence(config: SweepGrid, groups: Sequence[Group], compared: Sequence[Sequence[str]]) -> str:
    """How sure all this is: what the medians rest on, leads that are not certain, and problems that stay unsolved."""
    seeds = groups[0].comparison.seeds
    rest = f"Medians over {seeds:,} problems" if seeds > 1 else "One problem at every point"
    if config.select_on == "half":
        rest += f", at rates chosen on {len(config.chosen_on)} others"
    parts = [rest if seeds >= ENOUGH_SEEDS else f"{rest}, too few for intervals"]
    unsure = _unsure(config, groups, compared)
    if unsure:
        named = [
            f"{config.names[ahead]} over {config.names[other]} {_at(config)} {_listed(places)}"
            for (ahead, other), places in list(unsure.items())[:_MOST_NAMED]
        ]
        more = f" and {len(unsure) - _MOST_NAMED} more" if len(unsure) > _MOST_NAMED else ""
        parts.append(f"not certain (the 95% interval contains 1): {', '.join(named) if more else _listed(named)}{more}")
    missed: dict[str, float] = {}
    for group in groups:
        for (_, name), share in group.comparison.reached.items():
            if share < 1.0:
                missed[name] = max(missed.get(name, 0.0), 1.0 - share)
    if missed:
        order = sorted(missed, key=lambda name: -missed[name])[:_MOST_NAMED]
        named = [f"{config.names[name]} on up to {missed[name]:.0%}" for name in order]
        further = len(missed) - _MOST_NAMED
        more = f" (and {further} more optimizer{'s' * (further > 1)})" if further > 0 else ""
        parts.append(f"not solved within {config.steps} steps at the best rate: {_listed(named)} of the problems{more}")
    return "; ".join(parts) + "."


def _unsure(
    config: SweepGrid, groups: Sequence[Group], compared: Sequence[Sequence[str]]
) -> dict[tuple[str, str], list[str]]:
    """Who is ahead of whom by the medians alone, and where; both in the leads and in what momentum alone does."""
    found: dict[tuple[str, str], list[str]] = {}

    def add(ahead: str, other: str, place: str) -> None:
        places = found.setdefault((ahead, other), [])
        if place not in places:
            places.append(place)

    for names in compared:
        for group in groups:
            for point in group.comparison.points:
                lead = group.comparison.lead(point, names)
                for other in lead.unsure:
                    add(_best(group.comparison, lead), other, _place(config, group, point))
    comparison = groups[0].comparison
    for old, new in _momentum_pairs(config)[:_MOST_NAMED] if comparison.has_intervals else []:
        for point in _ends(comparison):
            ratio = comparison.ratio((point, new), (point, old))
            if not 1 / TIE <= ratio.value <= TIE and not np.isnan(ratio.value) and not ratio.is_certain:
                ahead, other = (new, old) if ratio.value < 1.0 else (old, new)
                add(ahead, other, _place(config, groups[0], point))
    return found


def _place(config: SweepGrid, group: Group, point: int) -> str:
    """A value of the axis; its name is needed only beside the values of other dials."""
    value = _value(group.comparison.values[point])
    if not group.label:
        return value
    return f"{value if config.is_categorical else f'{config.axis_short} {value}'}, {group.label}"


def _at(config: SweepGrid) -> str:
    """The preposition before a value of the axis."""
    return "on" if config.is_categorical else "at"


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


def _times(value: float) -> str:
    return f"{number_text(value)}x"


def _listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int | np.floating | np.integer) else str(value)


def number_text(value: float) -> str:
    """Two digits below 10, whole numbers above: more would not survive another draw."""
    if value >= 10_000:
        return f"{value:.2g}"
    if value >= 10 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
