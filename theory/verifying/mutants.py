"""Mutants (`quadsim verify --mutants`): statements, rules, records and the judge itself are changed, and each change must show.

A mutant is *caught* if what it changes no longer passes: a statement whose derivation does not end in it, a record that is not
the rule's run, a false claim that a changed budget or prover lets through. A statement that is changed and still derived is
true, as the derivation proves it: it is listed as a survivor with that argument. Any other survivor is a hole.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import sympy as sp

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking import budget, floats
from quadsim.theory.checking.comparison import check
from quadsim.theory.statements import proving
from quadsim.theory.statements.derived.graph import concludes, derive
from quadsim.theory.statements.proving import Step, prove
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol
from quadsim.theory.verifying.processes import in_processes

__all__ = ["KINDS", "Mutant", "MutantReport", "mutants", "try_mutants"]

KINDS = ("bound", "hypothesis", "direction", "quantity", "rule", "generated code", "record", "budget", "prover")
"""What is changed."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        kind: one of KINDS.
        of: what is changed: a theorem, a rule or a part of the judge.
        change: the change in words.
        survives: function that returns "" if the change shows; else the argument why it is none, or `_HOLE`.
    """

    kind: str
    of: str
    change: str
    survives: Callable[[], str]

    @property
    def name(self) -> str:
        """Kind, subject and change, in a line."""
        return f"{self.kind} of {self.of}: {self.change}"


@dataclass(frozen=True)
class MutantReport:
    """The result of trying mutants.

    Attributes:
        tried: kind to number of mutants.
        caught: kind to number of mutants that were caught.
        argued: mutants that survived because they are true or change nothing, each in a line with the argument.
        holes: mutants that survived without an argument.
    """

    tried: Mapping[str, int]
    caught: Mapping[str, int]
    argued: tuple[str, ...]
    holes: tuple[str, ...]


_HOLE = "nothing shows it"

_OF_TASK = 12
"""Mutants that a process tries in a row."""


def try_mutants(
    *, every: int = 1, seed: int = 0, workers: int = 1, progress: Callable[[int, int, str], None] | None = None
) -> MutantReport:
    """Try the mutants and report what became of them.

    Args:
        every: only every so many-th mutant of each kind, at least one of each; 1: all.
        seed: which of them.
        workers: number of processes; it does not change the result.
        progress: called before every mutant with (done, total, name).
    """
    chosen: list[tuple[int, Mutant]] = []
    for kind in KINDS:
        ones = [(number, mutant) for number, mutant in enumerate(mutants()) if mutant.kind == kind]
        chosen += ones[seed % min(every, len(ones)) :: every]
    size = 1 if workers == 1 else _OF_TASK  # neighbours share a derivation, which a process makes once
    tasks = [
        (tuple((number, mutant.name) for number, mutant in chosen[begin : begin + size]),)
        for begin in range(0, len(chosen), size)
    ]
    tried: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    argued: list[str] = []
    holes: list[str] = []
    rest = iter(mutant for _, mutant in chosen)
    for arguments in in_processes(_arguments, tasks, workers):
        for argument, mutant in zip(arguments, rest, strict=False):
            tried[mutant.kind] += 1
            caught[mutant.kind] += not argument
            if argument:
                (holes if argument == _HOLE else argued).append(f"{mutant.name}: {argument}")
        done = sum(tried.values())
        if progress is not None:
            progress(done, len(chosen), mutant.name.split(":")[0])
    return MutantReport(tried, caught, tuple(argued), tuple(holes))


def _arguments(numbered: Sequence[tuple[int, str]]) -> list[str]:
    """Return what `Mutant.survives` says of the mutants with these numbers.

    Raises:
        RuntimeError: the list of this process is another than that of the process that asks.
    """
    found = []
    for number, name in numbered:
        mutant = mutants()[number]
        if mutant.name != name:
            raise RuntimeError(
                f"mutant {number} must be {name}, got {mutant.name}; the list is not the same in every process."
            )
        found.append(mutant.survives())
    return found


@lru_cache(maxsize=1)
def mutants() -> tuple[Mutant, ...]:
    """Return all mutants, kind by kind."""
    return (*_statements(), *_rules(), *_records(), *_judges())


# Statements.

_SWAPPED = (
    (Symbol.L, Symbol.mu),
    (Symbol.L_l, Symbol.mu_l),
    (Symbol.Lambda_G, Symbol.Lambda_P),
    (Symbol.Lambda_G, Symbol.L),
    (Symbol.Lambda_P, Symbol.L),
    (Symbol.mu, Symbol.nu),
    (Symbol.C1_l, Symbol.C2_l),
    (Symbol.kappa_l, Symbol.P_l),
    (Symbol.lambda_i, Symbol.sigma_i),
    (Symbol.norm1, Symbol.norm2_squared),
    (Symbol.L_inf, Symbol.L),
    (Symbol.drift, Symbol.tie),
    (Symbol.beta1, Symbol.beta2),
    (Symbol.classes, Symbol.features),
    (Symbol.least_norm1, Symbol.least_norm2_squared),
)
_REDUCTIONS = (MaxOver, MinOver, SumOver)
_SCALES = tuple(sp.Rational(*pair) for pair in ((1, 2), (9, 10), (99, 100), (999, 1000), (1001, 1000), (2, 1)))


def _statements() -> Iterator[Mutant]:
    for theorem in THEOREMS.values():
        if theorem.derivation is None:
            continue
        bounds = dict.fromkeys(_changed(theorem.bound))
        for change, bound in bounds:
            yield _statement("bound", theorem, change, {"bound": bound})
        for position, hypothesis in enumerate(theorem.conditions):
            rest = tuple(h for i, h in enumerate(theorem.conditions) if i != position)
            yield _statement("hypothesis", theorem, f"without {hypothesis.text}", {"hypotheses": rest})
        for direction in sorted({"upper", "lower", "equal"} - {theorem.direction}):
            yield _statement("direction", theorem, f"{direction} for {theorem.direction}", {"direction": direction})
        if not theorem.is_factor:
            for change, quantity in dict.fromkeys(_changed(theorem.quantity)):
                yield _statement("quantity", theorem, change, {"quantity": quantity})


@lru_cache(maxsize=64)
def _steps(name: str) -> tuple[Step, ...]:
    derivation = THEOREMS[name].derivation
    return () if derivation is None else derivation()


def _statement(kind: str, theorem: Theorem, change: str, changes: Mapping[str, Any]) -> Mutant:
    def survives() -> str:
        try:
            mutant = replace(theorem, **changes, statement="")
        except ValueError:
            return ""  # it is not even a statement
        if kind == "hypothesis":
            derived = derive(mutant)
            if derived is None or not derived.holds:
                return ""
            return "the statement does not rest on it, by its derivation"
        if not concludes(mutant, _steps(theorem.name)):
            return ""
        return "it is derived too: no stronger than the theorem, or the same"

    return Mutant(kind, theorem.name, change, survives)


def _changed(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    """Yield changes of an expression, in words, with the changed expression."""
    for factor in _SCALES:
        yield f"times {factor}", factor * expression
    for small in (sp.Rational(1, 1000), sp.Rational(-1, 1000)):
        yield f"plus {small}", expression + small
    for a, b in _SWAPPED:
        for old, new in ((a, b), (b, a)):
            if old in expression.free_symbols:
                yield f"{new} for {old}", _everywhere(expression, old, new)
    for symbol in sorted(expression.free_symbols, key=str):
        others = (2 * symbol, symbol / 2, symbol + 1) if symbol != Symbol.t else (2 * symbol, symbol + 1, symbol - 1)
        for other in others:
            yield f"{other} for {symbol}", expression.subs(symbol, other)
    for path in _paths(expression):
        node = _at(expression, path)
        for text, other in _of_node(node):
            changed = _with(expression, path, other)
            if changed is not None and changed != expression:
                yield f"{text} at {'.'.join(map(str, path)) or 'the top'}", changed


def _everywhere(expression: sp.Expr, old: sp.Symbol, new: sp.Symbol) -> sp.Expr:
    return expression.xreplace({old: new})


def _of_node(node: sp.Basic) -> Iterator[tuple[str, sp.Basic]]:
    """Yield what may stand in the place of a part of an expression."""
    if isinstance(node, sp.Rational):
        for other in dict.fromkeys((node + 1, node - 1, 2 * node, node / 2, -node, node + sp.Rational(1, 100))):
            if other != node:
                yield f"{other} for {node}", other
    if isinstance(node, _REDUCTIONS):
        for over in _REDUCTIONS:
            if not isinstance(node, over):
                yield f"{over.__name__} for {type(node).__name__}", over(node.args[0])
    if isinstance(node, sp.Max | sp.Min):
        other = sp.Min if isinstance(node, sp.Max) else sp.Max
        yield f"{other.__name__} for {type(node).__name__}", other(*node.args, evaluate=False)
        yield f"the sum for {type(node).__name__}", sp.Add(*node.args)
        for i in range(len(node.args)):
            yield f"argument {i} alone", node.args[i]
    if node.is_Add or node.is_Mul:
        for i, argument in enumerate(node.args):
            rest = [x for j, x in enumerate(node.args) if j != i]
            yield f"argument {i} left out", node.func(*rest)
            if node.is_Add:
                yield f"argument {i} with its sign turned", node.func(*rest, -argument)


def _paths(expression: sp.Basic) -> Iterator[tuple[int, ...]]:
    yield ()
    for i, argument in enumerate(expression.args):
        for path in _paths(argument):
            yield (i, *path)


def _at(expression: sp.Basic, path: Sequence[int]) -> sp.Basic:
    for i in path:
        expression = expression.args[i]
    return expression


def _with(expression: sp.Basic, path: Sequence[int], other: sp.Basic) -> sp.Basic | None:
    """Return the expression with another part at a path; None where that makes no expression."""
    if not path:
        return other
    inner = _with(expression.args[path[0]], path[1:], other)
    if inner is None:
        return None
    arguments = (inner if i == path[0] else x for i, x in enumerate(expression.args))
    plain = isinstance(expression, sp.Max | sp.Min)  # their evaluation compares all arguments, which takes long
    changed = expression.func(*arguments, evaluate=False) if plain else expression.func(*arguments)
    return None if changed.has(sp.zoo, sp.nan, sp.oo) else changed


# Rules, and the code that is made from them.

_THEOREM_OF = {
    "gd": "gd-upper",
    "block-gd": "block-gd",
    "heavy-ball": "heavy-ball",
    "adam-frozen": "adam-frozen-exact",
    "gd-lambda": "gradient-rate",
    "sign-lambda": "sign-rate",
    "signsgd": "sign-constant",
    "adam": "adam-cycle",
    "signum": "signum-gap",
    "lion": "lion-gap",
}
_OTHERS = ("rmsprop", "nesterov", "adam-mini", "normalized-gd", "adamw")


@contextmanager
def _replaced(table: Any, key: Any, value: Any) -> Iterator[None]:
    """Put a value into a table, or an attribute into a module, for the time of a block."""
    if isinstance(table, dict):
        before = table[key]
        table[key] = value
    else:
        before = vars(table)[key]  # not getattr, which would take a static method out of its class
        setattr(table, key, value)
    try:
        yield
    finally:
        if isinstance(table, dict):
            table[key] = before
        else:
            setattr(table, key, before)


def _changed_rules(rule: Rule) -> Iterator[tuple[str, Rule]]:
    for part in ("update", "start"):
        for state, expression in getattr(rule, part).items():
            for text, other in _parts_changed(expression):
                yield f"{part} of {state}: {text}", _with_part(rule, part, {**getattr(rule, part), state: other})
    for text, other in _parts_changed(rule.step):
        yield f"step: {text}", replace(rule, step=other)


def _with_part(rule: Rule, part: str, value: Any) -> Rule:
    changes: dict[str, Any] = {part: value}
    return replace(rule, **changes)


def _parts_changed(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    for path in _paths(expression):
        node = _at(expression, path)
        for text, other in _of_node(node):
            changed = _with(expression, path, other)
            if changed is not None and changed != expression and not changed.has(sp.zoo, sp.nan, sp.oo, sp.I):
                yield f"{text} at {'.'.join(map(str, path)) or 'the top'}", changed


def _safely(make: Callable[[], Iterator[tuple[str, Rule]]]) -> Iterator[tuple[str, Rule]]:
    """Yield the changed rules that are rules."""
    found = make()
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except (ValueError, TypeError, ZeroDivisionError):
            continue


def _rules() -> Iterator[Mutant]:
    for name, theorem in _THEOREM_OF.items():
        for change, rule in _safely(partial(_changed_rules, RULES[name])):
            yield _rule(name, change, rule, theorem)
            yield _code(name, change, rule)
    for name in _OTHERS:
        for change, rule in _safely(partial(_changed_rules, RULES[name])):
            yield _code(name, change, rule)


def _rule(name: str, change: str, rule: Rule, theorem: str) -> Mutant:
    def survives() -> str:
        with _replaced(RULES, name, rule):
            derived = derive(THEOREMS[theorem])
        if derived is None or not derived.holds:
            return ""
        return f"{theorem} is derived of it too"

    return Mutant("rule", name, change, survives)


@lru_cache(maxsize=1)
def _subject() -> BlockQuadratic:
    return BlockQuadratic.generate(blocks=2, block_size=2, heterogeneity=3, problems=2, seed=5)


_ANY = Theorem(name="any", kind="horizon", bound=sp.Integer(10) ** 9)


def _run(name: str, rule: Rule) -> Trajectory:
    rates = {"block-gd": 1.0, "gd-lambda": 1.0, "sign-lambda": 1.0, "adam-frozen": 0.01}
    return simulate(
        _subject(),
        rule,
        lr=rates.get(name, 0.05),
        steps=12,
        engine="reference",
        dtype="float64",
    )


def _code(name: str, change: str, rule: Rule) -> Mutant:
    """A kernel with a fault does what another rule does, under the name of this one."""

    def survives() -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # as of complex numbers
                run = _run(name, rule)
        except (ValueError, TypeError, KeyError, RuntimeError, UserWarning):
            return ""  # it does not even run
        honest = _run(name, RULES[name])
        verdict = check(_ANY, replace(run, rule=RULES[name])).verdict
        if np.any(verdict == "not the rule's run"):
            return ""
        apart = np.nanmax(np.abs(run.gap - honest.gap) / honest.gap)
        return f"its gaps are those of the rule, up to {apart:.1g}" if apart < 1e-9 else _HOLE

    return Mutant("generated code", name, change, survives)


# Records.


def _gaps(change: Callable[[np.ndarray], Any]) -> Callable[[Trajectory], Trajectory]:
    def altered(run: Trajectory) -> Trajectory:
        gap = run.gap.copy()
        change(gap)
        return replace(run, gap=gap)

    return altered


def _scaled(step: int, factor: float) -> Callable[[np.ndarray], None]:
    def change(gap: np.ndarray) -> None:
        gap[..., step] *= factor

    return change


def _all_times(factor: float) -> Callable[[np.ndarray], None]:
    def change(gap: np.ndarray) -> None:
        gap *= factor

    return change


def _record_changes() -> Iterator[tuple[str, Callable[[Trajectory], Trajectory]]]:
    for step in (0, 1, 2, 5, 12):
        for factor in (np.nan, -1.0, 0.0, np.inf, 1e6, 1e-3, 1.01, 0.99, 1 + 1e-6, 1 - 1e-6):
            if not (step == 12 and factor == np.inf):
                yield f"gap {step} times {factor}", _gaps(_scaled(step, factor))
    for factor in (1e-3, 1e3, -1.0, 1 + 1e-6):
        yield f"all gaps times {factor}", _gaps(_all_times(factor))
    yield "all gaps NaN", _gaps(lambda gap: gap.fill(np.nan))
    yield "gaps in reverse", lambda run: replace(run, gap=run.gap[..., ::-1])
    yield "steps doubled", lambda run: replace(run, steps=2 * run.steps)
    yield "steps from 1", lambda run: replace(run, steps=run.steps + 1)
    yield "a step left out", lambda run: replace(run, steps=run.steps[:-1])
    yield (
        "settings of the next problem",
        lambda run: replace(run, settings={name: 1.1 * values for name, values in run.settings.items()}),
    )
    yield "tolerance 2", lambda run: replace(run, tolerance=2.0)
    yield "status diverged", lambda run: replace(run, status=np.full(run.status.shape, "diverged"))
    yield "status converged", lambda run: replace(run, status=np.full(run.status.shape, "converged"))
    yield "an unknown status", lambda run: replace(run, status=np.full(run.status.shape, "fine"))
    yield "hit at 0", lambda run: replace(run, steps_to_tolerance=np.zeros(run.status.shape))
    yield "hit at 3", lambda run: replace(run, steps_to_tolerance=np.full(run.status.shape, 3.0))
    yield "hit beyond the run", lambda run: replace(run, steps_to_tolerance=np.full(run.status.shape, 1e9))
    yield "stays from 0", lambda run: replace(run, steps_to_stay=np.zeros(run.status.shape))
    yield "the problems exchanged", lambda run: replace(run, gap=run.gap[::-1])


def _records() -> Iterator[Mutant]:
    for name in (*_THEOREM_OF, *_OTHERS):
        for change, alter in _record_changes():
            yield _record(name, change, alter)


def _record(name: str, change: str, alter: Callable[[Trajectory], Trajectory]) -> Mutant:
    def survives() -> str:
        run = _honest(name)
        verdict = check(_ANY, alter(run)).verdict
        return "" if np.all(verdict == "not the rule's run") else _HOLE

    return Mutant("record", name, change, survives)


@lru_cache(maxsize=32)
def _honest(name: str) -> Trajectory:
    return _run(name, RULES[name])


# The judge: budgets that are too wide, and provers that are too kind.


def _times(module: Any, name: str, factor: float) -> AbstractContextManager[None]:
    before = getattr(module, name)
    return _replaced(module, name, lambda *arguments, **options: factor * before(*arguments, **options))


def _all_symbols(factor: float) -> AbstractContextManager[None]:
    before = budget.symbol_budgets

    def wider(run: Trajectory) -> Any:
        found: Any = before(run)
        for symbol in list(found):
            found[symbol] = factor * found[symbol]
        return found

    return _replaced(floats, "symbol_budgets", wider)


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
    return _replaced(proving._Translator, name, change)


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
    yield "no domain check", lambda: _replaced(query, "undefined", lambda self, expression: "")
    yield "no witness asked for", lambda: _replaced(query, "witness", lambda self: ({}, ""))
    yield "every identity true", lambda: _replaced(proving, "_is_identity", lambda equation: True)


def _judges() -> Iterator[Mutant]:
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
            return _HOLE  # the judge as it is must pass
        with context():
            return _HOLE if passes() else ""

    return Mutant(kind, of, change, survives)
