"""Check exported proofs without quadsim, on SymPy and Z3 alone: `python -m quadsim.theory.proof_checker proofs.json`.

docs/export.md has the schema: a table of what is taken on trust, and theorems with hypotheses, steps and statement. Every step
is proved again from the claims that it uses. What a theorem rests on is returned, for a reader to judge.
"""

import json
import operator as op
import sys
from functools import partial, reduce
from typing import Any

import sympy as sp
import z3


class Rejected(ValueError):
    """A step that does not follow, or a file of another form."""


class Undecided(Rejected):
    """A step of which Z3 does not say within its limit whether it follows."""


class _Opaque(sp.Function):  # type: ignore[misc]
    is_real = True
    is_positive = property(lambda self: (self.nargs == {1} and self.args[0].is_positive) or None)
    is_nonnegative = property(lambda self: (self.nargs == {1} and self.args[0].is_nonnegative) or None)


# Over all blocks (names end in _l), coordinates (_i) or pairs (_p); SumIn: over the coordinates of a block; Ratio: a quotient
# that counts as 0 where its numerator is 0.
_NARGS = {"SumIn": 1, "SumOver": 1, "MaxOver": 1, "MinOver": 1, "Ratio": 2}
SumIn, SumOver, *_REST = (type(name, (_Opaque,), {"nargs": n}) for name, n in _NARGS.items())
_LOGIC = {"==": sp.Eq, "!=": sp.Ne, "<=": sp.Le, ">=": sp.Ge, "<": sp.Lt, ">": sp.Gt}
_LOGIC |= {"and": sp.And, "or": sp.Or, "implies": sp.Implies}
_MAKE = {f.__name__: f for f in (sp.Abs, sp.sign, sp.Max, sp.Min, sp.log, sp.exp, sp.asin, SumIn, SumOver, *_REST)}
_MAKE |= {"+": sp.Add, "*": sp.Mul, "^": sp.Pow, "/": sp.Rational, "pi": lambda: sp.pi, "true": lambda: sp.true}
_MAKE |= {word: partial(make, evaluate=False) for word, make in _LOGIC.items()}
_Z3 = {sp.Eq: op.eq, sp.Ne: op.ne, sp.Le: op.le, sp.Ge: op.ge, sp.Lt: op.lt, sp.Gt: op.gt, sp.And: z3.And, sp.Or: z3.Or}
_Z3 |= {sp.Implies: z3.Implies, sp.Add: z3.Sum, sp.Mul: z3.Product, sp.Abs: lambda a: z3.If(a >= 0, a, -a)}
_Z3[sp.sign] = lambda a: z3.If(a > 0, z3.RealVal(1), z3.If(a < 0, z3.RealVal(-1), z3.RealVal(0)))
_Z3[sp.Max] = lambda *all_: reduce(lambda a, b: z3.If(a >= b, a, b), all_)
_Z3[sp.Min] = lambda *all_: reduce(lambda a, b: z3.If(a <= b, a, b), all_)
_LIMIT = 300_000  # operations of Z3 for a question; every exported proof needs less than a tenth
_SIGNS = {"is_positive": op.gt, "is_nonnegative": op.ge, "is_nonzero": op.ne}


def _require(holds: Any, why: str) -> None:
    if not holds:
        raise Rejected(why)


def _indices(x: Any) -> str:
    for over in sorted(x.atoms(_Opaque), key=sp.count_ops, reverse=True):
        x = x.xreplace({over: sp.Symbol("block_l") if isinstance(over, SumIn) else sp.S.One})
    return "".join(k for k in "ipl" if any(s.name.endswith(f"_{k}") for s in x.free_symbols))


