"""The language of exported proofs: what its words are to SymPy, and which relations of real numbers contradict each other (Z3).

`quadsim.theory.proof_checker` judges proofs in it. Neither imports anything else of quadsim.
"""

import operator as op
from collections.abc import Iterable, Mapping
from functools import partial, reduce
from typing import Any

import sympy as sp
import z3


class Rejected(Exception):
    """A step that does not follow."""


class Undecided(Rejected):
    """A step of which Z3 does not say within its limit whether it follows."""


def require(holds: Any, why: str, kind: type[Rejected] = Rejected) -> None:
    """Go on if something holds.

    Raises:
        Rejected: it does not; or the kind of it that is asked for.
    """
    if not holds:
        raise kind(why)


class _Opaque(sp.Function):  # type: ignore[misc]
    """A real number of which Z3 learns the sign alone."""

    is_real, nargs = True, 1
    is_positive = property(lambda self: (self.nargs == {1} and self.args[0].is_positive) or None)
    is_nonnegative = property(lambda self: (self.nargs == {1} and self.args[0].is_nonnegative) or None)


class Sum(_Opaque):
    """A sum over an index. It is written as sums of one term each, without the factors that do not have the index."""

    @classmethod
    def eval(cls, x: Any) -> Any:
        """Return the sum in that form; None if it is in it already."""
        terms = [sp.Mul.make_args(term) for term in sp.Add.make_args(sp.expand(x))]
        parts = [sp.sift(term, lambda y: bool(set(indices(y)) & set(cls.over)), binary=True) for term in terms]
        done = x == 1 or x.has(sp.Dummy) or (len(parts) == 1 and not parts[0][1])  # a Dummy hides a part
        return None if done else sp.Add(*(sp.Mul(*kept) * cls(sp.Mul(*summed)) for summed, kept in parts))


# Over all blocks (names end in _l), coordinates (_i) or pairs (_p); SumIn: over the coordinates of a block, so that it still
# has the index of the block. Ratio: a quotient that counts as 0 where its numerator is 0.
SumIn, SumOver = (type(name, (Sum,), {"over": over}) for name, over in (("SumIn", "i"), ("SumOver", "ipl")))
_OTHERS = (type(name, (_Opaque,), {"nargs": n}) for name, n in (("MaxOver", 1), ("MinOver", 1), ("Ratio", 2)))
_NAMED = (sp.Abs, sp.sign, sp.Max, sp.Min, sp.log, sp.exp, sp.asin, SumIn, SumOver, *_OTHERS)
_LOGIC = {"==": sp.Eq, "!=": sp.Ne, "<=": sp.Le, "<": sp.Lt, "and": sp.And, "or": sp.Or, "implies": sp.Implies}
WORDS: dict[str, Any] = {kind.__name__: kind for kind in _NAMED}
WORDS |= {"+": sp.Add, "*": sp.Mul, "^": sp.Pow, "/": sp.Rational, "pi": lambda: sp.pi, "true": lambda: sp.true}
WORDS |= {word: partial(kind, evaluate=False) for word, kind in _LOGIC.items()}
WORDS |= {">=": lambda a, b: WORDS["<="](b, a), ">": lambda a, b: WORDS["<"](b, a)}

_Z3: dict[Any, Any] = {sp.Eq: op.eq, sp.Ne: op.ne, sp.Le: op.le, sp.Ge: op.ge, sp.Lt: op.lt, sp.Gt: op.gt}
_Z3 |= {sp.And: z3.And, sp.Or: z3.Or, sp.Not: z3.Not, sp.Implies: z3.Implies, sp.Add: z3.Sum, sp.Mul: z3.Product}
_Z3 |= {type(sp.true): lambda: z3.BoolVal(True), type(sp.false): lambda: z3.BoolVal(False)}
_Z3[sp.Abs] = lambda a: z3.If(a >= 0, a, -a)
_Z3[sp.sign] = lambda a: z3.If(a > 0, z3.RealVal(1), z3.If(a < 0, z3.RealVal(-1), z3.RealVal(0)))
_Z3[sp.Max] = lambda *all_: reduce(lambda a, b: z3.If(a >= b, a, b), all_)
_Z3[sp.Min] = lambda *all_: reduce(lambda a, b: z3.If(a <= b, a, b), all_)
_LIMIT = 300_000  # operations of Z3 for a question; every exported proof needs less than a tenth


