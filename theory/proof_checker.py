"""Check exported proofs without quadsim, on SymPy and Z3 alone: `python -m quadsim.theory.proof_checker proofs.json`.

A file (docs/export.md has its schema) holds a table of formulas that are taken on trust, and theorems with their hypotheses,
steps and statement. Every step is proved again, from the claims that it uses. What a theorem rests on is returned.
"""

import json
import sys
from functools import reduce
from typing import Any

import sympy as sp
import z3

__all__ = ["Rejected", "check_document"]


class Rejected(ValueError):
    """A step that does not follow, or a file of another form."""


class _Over(sp.Function):  # type: ignore[misc]
    """A sum or extreme over all blocks (names end in _l), coordinates (_i) or pairs (_p); SumIn: over those i in a block."""

    is_real = True
    is_positive = property(lambda self: self.args[0].is_positive or None)
    is_nonnegative = property(lambda self: self.args[0].is_nonnegative or None)


class _Invertible(sp.Symbol):  # type: ignore[misc]
    """A letter for a matrix that has an inverse."""


SumOver, SumIn, MaxOver, MinOver = (type(name, (_Over,), {}) for name in ("SumOver", "SumIn", "MaxOver", "MinOver"))
_FUNCTIONS = (sp.Abs, sp.sign, sp.Max, sp.Min, sp.log, sp.exp, sp.asin, SumOver, SumIn, MaxOver, MinOver)
_LOGIC = {"==": sp.Eq, "!=": sp.Ne, "<=": sp.Le, ">=": sp.Ge, "<": sp.Lt, ">": sp.Gt}
_LOGIC |= {"and": sp.And, "or": sp.Or, "implies": sp.Implies}
_MAKE = {"+": sp.Add, "*": sp.Mul, "^": sp.Pow, "/": sp.Rational, "pi": lambda: sp.pi, "true": lambda: sp.true, **{f.__name__: f for f in _FUNCTIONS}}
_COMPARE = dict(zip(_LOGIC.values(), (getattr(z3.ArithRef, f"__{x}__") for x in ("eq", "ne", "le", "ge", "lt", "gt"))))
_SIGNS = {"positive": _COMPARE[sp.Gt], "nonnegative": _COMPARE[sp.Ge], "nonzero": _COMPARE[sp.Ne]}
_JOIN = {sp.Add: z3.ArithRef.__add__, sp.Mul: z3.ArithRef.__mul__, sp.Max: lambda a, b: z3.If(a >= b, a, b)}
_JOIN[sp.Min] = lambda a, b: z3.If(a <= b, a, b)
_WAYS = ("identity", "z3", "named", "any")


def _require(holds: Any, why: str) -> None:
    if not holds:
        raise Rejected(why)


def _indices(x: sp.Basic) -> str:
    """Return the indices on which an expression depends; a sum in a block has the index of the block."""
    for over in sorted(x.atoms(_Over), key=sp.count_ops, reverse=True):
        x = x.xreplace({over: sp.Symbol("block_l") if isinstance(over, SumIn) else sp.S.One})
    return "".join(k for k in "ipl" if any(s.name.endswith(f"_{k}") for s in x.free_symbols))


def _linear(x: Any) -> Any:
    """Write every sum as a combination of sums of terms, with the factors that have no index before them."""
    for total in sorted(x.atoms(SumOver, SumIn), key=sp.count_ops):
        over, letters = type(total), {e: sp.Dummy(real=True) for e in total.args[0].atoms(_Over)}
        out = sp.S.Zero
        for term in sp.Add.make_args(sp.expand(total.args[0].xreplace(letters)).xreplace({v: k for k, v in letters.items()})):
            inner = [f for f in sp.Mul.make_args(term) if ("i" if over is SumIn else "") in _indices(f) != ""]
            out += sp.Mul(*(f for f in sp.Mul.make_args(term) if f not in inner)) * over(sp.Mul(*inner)) if term else 0
        x = x.xreplace({total: out})
    return x


