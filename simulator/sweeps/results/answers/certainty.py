"""How certain an answer is: what the medians rest on, leads that are not certain, and problems that stay unsolved."""

from collections.abc import Sequence

import numpy as np

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.answers.lead import fastest
from quadsim.simulator.sweeps.results.answers.momentum import end_points, momentum_pairs
from quadsim.simulator.sweeps.results.answers.words import MOST_NAMED, listed, place_text, preposition
from quadsim.simulator.sweeps.results.comparison import ENOUGH_SEEDS, TIE, Group

__all__ = ["certainty_sentence"]


def certainty_sentence(config: SweepGrid, groups: Sequence[Group], compared: Sequence[Sequence[str]]) -> str:
    """How sure all this is: what the medians rest on, leads that are not certain, and problems that stay unsolved."""
    seeds = groups[0].comparison.seeds
    rest = f"Medians over {seeds:,} problems" if seeds > 1 else "One problem at every point"
    if config.select_on == "half":
        rest += f", at rates chosen on {len(config.chosen_on)} others"
    parts = [rest if seeds >= ENOUGH_SEEDS else f"{rest}, too few for intervals"]
    unsure = _unsure(config, groups, compared)
    if unsure:
        named = [
            f"{config.names[ahead]} over {config.names[other]} {preposition(config)} {listed(places)}"
            for (ahead, other), places in list(unsure.items())[:MOST_NAMED]
        ]
        more = f" and {len(unsure) - MOST_NAMED} more" if len(unsure) > MOST_NAMED else ""
        parts.append(f"not certain (the 95% interval contains 1): {', '.join(named) if more else listed(named)}{more}")
    missed: dict[str, float] = {}
    for group in groups:
        for (_, name), share in group.comparison.reached.items():
            if share < 1.0:
                missed[name] = max(missed.get(name, 0.0), 1.0 - share)
    if missed:
        order = sorted(missed, key=lambda name: -missed[name])[:MOST_NAMED]
        named = [f"{config.names[name]} on up to {missed[name]:.0%}" for name in order]
        further = len(missed) - MOST_NAMED
        more = f" (and {further} more optimizer{'s' * (further > 1)})" if further > 0 else ""
        parts.append(f"not solved within {config.steps} steps at the best rate: {listed(named)} of the problems{more}")
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
                    add(fastest(group.comparison, lead), other, place_text(config, group, point))
    comparison = groups[0].comparison
    for old, new in momentum_pairs(config)[:MOST_NAMED] if comparison.has_intervals else []:
        for point in end_points(comparison):
            ratio = comparison.ratio((point, new), (point, old))
            if not 1 / TIE <= ratio.value <= TIE and not np.isnan(ratio.value) and not ratio.is_certain:
                ahead, other = (new, old) if ratio.value < 1.0 else (old, new)
                add(ahead, other, place_text(config, groups[0], point))
    return found