def _linear(x: Any) -> Any:
    """Return an expression whose sums are of one term each, without the factors that have no index."""
    for total in sorted(x.atoms(SumOver, SumIn), key=sp.count_ops):
        kept, out = {e: sp.Dummy(real=True) for e in total.args[0].atoms(_Opaque)}, sp.S.Zero
        back, summed = {letter: e for e, letter in kept.items()}, "i" if isinstance(total, SumIn) else "ipl"
        for term in sp.Add.make_args(sp.expand(total.args[0].xreplace(kept))):
            parts = [f.xreplace(back) for f in sp.Mul.make_args(term)]
            inner = [f for f in parts if set(_indices(f)) & set(summed)]
            out += sp.Mul(*(f for f in parts if f not in inner)) * total.func(sp.Mul(*inner)) if term != 0 else 0
        x = x.xreplace({total: out})
    return x


class _Question:
    """One to Z3. A premise that is not defined (divisor 0, root of a negative number) is false; a claim must be defined."""

    def __init__(self, premises: Any) -> None:
        self.letters, self.domain, self.known = dict[Any, Any](), list[Any](), list[Any]()
        self.known += [self.relation(x) for x in premises]
        _require(not self.contradicts(), "what it uses contradicts itself")
        self.domain = []

    def contradicts(self, *more: Any) -> bool:
        """Whether no numbers satisfy what is known and more; each time a new solver, as one that goes on is far slower.

        Raises:
            Undecided: Z3 reached its limit.
        """
        solver = z3.SolverFor("QF_NRA")
        solver.set("rlimit", _LIMIT)
        solver.add(*self.known, *more)
        answer = solver.check()
        if more and answer == z3.unknown:
            raise Undecided("Z3 does not decide it within its limit")
        return bool(answer == z3.unsat)

    def follows(self, *wanted: Any) -> bool:
        return self.contradicts(z3.Not(z3.And(*wanted, *self.domain)))

    def relation(self, x: Any) -> Any:
        if x.is_Symbol or x in (sp.true, sp.false):
            return z3.Bool(x.name) if x.is_Symbol else z3.BoolVal(bool(x))
        if isinstance(x, sp.And | sp.Or | sp.Implies):
            return _Z3[x.func](*(self.relation(part) for part in x.args))
        before = len(self.domain)
        relation = _Z3[x.func](*(self.real(side) for side in x.args))
        return z3.And(relation, *self.domain[before:])

    def real(self, x: Any) -> Any:
        if x.is_Rational:
            return z3.Q(int(x.p), int(x.q))
        args = [] if isinstance(x, _Opaque) else [self.real(argument) for argument in x.args]
        if x.func in _Z3:
            return _Z3[x.func](*args)
        self.domain += [args[0] > 0] if isinstance(x, sp.log) else []
        if x.is_Pow:
            self.domain += [args[0] >= 0] * (not x.exp.is_integer) + [args[0] != 0] * (not x.exp.is_nonnegative)
            if x.exp.is_Integer:
                product = z3.Product([args[0]] * abs(int(x.exp)))
                return product if x.exp > 0 else 1 / product
            if x.exp.is_Rational and x.exp.q == 2 and x.exp.p != 1:
                return self.real(sp.Pow(sp.Pow(x.base, sp.S.Half, evaluate=False), x.exp.p, evaluate=False))
        _require(x.is_real or x.is_Pow or isinstance(x, sp.log | sp.asin), f"{x} is not a real number")
        if x not in self.letters:
            self.letters[x] = new = z3.Real(f"x{len(self.letters)}")
            self.known += [of(new, 0) for name, of in _SIGNS.items() if getattr(x, name)]
            if x.is_Pow and x.exp == sp.S.Half:
                self.known += [z3.Implies(args[0] >= 0, z3.And(new >= 0, new * new == args[0]))]
        return self.letters[x]


