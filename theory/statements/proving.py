"""Check proofs by machine. A proof is data: a list of steps, each a claim that a machine proves or a named fact that is cited.

Identities (also with symbolic exponents) are proved by SymPy: the difference of both sides simplifies to 0. Inequalities are
proved by Z3 (an SMT solver over the reals), which gets the *negation* of the claim: `unsat` means that no real numbers violate
the claim, so it is proved; a model is a counter-example; `unknown` stays unknown. Numbers may refute a claim, but never prove
one. Limits count operations, so that an answer does not depend on the speed of the machine.

Traps, each of which would let a machine "prove" a false step, and what closes them:

- Given relations that contradict each other, from which anything follows: numbers that satisfy all of them must be found, by Z3
  or among rationals (`witness`). Not finding a contradiction is not enough.
- A quotient by 0 or a root of a negative number, which for Z3 may be any real number and which SymPy cancels: a claim must be
  defined wherever the given relations hold, for both. In a given relation with alternatives, one that is not defined is false,
  and says nothing about the others.
- Floating-point numbers, whose arithmetic is not that of the reals: they are refused, as is a claim that SymPy has replaced by
  `True`.
- Cited facts: only the sentences in CITABLE, word for word.
"""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import lazy_loader
import numpy as np
import sympy as sp
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean, BooleanAtom

from quadsim.simulator.rules.rule import Ratio
from quadsim.theory.symbols import REDUCTIONS, Invertible

z3: Any = lazy_loader.load("z3")  # half a second, and only a proof needs it

__all__ = ["CITABLE", "Discharge", "Step", "prove", "undefined"]

CITABLE: Mapping[str, tuple[str, ...]] = {
    "Rayleigh quotient": (
        "s_l'H_l s_l <= L_l |s_l|^2",
        "|Phi_y x|^2 <= lambda_max(Phi_y'Phi_y) |x|^2 for the rows Phi_y of y and x = y_0, as m_0 = 0 gives d_0 = y_0",
        "sigma_max <= max_l L_l / min_i |g_0,li| = 1 / min_l C1_l and sigma_min >= min_l mu_l / max_i |g_0,li|",
    ),
    "spectral theorem": (
        "K is symmetric positive definite and has the eigenvalues tau of B^(1/2) H B^(1/2): in its eigenbasis y_next = y - "
        "tau u, d_next = beta d - tau u",
        "a symmetric H has an orthonormal basis of eigenvectors, block by block; in it the gap is 1/2 sum_i lambda_i e_i^2",
        "M is symmetric positive definite: in its eigenbasis the gap is 1/2 x'Mx = 1/2 sum_i sigma_i x_i^2",
        "gap = 1/2 g'Ag with A = H^-1, which is symmetric positive definite, with 1/lambda on the eigenvectors of H",
    ),
    "bound on Chebyshev polynomials of the second kind": ("|U_t(c)| <= t + 1 for |c| <= 1",),
    "tangent of the logarithm": ("ln u <= u - 1 for u > 0",),
    "Isserlis' theorem": ("E (x'Sx) xx' = 2 HSH + tr(HS) H for x ~ N(0, H) and a symmetric S",),
    "Sheppard's formula": (
        "E sign(x) sign(y) = (2/pi) arcsin(rho) for jointly normal x and y of mean 0 and correlation rho",
    ),
    "central facts on binomials": ("labels are drawn independently: k ~ Binomial(b, 1/C), and P(k = 0) = (1 - 1/C)^b",),
}
"""The only facts that a proof may cite without proving them: name to the sentences, of which a step cites one word for word."""

_VOCABULARY: tuple[type, ...] = (
    *(sp.Symbol, sp.Rational, sp.NumberSymbol, sp.Add, sp.Mul, sp.Pow, sp.exp, sp.log, sp.Abs, sp.sign, sp.Max, sp.Min),
    *(*REDUCTIONS, Ratio, sp.asin),
)
"""Of what expressions in a step are made. Other functions have poles and branches of which no domain check here knows."""

_OPAQUE = (*REDUCTIONS, sp.asin)
"""Of these the prover knows nothing but that the same arguments have the same value. An identity then holds of any function in
place of the arcsine, so that it needs no domain."""

