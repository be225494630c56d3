"""Check proofs by machine. A proof is data: a list of steps, each a claim that a machine proves or a named fact that is cited.

Identities (also with symbolic exponents) are proved by SymPy: the difference of both sides simplifies to 0. Inequalities are
proved by Z3 (an SMT solver over the reals), which gets the *negation* of the claim: `unsat` means that no real numbers violate
the claim, so it is proved; a model is a counter-example; `unknown` stays unknown. Numbers may refute a claim, but never prove
one.

Three traps, each of which would let Z3 "prove" a false step, are closed in `_by_z3`: given relations that contradict each
other (anything follows from them), a quotient by 0 and a root of a negative number (for Z3 both may be any real number).
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
    "tangent of the logarithm",
)
"""The only facts that a proof may cite without proving them."""

_MILLISECONDS = 20_000  # time for Z3, per step


@dataclass(frozen=True)
class Step:
    """One step of a proof.

    Attributes:
        claim: an equation (for SymPy), an inequality or a Boolean combination of relations (for Z3), or the text of a cited fact.
        because: what the step does in the argument; for a cited fact, its name in CITABLE.
        given: relations that the claim may use. The assumptions of the symbols (positive, nonnegative, ...) always hold.

    Raises:
        ValueError: a text that cites a fact outside CITABLE, or a claim that is neither a text nor a relation.

    Examples:
        >>> x = sp.Symbol("x", real=True)
        >>> prove(Step(sp.Ge(x**2 + 1, 2 * x), "the square of x - 1 is not negative")).status
        'proved'
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
        """Whether the step cites a named fact instead of being proved."""
        return isinstance(self.claim, str)


@dataclass(frozen=True)
class Discharge:
    """The result of checking one step.

    Attributes:
        status: `proved`, `cited`, `refuted` or `unknown`. It is also `unknown` where the given relations contradict each other
            (anything would follow) and where the claim is not defined everywhere.
        by: `SymPy`, `Z3` or the name of the cited fact.
        seconds: duration of the check.
        counter_example: for a refuted step, symbol to value; for an unknown one, the reason.
    """

    status: str
    by: str
    seconds: float
    counter_example: dict[str, str] = field(default_factory=dict)


def prove(step: Step, milliseconds: int = _MILLISECONDS) -> Discharge:
    """Check one step of a proof.

    Args:
        step: the step.
        milliseconds: time limit for Z3.

    Returns:
        Discharge; a step that cannot be decided is `unknown`, not an error.
    """
    if step.is_cited:
        return Discharge("cited", step.because, 0.0)
    begin = time.perf_counter()
    if step.claim in (sp.true, sp.false):  # SymPy has already decided it while constructing the relation
        return Discharge("proved" if step.claim == sp.true else "refuted", "SymPy", time.perf_counter() - begin)
    if isinstance(step.claim, sp.Eq) and not step.given:
        if _is_identity(step.claim):
            return Discharge("proved", "SymPy", time.perf_counter() - begin)
        point = _where_it_fails(step.claim)
        return Discharge("refuted" if point else "unknown", "SymPy", time.perf_counter() - begin, point)
    status, model = _by_z3(step, milliseconds)
    return Discharge(status, "Z3", time.perf_counter() - begin, model)


def _is_identity(equation: sp.Eq) -> bool:
    """Whether both sides are the same function: some simplification of their difference gives 0.

    Simplifications are tried from cheap to expensive. None of them evaluates the difference at numbers.
    """
    difference = (equation.lhs - equation.rhs).doit()
    simplifications = (
        sp.expand,
        lambda e: sp.expand(sp.together(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand(e), force=False)),
        lambda e: sp.simplify(sp.expand(e, power_base=True, power_exp=True)),
    )
    return any(simplify(difference) == 0 for simplify in simplifications)


def _where_it_fails(equation: sp.Eq) -> dict[str, str]:
    """Return rational numbers at which the sides differ by more than 1e-30, evaluated to 40 digits; empty if none are found."""
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
        except (TypeError, ValueError):  # a function that is not defined at these numbers
            continue
    return {}


def _by_z3(step: Step, milliseconds: int) -> tuple[str, dict[str, str]]:
    """Return the status of a step by Z3, and a counter-example or a reason.

    The order matters: first the given relations must be consistent, then the claim must be defined wherever they hold, and only
    then its negation is tried.
    """
    translator = _Translator()
    solver = z3.Solver()
    solver.set("timeout", milliseconds)
    try:
        given = [translator.boolean(relation) for relation in step.given]
        assumed = len(translator.domain)  # a given relation that holds is also defined
        claim = translator.boolean(step.claim)
    except TypeError as error:
        return "unknown", {"claim": str(error)}
    solver.add(*given, *translator.domain[:assumed], *translator.assumptions(), *translator.definitions)
    if solver.check() == z3.unsat:
        return "unknown", {"given": "contradictory: the step would say nothing"}
    # The claim includes that it is defined: Z3 must prove that no divisor is 0 and no argument of a root is negative.
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
    """Translates SymPy expressions to Z3 over the reals.

    A root becomes an auxiliary real with its defining relations (root >= 0, root^2 = argument), as Z3 has no roots.

    Attributes:
        domain: conditions under which the translated expressions are defined (divisors are not 0, arguments of roots not
            negative).
        definitions: relations that define the auxiliary reals.
    """

    def __init__(self) -> None:
        self._symbols: dict[sp.Symbol, Any] = {}
        self._roots: dict[sp.Expr, Any] = {}
        self.domain: list[Any] = []
        self.definitions: list[Any] = []

    def assumptions(self) -> list[Any]:
        """Return the assumptions of all translated symbols (positive, nonnegative, ...) as Z3 relations."""
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
        """Translate a relation or a Boolean combination of relations.

        Raises:
            TypeError: any other expression.
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
        """Translate a real expression.

        Raises:
            TypeError: a function without a translation, or a symbol that is not declared real.
        """
        if expression.is_Rational:
            return z3.Q(int(expression.p), int(expression.q))
        if expression.is_Symbol:
            if not expression.is_real:
                raise TypeError(f"Z3 has no real for {expression}, which is not declared real")
            if expression not in self._symbols:
                taken = {str(real) for real in self._symbols.values()}  # symbols may share a name
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
            # For Z3, x/0 may be any number, so a claim could hold for the number that it picks: require a divisor that is not 0.
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
