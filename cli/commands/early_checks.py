"""Checks of the options of a sweep that need no library: a mistyped name is refused at once.

Ranges and choices are those of the table of options, which the configuration applies as well. Names and hyperparameters of
optimizers are compared with a stored list; where the configuration is made, the rules themselves check them.
"""

from collections.abc import Mapping
from typing import Any

from quadsim.cli.commands.sweep_options import family_of_options
from quadsim.simulator.support.checks import (
    as_number,
    check_choice,
    check_interval,
    check_known,
)
from quadsim.simulator.sweeps.config.options import checked

__all__ = ["check_early"]

_OF_ANY = ("schedule", "beta2_samples")
"""What the text of an optimizer may hold beside its hyperparameters; the configuration checks it."""


def check_early(given: Mapping[str, Any], *, own: bool = False) -> None:
    """Check what the user gave, as far as that needs no library.

    Args:
        given: options by the names of their fields, as they were read.
        own: whether a file defines further optimizers, whose names only the library reads.

    Raises:
        ValueError: an option of another family of problems, a name that is unknown, or a number out of range.
    """
    checked(family_of_options(given).all_options, given)
    if "optimizers" in given and not own:
        _check_optimizers(given["optimizers"])


def _check_optimizers(texts: tuple[str, ...]) -> None:
    """Check names and hyperparameters; of what is not NAME:key=value, only the library says what is wrong."""
    known = _known_optimizers()
    for text in texts:
        name, *parts = text.strip().split(":")
        pairs = [part.partition("=") for part in parts]
        if "=" in name or "|" in name or any(not equals or key == "lr" for key, equals, _ in pairs):
            continue
        hyperparameters = known["rules"][check_choice("optimizer", name, known["rules"], known["other_names"])]
        texts_of = [
            (key, value.strip()) for key, _, several in pairs if key not in _OF_ANY for value in several.split("|")
        ]
        if "" in (value for _, value in texts_of):
            continue
        values = [(key, as_number(value)) for key, value in texts_of]
        numbers = [(key, check_interval(f"{key} of {name}", value)) for key, value in values]
        check_known(f"hyperparameter of {name}", [key for key, _ in numbers], hyperparameters)
        for key, value in numbers:
            low, high, low_open, high_open = hyperparameters[key]
            check_interval(key, value, low, high, low_open=low_open, high_open=high_open)


def _known_optimizers() -> dict[str, Any]:
    """The built-in optimizers with the ranges of their hyperparameters, from the cache: rules are SymPy, which takes a second."""
    from quadsim.simulator.support.kept import kept_document
    from quadsim.simulator.support.provenance import source_digest

    found: dict[str, Any] = kept_document("optimizers", source_digest(), _from_the_rules)
    return found


def _from_the_rules() -> dict[str, Any]:
    from quadsim.simulator.rules.catalogue import OTHER_NAMES, RULES

    rules = {
        name: {str(key): (one.low, one.high, one.low_open, one.high_open) for key, one in rule.hyperparameters.items()}
        for name, rule in RULES.items()
    }
    return {"rules": rules, "other_names": dict(OTHER_NAMES)}