class _Reals:
    """Relations in words of Z3, where a premise that is not defined (divisor 0, root of a negative number) is false."""

    def __init__(self, premises: Any) -> None:
        self.letters: dict[Any, Any] = {}
        self.solver, self.domain = z3.Solver(), list[Any]()
        self.solver.set("rlimit", 30_000_000)
        self.solver.add(*(self.relation(x, z3.And) for x in premises))
        _require(self.solver.check() != z3.unsat, "what the step uses contradicts itself")
        self.domain = []

    def relation(self, x: Any, together: Any = lambda relation, *_: relation) -> Any:
        if x in (sp.true, sp.false):
            return z3.BoolVal(bool(x))
        if isinstance(x, sp.And | sp.Or | sp.Implies):
            word = {sp.And: z3.And, sp.Or: z3.Or, sp.Implies: z3.Implies}[x.func]
            return word(*(self.relation(part, together) for part in x.args))
        _require(x.func in _COMPARE, f"{x} is no relation")
        before, self.domain = self.domain, []
        relation = together(_COMPARE[x.func](*(self.real(side) for side in x.args)), *self.domain)
        self.domain += before
        return relation

    def letter(self, x: Any) -> Any:
        _require(x.is_real, f"{x} is not a real number")
        if x not in self.letters:
            self.letters[x] = z3.Real(f"x{len(self.letters)}")
            self.solver.add(*(of(self.letters[x], 0) for name, of in _SIGNS.items() if getattr(x, f"is_{name}")))
        return self.letters[x]

    def real(self, x: Any) -> Any:
        if x.is_Rational:
            return z3.Q(int(x.p), int(x.q))
        args = [] if isinstance(x, _Over) else [self.real(argument) for argument in x.args]
        if x.func in _JOIN:
            return reduce(_JOIN[x.func], args)
        if isinstance(x, sp.Abs | sp.sign):
            one = args[0] if isinstance(x, sp.Abs) else z3.RealVal(1)
            return z3.If(args[0] > 0, one, z3.If(args[0] < 0, -one, z3.RealVal(0)))
        self.domain += [args[0] > 0] if isinstance(x, sp.log) else []
        if not x.is_Pow:
            return self.letter(x)
        self.domain += ([] if x.exp.is_integer else [args[0] >= 0]) + ([] if x.exp.is_nonnegative else [args[0] != 0])
        if not x.exp.is_Rational or x.exp.q > 2:
            return self.letter(x)
        base = args[0] if x.exp.q == 1 else self.letters.setdefault(sp.sqrt(x.base), z3.FreshReal())
        if x.exp.q == 2:
            self.solver.add(z3.Implies(args[0] >= 0, z3.And(base >= 0, base * base == args[0])))
        product = reduce(_JOIN[sp.Mul], [base] * abs(int(x.exp.p)))
        return product if x.exp.p > 0 else 1 / product

    def follows(self, *wanted: Any) -> bool:
        self.solver.add(z3.Not(z3.And(*wanted, *self.domain)))
        return bool(self.solver.check() == z3.unsat)


def _zero(x: Any) -> bool:
    ways = (sp.expand, lambda e: sp.expand(sp.together(e)), lambda e: sp.simplify(sp.powsimp(sp.expand(e))))
    return any(way(x) == 0 for way in ways)


def _algebra(claim: Any, premises: Any, how: str) -> bool:
    """Prove a claim by SymPy ("identity"), or by Z3 as it stands or with what is named put in; it must be defined, too."""
    if isinstance(claim, sp.And):
        return all(_algebra(part, premises, how) for part in claim.args)
    if claim == sp.true or how == "any":
        return bool(claim == sp.true) or any(_algebra(claim, premises, way) for way in ("identity", "z3", "named"))
    parts = [part for x in premises for part in sp.And.make_args(x) if all(s.is_commutative for s in part.free_symbols)]
    parts, claim = [_linear(x) for x in parts if x != sp.true], _linear(claim)
    equations = [part for x in premises for part in sp.And.make_args(x) if isinstance(part, sp.Eq)]
    named = {x.lhs: _linear(x.rhs) for x in equations if x.lhs.is_Symbol and not x.rhs.has(x.lhs)}

    def put_in(x: Any) -> Any:
        return _linear(reduce(lambda y, _: y.xreplace(named), named, x))

    if not all(s.is_commutative for s in claim.free_symbols):
        inverted = [p.base for p in claim.atoms(sp.Pow) if not p.exp.is_nonnegative]
        defined = all(isinstance(base, _Invertible) for base in inverted)
    else:
        reals = _Reals(parts)
        relation = reals.relation(claim)
        defined = reals.follows(*([relation] if how == "z3" else []))
    if how == "named" and defined:
        reals = _Reals(put_in(x) for x in parts)
        return reals.follows(reals.relation(put_in(claim)))
    return defined and (how == "z3" or isinstance(claim, sp.Eq) and _zero(put_in(claim.lhs) - put_in(claim.rhs)))


