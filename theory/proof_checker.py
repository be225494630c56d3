"""Check exported proofs without quadsim, on SymPy and Z3 alone: `python -m quadsim.theory.proof_checker proofs.json`.

docs/export.md has the schema: a table of what is taken on trust, and theorems with hypotheses, steps and statement. Every step
is proved again from the claims that it uses. What a theorem rests on is returned, for a reader to judge.
"""

import json
import sys
from functools import reduce
from typing import Any

import sympy as sp
import z3


class Rejected(ValueError):
    """A step that does not follow, or a file of another form."""


class _Opaque(sp.Function):  # type: ignore[misc]
    is_real = True
    is_positive = property(lambda self: (type(self) is not Ratio and self.args[0].is_positive) or None)
    is_nonnegative = property(lambda self: (type(self) is not Ratio and self.args[0].is_nonnegative) or None)


# Over all blocks (names end in _l), coordinates (_i) or pairs (_p); SumIn: over the coordinates of a block.
_OPAQUE = Ratio, SumIn, SumOver, _, _ = [
    type(n, (_Opaque,), {}) for n in ("Ratio", "SumIn", "SumOver", "MaxOver", "MinOver")
]
_COMPARE = {"==": sp.Eq, "!=": sp.Ne, "<=": sp.Le, ">=": sp.Ge, "<": sp.Lt, ">": sp.Gt}
_LOGIC = {**_COMPARE, "and": sp.And, "or": sp.Or, "implies": sp.Implies}
_MAKE = {f.__name__: f for f in (sp.Abs, sp.sign, sp.Max, sp.Min, sp.log, sp.exp, sp.asin, *_OPAQUE)}
_MAKE |= {"+": sp.Add, "*": sp.Mul, "^": sp.Pow, "/": sp.Rational, "pi": lambda: sp.pi, "true": lambda: sp.true}
_Z3 = dict(zip(_COMPARE.values(), (getattr(z3.ArithRef, f"__{n}__") for n in "eq ne le ge lt gt".split()), strict=True))
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


def _linear(x: Any) -> Any:  # sums of one term each, without the factors that have no index
    for total in sorted(x.atoms(SumOver, SumIn), key=sp.count_ops):
        kept, out = {e: sp.Dummy(real=True) for e in total.args[0].atoms(_Opaque)}, sp.S.Zero
        back, summed = {letter: e for e, letter in kept.items()}, "i" if isinstance(total, SumIn) else "ipl"
        for term in sp.Add.make_args(sp.expand(total.args[0].xreplace(kept))):
            parts = [f.xreplace(back) for f in sp.Mul.make_args(term)]
            inner = [f for f in parts if set(_indices(f)) & set(summed)]
            out += sp.Mul(*(f for f in parts if f not in inner), term != 0 and total.func(sp.Mul(*inner)))
        x = x.xreplace({total: out})
    return x


class _Reals:  # A premise that is not defined (divisor 0, root of a negative number) is false; a claim must be defined.
    def __init__(self, premises: Any) -> None:
        self.letters, self.solver, self.domain = dict[Any, Any](), z3.Solver(), list[Any]()
        self.solver.set("rlimit", 30_000_000)
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
            if x.exp.is_Integer or (x.exp.is_Rational and x.exp.q == 2 and x.exp.p != 1):
                base = args[0] if x.exp.is_Integer else self.real(sp.Pow(x.base, sp.S.Half, evaluate=False))
                product = reduce(_Z3[sp.Mul], [base] * abs(int(x.exp.p)))
                return product if x.exp > 0 else 1 / product
        _require(x.is_real, f"{x} is not a real number")
        if x not in self.letters:
            self.letters[x] = new = z3.Real(f"x{len(self.letters)}")
            self.solver.add(*(of(new, 0) for name, of in _SIGNS.items() if getattr(x, name)))
            if x.is_Pow and x.exp == sp.S.Half:
                self.solver.add(z3.Implies(args[0] >= 0, z3.And(new >= 0, new * new == args[0])))
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
        return _defined(claim, parts)
    if (question := _Reals(parts)).follows(question.relation(_linear(claim))):
        return True
    question = _Reals(put_in(x) for x in parts)
    return _defined(claim, parts) and question.follows(question.relation(put_in(claim)))


