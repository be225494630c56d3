"""All that derivations may use as it stands: definitions, steps of rules, and what quantities are at step 0 and a step later."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.theory.running.model_meanings import OFF_RUNS
from quadsim.theory.statements.derived import definitions
from quadsim.theory.statements.derived.preconditioned import coordinates, from_state
from quadsim.theory.statements.derived.preconditioned import definitions as preconditioned
from quadsim.theory.statements.derived.signs import definitions as signs
from quadsim.theory.statements.derived.signs import pairs, scales
from quadsim.theory.statements.derived.streams import definitions as streams
from quadsim.theory.statements.quantities import MEANINGS

__all__ = [
    "BOXED",
    "CONSTANT",
    "CONSTANT_RATE",
    "DEFINITIONS",
    "LATER",
    "LEVELS",
    "NEEDS",
    "NEXT",
    "RELATIONS",
    "SPEAKS_OF",
    "START",
    "TURNED",
    "step_of_rule",
]


_MODULES = (definitions, signs, pairs, scales, preconditioned, coordinates, from_state, streams)


def _all(name: str) -> dict[Any, Any]:
    """Return one table from those of the modules.

    Raises:
        ValueError: two of them define one entry.
    """
    out: dict[Any, Any] = {}
    for part in _MODULES:
        table: Mapping[Any, Any] = getattr(part, name)
        twice = sorted(str(key) for key in set(out) & set(table))
        if twice:
            raise ValueError(f"{name} of derivations must define everything once, got {', '.join(twice)} twice.")
        out |= table
    return out


DEFINITIONS, NEEDS, START, NEXT = (_all(name) for name in ("DEFINITIONS", "NEEDS", "START", "NEXT"))
SPEAKS_OF, LEVELS, _STEPS = (_all(name) for name in ("SPEAKS_OF", "LEVELS", "STEPS"))
BOXED, ENERGIES, FORMS = signs.BOXED, signs.ENERGIES, signs.FORMS
TURNED = {**signs.TURNED, **scales.TURNED}
PREMISES = {**definitions.PREMISES, **signs.PREMISES, **from_state.PREMISES}

CONSTANT_RATE = "lr is constant"
"""Label of the hypothesis that a theorem has unless it holds for any schedule."""

HYPOTHESES = frozenset(text for texts in NEEDS.values() for text in texts) | {CONSTANT_RATE}
"""Labels that hypotheses alone may have."""

ORACLES, MEANS = {**definitions.ORACLES, **streams.ORACLES}, definitions.MEANS | streams.MEANS
RELATIONS = definitions.RELATIONS

LATER = preconditioned.LATER | from_state.LATER

CONSTANT: frozenset[sp.Symbol] = frozenset(
    symbol for symbol, meaning in MEANINGS.items() if not meaning.of_state and symbol not in OFF_RUNS
) | frozenset(symbol for module in _MODULES for symbol in module.CONSTANT)
"""Quantities that do not change along a run: only they, and those in NEXT, may stand in a claim that is proved by induction."""


def step_of_rule(name: str) -> Any:
    """Return the step of a rule as an equation, from its expressions.

    Raises:
        ValueError: a rule without one.
    """
    if name not in _STEPS:
        raise ValueError(f"rule of a derivation must be one of {', '.join(_STEPS)}, got {name!r}; add its step there.")
    return _worked_out(name, tuple(RULES.values()))


@lru_cache(maxsize=256)
def _worked_out(name: str, rules: tuple[Rule, ...]) -> Any:
    """Return the step; the rules are the key, as a test may exchange one of them."""
    return _STEPS[name](name)