class _File:
    """Names, the table and the recursions of a document."""

    def __init__(self, document: Any) -> None:
        _require(document.get("format") == "quadsim proof 1", "the format must be quadsim proof 1")
        kinds = {name: dict(of) for name, of in document["symbols"].items()}
        self.symbols = {n: (_Invertible if of.pop("invertible", 0) else sp.Symbol)(n, **of) for n, of in kinds.items()}
        self.table, self.time = document["table"], document["time"]
        self.start, self.next = ({self.symbols[k]: self.read(v) for k, v in self.time[x].items()} for x in ("start", "next"))
        self.constant, self.later = ({self.symbols[x] for x in self.time[k]} for k in ("constant", "later"))

    def read(self, node: Any) -> Any:
        if isinstance(node, str):
            _require(node in self.symbols, f"{node} is not declared")
            return self.symbols[node]
        if isinstance(node, list):
            args = node[1:] if node[0] == "/" else [self.read(x) for x in node[1:]]
            _require(node[0] in (_MAKE | _LOGIC) and not any(isinstance(x, float) for x in args), f"{node} is no expression")
            return _LOGIC[node[0]](*args, evaluate=False) if node[0] in _LOGIC else _MAKE[node[0]](*args)
        _require(type(node) is int, f"numbers must be exact, got {node}")
        return sp.Integer(node)

    def moved(self, claim: Any, to: dict[Any, Any]) -> Any:
        """Return a claim at step 0 or a step later: it is known of every quantity that changes what it is then."""
        changing = claim.free_symbols - self.constant
        _require(changing <= to.keys(), f"it is not known what {changing - to.keys()} is then")
        _require(not changing & self.later or changing <= self.later, "its quantities are counted from different steps")
        return claim.subs(to, simultaneous=True)

    def instance(self, step: Any, claim: Any, used: list[Any], theorem: Any) -> int:
        """Check an instance of an entry of the table, and return the level of the entry."""
        entry, given = self.table[step["entry"]], {self.symbols[k]: self.read(v) for k, v in step["letters"].items()}
        _require(given.keys() == {self.symbols[x] for x in entry["letters"]}, "its letters are other ones")
        for letter, value in given.items():
            kind, reals = entry["letters"][letter.name], _Reals(used)
            reals.real(value)
            signs = [of(reals.real(value), 0) for name, of in _SIGNS.items() if getattr(letter, f"is_{name}")]
            _require(reals.follows(*signs) and (value.is_integer or not letter.is_integer), f"{value} is no {letter}")
            _require(kind != "no index" or not _indices(value), f"{value} has an index")
            _require(kind != "constant" or value.free_symbols <= self.constant, f"{value} changes along a run")
        missing = [x for x in entry["needs"] if x not in step["uses"] or x not in (h["text"] for h in theorem["hypotheses"])]
        _require(not missing, f"it needs the hypothesis {missing}")
        for key, allowed in entry["only"].items():
            _require(theorem[key] and set(theorem[key]) <= set(allowed), f"it holds for the {key} {allowed} only")
        for premise in (self.read(x).xreplace(given) for x in entry["premises"]):
            _require(premise in used or _algebra(premise, used, "any"), f"{premise} is not known")
        _require(claim == self.read(entry["claim"]).xreplace(given), "the table has another claim")
        return int(entry["level"])

    def check(self, theorem: Any) -> dict[str, Any]:
        """Check a theorem.

        Raises:
            Rejected: a step does not follow.
        """
        known = {h["text"]: (h["claim"] and self.read(h["claim"]), 0, frozenset()) for h in theorem["hypotheses"]}
        for number, step in enumerate(theorem["steps"]):
            try:
                _require(step["label"] not in known, "its label is taken")
                _require(not (unknown := [x for x in step["uses"] if x not in known]), f"{unknown} is no earlier step")
                known[step["label"]] = self.follows(step, self.read(step["claim"]), known, theorem)
            except (Rejected, KeyError, TypeError) as error:
                raise Rejected(f"{theorem['name']}: step {number + 1}, {step['label']}: {error}") from error
        if theorem["steps"]:
            claim, level, assumed = known[theorem["steps"][-1]["label"]]
            _require(claim == self.read(theorem["statement"]), "the last step is not the statement")
            _require(level == 0 and not assumed, "the statement rests on what holds at some steps only")
        for lemma in theorem["lemmas"]:
            given = [self.read(x) for x in lemma["given"]]
            proved = _algebra(self.read(lemma["claim"]), given, lemma["how"]) if lemma["how"] in _WAYS else lemma["how"] in self.table and self.table[lemma["how"]]["sentences"].count(lemma["claim"])
            _require(proved, f"{theorem['name']}: {lemma['because']} does not follow")
        return {"theorem": theorem["name"], "verdict": "proved" if theorem["steps"] else "lemmas proved", "rests on": sorted({s["entry"] for s in theorem["steps"] if s["method"] == "table"})}

    def follows(self, step: Any, claim: Any, known: Any, theorem: Any) -> Any:
        """Check a step, and return its claim with its level and the assumptions on which it rests."""
        method, uses = step["method"], [known[x] for x in step["uses"]]
        used, level = [x for x, _, _ in uses if x is not None], max((n for _, n, _ in uses), default=0)
        assumed = frozenset().union(*(on for _, _, on in uses))
        if method == "table":
            level = max(level, self.instance(step, claim, used, theorem))
        elif method == "assume":
            assumed |= {claim}
        elif method == "induction":
            plain = [x for x, n, on in uses if x is not None and not n and not on]
            then, first = self.moved(claim, self.next), claim.subs(self.start, simultaneous=True)
            holds = _algebra(first, plain, "any") and _algebra(then, [claim, *used], "any")
            _require(holds, "it does not follow from one step to the next")
            level, assumed = max(level - 1, 0), assumed - {claim}
        elif method in ("start", "next", "before"):
            to = {"start": self.start, "next": self.next, "before": {self.symbols["t"]: self.symbols["t"] - 1}}[method]
            _require(not assumed, "it rests on an assumption")
            _require(claim == self.moved(used[0], to), "it is not what it uses at another step")
            if method == "next":
                level += level > 0
            elif level or method == "before":
                _require(level <= 1 and sp.Ge(self.symbols["t"], 1, evaluate=False) in used, "it needs t >= 1")
                level = 0
        elif method in ("sum", "sum in a block"):
            over = SumOver if method == "sum" else SumIn
            total = used[0].func(*(_linear(over(side)) for side in used[0].args), evaluate=False)
            kinds = {_indices(x.args[0])[:1] for x in total.atoms(SumOver)}
            _require(len(kinds) <= 1 and "" not in kinds, "one side is summed over coordinates, another over blocks")
            _require(_algebra(claim, [total, *used[1:]], "any"), "it is not the sum of what it uses")
        else:
            _require(method in _WAYS and _algebra(claim, used, method), "it does not follow from what it uses")
        return claim, level, assumed


def check_document(document: Any) -> list[dict[str, Any]]:
    """Check all theorems of a document, and return for each its verdict and what it rests on.

    Raises:
        Rejected: a proof that does not hold.
    """
    return [_File(document).check(theorem) for theorem in document["theorems"]]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for found in check_document(json.load(file)):
                print(f"{found['theorem']}: {found['verdict']}; it rests on {'; '.join(found['rests on'])}")
