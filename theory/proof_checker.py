"""Check exported proofs without quadsim, on SymPy and Z3 alone: `python -m quadsim.theory.proof_checker proofs.json`.

docs/export.md has the schema: a table of what is taken on trust, and theorems with hypotheses, steps and statement. Every step
is proved again from the claims that it uses. What a theorem rests on is returned, for a reader to judge.
"""

import json
import sys
from functools import partial, reduce
from typing import Any

import sympy as sp
import z3


class Rejected(ValueError):
    """A step that does not follow, or a file of another form."""


class _Opaque(sp.Function):  # type: ignore[misc]
    is_real = True
    is_positive = property(lambda self: (self.nargs == {1} and self.args[0].is_positive) or None)
    is_nonnegative = property(lambda self: (self.nargs == {1} and self.args[0].is_nonnegative) or None)


# Over all blocks (names end in _l), coordinates (_i) or pairs (_p); SumIn: over the coordinates of a block.
SumIn, SumOver, *_REST = (type(n, (_Opaque,), {"nargs": 1}) for n in ("SumIn", "SumOver", "MaxOver", "MinOver"))
_REST.append(type("Ratio", (_Opaque,), {"nargs": 2}))  # a quotient that counts as 0 where its numerator is 0
_COMPARE = {"==": sp.Eq, "!=": sp.Ne, "<=": sp.Le, ">=": sp.Ge, "<": sp.Lt, ">": sp.Gt}
_LOGIC = _COMPARE | {"and": sp.And, "or": sp.Or, "implies": sp.Implies}
_MAKE = {f.__name__: f for f in (sp.Abs, sp.sign, sp.Max, sp.Min, sp.log, sp.exp, sp.asin, SumIn, SumOver, *_REST)}
_MAKE |= {"+": sp.Add, "*": sp.Mul, "^": sp.Pow, "/": sp.Rational, "pi": lambda: sp.pi, "true": lambda: sp.true}
_MAKE |= {word: partial(make, evaluate=False) for word, make in _LOGIC.items()}
_Z3 = dict(
    zip(
        _COMPARE.values(), (getattr(z3.ArithRef, f"__{n}__") for n in ("eq", "ne", "le", "ge", "lt", "gt")), strict=True
    )
)
_SIGNS = {"is_positive": _Z3[sp.Gt], "is_nonnegative": _Z3[sp.Ge], "is_nonzero": _Z3[sp.Ne]}
_Z3 |= {sp.Add: z3.ArithRef.__add__, sp.Mul: z3.ArithRef.__mul__, sp.And: z3.And, sp.Or: z3.Or, sp.Implies: z3.Implies}
_Z3 |= {sp.Max: lambda a, b: z3.If(a >= b, a, b), sp.Min: lambda a, b: z3.If(a <= b, a, b)}


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
        self.letters, self.solver, self.domain = dict[Any, Any](), z3.Solver(), list[Any]()
        self.solver.set("rlimit", 10_000_000)
        self.solver.add(*(self.relation(x, z3.And) for x in premises))
        _require(self.solver.check() != z3.unsat, "what it uses contradicts itself")
        self.domain = []

    def relation(self, x: Any, join: Any = lambda relation, *_: relation) -> Any:
        if x.is_Symbol or x in (sp.true, sp.false):
            return z3.Bool(x.name) if x.is_Symbol else z3.BoolVal(bool(x))
        if isinstance(x, sp.And | sp.Or | sp.Implies):
            return _Z3[x.func](*(self.relation(part, join) for part in x.args))
        before, self.domain = self.domain, []
        relation = join(_Z3[x.func](*(self.real(side) for side in x.args)), *self.domain)
        self.domain += before
        return relation

    def real(self, x: Any) -> Any:
        args = [] if isinstance(x, _Opaque) else [self.real(argument) for argument in x.args]
        if x.is_Rational or x.func in _Z3:
            return z3.Q(int(x.p), int(x.q)) if x.is_Rational else reduce(_Z3[x.func], args)
        if isinstance(x, sp.Abs | sp.sign):
            one = args[0] if isinstance(x, sp.Abs) else z3.RealVal(1)
            return z3.If(args[0] > 0, one, z3.If(args[0] < 0, -one, z3.RealVal(0)))
        self.domain += [args[0] > 0] if isinstance(x, sp.log) else []
        if x.is_Pow:
            self.domain += [args[0] >= 0] * (not x.exp.is_integer) + [args[0] != 0] * (not x.exp.is_nonnegative)
            if x.exp.is_Rational and x.exp.q <= 2 and x.exp != sp.S.Half:
                base = args[0] if x.exp.is_Integer else self.real(sp.Pow(x.base, sp.S.Half, evaluate=False))
                product = reduce(_Z3[sp.Mul], [base] * abs(int(x.exp.p)))
                return product if x.exp > 0 else 1 / product
        _require(x.is_real or x.is_Pow or isinstance(x, sp.log | sp.asin), f"{x} is not a real number")
        if x not in self.letters:
            self.letters[x] = new = z3.Real(f"x{len(self.letters)}")
            self.solver.add(*(of(new, 0) for name, of in _SIGNS.items() if getattr(x, name)))
            self.solver.add(
                z3.Implies(args[0] >= 0, z3.And(new >= 0, new * new == args[0]))
                if x.is_Pow and x.exp == sp.S.Half
                else True
            )
        return self.letters[x]

    def follows(self, *wanted: Any) -> bool:
        self.solver.add(z3.Not(z3.And(*wanted, *self.domain)))
        return bool(self.solver.check() == z3.unsat)