_EFFORT = 3_000_000  # operations of Z3 in one query, its "resource units"; the hardest step here takes 60,000


@dataclass(frozen=True)
class Step:
    """One step of a proof.

    Attributes:
        claim: an equation (for SymPy), an inequality or a Boolean combination of relations (for Z3), or the text of a cited fact.
        because: what the step does in the argument; for a cited fact, its name in CITABLE.
        given: relations that the claim may use. The assumptions of the symbols (positive, nonnegative, ...) always hold.
        label: name by which later steps of a derivation use the claim; see `quadsim.theory.statements.derived`.
        uses: labels of the steps of a derivation from which the claim follows.
        by: how a step of a derivation follows; "" by algebra.

    Raises:
        ValueError: a citation that is not in CITABLE, a claim that is neither a text nor a relation or that SymPy has decided
            already, or a floating-point number.

    Examples:
        >>> x = sp.Symbol("x", real=True)
        >>> prove(Step(sp.Ge(x**2 + 1, 2 * x), "the square of x - 1 is not negative")).status
        'proved'
    """

    claim: Any
    because: str
    given: tuple[Any, ...] = ()
    label: str = ""
    uses: tuple[str, ...] = ()
    by: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.claim, str | Boolean):
            raise ValueError(
                f"a claim must be a SymPy relation, a combination of them or the text of a cited fact, got {self.claim!r}; "
                "write sp.Eq, sp.Le, ..."
            )
        if isinstance(self.claim, str):
            if self.because not in CITABLE:
                raise ValueError(
                    f"a cited fact must be one of {', '.join(CITABLE)}, got {self.because!r}; prove it instead."
                )
            if self.claim not in CITABLE[self.because]:
                raise ValueError(
                    f"a citation of the {self.because} must be one of its sentences in CITABLE, got {self.claim!r}; prove it "
                    "instead."
                )
            return
        if wrong := next((x for x in self.given if not isinstance(x, Boolean | bool)), None):
            raise ValueError(
                f"what is given must be a relation or a combination of them, got {wrong!r}; prove it first."
            )
        if self.claim in (sp.true, sp.false):
            raise ValueError(
                f"a claim must be one that a reader can check, got {self.claim}; keep SymPy from deciding it: evaluate=False."
            )
        inverses = {
            power.base
            for power in self.claim.atoms(sp.Pow)
            if not power.is_commutative and not power.exp.is_nonnegative and not isinstance(power.base, Invertible)
        }
        if inverses:
            raise ValueError(
                f"a letter with an inverse must be that of an invertible matrix, got {', '.join(map(str, inverses))}; multiply "
                "from the other side."
            )
        empty = [part for part in _relations(self.claim) if not part.free_symbols]
        if empty:
            raise ValueError(
                f"a claim must speak of a quantity, got {empty[0]}, which holds or not before anything is proved; state both "
                "sides as they are, so that the prover decides."
            )
        floats = {number for x in (self.claim, *self.given) if isinstance(x, sp.Basic) for number in x.atoms(sp.Float)}
        if any(isinstance(x, sp.Basic) and x.has(sp.zoo, sp.nan) for x in (self.claim, *self.given)):
            raise ValueError(
                f"a step must be defined, got {self.claim}, with a division by 0; look at where it comes from."
            )
        if floats:
            raise ValueError(
                f"numbers of a step must be exact, got {', '.join(sorted(map(str, floats)))}; use integers or sp.Rational."
            )
        strange = {type(x).__name__ for part in (self.claim, *self.given) for x in _outside(part)}
        if strange:
            raise ValueError(
                f"a step may use {', '.join(kind.__name__ for kind in _VOCABULARY)}, relations, And, Or, Not and Implies of "
                f"real numbers, got {', '.join(sorted(strange))}; write it with these."
            )

    @property
    def is_cited(self) -> bool:
        """Whether the step cites a named fact instead of being proved."""
        return isinstance(self.claim, str)