def read(node: Any, letters: Mapping[str, Any]) -> Any:
    """Return an expression of a document, given what its letters are."""
    if isinstance(node, list):
        parts, of_relations = [read(part, letters) for part in node[1:]], node[0] in ("and", "or", "implies")
        fits = all(isinstance(part, sp.Expr) != of_relations for part in parts)
        require(fits, f"{node[0]} is for {'relations' if of_relations else 'numbers'}, got {parts}")
        return WORDS[node[0]](*parts)
    require(type(node) in (int, str), f"a number must be an integer, got {node}")
    return letters[node] if isinstance(node, str) else sp.Integer(node)


def rests_on(theorem: Any) -> list[str]:
    """Return the entries of the table that the steps of a theorem use, also through lemmas."""
    wanted = {x for step in theorem["steps"] for x in (step["label"], *step["uses"])}
    for step in reversed(theorem["lemmas"]):
        wanted.update(step["uses"] if step["label"] in wanted else ())
    steps = [x for x in (*theorem["lemmas"], *theorem["steps"]) if x["label"] in wanted and x["method"] == "table"]
    return sorted({x["entry"] for x in steps})


def indices(x: Any) -> str:
    """Return the kinds of index that an expression has: i, p and l."""
    for over in sorted(x.atoms(_Opaque), key=sp.count_ops, reverse=True):
        x = x.xreplace({over: sp.Symbol("block_l") if isinstance(over, SumIn) else sp.S.One})
    return "".join(k for k in "ipl" if any(s.name.endswith(f"_{k}") for s in x.free_symbols))


def signs(x: Any, value: Any) -> list[Any]:
    """Return what is assumed of the sign of x, said of a value."""
    named = {"is_positive": sp.Gt, "is_nonnegative": sp.Ge, "is_nonzero": sp.Ne}
    return [relation(value, 0, evaluate=False) for name, relation in named.items() if getattr(x, name)]


def domain(x: Any) -> list[Any]:
    """Return the conditions that no divisor in x is 0, and that no root or logarithm is of a number that has none."""
    powers, logarithms = x.atoms(sp.Pow), x.atoms(sp.log)
    divisors = [sp.Ne(p.base, 0) for p in powers if not p.exp.is_nonnegative]
    return divisors + [p.base >= 0 for p in powers if not p.exp.is_integer] + [y.args[0] > 0 for y in logarithms]


def unsat(relations: Iterable[Any]) -> bool | None:
    """Whether no real numbers satisfy all relations, as Z3 says; None if it reaches its limit."""
    letters, known = dict[Any, Any](), list[Any]()

    def in_z3(x: Any) -> Any:
        if x.is_Rational:
            return z3.Q(int(x.p), int(x.q))
        if x.func in _Z3:
            return _Z3[x.func](*map(in_z3, x.args))
        if x.is_Pow and (2 * x.exp).is_Integer and x.exp != sp.S.Half:
            root, k = (x.base, x.exp) if x.exp.is_Integer else (sp.Pow(x.base, sp.S.Half, evaluate=False), 2 * x.exp)
            product = z3.Product([in_z3(root)] * abs(int(k)))
            return product if k > 0 else 1 / product
        require(x.is_real or x.is_Pow or isinstance(x, sp.log | sp.asin), f"{x} is not a real number")
        if x not in letters:
            letters[x] = new = z3.Real(f"x{len(letters)}")
            known.extend(map(in_z3, signs(x, x)))
            if x.is_Pow and x.exp == sp.S.Half:
                known.append(z3.Implies(in_z3(x.base) >= 0, z3.And(new >= 0, new * new == in_z3(x.base))))
        return letters[x]

    solver = z3.SolverFor("QF_NRA")
    solver.set("rlimit", _LIMIT)
    solver.add(*map(in_z3, relations), *known)
    return {"unsat": True, "sat": False}.get(str(solver.check()))
