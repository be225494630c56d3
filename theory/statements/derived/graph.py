"""Check a derivation: a graph of labelled steps that leads from definitions, rules and hypotheses to the statement.

A step's claim is about named quantities (`quadsim.theory.symbols`, `definitions`): one symbol means one thing in the whole
derivation, so a claim may be used as it stands. A symbol with an index (`lambda_i`, `L_l`) stands for that of any mode i, of any
block l with i in l. A step follows from those that it `uses` in one of these ways (`Step.by`):

- `definition`: the formula with that label in DEFINITIONS, unchanged;
- `rule`: the step of a Rule, worked out again from its expressions; the label is "rule NAME";
- "" (algebra): SymPy or Z3 prove it from the claims used, which numbers satisfy together;
- `sum`: both sides of a claim for every mode (or block) are added up; equations that are used say what a sum is called;
- `extreme`: MaxOver(x) >= x or MinOver(x) <= x;
- `induction`: it holds at step 0, and from step t follows step t + 1.

Labels of hypotheses are their texts. The last step is made here: the theorem's own relation, with the quantities, the direction
and the reductions that runs are checked against. Changing any of them breaks it, and so does leaving out a hypothesis that is
used; a hypothesis that is not used is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.definitions import DEFINITIONS, NEEDS, NEXT, START, step_of_rule
from quadsim.theory.statements.proving import Discharge, Step, prove
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["Derived", "concludes", "derive"]

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
        wrong = Step(sp.Eq(0, 1, evaluate=False), "the step of the rule", label="rule")
        return Derived(((wrong, Discharge("refuted", "the rule itself", 0.0, {"rule": str(error)})),), ())
    conclusion = _conclusion(theorem, steps)
    known: dict[str, Any] = {h.text: h.relation for h in theorem.conditions}
    found: list[tuple[Step, Discharge]] = []
    for step in (*steps, conclusion):
        try:
            found.append((step, _follows(step, known)))
        except ValueError as error:
            found.append((step, _unknown(str(error))))
        if step.label:
            known[step.label] = step.claim
    return Derived(tuple(found), tuple(h.text for h in theorem.conditions if h.text not in _ancestors(found)))


def _conclusion(theorem: Theorem, steps: tuple[Step, ...]) -> Step:
    return Step(
        theorem.relation_of_values,
        "conclusion: the statement, as runs are held against it",
        label="statement",
        uses=(steps[-1].label, *(step.label for step in steps if step.because.startswith(_CONCLUSIVE))),
    )


def concludes(theorem: Theorem, steps: tuple[Step, ...]) -> bool:
    """Whether the statement follows from the last of the steps of a derivation, which are taken as checked."""
    known = {step.label: step.claim for step in steps}
    try:
        return _follows(_conclusion(theorem, steps), known).status == "proved"
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


def _follows(step: Step, known: Mapping[str, Any]) -> Discharge:
    missing = [label for label in step.uses if label not in known]
    if missing:
        return _unknown(f"there is no earlier step, definition or hypothesis {missing[0]!r}")
    lacking = [needed for needed in NEEDS.get(step.label, ()) if needed not in step.uses]
    if lacking:
        return _unknown(f"{step.label} needs the hypothesis {lacking[0]!r}")
    if step.by == "definition":
        if DEFINITIONS.get(step.label) != step.claim:
            return _unknown(f"{step.label} is defined otherwise")
        return Discharge("cited", step.label, 0.0)
    if step.by == "rule":
        same = step_of_rule(step.label.removeprefix("rule ")) == step.claim
        return _proved("the rule", same, "the rule has another step")
    if step.by == "extreme":
        return _proved(
            "extreme", _is_extreme(step.claim), "it is no maximum over, or minimum over, what it is compared with"
        )
    given = tuple(known[label] for label in step.uses)
    if any(relation is None for relation in given):
        return _unknown("a hypothesis without a relation cannot be used in algebra")
    if step.by == "sum":
        return _proved("sum", _is_sum(step.claim, given), "it is not the sum of what it uses")
    if step.by == "induction":
        start = _by_algebra(step.claim.subs(START, simultaneous=True), given)
        onward = _by_algebra(step.claim.subs(NEXT, simultaneous=True), (step.claim, *given))
        return onward if start.status == "proved" else start
    return _by_algebra(step.claim, given)


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
    flat = tuple(part for x in given for part in (x.args if isinstance(x, sp.And) else (x,)))
    equations = {x.lhs: x.rhs for x in flat if isinstance(x, sp.Eq) and x.lhs.is_Symbol and not x.rhs.has(x.lhs)}
    products = {x.lhs: x.rhs for x in flat if isinstance(x, sp.Eq) and x.lhs.is_Mul and not x.lhs.atoms(SumOver)}
    if isinstance(claim, sp.Eq) or not equations:
        rest = tuple(x for x in flat if not (isinstance(x, sp.Eq) and x.lhs in equations))
        put_in = _put_in(claim, equations)
        if isinstance(claim, sp.Eq) and products:
            put_in = put_in.func(*(sp.expand(side).subs(products) for side in put_in.args), evaluate=False)
        found = prove(Step(put_in, "with the equations put in", rest))
        if found.status == "proved":
            return found
    found = prove(Step(claim, "as it stands", flat))
    if found.status == "proved" or not equations or isinstance(claim, sp.Eq):
        return found
    put_in, *others = (_put_in(x, equations) for x in (claim, *flat))
    return prove(Step(put_in, "with the equations put in", tuple(x for x in others if x != sp.true)))


def _put_in(relation: Any, equations: Mapping[sp.Symbol, sp.Expr]) -> Any:
    """Return a relation in which symbols are replaced by what they equal, as often as there are equations."""
    for _ in equations:
        relation = relation.func(*(side.xreplace(dict(equations)) for side in relation.args), evaluate=False)
    return relation


def _is_extreme(claim: Any) -> bool:
    """Whether a claim is x <= MaxOver(x) or MinOver(x) <= x, for any x with an index."""
    if isinstance(claim, sp.Ge):
        claim = sp.Le(claim.rhs, claim.lhs, evaluate=False)
    if not isinstance(claim, sp.Le):
        return False
    low, high = claim.args
    return (isinstance(high, MaxOver) and high.args[0] == low) or (isinstance(low, MinOver) and low.args[0] == high)


def _is_sum(claim: Any, given: tuple[Any, ...]) -> bool:
    """Whether a claim is the sum, over its index, of the first relation given; the others say what a sum is called."""
    premise, names = given[0], given[1:]
    if premise.func != claim.func or not all(isinstance(name, sp.Eq) for name in names):
        return False
    called = {name.lhs: name.rhs for name in names}
    for part, whole in zip(premise.args, claim.args, strict=True):
        summed = _terms(SumOver(part), called)
        if summed is None or summed != _terms(whole, called):
            return False
    return True


def _terms(expression: sp.Expr, called: Mapping[sp.Expr, sp.Expr]) -> dict[sp.Expr, sp.Expr] | None:
    """Return a sum of sums as summand to coefficient without an index, zeros left out; None for any other expression."""
    out: dict[sp.Expr, sp.Expr] = {}
    # Extremes are left as they are: expanded inside, two that are equal may look different.
    atoms = {over: sp.Symbol(f"extreme {sp.srepr(over)}", real=True) for over in expression.atoms(MaxOver, MinOver)}
    expression = expression.xreplace(atoms)
    for name, value in sorted(called.items(), key=lambda item: -sp.count_ops(item[0])):
        # A product may be called by a sum, as P Lambda_P.
        expression = expression.xreplace({name: value}) if name.is_Symbol else expression.subs(name, value)
    for term in sp.Add.make_args(sp.expand(expression)):
        sums = [x for x in sp.Mul.make_args(term) if isinstance(x, SumOver)]
        if len(sums) != 1:
            if term != 0:
                return None
            continue
        outside = sp.Mul(*(x for x in sp.Mul.make_args(term) if x is not sums[0]))
        if _indexed(outside):
            return None
        for inner in sp.Add.make_args(sp.expand(sums[0].args[0])):
            free = [x for x in sp.Mul.make_args(inner) if not _indexed(x)]
            summand = sp.Mul(*(x for x in sp.Mul.make_args(inner) if _indexed(x)))
            out[summand] = sp.expand(out.get(summand, sp.S.Zero) + outside * sp.Mul(*free))
    return {summand: factor for summand, factor in out.items() if factor != 0}


def _indexed(expression: sp.Expr) -> bool:
    """Whether an expression depends on an index: a symbol with one, outside any reduction."""
    for over in expression.atoms(MaxOver, MinOver, SumOver):
        expression = expression.xreplace({over: Symbol.P})
    return any(str(symbol)[-2:] in ("_l", "_i") for symbol in expression.free_symbols)
