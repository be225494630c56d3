"""Check a derivation: a graph of labelled steps that leads from definitions, rules and hypotheses to the statement.

A step's claim is about named quantities (`quadsim.theory.symbols`, `definitions`): one symbol means one thing in the whole
derivation, so a claim may be used as it stands. A symbol with an index (`lambda_i`, `L_l`) stands for that of any mode i, of any
block l with i in l. A step follows from those that it `uses` in one of these ways (`Step.by`):

- `definition`: the formula with that label in DEFINITIONS, unchanged;
- `rule`: the step of a Rule, worked out again from its expressions; the label is "rule NAME";
- "" (algebra): SymPy or Z3 prove it from the claims used, which numbers satisfy together;
- `sum`, `sum in a block`: both sides of a claim for every mode (or block) are added up; equations that are used say what a sum
  is called;
- `extreme`: MaxOver(x) >= x or MinOver(x) <= x; `every`: a bound of x for every index that has none is one of its extreme;
- `part`: x <= SumOver(x) for an x >= 0; `linear`: H x = a H y + b H z from x = a y + b z for every coordinate, which
  induction assumes as well; `quadratic`: the form of H at x = y + a p, expanded;
- `vertices`: a bound of a convex form at all vectors of signs is one in the whole box [-1, 1]^P;
- `induction`: it holds at step 0, and from step t follows step t + 1; what every symbol is a step later must be known;
- `start`, `next`, `last`: what holds at every step holds at step 0, and a step later; what holds before t holds at t - 1;
- `fact: NAME`: an instance of a named fact, whose conditions are proved from what is used.

A claim holds at every step t (level 0), at the steps before t alone (level 1: what is remembered of them) or at those before
t - 1 (level 2: two of them that follow each other). It has the highest level of what it uses; induction lowers it by one, as
a step from s to s + 1 that is good for all s < t reaches t. Only claims of level 0 end in the statement.

Some definitions hold only where a vector has a property: the claim that it has is among what they use (PREMISES).

A theorem whose rate may follow a schedule may not use that the rate is constant; that of another may, by the label "lr is
constant". A label that holds of some rules only (SPEAKS_OF) must hold of every rule of the theorem, and one that is about a mean
or about noise stands in a theorem of that kind only; see `scope`.

Labels of hypotheses are their texts. The last step is made here: the theorem's own relation, with the quantities, the direction
and the reductions that runs are checked against. Changing any of them breaks it, and so does leaving out a hypothesis that is
used; a hypothesis that is not used is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.forms import positive_form
from quadsim.theory.statements.derived.library import (
    CONSTANT_RATE,
    DEFINITIONS,
    HYPOTHESES,
    LEVELS,
    NEEDS,
    NEXT,
    PREMISES,
    RELATIONS,
    START,
    step_of_rule,
)
from quadsim.theory.statements.derived.schemas import FACTS, SCHEMAS, counted_apart, is_stationary, turned
from quadsim.theory.statements.derived.scope import beyond
from quadsim.theory.statements.named import rate
from quadsim.theory.statements.proving import Discharge, Step, prove, undefined
from quadsim.theory.statements.steps import NEVER
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import SumIn, SumOver, Symbol

__all__ = ["CONSTANT_RATE", "Derived", "concludes", "derive", "statement_step"]

_STATEMENT = "statement"
_CONCLUSIVE = "for the conclusion"  # how the reason of a step begins that the conclusion may use beside the last one


@dataclass(frozen=True)
class Derived:
    """The result of checking a derivation.

    Attributes:
        steps: each step with the result of its check, the conclusion last.
        unused: texts of the hypotheses that the conclusion does not rest on.
    """

    steps: tuple[tuple[Step, Discharge], ...]
    unused: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every step follows, up to the statement itself."""
        return bool(self.steps) and all(found.status in ("proved", "cited") for _, found in self.steps)


