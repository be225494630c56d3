"""The answer of a sweep in words: at most five sentences, whatever the grid."""

from collections.abc import Sequence

import numpy as np

from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.answers.certainty import certainty_sentence
from quadsim.simulator.sweeps.results.answers.growth import growth_sentence
from quadsim.simulator.sweeps.results.answers.lead import lead_sentence
from quadsim.simulator.sweeps.results.answers.momentum import momentum_sentence
from quadsim.simulator.sweeps.results.answers.words import MOST_SENTENCES, value_words
from quadsim.simulator.sweeps.results.comparison import Group

__all__ = ["answer"]


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
    found += [lead_sentence(config, groups, names, begin) for begin, names in compared]
    found += [momentum_sentence(config, groups), further]
    sure = certainty_sentence(config, groups, [names for _, names in compared])
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
    where = "" if len(ends) == len(optimizers) else f" at {value_words(group.comparison.values[point])}"
    least = f"{ends[group, point, name]:.3g} of the start, median"
    return f"{text}; the lowest {value} at the end is that of {config.names[name]}{where} ({least})."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
