"""Changed judges: budgets that are too wide, and provers that are too kind."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import sympy as sp

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking import budget, floats
from quadsim.theory.statements import proving
from quadsim.theory.statements.proving import Step, prove
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.mutants.mutant import HOLE, Mutant, replaced

__all__ = ["of_judges"]


def _times(module: Any, name: str, factor: float) -> AbstractContextManager[None]:
    before = getattr(module, name)
    return replaced(module, name, lambda *arguments, **options: factor * before(*arguments, **options))


def _all_symbols(factor: float) -> AbstractContextManager[None]:
    before = budget.symbol_budgets

    def wider(run: Trajectory) -> Any:
        found: Any = before(run)
        for symbol in list(found):
            found[symbol] = factor * found[symbol]
        return found

    return replaced(floats, "symbol_budgets", wider)


@lru_cache(maxsize=1)
def _claims() -> tuple[tuple[Theorem, Trajectory], ...]:
    """Return claims that are false by little more than rounding, with runs that show it."""
    tight = BlockQuadratic.from_blocks([[[3.0]], [[1.0]]], initial_error=[1.0, 3.0])
    gd = simulate(
        tight,
        "gd",
        lr=0.5,
        steps=10,
        engine="reference",
        observe=["gradient_norm", "gradient_norm_1", "Lambda_G", "block_gradient_norm"],
    )
    exact, upper, lemma, covariance = (
        THEOREMS[name] for name in ("gd-exact", "gd-upper", "gradient-descent-lemma", "covariance-identity")
    )
    little = sp.Rational(3, 10**13)
    return (
        (replace(upper, bound=upper.bound * (1 - little), statement=""), gd),
        (replace(exact, bound=exact.bound * (1 + little), statement=""), gd),
        (replace(lemma, bound=lemma.bound - little, statement=""), gd),
        (replace(covariance, bound=covariance.bound + little, statement=""), gd),
    )


def _all_flagged() -> bool:
    return all(floats.compare_floats(claim, run).flagged.all() for claim, run in _claims())


_TRUE = sp.Symbol("x", real=True)
_UP = sp.Symbol("a", positive=True)


def _traps() -> tuple[tuple[Step, str], ...]:
    """Return steps and what the prover must not say of them."""
    x, a, zero = _TRUE, _UP, sp.Symbol("z", nonnegative=True)
    return (
        (Step(sp.Gt(zero, 0, evaluate=False), "nonnegative is not positive"), "proved"),
        (Step(sp.Gt(sp.sign(x) ** 2, 0, evaluate=False), "sign(0) = 0"), "proved"),
        (Step(sp.Eq((x**2 - 1) / (x - 1), x + 1, evaluate=False), "a quotient"), "proved"),
        (Step(sp.Ge(1 / x, x, evaluate=False), "a quotient", (sp.Eq(x, 0),)), "proved"),
        (Step(sp.Ge(sp.sqrt(x), 0, evaluate=False), "a root"), "proved"),
        (Step(sp.Eq(x, 7), "anything", (sp.Gt(x, 1), sp.Lt(x, 0))), "proved"),
        (Step(sp.Ge(sp.Max(x, a), sp.Max(x, 2 * a)), "a maximum"), "proved"),
        (Step(sp.Ge(sp.Min(x, a), x, evaluate=False), "a minimum"), "proved"),
        (Step(sp.Eq(x, 2 * x, evaluate=False), "an identity"), "proved"),
        (Step(sp.Ge(sp.Abs(x), 2 * x, evaluate=False), "a modulus"), "proved"),
        (Step(sp.Ge(x**3, x, evaluate=False), "a power", (sp.Ge(x, 0),)), "proved"),
        (Step(sp.Ge(x + a, a, evaluate=False), "a sum"), "proved"),
        (Step(sp.Ge(sp.sqrt(a), a, evaluate=False), "a root"), "proved"),
        (Step(sp.Le(sp.Min(x, a), sp.Min(x, 0), evaluate=False), "a minimum"), "proved"),
        (Step(sp.Ne(x, 0), "scoped", (sp.Or(sp.Ge(x, 0), sp.Gt(1 / x, 5), evaluate=False),)), "proved"),
    )


def _no_trap_closes() -> bool:
    return all(prove(step).status != wrong for step, wrong in _traps())


def _translator(name: str, change: Callable[..., Any]) -> AbstractContextManager[None]:
    return replaced(proving._Translator, name, change)


def _kinder_provers() -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
    """Yield provers that are too kind, each as the context in which it is used."""
    z3, translator, query = proving.z3, proving._Translator, proving._Query
    real, root, power, boolean = translator.real, translator._root, translator._power, translator._boolean
    extreme = translator._extreme

    def positive(self: Any) -> list[Any]:
        return [value > 0 for value in self._symbols.values()]

    def signs(self: Any, expression: Any) -> Any:
        if isinstance(expression, sp.sign):
            return z3.If(real(self, expression.args[0]) >= 0, z3.RealVal(1), z3.RealVal(-1))
        return real(self, expression)

    def modulus(self: Any, expression: Any) -> Any:
        if isinstance(expression, sp.Abs):
            return 2 * z3.If(
                real(self, expression.args[0]) >= 0, real(self, expression.args[0]), -real(self, expression.args[0])
            )
        return real(self, expression)

    def any_root(self: Any, base: Any) -> Any:
        found = root(self, base)
        self.definitions.append(found * found >= self.real(base) * self.real(base))
        return found

    def cube(self: Any, base: Any, exponent: Any) -> Any:
        return power(self, base, exponent + 1 if exponent == 3 else exponent) if exponent != 3 else self.real(base)

    def unscoped(self: Any, expression: Any, *, scoped: bool) -> Any:
        found = boolean(self, expression, scoped=False)
        if scoped and self._domain:
            self.definitions += self._domain
        return found

    yield "every symbol positive", lambda: _translator("assumptions", positive)
    yield "sign(0) = 1", lambda: _translator("real", signs)
    yield "|x| doubled", lambda: _translator("real", modulus)
    yield "roots too large", lambda: _translator("_root", any_root)
    yield "x^3 read as x", lambda: _translator("_power", cube)
    yield "domains of alternatives assumed", lambda: _translator("_boolean", unscoped)
    yield (
        "Max and Min exchanged",
        lambda: _translator("_extreme", staticmethod(lambda values, largest: extreme(values, not largest))),
    )
    yield "no domain check", lambda: replaced(query, "undefined", lambda self, expression: "")
    yield "no witness asked for", lambda: replaced(query, "witness", lambda self: ({}, ""))
    yield "every identity true", lambda: replaced(proving, "_is_identity", lambda equation: True)


def of_judges() -> Iterator[Mutant]:
    """Yield changes of the judge."""
    for factor in (1e3, 1e6, 1e9):
        for name in ("evaluation_budget", "growth_budget", "one_step_budget"):
            yield _judge("budget", name, f"times {factor:g}", partial(_times, floats, name, factor), _all_flagged)
        yield _judge("budget", "symbol_budgets", f"times {factor:g}", partial(_all_symbols, factor), _all_flagged)
    yield _judge("budget", "_unit", "times 1e6", lambda: _times(budget, "_unit", 1e6), _all_flagged)
    for change, context in _kinder_provers():
        yield _judge("prover", "the prover", change, context, _no_trap_closes)


def _judge(
    kind: str, of: str, change: str, context: Callable[[], AbstractContextManager[None]], passes: Callable[[], bool]
) -> Mutant:
    def survives() -> str:
        if not passes():
            return HOLE  # the judge as it is must pass
        with context():
            return HOLE if passes() else ""

    return Mutant(kind, of, change, survives)