def derive(theorem: Theorem) -> Derived | None:
    """Check the derivation of a theorem; None if it has none."""
    if theorem.derivation is None:
        return None
    try:
        steps = theorem.derivation()
    except ValueError as error:  # the rule is not even of the kind that the derivation speaks of
        wrong = Step(NEVER, "the step of the rule", label="rule")
        return Derived(((wrong, Discharge("refuted", "the rule itself", 0.0, {"rule": str(error)})),), ())
    conclusion = statement_step(theorem, steps)
    known = _hypotheses(theorem)
    levels: dict[str, int] = dict.fromkeys(known, 0)
    resting: dict[str, frozenset[str]] = {}
    seen: dict[str, Step] = {}
    found: list[tuple[Step, Discharge]] = []
    for step in (*steps, conclusion):
        try:
            discharge, level = _follows(step, known, levels, resting)
            resting[step.label], reason = _assumptions(step, known, resting)
            if refused := _of_label(step, theorem, seen) or reason:
                discharge = _unknown(refused)
        except ValueError as error:
            discharge, level = _unknown(str(error)), 0
        found.append((step, discharge))
        if step.label:
            known[step.label], levels[step.label] = step.claim, level
            seen[step.label] = step
    reached = _ancestors(found)
    if found[-1][1].status == "proved" and (reason := beyond(theorem, (x for x, _ in found if x.label in reached))):
        found[-1] = (conclusion, _unknown(reason))
    return Derived(tuple(found), tuple(h.text for h in theorem.conditions if h.text not in reached))


def _assumptions(
    step: Step, known: Mapping[str, Any], resting: Mapping[str, frozenset[str]]
) -> tuple[frozenset[str], str]:
    """Return the labels of the assumptions on which a step rests, and why it may not rest on them; "" if it may.

    The claim of an induction may be assumed at step t (`assume`). What follows from it holds at that step alone, until the
    induction itself, which needs it for the step from t to t + 1, discharges it.
    """
    if step.by == "assume":
        return frozenset([step.label]), ""
    on = frozenset().union(*(resting.get(label, frozenset()) for label in step.uses))
    if step.by == "induction":
        other = [label for label in sorted(on) if known[label] != step.claim]
        return frozenset(other), f"{other[0]} is assumed, and is not what the induction proves" if other else ""
    if on and (step.by in ("start", "last", "next") or step.label == _STATEMENT):
        return on, f"{min(on)} is assumed of the step t alone"
    return on, ""


def _of_label(step: Step, theorem: Theorem, seen: Mapping[str, Step]) -> str:
    """Return why a step may not have its label; "" if it may: it would stand for another step, or for a hypothesis."""
    if step.label in seen and seen[step.label] != step:
        return f"{step.label} is the label of another step"
    if step.label in HYPOTHESES or step.label in (h.text for h in theorem.conditions):
        return f"{step.label} is the label of a hypothesis"
    return ""


def _hypotheses(theorem: Theorem) -> dict[str, Any]:
    """Return the labels that a derivation may use from the start, with their relations."""
    constant = {} if theorem.any_schedule else {CONSTANT_RATE: sp.Eq(rate, Symbol.eta, evaluate=False)}
    return {h.text: h.relation for h in theorem.conditions} | constant


def _same(relation: Any, other: Any) -> bool:
    """Whether two hypotheses say the same: both none in symbols, or the same relation."""
    if relation is None or other is None:
        return relation is other
    return bool(relation == other)


def statement_step(theorem: Theorem, steps: tuple[Step, ...]) -> Step:
    """Return the last step of a derivation: the statement, from its last step and those that are for the conclusion."""
    return Step(
        theorem.relation_of_values,
        "conclusion: the statement, as runs are held against it",
        label=_STATEMENT,
        uses=(steps[-1].label, *(step.label for step in steps if step.because.startswith(_CONCLUSIVE))),
    )


def concludes(theorem: Theorem, steps: tuple[Step, ...]) -> bool:
    """Whether the statement follows from the last of the steps of a derivation, which are taken as checked."""
    known = _hypotheses(theorem) | {step.label: step.claim for step in steps}
    try:
        return _follows(statement_step(theorem, steps), known, dict.fromkeys(known, 0))[0].status == "proved"
    except ValueError:
        return False


def _ancestors(found: list[tuple[Step, Discharge]]) -> set[str]:
    """Return the labels on which the last step rests."""
    uses = {step.label: step.uses for step, _ in found}
    reached: set[str] = set()
    waiting = list(found[-1][0].uses)
    while waiting:
        label = waiting.pop()
        if label not in reached:
            reached.add(label)
            waiting += uses.get(label, ())
    return reached