def _outside(part: Any) -> Iterator[Any]:
    """Yield what a step may not hold: other functions, numbers that are not real, and relations of anything but numbers."""
    if isinstance(part, bool | BooleanAtom):
        return
    if isinstance(part, Relational):
        for side in part.args:
            yield from (x for x in sp.preorder_traversal(side) if not isinstance(x, _VOCABULARY))
    elif isinstance(part, sp.And | sp.Or | sp.Not | sp.Implies):
        for inner in part.args:
            yield from _outside(inner)
    else:
        yield part


def _relations(claim: Any) -> Iterator[Any]:
    """Yield the relations of which a claim is made."""
    if isinstance(claim, Relational):
        yield claim
    else:
        for part in claim.args:
            yield from _relations(part)


@dataclass(frozen=True)
class Discharge:
    """The result of checking one step.

    Attributes:
        status: `proved`, `cited`, `refuted` or `unknown`. It is also `unknown` where the given relations contradict each other
            (anything would follow) and where the claim is not defined everywhere.
        by: `SymPy`, `Z3` or the name of the cited fact.
        seconds: duration of the check.
        counter_example: for a refuted step, symbol to value; for an unknown one, the reason.
        witness: numbers that satisfy the given relations, symbol to value; empty if none are given.
    """

    status: str
    by: str
    seconds: float
    counter_example: dict[str, str] = field(default_factory=dict)
    witness: dict[str, str] = field(default_factory=dict)


def prove(step: Step, effort: int = _EFFORT) -> Discharge:
    """Check one step of a proof.

    Args:
        step: the step.
        effort: limit of every query to Z3, in its own operations.

    Returns:
        Discharge; a step that cannot be decided is `unknown`, not an error.
    """
    if step.is_cited:
        return Discharge("cited", step.because, 0.0)
    begin = time.perf_counter()

    def found(status: str, by: str, example: dict[str, str] | None = None) -> Discharge:
        return Discharge(status, by, time.perf_counter() - begin, example or {}, witness)

    witness: dict[str, str] = {}
    query = _Query(step, effort)
    if step.given:
        witness, why = query.witness()
        if why:
            return found("unknown", "Z3", {"given": why})
    if isinstance(step.claim, sp.Eq) and _is_identity(step.claim):
        undefined = query.undefined(step.claim)
        return found("unknown", "SymPy", {"claim": undefined}) if undefined else found("proved", "SymPy")
    if isinstance(step.claim, sp.Eq) and not step.given:
        point = _where_it_fails(step.claim)
        return found("refuted" if point else "unknown", "SymPy", point)
    return found(*query.decide())


def undefined(claim: Any, given: tuple[Any, ...]) -> str:
    """Return a condition without which a claim is not defined although what is given holds; "" if there is none.

    For a claim in which equals are put in for each other, so that a quotient may cancel before it is looked at.
    """
    if all(_is_known(inner, relation) for inner, relation in _conditions(claim)):
        return ""
    return _Query(Step(claim, "is it defined?", given), _EFFORT).undefined(claim)


def _is_known(inner: sp.Expr, relation: str) -> bool:
    """Whether a condition holds by the assumptions of its symbols."""
    known = {"!= 0": inner.is_nonzero, ">= 0": inner.is_nonnegative, "> 0": inner.is_positive}[relation]
    return bool(known or isinstance(inner, Invertible) or _factors_are_known(inner, relation))


def _is_identity(equation: sp.Eq) -> bool:
    """Whether both sides are the same function: some simplification of their difference gives 0.

    Simplifications are tried from cheap to expensive. None of them evaluates the difference at numbers.
    """
    difference = _opaque(equation.lhs - equation.rhs).doit()
    simplifications = (
        sp.expand,
        lambda e: sp.expand(sp.together(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand(e), force=False)),
        lambda e: sp.simplify(sp.expand(e, power_base=True, power_exp=True)),
    )
    return any(simplify(difference) == 0 for simplify in simplifications)


def _opaque(expression: sp.Expr) -> sp.Expr:
    """Return an expression in which every part of _OPAQUE is a symbol: two of them are equal only if they look alike."""
    outermost: dict[sp.Expr, sp.Symbol] = {}
    for over in sorted(expression.atoms(*_OPAQUE), key=sp.count_ops, reverse=True):
        outermost[over] = sp.Dummy("opaque", real=True, positive=over.is_positive)
        expression = expression.xreplace({over: outermost[over]})
    return expression


