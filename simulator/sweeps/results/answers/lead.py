"""Who leads along the axis of comparison, by how much, and where the lead changes."""

from collections.abc import Sequence

import numpy as np

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.answers.words import (
    MOST_NAMED,
    MOST_SENTENCES,
    listed,
    number_text,
    place_text,
    preposition,
    times_text,
    value_words,
)
from quadsim.simulator.sweeps.results.comparison import TIE, Comparison, Group, Lead
from quadsim.simulator.sweeps.results.crossover import Crossover

__all__ = ["fastest", "lead_sentence"]

_MOST_SEGMENTS = 3
"""Changes of the lead along the axis that one sentence tells; of more, it tells how often each leads."""


def lead_sentence(config: SweepGrid, groups: Sequence[Group], names: Sequence[str], begin: str) -> str:
    """Who leads where among the optimizers that are compared, and where the lead changes."""
    leads = [[group.comparison.lead(point, names) for point in group.comparison.points] for group in groups]
    segments = _segments(groups[0].comparison, leads[0])
    if len(groups) > 1 or config.is_categorical or len(segments) > _MOST_SEGMENTS:
        return begin + _counted_leads(config, groups, leads) + "."
    comparison = groups[0].comparison
    parts = [_segment(config, comparison, segments, position, names) for position in range(len(segments))]
    return f"{begin}{listed(parts)}{_crossing(config, comparison, segments)}."


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
        who = f"the start is within the tolerance already ({listed(ahead)})"
    elif not ahead:
        who = f"no optimizer reaches the tolerance within {config.steps} steps"
    else:
        who = f"{listed(ahead)} {'tie' if len(ahead) > 1 else 'is ahead'}"
    if len(segments) == 1:
        where = f"at {value_words(first)}" if first == last else f"at every {config.axis_short}"
    elif position == 0:
        where = (
            f"at {config.axis_short} {value_words(first)}"
            if first == last
            else f"up to {config.axis_short} {value_words(last)}"
        )
    elif position == len(segments) - 1:
        where = f"at {value_words(last)}" if first == last else f"from {value_words(first)} on"
    else:
        where = f"at {value_words(first)}" if first == last else f"from {value_words(first)} to {value_words(last)}"
    factors = _factors(config, comparison, segments, position, names)
    return f"{who} {where}{factors}"


def _factors(
    config: SweepGrid, comparison: Comparison, segments: Sequence[list[Lead]], position: int, names: Sequence[str]
) -> str:
    """By how much a stretch is led, at its ends: over who leads the neighbouring stretch, else over the next."""
    segment = segments[position]
    leader = fastest(comparison, segment[0])
    neighbour = segments[position - 1] if position else segments[1] if len(segments) > 1 else None
    rival = "" if neighbour is None else next((n for n in neighbour[0].ahead if n not in segment[0].ahead), "")
    rival = rival or segment[0].next
    if not leader or not rival:
        return ""
    ends = list(dict.fromkeys((segment[0].point, segment[-1].point)))
    parts: list[str] = []
    for point in ends:
        where = f" at {value_words(comparison.values[point])}" if len(ends) > 1 else ""
        own, other = (comparison.medians[point, name] for name in (fastest(comparison, segment[0], point), rival))
        if own == 0.0:
            continue
        least = f"over {times_text(comparison.steps / own)}" if not np.isfinite(other) else times_text(other / own)
        parts.append(f"{least} fewer steps than {config.names[rival]}{where}" if not parts else f"{least}{where}")
    return f" ({', '.join(parts)})" if parts else ""


def fastest(comparison: Comparison, lead: Lead, point: int | None = None) -> str:
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
        return _crossed("; they part", comparison.crossover(old, fastest(comparison, last), TIE), config)
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
            best = fastest(group.comparison, lead)
            if len(lead.ahead) != 1 or not lead.next or group.comparison.medians[lead.point, best] == 0.0:
                continue
            other = group.comparison.medians[lead.point, lead.next]
            times = min(other, group.comparison.steps) / group.comparison.medians[lead.point, best]
            at = f"{preposition(config)} {place_text(config, group, lead.point)}"
            text = f"{config.names[best]} by {'over ' if np.isinf(other) else ''}{times_text(times)} {at}"
            largest = max(largest, (times, text))
    total = sum(where.values())
    order = sorted(where, key=lambda ahead: (not ahead, -where[ahead]))  # at which points nobody arrives is said last
    named = [ahead for ahead in order if ahead][:MOST_NAMED]
    said = [
        f"{listed([config.names[name] for name in ahead])} {'tie' if len(ahead) > 1 else 'leads'} at {where[ahead]}"
        for ahead in named
    ]
    more = []
    if rest := sum(where[ahead] for ahead in order if ahead and ahead not in named):
        more.append(f"others lead or tie at {rest}")
    if () in where:
        more.append(f"no optimizer reaches the tolerance at {where[()]}")
    most = f"; the largest lead is that of {largest[1]}" if largest[1] else ""
    return f"{listed([*said, *more])} of {total} points{most}"


def _by_case(config: SweepGrid, comparison: Comparison, leads: Sequence[Lead]) -> str:
    """Every case with who leads it."""
    parts = []
    for ahead in dict.fromkeys(lead.ahead for lead in leads):
        here = [lead for lead in leads if lead.ahead == ahead]
        names = [config.names[name] for name in ahead]
        who = (
            f"{listed(names)} {'tie' if len(names) > 1 else 'is ahead'}"
            if names
            else "no optimizer reaches the tolerance"
        )
        cases = []
        for lead in here:
            best, other = fastest(comparison, lead), comparison.medians.get((lead.point, lead.next), np.nan)
            times = min(other, comparison.steps) / comparison.medians[lead.point, best] if best else np.nan
            over = "over " if np.isinf(other) else ""
            by = (
                f" ({over}{times_text(times)} fewer steps than {config.names[lead.next]})" if np.isfinite(times) else ""
            )
            cases.append(f"{comparison.values[lead.point]}{by}")
        parts.append(f"{who} on {listed(cases)}")
    return "; ".join(parts)
