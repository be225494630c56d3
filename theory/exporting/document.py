"""Proofs as a document that a checker reads which knows nothing of this package (`quadsim.theory.proof_checker`).

What derivations take from the library (definitions, steps of rules, named facts, linear algebra) becomes entries of one table,
formulas with letters; every other step is proved by the checker. Steps that follow by a schema of the library become instances
of an entry.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from quadsim.theory.exporting.expressions import Names
from quadsim.theory.statements.derived import library
from quadsim.theory.statements.derived.forms import forms_in
from quadsim.theory.statements.derived.graph import Derived, derive
from quadsim.theory.statements.derived.schemas import combination, turned
from quadsim.theory.statements.named import rate
from quadsim.theory.statements.proving import Discharge, Step, prove
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import MaxOver, MinOver, SumIn, SumOver, Symbol

__all__ = ["FORMAT", "proof_document"]

FORMAT, SETTING = "quadsim proof 1", "setting"


@dataclass(frozen=True)
class Entry:
    """A formula that is taken on trust, for any values of its letters."""

    claim: Any
    premises: tuple[Any, ...] = ()
    letters: Mapping[sp.Symbol, str] = field(default_factory=dict)
    level: int = 0


def _le(left: Any, right: Any) -> Any:
    return sp.Le(left, right, evaluate=False)


def _eq(left: Any, right: Any) -> Any:
    return sp.Eq(left, right, evaluate=False)


_x, _y, _c, _A, _B, _C, _u, _v = sp.symbols("any_x any_y any_c any_A any_B any_C any_u any_v", real=True)
_p, _q = sp.symbols("any_p any_q", positive=True)
_nn = sp.Symbol("any_n_l", nonnegative=True)  # with an index, as it is summed
_k, _n = sp.symbols("any_k any_j", integer=True)
_ANY, _FIXED, _CONSTANT = "any", "no index", "constant"
_EVERY = {_x: _ANY, _c: _FIXED}

FACTS: Mapping[str, Entry] = {
    "largest": Entry(_le(_x, MaxOver(_x)), letters={_x: _ANY}),
    "smallest": Entry(_le(MinOver(_x), _x), letters={_x: _ANY}),
    "part of a sum": Entry(_le(_nn, SumOver(_nn)), letters={_nn: _ANY}),
    "every x <= c": Entry(_le(MaxOver(_x), _c), (_le(_x, _c),), _EVERY),
    "every x >= c": Entry(sp.Ge(MinOver(_x), _c, evaluate=False), (sp.Ge(_x, _c, evaluate=False),), _EVERY),
    "c <= every x": Entry(_le(_c, MinOver(_x)), (_le(_c, _x),), _EVERY),
    "c >= every x": Entry(sp.Ge(_c, MaxOver(_x), evaluate=False), (sp.Ge(_c, _x, evaluate=False),), _EVERY),
    "every x = c, largest": Entry(_eq(MaxOver(_x), _c), (_eq(_x, _c),), _EVERY),
    "every x = c, smallest": Entry(_eq(MinOver(_x), _c), (_eq(_x, _c),), _EVERY),
    "fact: tangent of the logarithm": Entry(_le(sp.log(_p), _p - 1), letters={_p: _ANY}),
    "fact: logarithm of a quotient": Entry(_eq(sp.log(_p / _q), sp.log(_p) - sp.log(_q)), letters={_p: _ANY, _q: _ANY}),
    "fact: the logarithm rises": Entry(_le(sp.log(_p), sp.log(_q)), (_le(_p, _q),), {_p: _ANY, _q: _ANY}),
    "fact: integers": Entry(
        sp.Or(_le(_k, _n), sp.Ge(_k, _n + 1, evaluate=False), evaluate=False), letters={_k: _ANY, _n: _ANY}
    ),
    "form in two variables": Entry(
        sp.Ge(_A * _u**2 + 2 * _B * _u * _v + _C * _v**2, 0, evaluate=False),
        (
            sp.Ge(_A, 0, evaluate=False),
            sp.Ge(_C, 0, evaluate=False),
            sp.Ge(_A * _C, _B**2, evaluate=False),
        ),
        dict.fromkeys((_A, _B, _C, _u, _v), _ANY),
    ),
}
"""Facts that hold of any numbers."""


Proved = tuple[tuple[tuple[Step, Discharge], ...], Derived | None]
"""The lemmas of a theorem with the results of their checks, and its derivation."""


def proof_document(*theorems: Theorem, proved: Proved | None = None) -> dict[str, Any]:
    """Return theorems with their proofs as plain data, in the format that docs/export.md describes.

    Args:
        theorems: the theorems. One without a derivation has its lemmas only.
        proved: of a single theorem, its lemmas and its derivation where they have been checked already.

    Raises:
        ValueError: a theorem that claims more than its derivation speaks of, or a step that the format cannot express.
    """
    names, table, written = Names(), dict[str, Entry](), []
    names.name(Symbol.t)
    for theorem in theorems:
        found = (tuple((step, prove(step)) for step in theorem.proof), derive(theorem)) if proved is None else proved
        written.append(_Written(theorem, names, table).theorem(*found))
    entries = {label: _entry(entry, names) for label, entry in table.items()}
    by_name = {names.name(s): s for s in names.known}
    return {
        "format": FORMAT,
        "symbols": names.declared,
        "table": entries,
        **_time(by_name, names),
        "theorems": written,
    }


def _entry(entry: Entry, names: Names) -> dict[str, Any]:
    return {
        "claim": names.write(entry.claim),
        "premises": [names.write(x) for x in entry.premises],
        "letters": {names.name(letter): kind for letter, kind in entry.letters.items()},
        "level": entry.level,
    }


def _time(symbols: Mapping[str, sp.Symbol], names: Names) -> dict[str, Any]:
    """Return what the declared quantities are at step 0 and a step later, and which of them do not change."""
    return {
        "start": {name: names.write(sp.sympify(library.START[s])) for name, s in symbols.items() if s in library.START},
        "next": {name: names.write(sp.sympify(library.NEXT[s])) for name, s in symbols.items() if s in library.NEXT},
        "constant": sorted(names.name(s) for s in names.known if s in library.CONSTANT),
        "later": sorted(names.name(s) for s in names.known if s in library.LATER),
    }


class _Written:
    """A theorem as it is written."""

    def __init__(self, theorem: Theorem, names: Names, table: dict[str, Entry]) -> None:
        self._theorem, self._names, self._table = theorem, names, table
        self._claims: dict[str, Any] = {}
        self._out: list[dict[str, Any]] = []

    def theorem(self, lemmas: tuple[tuple[Step, Discharge], ...], derived: Derived | None) -> dict[str, Any]:
        """Return the theorem as plain data."""
        theorem, write = self._theorem, self._names.write
        self._claims = {h.text: _word(h.text) if h.relation is None else h.relation for h in theorem.conditions}
        if not theorem.any_schedule:
            self._claims[library.CONSTANT_RATE] = _eq(rate, Symbol.eta)
        self._claims[SETTING] = _setting(theorem)
        hypotheses = [{"label": label, "claim": write(claim)} for label, claim in self._claims.items()]
        written = [self._lemma(number, *lemma) for number, lemma in enumerate(lemmas, 1)]
        for step, found in dict(() if derived is None else derived.steps).items():
            self._step(step, found)
        return {
            "name": theorem.name,
            "statement": write(theorem.relation_of_values),
            "latex": theorem.statement,
            "hypotheses": hypotheses,
            "lemmas": written,
            "steps": self._out,
        }

    def _lemma(self, number: int, step: Step, found: Discharge) -> dict[str, Any]:
        out = {"label": f"lemma {number}", "because": step.because, "uses": []}
        if step.is_cited:
            entry = f"{step.because}: {step.claim}"
            self._table.setdefault(entry, Entry(_word(step.claim)))
            return out | {
                "claim": self._names.write(_word(step.claim)),
                "method": "table",
                "entry": entry,
                "certificate": {},
            }
        given = [self._names.write(x) for x in step.given]
        return out | {"claim": self._names.write(step.claim), "given": given, "method": _method(found)}

    def _add(self, label: str, claim: Any, uses: tuple[str, ...], method: str, **more: Any) -> None:
        self._claims[label] = claim
        written = {"label": label, "claim": self._names.write(claim), "uses": list(uses), "method": method}
        self._out.append(written | more)

    def _instance(
        self, label: str, claim: Any, uses: tuple[str, ...], entry: str, letters: Mapping[sp.Symbol, Any] | None = None
    ) -> None:
        values = {self._names.name(letter): self._names.write(value) for letter, value in (letters or {}).items()}
        self._add(label, claim, uses, "table", entry=entry, certificate=values)

    def _from_table(
        self, step: Step, name: str, entry: Entry, letters: Mapping[sp.Symbol, Any], uses: tuple[str, ...] | None = None
    ) -> None:
        """Add the instance of an entry; where its claim is written otherwise than that of the step, the step after it."""
        self._table.setdefault(name, entry)
        claim, on = entry.claim.xreplace(dict(letters)), step.uses if uses is None else uses
        if claim == step.claim:
            self._instance(step.label, claim, on, name, letters)
            return
        self._instance(f"{step.label}: by the table", claim, on, name, letters)
        label = f"{step.label}: by the table"
        if isinstance(step.claim, sp.Eq):
            self._add(step.label, step.claim, (label, *step.uses), "identity")
        else:  # left less right is the same, once what is named is put in
            low, high = step.claim.args if isinstance(step.claim, sp.Le) else reversed(step.claim.args)
            called = [x for x in step.uses if isinstance(self._claims[x], sp.Eq) and self._claims[x].lhs == high - low]
            certificate = dict.fromkeys([label, *called], 1)
            self._add(step.label, step.claim, (label, *step.uses), "combination", certificate=certificate)

    def _step(self, step: Step, found: Discharge) -> None:
        ways: dict[str, Callable[[Step], None]] = {
            "definition": self._definition, "rule": self._definition, "extreme": self._extreme, "every": self._every,
            "part": self._part, "linear": self._linear, "quadratic": self._quadratic, "vertices": self._vertices,
            "modes": self._in_an_eigenbasis, "transposed": self._in_an_eigenbasis, "form": self._form,
            "induction": self._induction,
        }  # fmt: skip
        if step.by in ways:
            ways[step.by](step)
        elif not step.by and found.by == "Z3" and (multipliers := self._multipliers(step)):
            self._add(step.label, step.claim, step.uses, "combination", certificate=multipliers)
        elif step.by.startswith("fact: "):
            self._fact(step)
        else:
            method = {"": _method(found), "last": "before"}.get(step.by, step.by)
            self._add(step.label, step.claim, step.uses, method)

    def _multipliers(self, step: Step) -> dict[str, Any]:
        """Return what an equation that is used has to be multiplied by to give the claim; empty if no single one does.

        That is a certificate: polynomials are compared, and Z3 has to show no more than that no divisor is 0.
        """
        if not isinstance(step.claim, sp.Eq):
            return {}
        top, bottom = sp.fraction(sp.together(step.claim.lhs - step.claim.rhs))
        for label in step.uses:
            premise = self._claims[label]
            if isinstance(premise, sp.Eq) and top.free_symbols >= premise.free_symbols:
                factor = sp.cancel(top / (premise.lhs - premise.rhs))
                if sp.fraction(factor)[1].is_number:
                    return {label: self._names.write(sp.factor(factor) / bottom)}
        return {}

    def _definition(self, step: Step) -> None:
        label = step.label
        needs = [library.RELATIONS.get(text, _word(text)) for text in library.NEEDS.get(label, ())]
        needs = [_eq(rate, Symbol.eta) if need == _word(library.CONSTANT_RATE) else need for need in needs]
        premises = (*needs, *library.PREMISES.get(label, ()), *_scope(step))
        self._table.setdefault(label, Entry(step.claim, premises, level=library.LEVELS.get(label, 0)))
        self._instance(label, step.claim, (*step.uses, SETTING), label)

    def _extreme(self, step: Step) -> None:
        low, high = step.claim.args if isinstance(step.claim, sp.Le) else reversed(step.claim.args)
        largest = isinstance(high, MaxOver) and high.args[0] == low
        name, value = ("largest", low) if largest else ("smallest", high)
        self._from_table(step, name, FACTS[name], {_x: value})

    def _part(self, step: Step) -> None:
        self._from_table(step, "part of a sum", FACTS["part of a sum"], {_nn: step.claim.lhs})

    def _every(self, step: Step) -> None:
        given = self._claims[step.uses[0]]
        for name, entry in FACTS.items():
            if "every" in name and entry.claim.func == step.claim.func:
                for x, c in (given.args, given.args[::-1]):
                    letters = {_x: x, _c: c}
                    if entry.claim.xreplace(letters) == step.claim and entry.premises[0].xreplace(letters) == given:
                        self._from_table(step, name, entry, letters)
                        return
        raise ValueError(f"{step.label} must bound the extreme of what is bounded for every index, got {step.claim}.")

    def _fact(self, step: Step) -> None:
        claim = step.claim
        if step.by == "fact: tangent of the logarithm":
            letters = {_p: claim.lhs.args[0]}
        elif step.by == "fact: the logarithm rises":
            letters = {_p: claim.lhs.args[0], _q: claim.rhs.args[0]}
        elif step.by == "fact: logarithm of a quotient":
            above = next(x for x in claim.rhs.args if isinstance(x, sp.log))
            below = next(x for x in claim.rhs.args if isinstance(-x, sp.log))
            letters = {_p: above.args[0], _q: (-below).args[0]}
        else:
            low = next(x for x in claim.args if isinstance(x, sp.Le))
            letters = {_k: low.lhs, _n: low.rhs}
        self._from_table(step, step.by, FACTS[step.by], letters)

    def _vectors(self, uses: Iterable[str]) -> Iterable[tuple[Any, dict[sp.Symbol, sp.Expr]]]:
        known = library.TURNED.keys() | library.ENERGIES.keys()
        for label in uses:
            claim = self._claims[label]
            for part in claim.args if isinstance(claim, sp.And) else (claim,):
                found = combination(part.rhs) if isinstance(part, sp.Eq) and part.lhs in known else None
                if found:
                    yield part, found

    def _linear(self, step: Step, uses: tuple[str, ...] | None = None) -> None:
        for relation, parts in self._vectors(step.uses):
            image = library.TURNED.get(relation.lhs)
            if step.claim.lhs != image:
                continue
            letters = dict(zip((sp.Symbol(f"any_{n}", real=True) for n in "ab"), parts.values(), strict=False))
            combined = list(zip(letters, parts, strict=True))
            entry = Entry(
                _eq(image, sp.Add(*(a * library.TURNED[x] for a, x in combined))),
                (_eq(relation.lhs, sp.Add(*(a * x for a, x in combined))),),
                dict.fromkeys(letters, _FIXED),
            )
            name = f"H is linear: {relation.lhs} of {', '.join(map(str, parts))}"
            self._from_table(step, name, entry, letters)
            return
        raise ValueError(f"{step.label} must be the image by H of a combination of vectors, got {step.claim}.")

    def _quadratic(self, step: Step) -> None:
        a = sp.Symbol("any_a", real=True)
        for relation, parts in self._vectors(step.uses):
            if len(parts) != 2 or step.claim.lhs != library.ENERGIES.get(relation.lhs):
                continue
            y = next(x for x in parts if parts[x] == 1 and x in library.ENERGIES)
            p = next(x for x in parts if x != y)
            whole = library.ENERGIES[y] + a * SumIn(library.TURNED[y] * p) + a**2 / 2 * library.FORMS[p]
            entry = Entry(_eq(step.claim.lhs, whole), (_eq(relation.lhs, y + a * p),), {a: _FIXED})
            self._from_table(step, f"form of H: {relation.lhs} of {y} and {p}", entry, {a: parts[p]})
            return
        raise ValueError(f"{step.label} must be the form of H along a step, got {step.claim}.")

    def _vertices(self, step: Step) -> None:
        at_vertex, coordinate, _form, free = library.BOXED[step.claim.lhs]
        c = sp.Symbol("any_n", nonnegative=True)
        plain = not step.claim.rhs.free_symbols & free
        bound, letters = (c, {c: step.claim.rhs}) if plain else (step.claim.rhs, {})
        box = sp.And(_le(-1, coordinate), _le(coordinate, 1))
        entry = Entry(_le(step.claim.lhs, bound), (_le(at_vertex, bound), box), dict.fromkeys(letters, _CONSTANT))
        self._from_table(step, f"convex form in a box: {step.claim.lhs}", entry, letters)

    def _in_an_eigenbasis(self, step: Step) -> None:
        premises = tuple(self._claims[label] for label in step.uses)
        self._from_table(step, f"in letters: {step.claim}", Entry(step.claim, premises), {})

    def _form(self, step: Step) -> None:
        equations: dict[Any, Any] = {}
        for label in step.uses:
            claim = self._claims[label]
            equations |= {x.lhs: x.rhs for x in sp.And.make_args(claim) if isinstance(x, sp.Eq)}
        left, right = step.claim.args if isinstance(step.claim, sp.Ge) else reversed(step.claim.args)
        difference = equations.get(left - right, left - right)
        symbols = {name: value for name, value in equations.items() if name.is_Symbol}
        for _ in symbols:
            difference = difference.xreplace(symbols)
        (u, v), (A, B, C) = next(forms_in(sp.expand(difference)))
        self._from_table(
            step, "form in two variables", FACTS["form in two variables"], {_A: A, _B: B, _C: C, _u: u, _v: v}
        )

    def _induction(self, step: Step) -> None:
        uses = step.uses
        for image in turned(step.claim):
            assumed, label = f"{step.label}: assumed", f"{step.label}: its image by H"
            self._add(assumed, step.claim, (), "assume")
            self._linear(Step(image, label, label=label, uses=(assumed,)))
            uses = (*uses, label)
        self._add(step.label, step.claim, uses, "induction")


def _word(text: str) -> sp.Symbol:
    """Return what the format has for a condition in words: a name without a value."""
    return sp.Symbol(text, word=True)


def _method(found: Discharge) -> str:
    return "identity" if found.by == "SymPy" else "z3"


def _setting(theorem: Theorem) -> Any:
    """Return of which rules and which runs a theorem speaks, in words."""
    rules = sorted({*theorem.rules, *(own.name for own in theorem.own_rules)}) or ["any"]
    words = [f"schedule: {'any' if theorem.any_schedule else 'constant'}", f"oracle: {theorem.oracle}"]
    words.append("of a mean" if theorem.kind == "expectation" else "of a run")
    return sp.And(sp.Or(*(_word(f"rule: {name}") for name in rules)), *map(_word, words))


def _scope(step: Step) -> Iterator[Any]:
    """Yield the settings without which a definition, or the step of a rule, may not be used."""
    label = step.label
    if label in library.SPEAKS_OF:
        yield sp.Or(*(_word(f"rule: {name}") for name in library.SPEAKS_OF[label]))
    if label in library.ORACLES or label in library.SPEAKS_OF:
        yield _word(f"oracle: {library.ORACLES.get(label, 'full')}")
    if isinstance(step.claim, sp.Basic) and Symbol.eta in step.claim.free_symbols:
        yield _word("schedule: constant")
    if label in library.MEANS:
        yield _word("of a mean")