def _where_it_fails(equation: sp.Eq) -> dict[str, str]:
    """Return rational numbers at which the sides differ by more than 1e-30, evaluated to 40 digits; empty if none are found."""
    if equation.atoms(*_OPAQUE):
        return {}  # their values cannot be chosen one by one, and an arcsine has none outside [-1, 1]
    difference = (equation.lhs - equation.rhs).doit()
    names = sorted(difference.free_symbols, key=str)
    for attempt in range(5):
        values = {
            s: sp.Integer(3 + i + attempt) if s.is_integer else sp.Rational(7 + 3 * i + attempt, 5 + 2 * i)
            for i, s in enumerate(names)
        }
        values = {s: -value if s.is_nonpositive else value for s, value in values.items()}
        if not all(_admits(s, value) for s, value in values.items()):
            continue
        try:
            found = sp.N(difference.subs(values), 40)
            if found.is_number and found.is_finite and abs(found) > sp.Float(10) ** -30:
                return {str(s): str(v) for s, v in values.items()}
        except (TypeError, ValueError):  # a function that is not defined at these numbers
            continue
    return {}


def _admits(symbol: sp.Symbol, value: sp.Expr) -> bool:
    """Whether a number satisfies all assumptions of a symbol; without an answer of SymPy's it does not."""
    assumed = {name: getattr(symbol, f"is_{name}") for name in (*_KINDS, *_SIGNS)}
    return all(getattr(value, f"is_{name}") is holds for name, holds in assumed.items() if holds is not None)


def _conditions(expression: Any) -> Iterator[tuple[sp.Expr, str]]:
    """Yield what must hold for an expression to be defined: (x, "!= 0") for a divisor, (x, ">= 0") for the argument of a root."""
    for part in sp.preorder_traversal(expression):
        if part.is_Pow:
            base, exponent = part.base, part.exp
            if base.is_number and base.is_positive:
                continue
            if not exponent.is_integer:
                yield base, ">= 0"  # also under odd roots, which for SymPy are not real there
            if exponent.is_negative or (not exponent.is_number and not exponent.is_nonnegative):
                yield base, "!= 0"
        elif isinstance(part, sp.log):
            yield part.args[0], "> 0"


class _Query:
    """The questions to Z3 about one step: a witness of what is given, where the claim is defined, and whether it holds."""

    def __init__(self, step: Step, effort: int) -> None:
        self._step, self._effort = step, effort
        self._translator = _Translator()
        self._given: list[Any] | None = None
        self._failure = ""
        try:
            self._given = [self._translator.premise(relation) for relation in step.given]
        except TypeError as error:
            self._failure = str(error)

    def _solver(self) -> Any:
        solver = z3.Solver()
        solver.set("rlimit", self._effort)
        solver.add(*(self._given or ()), *self._translator.assumptions(), *self._translator.definitions)
        return solver

    def witness(self) -> tuple[dict[str, str], str]:
        """Return numbers that satisfy the given relations and the assumptions of their symbols, or why there are none."""
        if self._given is not None:
            solver = self._solver()
            answer = solver.check()
            if answer == z3.sat:
                return self._translator.values(solver.model()), ""
            if answer == z3.unsat:
                return {}, "contradictory: the step would say nothing"
        point = _a_point(self._step.given)
        return point, "" if point else self._failure or "no numbers were found that satisfy them all"

    def undefined(self, expression: Any) -> str:
        """Return a condition without which an expression is not defined although what is given holds; "" if there is none."""
        for inner, relation in dict.fromkeys(_conditions(expression)):
            if _is_known(inner, relation):
                continue
            compare = {"!= 0": sp.Ne, ">= 0": sp.Ge, "> 0": sp.Gt}[relation](inner, 0, evaluate=False)
            if self._decided(compare)[0] != "proved":
                return f"not defined unless {inner} {relation}"
        return ""

    def decide(self) -> tuple[str, str, dict[str, str]]:
        """Return the status of the claim by Z3, and a counter-example or a reason."""
        undefined = self.undefined(self._step.claim)
        if undefined:
            return "unknown", "Z3", {"claim": undefined}
        status, example = self._decided(self._step.claim)
        return status, "Z3", example

    def _decided(self, claim: Any) -> tuple[str, dict[str, str]]:
        if self._given is None:
            return "unknown", {"given": self._failure}
        try:
            negation = z3.Not(self._translator.claim(claim))
        except TypeError as error:
            return "unknown", {"claim": str(error)}
        solver = self._solver()
        solver.add(negation)
        answer = solver.check()
        if answer == z3.unsat:
            return "proved", {}
        if answer == z3.sat and self._translator.is_complete and self._translator.admits(solver.model()):
            return "refuted", self._translator.values(solver.model())
        return "unknown", {}


