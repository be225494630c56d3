"""What a derivation speaks of: rules, schedules of the rate, noise, and single runs or means; a theorem may not claim more."""

from collections.abc import Iterable

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.statements.derived.library import MEANS, NEXT, ORACLES, SPEAKS_OF
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import same_rule
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["beyond"]


def beyond(theorem: Theorem, used: Iterable[Step]) -> str:
    """Return what a theorem claims beyond its derivation; "" if nothing.

    Args:
        theorem: the theorem.
        used: the steps on which its statement rests.
    """
    steps = {step.label: step for step in used}
    if theorem.any_partition:
        return "its steps speak of the blocks of H, not of any blocks that rules may have"
    return _other_rules(theorem, steps) or _other_runs(theorem, steps)


def _other_rules(theorem: Theorem, steps: dict[str, Step]) -> str:
    orbit = adam_on_orbit()
    for own in theorem.own_rules:
        known = orbit if own.name == orbit.name else RULES.get(own.name)
        if known is None or not same_rule(own, known):
            return f"{own.name} is a rule of its own, which no step speaks of"
    names = {*theorem.rules, *(own.name for own in theorem.own_rules)}
    for label in sorted(set(steps) & set(SPEAKS_OF)):
        if not names or names - set(SPEAKS_OF[label]):
            other = ", ".join(sorted(names - set(SPEAKS_OF[label]))) or "all rules"
            return f"{label} holds of {', '.join(SPEAKS_OF[label])}, not of {other}"
    return ""


def _other_runs(theorem: Theorem, steps: dict[str, Step]) -> str:
    fixed = [step.label for step in steps.values() if _takes_rate_as_constant(step)]
    if fixed and theorem.any_schedule:
        return f"{fixed[0]} takes the rate as constant"
    oracles = {ORACLES[label] for label in steps.keys() & ORACLES.keys()} or {"full"}
    if oracles != {theorem.oracle}:
        return f"its steps speak of a gradient of the oracle {', '.join(sorted(oracles))}, not of {theorem.oracle}"
    means = sorted(steps.keys() & MEANS)
    if means and theorem.kind != "expectation":
        return f"{means[0]} is about a mean, not about a single run"
    return ""


def _takes_rate_as_constant(step: Step) -> bool:
    claims: tuple[sp.Basic, ...] = ()
    if step.by in ("rule", "definition"):
        claims = (step.claim,)
    elif step.by in ("induction", "next"):  # a recursion may be one at a constant rate
        claims = tuple(NEXT[symbol] for symbol in step.claim.free_symbols & NEXT.keys() if symbol != Symbol.t)
    return any(Symbol.eta in claim.free_symbols for claim in claims if isinstance(claim, sp.Basic))