def _follows(claim: Any, premises: Any, identity: bool = False) -> bool:
    """Whether SymPy, or Z3 where it need not be an identity, proves a claim, which must be defined; names are put in."""
    if isinstance(claim, sp.And) or claim == sp.true:
        return all(_follows(part, premises, identity) for part in claim.args)
    parts = [part for x in premises for part in sp.And.make_args(x) if part != sp.true]
    named = {x.lhs: x.rhs for x in parts if isinstance(x, sp.Eq) and not x.rhs.has(x.lhs)}
    names = {x: value for x, value in named.items() if x.is_Symbol}

    def put_in(x: Any) -> Any:
        return _linear(reduce(lambda y, _: y.xreplace(names), names, x))

    called = {put_in(x): put_in(y) for x, y in named.items() if x.is_Mul and not x.has(SumOver, SumIn)}
    rest = sp.expand(put_in(claim.lhs - claim.rhs)).subs(called) if isinstance(claim, sp.Eq) else sp.S.One
    ways = (sp.expand, lambda x: sp.expand(sp.together(x)), lambda x: sp.simplify(sp.powsimp(sp.expand(x))))
    same = any(way(rest) == 0 for way in ways)
    if not all(s.is_commutative for s in claim.free_symbols):
        divisors = [x.base for x in claim.atoms(sp.Pow) if not x.exp.is_nonnegative]
        return same and all(x.assumptions0.get("invertible") for x in divisors)
    parts = [_linear(x) for x in parts if all(s.is_commutative for s in x.free_symbols)]
    question = _Question(parts)
    as_written = question.relation(_linear(claim))
    if same or identity or not question.follows():
        return same and question.follows()
    question.known += [question.relation(put_in(x)) for x in parts]
    return question.contradicts(z3.Not(as_written), z3.Not(question.relation(put_in(claim))))