def _factors_are_known(expression: sp.Expr, relation: str) -> bool:
    """Whether SymPy knows every factor of an expression to be positive (or not 0)."""
    factored = sp.factor(expression)
    known = (x.is_nonzero if relation == "!= 0" else x.is_positive for x in sp.Mul.make_args(factored))
    return all(k is True for k in known)


def _a_point(relations: tuple[Any, ...]) -> dict[str, str]:
    """Return rational numbers that satisfy all relations and the assumptions of their symbols; empty if none are found.

    Floating-point numbers choose the points that are worth a look, and exact ones decide.
    """
    names = sorted(set().union(*(r.free_symbols for r in relations if isinstance(r, sp.Basic))), key=str)
    draw = random.Random(0)
    points = [{symbol: _a_number(symbol, draw) for symbol in names} for _ in range(_POINTS)]
    try:
        holds = sp.lambdify(names, relations, modules="numpy", cse=True)
        with np.errstate(all="ignore"):
            columns = [np.array([float(point[symbol]) for point in points]) for symbol in names]
            likely = np.all([np.broadcast_to(found, _POINTS) for found in holds(*columns)], axis=0)
    except (TypeError, NameError):  # a function that numpy does not have
        likely = np.ones(_POINTS, dtype=bool)
    for at in np.flatnonzero(likely)[:_CHECKED]:
        point = points[at]
        if all(_holds_at(relation, point) for relation in relations):
            return {str(symbol): str(value) for symbol, value in point.items()}
    return {}


def _holds_at(relation: Any, point: dict[sp.Symbol, sp.Rational]) -> bool:
    try:
        return bool(relation.subs(point, simultaneous=True) == sp.true)
    except TypeError:  # SymPy does not compare what is not a real number, so the relation does not hold there
        return False


def _a_number(symbol: sp.Symbol, draw: random.Random) -> sp.Rational:
    """Return a small rational number that satisfies the assumptions of a symbol."""
    number = (
        sp.Integer(draw.randint(0, 4))
        if symbol.is_integer
        else sp.Rational(draw.randint(0, 16), draw.choice((1, 4, 8)))
    )
    if symbol.is_positive or symbol.is_negative or symbol.is_nonzero:
        number += sp.Rational(1) if symbol.is_integer else sp.Rational(1, 8)
    if symbol.is_nonpositive or (symbol.is_nonnegative is None and draw.random() < _SHARE_NEGATIVE):
        number = -number
    return number


_KINDS = ("integer", "even", "odd", "prime", "composite", "rational", "irrational")  # of which Z3 is told nothing
_SIGNS = ("positive", "nonnegative", "negative", "nonpositive", "nonzero")
_POINTS = 4000  # random points that are tried where Z3 finds none
_CHECKED = 20  # of these, how many are tried in exact numbers
_SHARE_NEGATIVE = 0.3