def _follows(claim: Any, premises: Any, how: str = "any") -> bool:
    """Whether SymPy ("identity") or Z3 ("z3") proves a claim, which must be defined; what names stand for is put in."""
    if isinstance(claim, sp.And):
        return all(_follows(part, premises, how) for part in claim.args)
    if how == "any" or claim == sp.true:
        return bool(claim == sp.true) or any(_follows(claim, premises, way) for way in ("identity", "z3"))
    parts = [part for x in premises for part in sp.And.make_args(x) if part != sp.true]
    named = {x.lhs: x.rhs for x in parts if isinstance(x, sp.Eq) and not x.rhs.has(x.lhs)}
    products = {x: value for x, value in named.items() if x.is_Mul and not x.has(SumOver, SumIn)}
    names = {x: value for x, value in named.items() if x.is_Symbol}
    parts = [_linear(x) for x in parts if all(s.is_commutative for s in x.free_symbols)]

    def put_in(x: Any) -> Any:
        return _linear(reduce(lambda y, _: y.xreplace(names), names, x))

    if how == "identity":
        rest = sp.expand(put_in(claim.lhs - claim.rhs)).subs(products) if isinstance(claim, sp.Eq) else sp.S.One
        ways = (sp.expand, lambda x: sp.expand(sp.together(x)), lambda x: sp.simplify(sp.powsimp(sp.expand(x))))
        if not any(way(rest) == 0 for way in ways):
            return False
        if not all(s.is_commutative for s in claim.free_symbols):
            divisors = [x.base for x in claim.atoms(sp.Pow) if not x.exp.is_nonnegative]
            return all(x.assumptions0.get("invertible") for x in divisors)
    elif (question := _Question(parts)).follows(question.relation(_linear(claim))):
        return True
    defined, question = _Question(parts), _Question([] if how == "identity" else map(put_in, parts))
    defined.relation(_linear(claim))
    return defined.follows() and (how == "identity" or question.follows(question.relation(put_in(claim))))


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
            kinds = [claim.func, *(x.func for x, _ in parts)]
            exact = all(kind == sp.Eq for kind in kinds) or (
                set(kinds) <= {sp.Eq, sp.Ge, sp.Le} and claim.func != sp.Eq and all(m.is_positive for _, m in parts)
            )
            _require(exact, "it is no such combination")
            above = [(x.rhs - x.lhs if x.func == sp.Le else x.lhs - x.rhs) * m for x, m in [(claim, -1), *parts]]
            rest = sp.Add(*above)
            _require(_follows(sp.Eq(rest, 0, evaluate=False), used, "identity"), "it is no such combination")
        elif method in ("sum", "sum in a block"):
            over = SumOver if method == "sum" else SumIn
            total = used[0].func(*(_linear(over(side)) for side in used[0].args), evaluate=False)
            kinds = {_indices(x.args[0])[:1] for x in total.atoms(SumOver)}
            _require(len(kinds) <= 1 and "" not in kinds, "its sides are summed over different indices")
            _require(_follows(claim, [total, *used[1:]]), "it is not the sum of what it uses")
        else:
            _require(method in ("identity", "z3") and _follows(claim, used, method), "it does not follow")
        return claim, level, on

    def check(self, theorem: Any) -> dict[str, Any]:
        known = {h["label"]: (self.read(h["claim"]), 0, frozenset[Any]()) for h in theorem["hypotheses"]}
        for step in (*theorem["lemmas"], *theorem["steps"]):
            _require(step["label"] not in known, f"{step['label']} is the label of another step")
            try:
                known[step["label"]] = self.step(step, known)
            except Rejected as why:
                raise Rejected(f"{theorem['name']}, step {step['label']!r}: {why}") from why
        for step in theorem["steps"][-1:]:
            claim, level, on = known[step["label"]]
            _require(claim == self.read(theorem["statement"]), "the last step is not the statement")
            _require(not level and not on, "the statement holds at some steps only")
        verdict = "proved" if theorem["steps"] else "lemmas proved"
        entries = {step["entry"] for step in theorem["steps"] if step["method"] == "table"}
        return {"theorem": theorem["name"], "verdict": verdict, "rests on": sorted(entries)}


def check_document(document: Any) -> list[dict[str, Any]]:
    """Check the theorems of a document, and return of each its verdict and the entries of the table on which it rests.

    Raises:
        Rejected: a step does not follow, or the file has another form.
    """
    try:
        return [_File(document).check(theorem) for theorem in document["theorems"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected(f"it is not of the form that docs/export.md describes: {error!r}") from error


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            print(json.dumps(check_document(json.load(file)), indent=2))
