"""A configuration with more of what it has (an extension), or with less (a part), and all else as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid, option_name, unique_values

__all__ = ["extended", "narrowed"]


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
    growing = _lists(config)
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


def narrowed(config: SweepGrid, only: Mapping[str, Sequence[str]]) -> SweepGrid:
    """A configuration with some of its optimizers and values of dials.

    Args:
        config: the whole.
        only: `optimizer` or the name of a dial to the values that are wanted, as text; a number in any form, `1e1` for 10.

    Raises:
        ValueError: another name, or a value that the configuration does not have.
    """
    names = {"optimizer" if name == "optimizers" else name: name for name in _lists(config) if name != "lr"}
    wanted: dict[str, Any] = {}
    for name, texts in only.items():
        if name not in names:
            raise ValueError(f"only must name one of {', '.join(names)}, got {name!r}; choose one of these.")
        values = {_text(value): value for value in getattr(config, names[name])}
        if name == "optimizer":
            values = dict(zip((one.text for one in config.swept), config.optimizers, strict=True))
        missing = [text for text in texts if _same_number(text) not in values]
        if missing or not texts:
            got = repr(missing[0]) if missing else "no value"
            raise ValueError(
                f"{option_name(name)} must be one of {', '.join(values)} here, got {got}; choose some of these."
            )
        chosen = {_same_number(text) for text in texts}
        wanted[names[name]] = tuple(value for text, value in values.items() if text in chosen)
    return replace(config, **wanted)


def _lists(config: SweepGrid) -> list[str]:
    """Fields that hold several values."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return [name for name, value in values.items() if value and isinstance(value, tuple)]


def _text(value: Any) -> str:
    """A value of a dial as a user writes it."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return (
        f"{float(value):g}" if isinstance(value, int | float) else str(value).lower() if value is None else str(value)
    )


def _same_number(text: str) -> str:
    """The text that `_text` gives of a number; another text as it is."""
    try:
        return _text(float(text))
    except ValueError:
        return text