class _File:
    def __init__(self, document: Any) -> None:
        _require(document["format"] == "quadsim proof 1", "the format must be quadsim proof 1")
        self.symbols = {name: sp.Symbol(name, **assumed) for name, assumed in document["symbols"].items()}
        self.table, self.t = document["table"], self.symbols["t"]
        moved = {k: {self.read(x): self.read(value) for x, value in document[k].items()} for k in ("start", "next")}
        self.to = moved | {"before": {self.t: self.t - 1}}
        self.constant, self.later = ({self.read(x) for x in document[key]} for key in ("constant", "later"))

    def read(self, node: Any) -> Any:
        if isinstance(node, list):
            return _MAKE[node[0]](*(self.read(x) for x in node[1:]))
        _require(type(node) in (int, str), f"a number must be an integer, got {node}")
        return self.symbols[node] if isinstance(node, str) else sp.Integer(node)

    def moved(self, claim: Any, to: Any) -> Any:
        changing = claim.free_symbols - self.constant
        _require(changing <= to.keys(), f"it is not known what {changing - to.keys()} is at that step")
        _require(not changing & self.later or changing <= self.later, "its quantities count from different steps")
        return claim.subs(to, simultaneous=True)

    def entry(self, step: Any, claim: Any, used: Any) -> int:
        """Check that a claim is an entry of the table, with values for its letters, and return the level of the entry."""
        entry, values = self.table[step["entry"]], {self.read(k): self.read(v) for k, v in step["certificate"].items()}
        _require(step["certificate"].keys() == entry["letters"].keys(), "its letters are others")
        for letter, value in values.items():
            kind, question = entry["letters"][letter.name], _Question(used)
            real = question.real(value)
            signs = [of(real, 0) for name, of in _SIGNS.items() if getattr(letter, name)]
            fits = {"no index": not _indices(value), "constant": value.free_symbols <= self.constant}.get(kind, True)
            fits &= value.is_integer or not letter.is_integer
            _require(fits and question.follows(*signs), f"{value} may not stand for {letter}")
        for premise in (self.read(x).xreplace(values) for x in entry["premises"]):
            _require(premise in used or _follows(premise, used), f"{premise} is not known")
        _require(claim == self.read(entry["claim"]).xreplace(values), "the table has another claim")
        return int(entry["level"])

    def step(self, step: Any, known: Any) -> Any:
        """Return the claim of a step, its level (1: it holds before t, 2: before t - 1) and what it assumes of step t."""
        claim, method, uses = self.read(step["claim"]), step["method"], [known[x] for x in step["uses"]]
        used = [x for x, _, _ in uses] + [self.read(x) for x in step.get("given", ())]
        level, on = max((n for _, n, _ in uses), default=0), frozenset[Any]().union(*(on for _, _, on in uses))
        if method == "table":
            level = max(level, self.entry(step, claim, used))
        elif method == "assume":
            on |= {claim}
        elif method == "induction":
            plain = [x for x, n, assumed in uses if not n and not assumed]
            then, first = self.moved(claim, self.to["next"]), claim.subs(self.to["start"], simultaneous=True)
            _require(_follows(first, plain) and _follows(then, [claim, *used]), "a step does not follow from the last")
            level, on = max(level - 1, 0), on - {claim}
        elif method in self.to:
            _require(claim == self.moved(used[0], self.to[method]) and not on, "it is not what it uses at that step")
            made = level <= 1 and sp.Ge(self.t, 1, evaluate=False) in used
            _require(method == "next" or made or (method == "start" and not level), "it needs t >= 1")
            level = level + (level > 0) if method == "next" else 0
        elif method == "combination":
            parts = [(known[x][0], self.read(m)) for x, m in step["certificate"].items() if x in step["uses"]]
            kinds, positive = {claim.func, *(x.func for x, _ in parts)}, all(m.is_positive for _, m in parts)
            above = [(x.rhs - x.lhs if x.func == sp.Le else x.lhs - x.rhs) * m for x, m in [(claim, -1), *parts]]
            exact = kinds == {sp.Eq} or (kinds <= {sp.Eq, sp.Le, sp.Ge} and claim.func != sp.Eq and positive)
            exact = exact and _follows(sp.Eq(sp.Add(*above), 0, evaluate=False), used, True)
            _require(exact, "it is no such combination")
        elif method in ("sum", "sum in a block"):
            over, first = SumOver if method == "sum" else SumIn, used[0]
            total = [_linear(over(side)) for side in first.args]
            kinds = {_indices(x.args[0])[:1] for side in total for x in side.atoms(SumOver)}
            _require(len(kinds) <= 1 and "" not in kinds, "its sides are summed over different indices")
            sides = [sp.Eq(a, b, evaluate=False) for a, b in zip(claim.args, total, strict=True)]
            same = claim.func == first.func and all(_follows(x, used, True) for x in sides)
            _require(same, "it is not the sum of what it uses")
        else:
            follows = method in ("identity", "z3") and _follows(claim, used, method == "identity")
            _require(follows, "it does not follow")
        return claim, level, on

    def check(self, theorem: Any) -> dict[str, Any]:
        known = {h["label"]: (self.read(h["claim"]), 0, frozenset[Any]()) for h in theorem["hypotheses"]}
        for step in (*theorem["lemmas"], *theorem["steps"]):
            _require(step["label"] not in known, f"{step['label']} is the label of another step")
            try:
                known[step["label"]] = self.step(step, known)
            except Rejected as why:
                raise type(why)(f"{theorem['name']}, step {step['label']!r}: {why}") from why
        for step in theorem["steps"][-1:]:
            claim, level, on = known[step["label"]]
            _require(claim == self.read(theorem["statement"]), "the last step is not the statement")
            _require(not level and not on, "the statement holds at some steps only")
        entries = sorted({step["entry"] for step in theorem["steps"] if step["method"] == "table"})
        verdict = "proved" if theorem["steps"] else "lemmas proved"
        return {"theorem": theorem["name"], "verdict": verdict, "rests on": entries}


def check_document(document: Any) -> list[dict[str, Any]]:
    """Check the theorems of a document, and return of each its verdict and the entries of the table on which it rests.

    Raises:
        Rejected: a step does not follow, or the file has another form.
        Undecided: a kind of it, where Z3 reaches its limit.
    """
    try:
        return [_File(document).check(theorem) for theorem in document["theorems"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected(f"it is not of the form that docs/export.md describes: {error!r}") from error


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            print(json.dumps(check_document(json.load(file)), indent=2))
