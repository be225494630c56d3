"""A configuration that is extended: more seeds, values, optimizers or rates, and all else as it is."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid, option_name, unique_values

__all__ = ["extended"]


def extended(config: SweepGrid, changes: Mapping[str, Any]) -> SweepGrid:
    """A configuration with more of what it has: values are added to those of the configuration, numbers take their place.

    Args:
        config: the one that is extended.
        changes: `seeds` (at least as many), `lr_density` (a multiple), and further values of dials, `optimizers` and, where
            rates were given, `lr`. A value that the configuration has already changes nothing.

    Raises:
        ValueError: a change of anything else, fewer seeds, or what makes no configuration.
    """
    names = [field.name for field in fields(config)]
    growing = [name for name in names if isinstance(getattr(config, name), tuple) and getattr(config, name)]
    allowed = ["seeds", "lr_density" if config.lr is None else "", *growing]
    merged: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in names:
            problems = family_of(config).problems
            raise ValueError(
                f"{option_name(name)} must be left out where a sweep on {problems} is extended, which has no such option, "
                f"got {value!r}; drop it."
            )
        merged[name] = unique_values((*getattr(config, name), *unique_values(value))) if name in growing else value
    new = replace(config, **merged)  # checks all values
    for name in merged:
        before, after = getattr(config, name), getattr(new, name)
        if name not in allowed and before != after:
            what = ", ".join(option_name(each) for each in allowed if each)
            raise ValueError(
                f"{option_name(name)} must be {before} as in the sweep that is extended, got {after}; leave it out (an extension "
                f"adds to {what}), or run a new sweep."
            )
    if new.seeds < config.seeds:
        raise ValueError(
            f"seeds must be at least those of the sweep that is extended ({config.seeds}), got {new.seeds}; give more."
        )
    if new.lr_density % config.lr_density:
        raise ValueError(
            f"lr density must be a multiple of that of the sweep that is extended ({config.lr_density}), got {new.lr_density}; "
            f"give {2 * config.lr_density}."
        )
    if new.kept != config.kept:
        raise ValueError(
            f"runs must be few enough to keep {config.kept} as the sweep that is extended, got {new.runs:,}, of which "
            f"{new.kept} are kept; add fewer, or run a new sweep."
        )
    return new
