"""Proofs as data: every step is a claim that a machine discharges, or a named fact that is cited.

Identities go to SymPy (symbolic exponents too), inequalities to Z3 on the negation: `unsat` proves the claim for all reals, a
model is a counter-example, `unknown` stays unknown. Nothing is proved by trying numbers.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import lazy_loader
import sympy as sp
from sympy.logic.boolalg import Boolean

z3: Any = lazy_loader.load("z3")  # half a second, and only a proof needs it

__all__ = ["CITABLE", "Discharge", "Step", "prove"]

CITABLE = (
    "Rayleigh quotient",
    "spectral theorem",
    "bound on Chebyshev polynomials of the second kind",
    "central facts on binomials",
)
"""The only facts a proof may cite."""

_MILLISECONDS = 20_000


@dataclass(frozen=True)
class Step:
    """One step of a proof.

    Attributes:
        claim: an equation (for SymPy), an inequality or a Boolean combination of them (for Z3), or the text of a cited fact.
        because: why it matters: what the step does in the argument; of a cited fact, its name in CITABLE.
        given: relations the claim may use. The assumptions of the symbols (positive, nonnegative, ...) always hold.

    Raises:
        ValueError: a text that cites something else, or a claim that is neither a text nor a relation.
    """

    claim: Any
    because: str
    given: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.claim, str | Boolean):
            raise ValueError(
                f"a claim must be a SymPy relation, a combination of them or the text of a cited fact, got {self.claim!r}; "
                "write sp.Eq, sp.Le, ..."
            )
        if isinstance(self.claim, str) and self.because not in CITABLE:
            raise ValueError(
                f"a cited fact must be one of {', '.join(CITABLE)}, got {self.because!r}; prove it instead."
            )

    @property
    def is_cited(self) -> bool:
        """Whether the step rests on a named fact."""
        return isinstance(self.claim, str)


@dataclass(frozen=True)
class Discharge:
    """What became of a step.

    Attributes:
        status: `proved`, `cited`, `refuted` or `unknown` (also where the given relations contradict each other, so that
            anything would follow, and where the claim is not defined everywhere).
        by: `SymPy`, `Z3` or the name of the cited fact.
        seconds: how long it took.
        counter_example: symbol to value; of an unknown, what stood in the way.
    """

    status: str
    by: str
    seconds: float
    counter_example: dict[str, str] = field(default_factory=dict)


def prove(step: Step, milliseconds: int = _MILLISECONDS) -> Discharge:
    """Discharge one step.

    Args:
        step: the step.
        milliseconds: most that Z3 may take.
    """
    if step.is_cited:
        return Discharge("cited", step.because, 0.0)
    begin = time.perf_counter()
    if step.claim in (sp.true, sp.false):  # SymPy saw it on construction
        return Discharge("proved" if step.claim == sp.true else "refuted", "SymPy", time.perf_counter() - begin)
    if isinstance(step.claim, sp.Eq) and not step.given:
        if _is_identity(step.claim):
            return Discharge("proved", "SymPy", time.perf_counter() - begin)
        point = _where_it_fails(step.claim)
        return Discharge("refuted" if point else "unknown", "SymPy", time.perf_counter() - begin, point)
    status, model = _by_z3(step, milliseconds)
    return Discharge(status, "Z3", time.perf_counter() - begin, model)


def _is_identity(equation: sp.Eq) -> bool:
    """Whether both sides are the same function: their difference is simplified to 0, never evaluated at numbers."""
    difference = (equation.lhs - equation.rhs).doit()
    simplifications = (
        sp.expand,
        lambda e: sp.expand(sp.together(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand(e), force=False)),
        lambda e: sp.simplify(sp.expand(e, power_base=True, power_exp=True)),
    )
    return any(simplify(difference) == 0 for simplify in simplifications)


def _where_it_fails(equation: sp.Eq) -> dict[str, str]:
    """Rational numbers at which the sides differ, to 30 digits; empty if none are found (numbers refute, they never prove)."""
    difference = (equation.lhs - equation.rhs).doit()
    names = sorted(difference.free_symbols, key=str)
    for attempt in range(5):
        values = {
            s: sp.Integer(3 + i + attempt) if s.is_integer else sp.Rational(7 + 3 * i + attempt, 5 + 2 * i)
            for i, s in enumerate(names)
        }
        try:
            found = sp.N(difference.subs(values), 40)
            if found.is_number and found.is_finite and abs(found) > sp.Float(10) ** -30:
                return {str(s): str(v) for s, v in values.items()}
        except (TypeError, ValueError):  # a function without a number there
            continue
    return {}


def _by_z3(step: Step, milliseconds: int) -> tuple[str, dict[str, str]]:
    translator = _Translator()
    solver = z3.Solver()
    solver.set("timeout", milliseconds)
    try:
        given = [translator.boolean(relation) for relation in step.given]
        assumed = len(translator.domain)  # a given relation that holds is defined
        claim = translator.boolean(step.claim)
    except TypeError as error:
        return "unknown", {"claim": str(error)}
    solver.add(*given, *translator.domain[:assumed], *translator.assumptions(), *translator.definitions)
    if solver.check() == z3.unsat:
        return "unknown", {"given": "contradictory: the step would say nothing"}
    # That the claim is defined is part of it: a quotient or root is not taken to be fine because it stands there.
    for condition in translator.domain[assumed:]:
        solver.push()
        solver.add(z3.Not(condition))
        if solver.check() != z3.unsat:
            return "unknown", {"claim": f"not defined unless {condition}"}
        solver.pop()
    solver.add(z3.Not(claim))
    answer = solver.check()
    if answer == z3.unsat:
        return "proved", {}
    if answer == z3.sat:
        model = solver.model()
        return "refuted", {str(name): str(model[name]) for name in model.decls() if not str(name).startswith("aux")}
    return "unknown", {}


class _Translator:
    """SymPy to Z3 over the reals. Roots and quotients become auxiliary reals with their defining relations."""

    def __init__(self) -> None:
        self._symbols: dict[sp.Symbol, Any] = {}
        self._roots: dict[sp.Expr, Any] = {}
        self.domain: list[Any] = []
        self.definitions: list[Any] = []

    def assumptions(self) -> list[Any]:
        """The assumptions of the symbols seen."""
        out = []
        for symbol, real in self._symbols.items():
            if symbol.is_positive:
                out.append(real > 0)
            elif symbol.is_nonnegative:
                out.append(real >= 0)
            elif symbol.is_negative:
                out.append(real < 0)
            elif symbol.is_nonpositive:
                out.append(real <= 0)
            elif symbol.is_nonzero:
                out.append(real != 0)
        return out

    def boolean(self, expression: Any) -> Any:
        """A relation or a Boolean combination of relations.

        Raises:
            TypeError: something else.
        """
        if expression in (sp.true, sp.false, True, False):
            return z3.BoolVal(bool(expression))
        if isinstance(expression, sp.And | sp.Or | sp.Not | sp.Implies):
            combine = {sp.And: z3.And, sp.Or: z3.Or, sp.Not: z3.Not, sp.Implies: z3.Implies}[expression.func]
            return combine(*(self.boolean(argument) for argument in expression.args))
        relations = {
            sp.Eq: lambda a, b: a == b,
            sp.Ne: lambda a, b: a != b,
            sp.Le: lambda a, b: a <= b,
            sp.Lt: lambda a, b: a < b,
            sp.Ge: lambda a, b: a >= b,
            sp.Gt: lambda a, b: a > b,
        }
        if expression.func not in relations:
            raise TypeError(f"a claim must be a relation, got {expression!r}")
        return relations[expression.func](self.real(expression.lhs), self.real(expression.rhs))

    def real(self, expression: sp.Expr) -> Any:
        """A real expression.

        Raises:
            TypeError: a function that has no meaning for Z3 here.
        """
        if expression.is_Rational:
            return z3.Q(int(expression.p), int(expression.q))
        if expression.is_Symbol:
            if not expression.is_real:
                raise TypeError(f"Z3 has no real for {expression}, which is not said to be real")
            if expression not in self._symbols:
                taken = {str(real) for real in self._symbols.values()}  # two symbols may have one name
                name = str(expression)
                while name in taken:
                    name += "'"
                self._symbols[expression] = z3.Real(name)
            return self._symbols[expression]
        if expression.is_Add or expression.is_Mul:
            terms = [self.real(argument) for argument in expression.args]
            return reduce((lambda a, b: a + b) if expression.is_Add else (lambda a, b: a * b), terms)
        if expression.is_Pow:
            return self._power(*expression.args)
        if isinstance(expression, sp.Max | sp.Min):
            return self._extreme([self.real(a) for a in expression.args], isinstance(expression, sp.Max))
        if isinstance(expression, sp.Abs):
            inner = self.real(expression.args[0])
            return z3.If(inner >= 0, inner, -inner)
        if isinstance(expression, sp.sign):
            inner = self.real(expression.args[0])
            return z3.If(inner > 0, z3.RealVal(1), z3.If(inner < 0, z3.RealVal(-1), z3.RealVal(0)))
        raise TypeError(f"Z3 has no real for {expression!r}")

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> Any:
        if exponent.is_Integer:
            count = abs(int(exponent))
            product = reduce(lambda a, b: a * b, [self.real(base)] * count, z3.RealVal(1))
            if exponent > 0:
                return product
            # x/0 is any number for Z3: without this condition it could pick one.
            self.domain.append(self.real(base) != 0)
            return z3.RealVal(1) / product
        if exponent.is_Rational and exponent.q == 2:
            root = self._root(base)
            return self._power_of(root, int(exponent.p), base)
        raise TypeError(f"Z3 has no real for {base!r} to the power {exponent!r}")

    def _power_of(self, root: Any, count: int, base: sp.Expr) -> Any:
        product = reduce(lambda a, b: a * b, [root] * abs(count), z3.RealVal(1))
        if count > 0:
            return product
        self.domain.append(self.real(base) != 0)
        return z3.RealVal(1) / product

    def _root(self, base: sp.Expr) -> Any:
        if base not in self._roots:
            inner = self.real(base)
            root = z3.Real(f"aux{len(self._roots)}")
            self._roots[base] = root
            self.domain.append(inner >= 0)
            self.definitions.append(z3.Implies(inner >= 0, z3.And(root >= 0, root * root == inner)))
        return self._roots[base]

    @staticmethod
    def _extreme(values: Iterable[Any], largest: bool) -> Any:
        return reduce(lambda a, b: z3.If(a >= b if largest else a <= b, a, b), values)
