"""Theorems as a sweep needs them: numbers alone, from facts that the cache keeps; the whole is loaded where more is asked for.

The expressions and proofs of the theorems take SymPy longer to build than a sweep takes. Most runs need of a theorem only whether
it speaks of them, and a factor.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.kept import KeptFacts
from quadsim.theory.running.values import Formula
from quadsim.theory.statements.theorem import Theorem

__all__ = ["TheoremOnRuns"]

_PLAIN = ("rules", "kind", "direction", "oracle", "any_schedule", "any_partition")
"""Fields that JSON holds."""

_FAR = 1e-6
"""Relative difference of two sides beyond which no allowance for rounding makes them equal."""


class TheoremOnRuns(Theorem):
    """A theorem whose facts are known; every other attribute is that of the whole theorem.

    Args:
        name: its name.
        facts: those that are kept.
        load: returns the whole theorem.
    """

    def __init__(self, name: str, facts: KeptFacts, load: Callable[[], Theorem]) -> None:
        self.__dict__.update(name=name, _load=load)
        self._known: dict[str, Any]
        self.__dict__["_known"] = known = facts.get("on runs", lambda: _facts_of(self._whole))
        self.__dict__.update(known["fields"], rules=tuple(known["fields"]["rules"]))

    @cached_property
    def _whole(self) -> Theorem:
        whole: Theorem = self.__dict__["_load"]()
        return whole

    @cached_property
    def is_local(self) -> bool:
        """See `Theorem.is_local`."""
        return bool(self._known["is local"])

    @cached_property
    def of_gap(self) -> bool:
        """See `Theorem.of_gap`."""
        return bool(self._known["of gap"])

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """See `Theorem.texts`."""
        return tuple(self._known["texts"])

    @cached_property
    def _decrease(self) -> Formula | None:
        found = self._known["decrease"]
        return None if found is None else Formula(tuple(found[0]), found[1])

    def decrease_on(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """See `Theorem.decrease_on`."""
        found = self._decrease
        return self._whole.decrease_on(trajectory) if found is None else found(trajectory)

    def why_not(self, trajectory: Trajectory, *, explain: bool = True) -> NDArray[np.object_]:
        """See `Theorem.why_not`: what is not said by numbers alone is asked of the whole theorem."""
        rule, problem = trajectory.rule, trajectory.problem
        if (explain and self.texts) or problem.partition is not None:
            return self._whole.why_not(trajectory, explain=explain)
        settings = self._known["settings alone"]
        if (
            rule is None
            or not self._speaks_of(rule)
            or not trajectory.schedule.is_constant
            or trajectory.oracle.name != self.oracle
            or problem.null_dimensions.any()
            or settings is None
            or any(name not in trajectory.settings for name in settings)
        ):
            return self._whole.why_not(trajectory, explain=explain)
        out = np.full(trajectory.status.shape, "", dtype=object)
        for text, left, right in self._known["equalities"]:
            sides = [Formula(tuple(names), source)(trajectory) for names, source in (left, right)]
            with np.errstate(all="ignore"):
                apart = np.abs(sides[0] - sides[1]) > _FAR * (np.abs(sides[0]) + np.abs(sides[1]))
            out[apart & (out == "")] = text
        return self._whole.why_not(trajectory, explain=explain) if self.texts and np.any(out == "") else out

    def applies(self, trajectory: Trajectory) -> NDArray[np.bool_]:
        """See `Theorem.applies`."""
        return np.asarray(self.why_not(trajectory, explain=False) == "")


def _facts_of(whole: Theorem) -> dict[str, Any]:
    """What is kept of a theorem, as a document of JSON."""
    return {
        "fields": {field: getattr(whole, field) for field in _PLAIN},
        "is local": whole.is_local,
        "of gap": whole.of_gap,
        "texts": whole.texts,
        "decrease": _stored(Formula.of(whole.decrease)) if whole.is_factor else None,
        "settings alone": _settings_alone(whole),
        "equalities": _equalities(whole),
    }


def _stored(formula: Formula | None) -> list[Any] | None:
    return None if formula is None else [list(formula.names), formula.source]


def _settings_alone(whole: Theorem) -> list[str] | None:
    """The settings that the statement reads, where it needs nothing else that a run may lack; else None."""
    from quadsim.theory.statements.quantities import MEANINGS

    assert whole.quantity is not None
    sides = [side for h in whole.conditions if h.relation is not None for side in (h.relation.lhs, h.relation.rhs)]
    read = set().union(*(x.free_symbols for x in (whole.bound, whole.quantity, *sides)))
    meanings = [MEANINGS[symbol] for symbol in read if symbol in MEANINGS]
    if whole.own_rules or whole.is_local or any(m.needs or m.every_step for m in meanings):
        return None
    if any(str(symbol) == "length" for symbol in read):
        return None
    return sorted(meaning.setting for meaning in meanings if meaning.setting)


def _equalities(whole: Theorem) -> list[list[Any]]:
    """Hypotheses that are equalities of numbers, with both sides: where they are far apart, the theorem does not apply."""
    import sympy as sp

    found = []
    for hypothesis in whole.conditions:
        if isinstance(hypothesis.relation, sp.Eq):
            sides = [Formula.of(side) for side in (hypothesis.relation.lhs, hypothesis.relation.rhs)]
            if None not in sides:
                found.append([hypothesis.text, *map(_stored, sides)])
    return found


def _of_whole(name: str) -> Any:
    return property(lambda self: getattr(self._whole, name))


for _name in (
    "argument", "bound", "conclusion", "derivation", "hypotheses", "own_rules", "quantity", "rounding", "source", "statement",
    "tight", "variance",
):  # fmt: skip
    setattr(TheoremOnRuns, _name, _of_whole(_name))