def _defined(x: Any, premises: Any) -> bool:
    question = _Reals(premises)
    question.relation(_linear(x))
    return question.follows()


class _File:
    def __init__(self, document: Any) -> None:
        _require(document["format"] == "quadsim proof 1", "the format must be quadsim proof 1")
        self.symbols = {name: sp.Symbol(name, **assumed) for name, assumed in document["symbols"].items()}
        self.table, time = document["table"], document["time"]
        self.to = {k: {self.read(x): self.read(value) for x, value in time[k].items()} for k in ("start", "next")}
        self.to["before"] = {self.symbols["t"]: self.symbols["t"] - 1}
        self.constant, self.later = ({self.read(x) for x in time[key]} for key in ("constant", "later"))

    def read(self, node: Any) -> Any:
        if isinstance(node, list):
            _require(node[0] in (_MAKE | _LOGIC), f"{node[0]} is no function of the format")
            args = node[1:] if node[0] == "/" else [self.read(x) for x in node[1:]]
            return _LOGIC[node[0]](*args, evaluate=False) if node[0] in _LOGIC else _MAKE[node[0]](*args)
        _require(node in self.symbols if isinstance(node, str) else type(node) is int, f"{node} is no name or integer")
        return self.symbols[node] if isinstance(node, str) else sp.Integer(node)

    def moved(self, claim: Any, to: Any) -> Any:
        changing = claim.free_symbols - self.constant
        _require(changing <= to.keys(), f"it is not known what {changing - to.keys()} is at that step")
        _require(not changing & self.later or changing <= self.later, "its quantities count from different steps")
        return claim.subs(to, simultaneous=True)

    def entry(self, step: Any, claim: Any, used: Any) -> int:
        entry, given = self.table[step["entry"]], {self.read(k): self.read(v) for k, v in step["letters"].items()}
        _require(step["letters"].keys() == entry["letters"].keys(), "its letters are others")
        for letter, value in given.items():
            kind, question = entry["letters"][letter.name], _Reals(used)
            signs = [of(question.real(value), 0) for name, of in _SIGNS.items() if getattr(letter, name)]
            _require(question.real(value) is not None and question.follows(*signs), f"{value} is no {letter}")
            _require(value.is_integer or not letter.is_integer, f"{value} is no integer")
            _require(kind != "no index" or not _indices(value), f"{value} has an index")
            _require(kind != "constant" or value.free_symbols <= self.constant, f"{value} changes along a run")
        for premise in (self.read(x).xreplace(given) for x in entry["premises"]):
            _require(premise in used or _follows(premise, used), f"{premise} is not known")
        _require(claim == self.read(entry["claim"]).xreplace(given), "the table has another claim")
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
            made = sp.Ge(self.symbols["t"], 1, evaluate=False) in used
            _require(method == "next" or (made and level <= 1) or (method == "start" and not level), "it needs t >= 1")
            level = level + (level > 0) if method == "next" else 0
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
        """Check a theorem, and return its verdict and the entries of the table on which its statement rests.

        Raises:
            Rejected: a step does not follow, or the last one is not the statement.
        """
        known = {h["label"]: (self.read(h["claim"]), 0, frozenset[Any]()) for h in theorem["hypotheses"]}
        for step in (*theorem["lemmas"], *theorem["steps"]):
            try:
                _require(step["label"] not in known, "its label is taken")
                known[step["label"]] = self.step(step, known)
            except (Rejected, KeyError, TypeError) as error:
                raise Rejected(f"{theorem['name']}, step {step['label']!r}: {error!r}") from error
        for step in theorem["steps"][-1:]:
            claim, level, on = known[step["label"]]
            _require(claim == self.read(theorem["statement"]), f"{theorem['name']}: the last step is not the statement")
            _require(not level and not on, f"{theorem['name']}: the statement holds at some steps only")
        verdict = "proved" if theorem["steps"] else "lemmas proved"
        entries = {step["entry"] for step in theorem["steps"] if step["method"] == "table"}
        return {"theorem": theorem["name"], "verdict": verdict, "rests on": sorted(entries)}


def check_document(document: Any) -> list[dict[str, Any]]:
    """Check the theorems of a document, each as `_File.check` does."""
    return [_File(document).check(theorem) for theorem in document["theorems"]]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            print(json.dumps(check_document(json.load(file)), indent=2))
