"""Rule: an optimizer as one symbolic object. Kernels, torch functions, closed forms and proofs are derived from it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.support.arrays import array_of
from quadsim.simulator.support.checks import check_interval, check_known
from quadsim.simulator.support.kept import KeptFacts

if TYPE_CHECKING:  # a rule whose facts are known needs no expressions, and SymPy takes a second to import
    import sympy as sp

    from quadsim.simulator.rules.functions import BlockMean, Norm, Ratio, Total, symbols

__all__ = [
    "BlockMean",
    "Hyperparameter",
    "LinearForm",
    "Norm",
    "Ratio",
    "Rule",
    "Stages",
    "Total",
    "symbols",
]

_FUNCTIONS = ("BlockMean", "Norm", "Ratio", "Total", "symbols")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        from quadsim.simulator.rules import functions

        return getattr(functions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """Default and allowed range of a hyperparameter; an end that is marked open is excluded."""

    default: float
    low: float = -np.inf
    high: float = np.inf
    low_open: bool = False
    high_open: bool = False
    meaning: str = ""

    def check(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        """Return `values` as a float array (1-D), every one in range.

        Raises:
            ValueError: a value outside the range.
        """
        array = np.atleast_1d(array_of(name, values))
        if array.ndim != 1 or array.size == 0:
            raise ValueError(
                f"{name} must be a number or a sequence of numbers, got shape {array.shape}; give one axis."
            )

        def check(value: Any) -> float:
            ends = self.low, self.high
            return check_interval(name, value, *ends, low_open=self.low_open, high_open=self.high_open)

        if array.dtype.kind in "iuf" and np.isfinite(array).all():  # the ends speak for all
            for end in (array.min(), array.max()):
                check(end.item())
            return array.astype(np.float64)
        return np.array([check(x) for x in array.tolist()])


LEARNING_RATE = Hyperparameter(np.nan, 0.0, low_open=True, meaning="learning rate")


@dataclass(frozen=True)
class LinearForm:
    """The linear recursion of a rule along one eigenvector.

    With the preconditioner `phi` (1 if there is none) and M = phi^(1/2) H phi^(1/2), the vector (x, states) of
    x = phi^(-1/2) e moves along an eigenvector of M with eigenvalue lambda by `matrix`; `increment` is its first row less the
    identity, exact where the step is small.

    Attributes:
        eigenvalue: the symbol lambda.
        matrix: (1 + states) x (1 + states) matrix in lambda and the rule's symbols.
        increment: 1 x (1 + states).
        preconditioner: phi in the frozen states, or None.
    """

    eigenvalue: "sp.Symbol"
    matrix: "sp.ImmutableMatrix"
    increment: "sp.ImmutableMatrix"
    preconditioner: "sp.Expr | None"


@dataclass(frozen=True)
class Stages:
    """A rule cut into stages that are evaluated one after the other: sums over the whole problem first, then what uses them.

    Attributes:
        update_totals: symbol to the expression summed, for the updates.
        updates: state to its next value.
        step_totals: symbol to the expression summed, for the step.
        step: the step, in updated states.
        start_totals: symbol to the expression summed, for the starts.
        starts: state to its value before the first step.
    """

    update_totals: "Mapping[sp.Symbol, sp.Expr]"
    updates: "Mapping[sp.Symbol, sp.Expr]"
    step_totals: "Mapping[sp.Symbol, sp.Expr]"
    step: "sp.Expr"
    start_totals: "Mapping[sp.Symbol, sp.Expr]"
    starts: "Mapping[sp.Symbol, sp.Expr]"


_EXPRESSIONS = ("step", "update", "clocks", "start", "hyperparameters", "natural_lr")
"""Attributes of a rule that hold SymPy's objects."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Rule:
    """An optimizer, coordinate by coordinate.

    One step: the clocks advance; then all states advance at once (on the right of an update stand the old states); then
    `step` is added to the iterate (in it stand the new states). A state that no update reads is only a name for a part of the
    step, and is not stored.

    Attributes:
        name: name on the command line.
        step: what is added to the iterate, in g, w, lr, L_l, mu_l, states, clocks, hyperparameters.
        update: state to its next value.
        clocks: clock to its next value, the same for all coordinates; every clock starts at 1.
        start: state to its value before the first step; may use g, the first gradient. Default 0.
        hyperparameters: symbol to default and range (a plain number is a default without a range).
        natural_lr: centre of a grid of learning rates, in quantities that do not depend on a draw.
        default_lr: learning rate that is used if none is given; None: it must be given.
        summary: description in one line.
        source: the paper, and variants with which it may be confused.

    Raises:
        ValueError: an expression with a symbol or a function that is not allowed in a rule.
    """

    name: str
    step: "sp.Expr"
    update: "Mapping[sp.Symbol, sp.Expr]" = field(default_factory=dict)
    clocks: "Mapping[sp.Symbol, sp.Expr]" = field(default_factory=dict)
    start: "Mapping[sp.Symbol, sp.Expr]" = field(default_factory=dict)
    hyperparameters: "Mapping[sp.Symbol, Any]" = field(default_factory=dict)
    natural_lr: "sp.Expr" = field(default_factory=lambda: _tenth_of_the_error())
    default_lr: float | None = None
    summary: str = ""
    source: str = ""

    @classmethod
    def built_in(cls, header: Mapping[str, Any], facts: KeptFacts, load: "Callable[[], Rule]") -> "Rule":
        """Return a rule whose expressions are loaded where they are first read.

        Args:
            header: what `header` of that rule returned.
            facts: the facts that are known of it, see `fact`.
            load: returns the whole rule.
        """
        rule: Rule = object.__new__(cls)
        ranges = {name: Hyperparameter(**values) for name, values in header["ranges"].items()}
        fields = {name: header[name] for name in ("name", "default_lr", "summary", "source")}
        rule.__dict__.update(fields, ranges=ranges, _facts=facts, _load=load)
        return rule

    @property
    def header(self) -> dict[str, Any]:
        """What `built_in` takes: all of a rule that is no expression, as a document of JSON."""
        ranges = {name: asdict(values) for name, values in self.ranges.items()}
        fields = {name: getattr(self, name) for name in ("name", "default_lr", "summary", "source")}
        return {**fields, "ranges": ranges}

    def __getattr__(self, name: str) -> Any:
        # Of a rule that is not loaded, expressions alone are missing. What looks for methods of protocols asks for other names.
        if name in _EXPRESSIONS and "_load" in self.__dict__:
            whole = self.__dict__["_load"]()
            self.__dict__.update({expression: getattr(whole, expression) for expression in _EXPRESSIONS})
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def fact(self, name: str, derive: Callable[[], Any]) -> Any:
        """Return what is derived from the expressions; of a built-in rule it is kept for the next process.

        Args:
            name: says what is derived, and from which arguments.
            derive: returns it, as a value that JSON holds.
        """
        facts: KeptFacts | dict[str, Any] = self.__dict__.setdefault("_facts", {})
        if isinstance(facts, KeptFacts):
            return facts.get(name, derive)
        if name not in facts:
            facts[name] = json.loads(json.dumps(derive()))  # as it is read from a file: a tuple is a list
        return facts[name]

    def __post_init__(self) -> None:
        import sympy as sp

        from quadsim.simulator.rules.functions import COORDINATE, FUNCTIONS, NATURAL, OF_NUMBERS, symbols

        for name in ("update", "clocks", "start"):
            frozen = {key: sp.sympify(value) for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, frozen)
        object.__setattr__(self, "step", sp.sympify(self.step))
        object.__setattr__(self, "natural_lr", sp.sympify(self.natural_lr))
        ranges = {
            key: value if isinstance(value, Hyperparameter) else Hyperparameter(float(value))
            for key, value in self.hyperparameters.items()
        }
        object.__setattr__(self, "hyperparameters", ranges)
        own = set(ranges)
        named = [str(key) for key in (*COORDINATE, *self.update, *self.clocks, *own)]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(
                f"states, clocks and hyperparameters of rule {self.name} must differ in name from each other and from g, w, "
                f"lr, L_l, mu_l, got {', '.join(twice)} twice; rename one."
            )
        self._check_symbols("step", self.step, {*COORDINATE, *self.update, *self.clocks, *own}, FUNCTIONS)
        for key, value in self.update.items():
            self._check_symbols(f"update of {key}", value, {*COORDINATE, *self.update, *self.clocks, *own}, FUNCTIONS)
        for key, value in self.clocks.items():
            self._check_symbols(f"clock {key}", value, {*self.clocks, *own}, OF_NUMBERS)
        for key, value in self.start.items():
            self._check_symbols(f"start of {key}", value, {symbols.g, symbols.L_l, symbols.mu_l, *own}, FUNCTIONS)
        self._check_symbols("natural_lr", self.natural_lr, {*NATURAL, *own}, OF_NUMBERS)

    def _check_symbols(
        self, what: str, expression: "sp.Expr", allowed: "set[sp.Symbol]", functions: tuple[type, ...]
    ) -> None:
        import sympy as sp

        from quadsim.simulator.rules.functions import Total

        unknown = expression.free_symbols - allowed
        if unknown:
            names = ", ".join(sorted(map(str, unknown)))
            raise ValueError(
                f"{what} of rule {self.name} may use {', '.join(sorted(map(str, allowed)))}, got {names}; declare it as a "
                "state, clock or hyperparameter (use quadsim.simulator.rules.rule.symbols for g, w, lr, L_l, mu_l)."
            )
        for total in sorted(expression.atoms(Total), key=str):
            if total.args[0].has(Total):
                raise ValueError(
                    f"Total(...) must not hold another Total, got {total}; write the sums one after the other."
                )
        others = {f for f in expression.atoms(sp.Function, sp.Max, sp.Min) if not isinstance(f, functions)}
        if others:
            raise ValueError(
                f"{what} of rule {self.name} may use sqrt, {', '.join(f.__name__ for f in functions)}, got {others}; "
                "write it with these."
            )

    @cached_property
    def states(self) -> "tuple[sp.Symbol, ...]":
        """The states that are stored from step to step; other updates are names for parts of the step."""
        read = set().union(*(e.free_symbols for e in self.update.values())) if self.update else set()
        return tuple(state for state in self.update if state in read)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the settings: `lr` and then the hyperparameters."""
        return ("lr", *self.ranges)

    @cached_property
    def ranges(self) -> dict[str, Hyperparameter]:
        """Names of the hyperparameters to default and range."""
        return {str(key): value for key, value in self.hyperparameters.items()}

    @property
    def uses_iterate(self) -> bool:
        """Whether the rule reads the iterate w (weight decay), not only the gradient."""
        return bool(self.fact("uses iterate", self._reads_the_iterate))

    def _reads_the_iterate(self) -> bool:
        from quadsim.simulator.rules.functions import symbols

        return any(symbols.w in e.free_symbols for e in (self.step, *self.update.values()))

    @property
    def uses_blocks(self) -> bool:
        """Whether the rule depends on what the blocks are: it takes means over a block, or reads L_l or mu_l."""
        return bool(self.fact("uses blocks", self._reads_blocks))

    def _reads_blocks(self) -> bool:
        from quadsim.simulator.rules.functions import BlockMean, symbols

        whole = (self.step, *self.update.values(), *self.start.values())
        return any(e.has(BlockMean, symbols.L_l, symbols.mu_l) for e in whole)

    @property
    def is_global(self) -> bool:
        """Whether a step needs the whole gradient at once."""
        return bool(self.fact("is global", self._has_totals))

    def _has_totals(self) -> bool:
        from quadsim.simulator.rules.functions import Total

        return any(e.has(Total) for e in (self.step, *self.update.values(), *self.start.values()))

    @property
    def is_linear(self) -> bool:
        """Whether the rule is a linear recursion at a constant rate, so that a closed form exists."""
        return bool(self.fact("is linear", lambda: self.linear_form is not None))

    @property
    def kind(self) -> str:
        """`linear` (closed form), `separable` (acts within a block) or `global` (needs the whole gradient)."""
        return "linear" if self.is_linear else "global" if self.is_global else "separable"

    def settings(self, lr: ArrayLike | None, **hyperparameters: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Return the settings of a run: learning rates and hyperparameters of length 1 or K, zipped.

        Returns:
            Name to array (K,), the learning rate first.

        Raises:
            ValueError: an unknown name, a value out of range, no learning rate, or lengths that differ.
        """
        known = self.ranges
        check_known(f"hyperparameter of {self.name}", hyperparameters, known)
        lr = self.default_lr if lr is None else lr
        if lr is None:
            raise ValueError(f"lr must be given for {self.name}, got None; pass lr=...")
        values = {"lr": LEARNING_RATE.check("lr", lr)}
        for name, hyperparameter in known.items():
            values[name] = hyperparameter.check(name, hyperparameters.get(name, hyperparameter.default))
        lengths = {name: array.size for name, array in values.items() if array.size > 1}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"lr and hyperparameters must have length 1 or one common length, got {lengths}; make them equal, or use "
                "quadsim.simulator.grid(...) for all combinations."
            )
        number = max(lengths.values(), default=1)
        return {name: np.broadcast_to(array, (number,)).copy() for name, array in values.items()}

    @cached_property
    def stages(self) -> Stages:
        """The rule cut at its sums over the whole problem; see `Stages`."""
        import sympy as sp

        update_totals: dict[sp.Symbol, sp.Expr] = {}
        step_totals: dict[sp.Symbol, sp.Expr] = {}
        start_totals: dict[sp.Symbol, sp.Expr] = {}
        updates = {s: _cut_totals(e, update_totals, "update_total") for s, e in self.update.items()}
        step = _cut_totals(self.step, step_totals, "step_total")
        starts = {s: _cut_totals(self.start.get(s, sp.S.Zero), start_totals, "start_total") for s in self.states}
        return Stages(update_totals, updates, step_totals, step, start_totals, starts)

    @cached_property
    def linear_form(self) -> LinearForm | None:
        """The recursion along an eigenvector, derived from `update` and `step`; None if the rule is not linear."""
        import sympy as sp

        from quadsim.simulator.rules.functions import BlockMean, Ratio, Total, symbols

        whole = (self.step, *self.update.values())
        if self.clocks or self.uses_iterate or any(e.has(Total, BlockMean) for e in whole):
            return None
        if any(e.has(Total, BlockMean, Ratio) for e in self.start.values()):
            return None  # linear, but the closed form evaluates a preconditioner coordinate by coordinate
        frozen = tuple(s for s, e in self.update.items() if e == s)
        active = tuple(s for s in self.states if s not in frozen)
        if any(self.start.get(state, sp.S.Zero) != 0 for state in active):
            return None
        updates = {s: e.doit() for s, e in self.update.items() if s not in frozen}
        rows = [self.step.doit().subs(updates, simultaneous=True), *(updates[s] for s in active)]
        moving = (symbols.g, *active)
        if not all(row.is_polynomial(*moving) for row in rows):
            return None  # no need to simplify a quotient of roots, which takes a second
        preconditioner: sp.Expr | None = None
        lam = sp.Symbol("lambda", positive=True)
        coefficients: list[list[sp.Expr]] = []
        for row in rows:
            slopes = [_simplified(sp.diff(row, symbol)) for symbol in moving]
            remainder = sp.expand(row - sum(c * x for c, x in zip(slopes, moving, strict=True)))
            if (remainder != 0 and sp.simplify(remainder) != 0) or any(c.free_symbols & set(moving) for c in slopes):
                return None
            if any(c.free_symbols & set(frozen) for c in slopes[1:]):
                return None
            constant, factor = slopes[0].as_independent(*frozen, as_Add=False) if frozen else (slopes[0], sp.S.One)
            if slopes[0] != 0 and frozen:
                if preconditioner not in (None, factor):
                    return None
                preconditioner = factor
            coefficients.append([constant * lam, *slopes[1:]])
        increment = sp.ImmutableMatrix([coefficients[0]])
        identity = sp.zeros(1, len(rows))
        identity[0, 0] = 1
        matrix = sp.ImmutableMatrix([list(increment + identity), *coefficients[1:]])
        return LinearForm(lam, matrix, increment, preconditioner)

    def formula(self) -> str:
        """Return the rule as plain text: one line for every start, clock and update; the step last."""
        lines = [f"{s} = {e} at the start" for s, e in self.start.items()]
        lines += [f"{s} <- {e}" for s, e in {**self.clocks, **self.update}.items()]
        # Files of runs hold this text, and are read only where a rule still has it: another spelling would refuse older files.
        return "\n".join([*lines, f"w <- w + ({self.step})"])

    def latex(self) -> str:
        """Return the rule in LaTeX, with line breaks between its lines."""
        import sympy as sp
        from sympy.core.alphabets import greeks

        from quadsim.simulator.rules.functions import symbols
        from quadsim.simulator.rules.printing import MinusLast

        def text(expression: "sp.Expr") -> str:
            found = [s for s in expression.free_symbols if s.name.isalpha() or "_" in s.name]
            words = [s for s in found if len(s.name.partition("_")[0]) > 3 and s.name not in greeks]
            names = {s: rf"\,\text{{{s.name.replace('_', ' ')}}}\," for s in words}  # not a product of letters
            names |= {symbols.lr: r"\eta", sp.Symbol("eps", nonnegative=True): r"\varepsilon"}
            return str(MinusLast({"symbol_names": names}).doprint(expression))

        lines = [rf"{text(s)} = {text(e)} \text{{ at the start}}" for s, e in self.start.items()]
        lines += [rf"{text(s)} \leftarrow {text(e)}" for s, e in {**self.clocks, **self.update}.items()]
        step = text(self.step)
        return " \\\\\n".join([*lines, rf"w \leftarrow w {step if step.startswith('-') else f'+ {step}'}"])

    def __repr__(self) -> str:
        return f"Rule({self.name}: {self.step})"


def _tenth_of_the_error() -> "sp.Expr":
    from quadsim.simulator.rules.functions import symbols

    return symbols.error_scale / 10


def _simplified(expression: "sp.Expr") -> "sp.Expr":
    """Simplify an expression; a sum or product of atoms, as most coefficients are, stays as it is without asking SymPy.

    The first call of `simplify` in a process imports a fifth of SymPy.
    """
    import sympy as sp

    atomic = expression.is_Atom or (
        (expression.is_Add or expression.is_Mul) and all(a.is_Atom for a in expression.args)
    )
    return expression if atomic else sp.simplify(expression)


def _cut_totals(expression: "sp.Expr", totals: "dict[sp.Symbol, sp.Expr]", prefix: str) -> "sp.Expr":
    """Replace every Total(...) by a symbol, and add its summand to the table."""
    import sympy as sp

    from quadsim.simulator.rules.functions import Total

    for total in sorted(expression.atoms(Total), key=str):
        inner = total.args[0]
        known = next((symbol for symbol, summed in totals.items() if summed == inner), None)
        symbol = known or sp.Symbol(f"{prefix}_{len(totals)}", real=True)
        totals[symbol] = inner
        expression = expression.subs(total, symbol)
    return expression