def _unknown(reason: str) -> Discharge:
    return Discharge("unknown", "derivation", 0.0, {"uses": reason})


def _proved(by: str, holds: bool, reason: str) -> Discharge:
    return Discharge("proved", by, 0.0) if holds else _unknown(reason)


def _follows(
    step: Step,
    known: Mapping[str, Any],
    levels: Mapping[str, int],
    resting: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> tuple[Discharge, int]:
    """Return the result for a step, and the level of its claim."""
    missing = [label for label in step.uses if label not in known]
    if missing:
        return _unknown(f"there is no earlier step, definition or hypothesis {missing[0]!r}"), 0
    for needed in NEEDS.get(step.label, ()):
        if needed not in step.uses:
            return _unknown(f"{step.label} needs the hypothesis {needed!r}"), 0
        if needed != CONSTANT_RATE and not _same(known[needed], RELATIONS.get(needed)):
            return _unknown(f"the hypothesis {needed!r} is not the one that {step.label} needs"), 0
    given = tuple(known[label] for label in step.uses)
    before = max((levels[label] for label in step.uses), default=0)
    if step.by == "definition":
        return _by_definition(step, given), max(before, LEVELS.get(step.label, 0))
    if step.by == "assume":
        return Discharge("cited", "assumed at step t, for the induction", 0.0), before
    if step.by == "rule":
        same = step_of_rule(step.label.removeprefix("rule ")) == step.claim
        return _proved("the rule", same, "the rule has another step"), 0
    if any(relation is None for relation in given):
        return _unknown("a hypothesis without a relation cannot be used in algebra"), 0
    if step.by == "induction":
        plain = tuple(known[label] for label in step.uses if not levels[label] and not resting.get(label))
        return _by_induction(step.claim, plain, given), max(before - 1, 0)
    level, wrong = _level(step, given, before)
    if wrong:
        return _unknown(wrong), level
    if step.by:
        return _by_schema(step, given), level
    return _by_algebra(step.claim, given), level


def _level(step: Step, given: tuple[Any, ...], before: int) -> tuple[int, str]:
    """Return the level of a claim from that of what it uses, and why it does not follow from such claims; "" if it does."""
    if step.by in ("start", "last"):  # of a step before t, which must exist
        if before > 1:
            return before, "it holds before step t - 1 alone, which may be none"
        if before and sp.Ge(Symbol.t, 1, evaluate=False) not in given:
            return before, "a step before t needs t >= 1"
        return 0, ""
    if step.by == "next" and before:
        return before + 1, ""  # what holds at the steps before t holds a step later at those before t - 1
    if step.by and step.by not in (*SCHEMAS, *FACTS, "form"):
        return before, f"there is no way {step.by!r} in which a step follows"
    if step.label == _STATEMENT and before:
        return before, "what it uses holds at the steps before t alone"
    return before, ""


def _by_definition(step: Step, given: tuple[Any, ...]) -> Discharge:
    if DEFINITIONS.get(step.label) != step.claim:
        return _unknown(f"{step.label} is defined otherwise")
    for premise in PREMISES.get(step.label, ()):
        if premise not in given:
            return _unknown(f"{step.label} holds only where {premise}, which is not among what it uses")
    return Discharge("cited", step.label, 0.0)


def _by_induction(claim: Any, plain: tuple[Any, ...], given: tuple[Any, ...]) -> Discharge:
    """Prove a claim at step 0, from what holds at every step, and at step t + 1 from step t."""
    if not is_stationary(claim):
        return _unknown("it is not known what every symbol of it is a step later")
    if wrong := counted_apart(claim):
        return _unknown(wrong)
    start = _by_algebra(claim.subs(START, simultaneous=True), plain)
    if start.status != "proved":
        return start
    return _by_algebra(claim.subs(NEXT, simultaneous=True), (claim, *turned(claim), *given))


def _by_schema(step: Step, given: tuple[Any, ...]) -> Discharge:
    if step.by in FACTS:
        return _by_fact(step, given)
    wrong = _why_no_form(step.claim, given) if step.by == "form" else SCHEMAS[step.by](step.claim, given)
    return _proved(step.by, not wrong, wrong)


def _by_fact(step: Step, given: tuple[Any, ...]) -> Discharge:
    conditions = FACTS[step.by](step.claim)
    if conditions is None:
        return _unknown(f"it is no instance of the {step.by}")
    for condition in conditions:
        found = _by_algebra(condition, given)
        if found.status != "proved":
            return found
    return Discharge("proved", step.by, 0.0)


def _why_no_form(claim: Any, given: tuple[Any, ...]) -> str:
    equations = {x.lhs: x.rhs for x in _parts(given) if isinstance(x, sp.Eq)}
    rest = tuple(x for x in _parts(given) if not isinstance(x, sp.Eq))
    return positive_form(claim, equations, lambda relation: _by_algebra(relation, rest).status == "proved")


def _parts(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return relations, of a conjunction each part."""
    return tuple(part for x in given for part in (x.args if isinstance(x, sp.And) else (x,)))


@lru_cache(maxsize=4096)
def _by_algebra(claim: Any, given: tuple[Any, ...]) -> Discharge:
    """Prove a claim from others; equations for a symbol are put in first, so that powers of any exponent can be compared."""
    if claim == sp.true:
        return Discharge("proved", "SymPy", 0.0)
    if claim == sp.false:
        return Discharge("refuted", "SymPy", 0.0)
    if isinstance(claim, sp.And):
        each = [_by_algebra(part, given) for part in claim.args]
        return next((found for found in each if found.status != "proved"), each[0])
    flat = _parts(given)
    equations = {x.lhs: x.rhs for x in flat if isinstance(x, sp.Eq) and x.lhs.is_Symbol and not x.rhs.has(x.lhs)}
    products = {x.lhs: x.rhs for x in flat if isinstance(x, sp.Eq) and x.lhs.is_Mul and not x.lhs.atoms(SumOver, SumIn)}
    if (equations or products) and (wrong := _contradiction(flat, equations) or undefined(claim, flat)):
        return _unknown(wrong)
    if isinstance(claim, sp.Eq) or not equations:
        rest = tuple(x for x in flat if not (isinstance(x, sp.Eq) and x.lhs in equations))
        put_in = _put_in(claim, equations)
        if isinstance(claim, sp.Eq) and products:
            put_in = put_in.func(*(sp.expand(side).subs(products) for side in put_in.args), evaluate=False)
        found = _prove(put_in, rest)
        if found.status == "proved":
            return found
    found = _prove(claim, flat)
    if found.status == "proved" or not equations or isinstance(claim, sp.Eq):
        return found
    put_in, *others = (_put_in(x, equations) for x in (claim, *flat))
    return _prove(put_in, tuple(x for x in others if x != sp.true))


def _contradiction(given: tuple[Any, ...], equations: Mapping[sp.Symbol, sp.Expr]) -> str:
    """Return an equation that contradicts another or the sign of its symbol, from which anything would follow; "" if none."""
    for x in given:
        if isinstance(x, sp.Eq) and x.lhs in equations:
            value, symbol = _put_in(x, equations).rhs, x.lhs
            signs = (symbol.is_positive and value.is_nonpositive, symbol.is_nonnegative and value.is_negative)
            other = (_put_in(x, equations).lhs - value).is_nonzero
            if any(signs) or other:
                return f"{x} contradicts what else is given"
    return ""


def _prove(claim: Any, given: tuple[Any, ...]) -> Discharge:
    """Prove a relation; of numbers alone, as 0 = 0 once the equations are put in, it is decided without the prover."""
    if not claim.free_symbols:
        return _proved("SymPy", claim.func(*claim.args) == sp.true, f"{claim} does not hold")
    return prove(Step(claim, "from what the step uses", given))


def _put_in(relation: Any, equations: Mapping[sp.Symbol, sp.Expr]) -> Any:
    """Return a relation in which symbols are replaced by what they equal, as often as there are equations."""
    for _ in equations:
        relation = relation.func(*(side.xreplace(dict(equations)) for side in relation.args), evaluate=False)
    return relation