class _Translator:
    """Translates SymPy expressions to Z3 over the reals.

    A root becomes an auxiliary real with its defining relations (root >= 0, root^2 = argument), as Z3 has no roots. Symbols and
    auxiliary reals get names of their own, so that no symbol can be taken for an auxiliary real or for another symbol.

    Attributes:
        definitions: relations that define the auxiliary reals.
        is_complete: whether every expression was translated in full, so that a model is a counter-example.
    """

    def __init__(self) -> None:
        self._symbols: dict[sp.Basic, Any] = {}
        self._roots: dict[sp.Expr, Any] = {}
        self._domain: list[Any] = []
        self.definitions: list[Any] = []
        self.is_complete = True

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

    def values(self, model: Any) -> dict[str, str]:
        """Return the values of the symbols in a model, by their names."""
        return {str(s): str(model.eval(real, model_completion=True)) for s, real in self._symbols.items()}

    def admits(self, model: Any) -> bool:
        """Whether the numbers of a model satisfy the assumptions of their symbols that are not translated (integer, ...)."""
        for symbol, real in self._symbols.items():
            if all(getattr(symbol, f"is_{name}") is None for name in _KINDS):
                continue
            value = model.eval(real, model_completion=True)
            if not z3.is_rational_value(value):
                return False
            if not _admits(symbol, sp.Rational(value.numerator_as_long(), value.denominator_as_long())):
                return False
        return True

    def premise(self, expression: Any) -> Any:
        """Translate a given relation or combination of relations, in which a relation that is not defined is false."""
        return self._boolean(expression, scoped=True)

    def claim(self, expression: Any) -> Any:
        """Translate a claim, which must be defined (`_Query.undefined`)."""
        return self._boolean(expression, scoped=False)

    def _boolean(self, expression: Any, *, scoped: bool) -> Any:
        """Translate a relation or a Boolean combination of relations.

        Raises:
            TypeError: any other expression.
        """
        if expression in (sp.true, sp.false, True, False):
            return z3.BoolVal(bool(expression))
        if isinstance(expression, sp.And | sp.Or | sp.Not | sp.Implies):
            combine = {sp.And: z3.And, sp.Or: z3.Or, sp.Not: z3.Not, sp.Implies: z3.Implies}[expression.func]
            return combine(*(self._boolean(argument, scoped=scoped) for argument in expression.args))
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
        self._domain = []
        translated = relations[expression.func](self.real(expression.lhs), self.real(expression.rhs))
        return z3.And(translated, *self._domain) if scoped and self._domain else translated

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
                self._symbols[expression] = z3.Real(f"symbol{len(self._symbols)}")
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
        if isinstance(expression, (*REDUCTIONS, sp.log)):
            return self._opaque(expression)
        raise TypeError(f"Z3 has no real for {expression!r}")

    def _opaque(self, expression: sp.Expr) -> Any:
        """Return a real for a reduction, power or logarithm, of which Z3 knows its sign at most."""
        if expression not in self._symbols:
            self._symbols[expression] = z3.Real(f"symbol{len(self._symbols)}")
            self.is_complete = False
        return self._symbols[expression]

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> Any:
        if exponent.is_Integer:
            count = abs(int(exponent))
            product = reduce(lambda a, b: a * b, [self.real(base)] * count, z3.RealVal(1))
            if exponent > 0:
                return product
            # For Z3, x/0 may be any number, so a claim could hold for the number that it picks: require a divisor that is not 0.
            self._domain.append(self.real(base) != 0)
            return z3.RealVal(1) / product
        if exponent.is_Rational and exponent.q == 2:
            root = self._root(base)
            return self._power_of(root, int(exponent.p), base)
        if exponent.free_symbols and base.is_real and exponent.is_integer:
            return self._opaque(sp.Pow(base, exponent))
        raise TypeError(f"Z3 has no real for {base!r} to the power {exponent!r}")

    def _power_of(self, root: Any, count: int, base: sp.Expr) -> Any:
        product = reduce(lambda a, b: a * b, [root] * abs(count), z3.RealVal(1))
        if count > 0:
            return product
        self._domain.append(self.real(base) != 0)
        return z3.RealVal(1) / product

    def _root(self, base: sp.Expr) -> Any:
        inner = self.real(base)
        self._domain.append(inner >= 0)
        if base not in self._roots:
            root = z3.Real(f"root{len(self._roots)}")
            self._roots[base] = root
            self.definitions.append(z3.Implies(inner >= 0, z3.And(root >= 0, root * root == inner)))
        return self._roots[base]

    @staticmethod
    def _extreme(values: Iterable[Any], largest: bool) -> Any:
        return reduce(lambda a, b: z3.If(a >= b if largest else a <= b, a, b), values)
