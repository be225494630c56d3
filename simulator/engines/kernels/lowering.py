"""Convert a Rule to straight-line code (a `Program`), sorted by how often each part must run.

The fused kernels are printed from such programs.

Why: a formula such as Adam's step mixes values that change with the setting, the block, the step and the coordinate. A kernel
that evaluates all of it for every coordinate repeats divisions and square roots whose result is the same for the whole block.
So every sum, product and quotient is split, and the part that does not depend on the coordinate leaves the coordinate loop:
Adam's step becomes `step1*Ratio(m_new, step0*sqrt(v_new) + eps)`, where `step0 = sqrt(1/(1 - p2))` and `step1 = -lr/(1 - p1)`
are evaluated once for all coordinates. The value in exact arithmetic is unchanged; only the places where rounding happens move.

How it is built, in `_Builder`: rename the rule's symbols to safe identifiers, give every symbol a *level* (what its value depends
on, `_Level`), cut the update and the step into *phases* at each mean over the block, then give a name to every largest
subexpression of a lower level than the whole expression.

This module contains no code for a device: `cpu_source`, `gpu_source` and `update_source` print the program and the loops around
it.
"""

import builtins
import keyword
import re
from collections.abc import Mapping
from enum import IntFlag
from functools import lru_cache

import sympy as sp

from quadsim.simulator.engines.kernels.printer import FUNCTIONS
from quadsim.simulator.engines.kernels.program import Assignment, Phase, Program
from quadsim.simulator.rules.functions import BlockMean, Ratio, symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["program", "why_no_program"]

_SUPPORTED = (sp.Symbol, sp.Add, sp.Mul, sp.Pow, BlockMean, *FUNCTIONS)


@lru_cache(maxsize=256)
def why_no_program(rule: Rule) -> str | None:
    """Return the reason why a rule has no straight-line program, as a clause for an error message; None if it has one."""
    if rule.is_global:
        return f"{rule.name} needs the whole gradient at once"
    for expression in (rule.step, *rule.update.values(), *rule.clocks.values(), *rule.start.values()):
        for node in sp.preorder_traversal(expression):
            if not isinstance(node, _SUPPORTED) and not (node.is_number and node.is_extended_real):
                return f"{rule.name} uses {type(node).__name__}, which has no scalar code"
    return None


@lru_cache(maxsize=64)
def program(rule: Rule) -> Program:
    """Return the straight-line program of a rule; `why_no_program(rule)` must be None."""
    assert why_no_program(rule) is None, rule
    return _Builder(rule).build()


class _Level(IntFlag):
    """What a value depends on, beside the setting. The level of an expression is the union (`|`) of the levels of its parts.

    COORDINATE includes the bits of BLOCK and STEP: a value per coordinate is also a value per block and per step.
    """

    ONCE = 0
    BLOCK = 1
    STEP = 2
    BLOCK_STEP = 3
    COORDINATE = 7


class _Builder:
    """Builds the Program of one rule.

    Invariant: `_levels` holds every symbol that may occur in an expression, the new ones included. A symbol without a level
    raises a KeyError in `_level`, which is better than code that runs at the wrong place.
    """

    def __init__(self, rule: Rule) -> None:
        self._names = _Names()
        rename: dict[sp.Symbol, sp.Symbol] = {}
        for role, own in (("state", rule.update), ("clock", rule.clocks), ("setting", rule.hyperparameters)):
            for index, symbol in enumerate(own):
                rename[symbol] = sp.Symbol(self._names.safe(str(symbol), f"{role}{index}"), **symbol.assumptions0)

        def renamed(expressions: Mapping[sp.Symbol, sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
            return {rename[key]: value.xreplace(rename) for key, value in expressions.items() if key in rename}

        self._states = tuple(rename[state] for state in rule.states)
        self._hyperparameters = tuple(rename[key] for key in rule.hyperparameters)
        self._clocks = renamed(rule.clocks)
        self._start = {s: renamed(rule.start).get(s, sp.S.Zero) for s in self._states}
        self._new: dict[sp.Symbol, sp.Symbol] = {}  # a state that stays as it is needs no second name
        self._update: dict[sp.Symbol, sp.Expr] = {}
        for state, value in renamed(rule.update).items():
            if value != state:
                self._new[state] = sp.Symbol(self._names.safe(f"{state}_new", "new_state"), **state.assumptions0)
                self._update[self._new[state]] = value
        self._step = rule.step.xreplace(rename).xreplace(self._new)

        self._levels: dict[sp.Symbol, _Level] = {symbols.g: _Level.COORDINATE, symbols.w: _Level.COORDINATE}
        self._levels |= dict.fromkeys((symbols.L_l, symbols.mu_l), _Level.BLOCK)
        self._levels |= dict.fromkeys((symbols.lr, *self._clocks), _Level.STEP)
        self._levels |= dict.fromkeys(self._hyperparameters, _Level.ONCE)
        self._level_states()
        self._named: dict[_Level, dict[sp.Expr, sp.Symbol]] = {level: {} for level in _PREFIX}

    def _level_states(self) -> None:
        """Find the states that have one value per block.

        Assume that every state has one value per block; then change a state to a value per coordinate when its start or update
        depends on the coordinate, until nothing changes. Such a change can make the update of another state depend on the
        coordinate, hence the loop. It ends, as a level only rises.
        """
        old = {new: state for state, new in self._new.items()}
        self._levels |= dict.fromkeys((*self._states, *self._update), _Level.BLOCK_STEP)
        expressions = [*self._start.items(), *self._update.items()]
        changed = True
        while changed:
            changed = False
            for symbol, value in expressions:
                if self._levels[symbol] != _Level.COORDINATE and self._level(value) == _Level.COORDINATE:
                    state = old.get(symbol, symbol)
                    self._levels |= dict.fromkeys((state, self._new.get(state, state)), _Level.COORDINATE)
                    changed = True

    def build(self) -> Program:
        """Return the whole program.

        The order of the calls matters. Splitting an expression of one level can put new names into the tables of lower levels
        (`_named`), so the definitions are read from the highest level to the lowest: phases, STEP, BLOCK, ONCE. Reading `once`
        earlier would lose the names that the splitting of `step` adds.
        """
        start, started = self._phases({}, self._start, "start")
        increment = sp.Symbol(self._names.safe("increment", "increment"), real=True)
        outputs = {state: self._new.get(state, state) for state in self._states}
        advance, advanced = self._phases(self._update, {**outputs, increment: self._step}, "mean")
        step, per_block, once = (self._definitions(level) for level in (_Level.STEP, _Level.BLOCK, _Level.ONCE))
        return Program(
            hyperparameters=self._hyperparameters,
            clocks=tuple(Assignment(clock, value) for clock, value in self._clocks.items()),
            once=once,
            per_block=per_block,
            step=step,
            states=tuple(s for s in self._states if self._levels[s] == _Level.COORDINATE),
            block_states=tuple(s for s in self._states if self._levels[s] != _Level.COORDINATE),
            start=start,
            started=started,
            advance=advance,
            advanced={s: advanced[s] for s in self._states},
            increment=advanced[increment],
        )

    def _definitions(self, level: _Level) -> tuple[Assignment, ...]:
        return self._share({symbol: self._split(value) for value, symbol in self._named[level].items()})

    def _phases(
        self, definitions: Mapping[sp.Symbol, sp.Expr], outputs: Mapping[sp.Symbol, sp.Expr], prefix: str
    ) -> tuple[tuple[Phase, ...], dict[sp.Symbol, sp.Expr]]:
        """Cut `outputs`, which may use `definitions`, into phases at the means over the block.

        A mean that was found gets a symbol; `since` says from which phase on a symbol is known (a mean over values of phase n is
        known from phase n + 1 on). Phase n then computes what the means of phase n + 1 need, and the last phase the outputs.

        Args:
            definitions: name to expression (the new states).
            outputs: key to expression whose value is wanted.
            prefix: start of the names of the means.

        Returns:
            The phases, and each output as a symbol or a number that is known after the last phase.
        """
        self._named[_Level.BLOCK_STEP] = {}
        means: dict[sp.Expr, sp.Symbol] = {}
        since: dict[sp.Symbol, int] = {}  # the phase from which on a symbol is known, where that is not the first

        def known(expression: sp.Expr) -> int:
            return max((since.get(symbol, 0) for symbol in expression.free_symbols), default=0)

        def without_means(expression: sp.Expr) -> sp.Expr:
            if not expression.has(BlockMean):
                return expression
            arguments = [without_means(argument) for argument in expression.args]
            if not isinstance(expression, BlockMean):
                return expression.func(*arguments)
            (inner,) = arguments
            if self._level(inner) != _Level.COORDINATE:
                return inner  # the same for all coordinates
            if inner not in means:
                means[inner] = sp.Symbol(self._names.fresh(prefix), real=True)
                self._levels[means[inner]] = _Level.BLOCK_STEP
                since[means[inner]] = known(inner) + 1
            return means[inner]

        plain = {}
        for symbol, value in definitions.items():
            plain[symbol] = without_means(value)
            since[symbol] = known(plain[symbol])
        results = {key: without_means(value) for key, value in outputs.items()}
        last = max(map(known, results.values()), default=0)
        wanted = [{s: inner for inner, s in means.items() if since[s] == number + 1} for number in range(last)]
        wanted.append(results)

        coordinate: list[dict[sp.Symbol, sp.Expr]] = []
        handed: list[dict[sp.Symbol, sp.Expr]] = []
        for number, outgoing in enumerate(wanted):
            local, names = self._handed_over(outgoing, plain, "_of" if number < last else "")
            coordinate.append(local)
            handed.append(names)

        phases = []
        for number in range(last + 1):
            block = {s: e for s, e in plain.items() if self._levels[s] != _Level.COORDINATE and since[s] == number}
            block |= {s: e for e, s in self._named[_Level.BLOCK_STEP].items() if known(e) == number}
            phases.append(
                Phase(
                    block=self._share({s: self._split(e) for s, e in block.items()}),
                    coordinate=self._share(coordinate[number]),
                    means=tuple(Assignment(s, e) for s, e in handed[number].items()) if number < last else (),
                )
            )
        return tuple(phases), handed[last]

    def _handed_over(
        self, outgoing: Mapping[sp.Symbol, sp.Expr], plain: Mapping[sp.Symbol, sp.Expr], end: str
    ) -> tuple[dict[sp.Symbol, sp.Expr], dict[sp.Symbol, sp.Expr]]:
        """What a phase computes for every coordinate, and what it hands over.

        Args:
            outgoing: values that are handed over: those that means are taken of, or, in the last phase, the outputs.
            plain: definitions without means, of which the phase computes what it uses.
            end: of the name of a handed value, which `outgoing` knows by that of its mean, or by its own.

        Returns:
            Assignments by coordinate, and each of `outgoing` as a symbol or a number.
        """
        used = set().union(*(value.free_symbols for value in outgoing.values()))
        local = {s: self._split(e) for s, e in plain.items() if s in used and self._levels[s] == _Level.COORDINATE}
        names = {}
        for key, value in outgoing.items():
            if self._level(value) != _Level.COORDINATE or value.is_Symbol:
                names[key] = self._name(value)
                continue
            label = f"{key}_first" if key in self._states else f"{key}{end}"
            names[key] = key if label == str(key) else sp.Symbol(self._names.safe(label, "value"), real=True)
            local[names[key]] = self._split(value)
        return local, names

    def _level(self, expression: sp.Expr) -> _Level:
        if expression.is_Symbol:
            return self._levels[expression]
        level = _Level.ONCE
        for argument in expression.args:
            level |= self._level(argument)
        return _Level.BLOCK_STEP if isinstance(expression, BlockMean) and level == _Level.COORDINATE else level

    def _name(self, expression: sp.Expr) -> sp.Expr:
        """Return a symbol for an expression, to be evaluated at the expression's own level; numbers and symbols stay."""
        if expression.is_Symbol or expression.is_number:
            return expression
        level = self._level(expression)
        named = self._named[level]
        if expression not in named:
            named[expression] = sp.Symbol(self._names.fresh(_PREFIX[level]), real=True)
            self._levels[named[expression]] = level
        return named[expression]

    def _split(self, expression: sp.Expr) -> sp.Expr:
        """Return the expression with a name in place of every largest part that runs less often than the whole.

        `_pull` runs first: a factor inside a Ratio cannot be hoisted while it is inside.
        """
        return self._hoist(self._pull(expression))

    def _pull(self, expression: sp.Expr) -> sp.Expr:
        """Move factors that run less often out of every Ratio.

        Only factors that cannot be 0 may move. Ratio(0, b) is 0 for every b, also for b = 0; a factor 0 that is moved out of the
        divisor would make this 0/0, which is NaN.
        """
        if expression.is_Symbol or expression.is_number:
            return expression
        arguments = [self._pull(argument) for argument in expression.args]
        if not isinstance(expression, Ratio):
            return expression.func(*arguments)
        level = self._level(expression)
        outside, inside = [], []
        for argument in arguments:
            factors = sp.Mul.make_args(argument)
            out = [f for f in factors if self._level(f) != level and f.is_zero is False]
            outside.append(sp.Mul(*out))
            inside.append(sp.Mul(*(f for f in factors if f not in out)))
        return outside[0] / outside[1] * Ratio(*inside)

    def _hoist(self, expression: sp.Expr) -> sp.Expr:
        """Return the expression with a name for each largest part of a lower level.

        In a sum or product the terms of lower levels are first combined to one term, so that the coordinate loop has one
        operation for all of them. This reassociates floating-point sums, which is the one change of rounding that is allowed.
        """
        level = self._level(expression)
        if not expression.args or level == _Level.ONCE:
            return expression
        top = [self._hoist(a) for a in expression.args if self._level(a) == level]
        if not isinstance(expression, sp.Add | sp.Mul):
            return expression.func(
                *(self._hoist(a) if self._level(a) == level else self._name(a) for a in expression.args)
            )
        low = [a for a in expression.args if self._level(a) != level]
        together = expression.func(*low)
        if self._level(together) != level:
            return expression.func(*top, self._name(together))
        # Values per block and values per step meet in a value per block and step: combine each kind separately first, so that
        # neither is evaluated more often than it changes. A constant joins the first kind, it needs no name of its own.
        parts: dict[_Level, list[sp.Expr]] = {}
        for argument in sorted(low, key=self._level, reverse=True):
            own = self._level(argument)
            parts.setdefault(own if own != _Level.ONCE else next(iter(parts)), []).append(argument)
        return expression.func(*top, *(self._name(expression.func(*part)) for part in parts.values()))

    def _share(self, named: Mapping[sp.Symbol, sp.Expr]) -> tuple[Assignment, ...]:
        """Return the assignments with common subexpressions evaluated once, each assignment after those that it reads.

        SymPy returns the replacements in an order that holds among themselves only, hence the topological sort. `next` without
        a default raises where two assignments need each other: that would be a mistake here, not in the rule.
        """
        fresh = (sp.Symbol(self._names.fresh("x"), real=True) for _ in iter(int, 1))
        replaced, reduced = sp.cse(list(named.values()), symbols=fresh)
        waiting = [Assignment(*pair) for pair in (*replaced, *zip(named, reduced, strict=True))]
        ordered: list[Assignment] = []
        while waiting:
            blocked = {assignment.name for assignment in waiting}
            ready = next(a for a in waiting if not a.value.free_symbols & blocked)
            waiting.remove(ready)
            ordered.append(ready)
        return tuple(ordered)


_PREFIX = {_Level.ONCE: "once", _Level.BLOCK: "block", _Level.STEP: "step", _Level.BLOCK_STEP: "now"}
_IDENTIFIER = re.compile(r"[A-Za-z](?:[A-Za-z0-9]|_(?=[A-Za-z0-9])){0,39}")
_COORDINATE = (symbols.g, symbols.w, symbols.lr, symbols.L_l, symbols.mu_l)
_FUNCTION_NAMES = ("sqrt", "power", *FUNCTIONS.values())
_TAKEN = {*map(str, _COORDINATE), *keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_FUNCTION_NAMES}


class _Names:
    """Hands out identifiers that are safe in generated source, each of them once.

    A rule may come from a user, whose symbols can have any name (`lambda`, `g`, `1x`, an import statement). Such a name never
    reaches the source: it is replaced by `fallback0`, `fallback1`, ...
    """

    def __init__(self) -> None:
        self._taken = set(_TAKEN)

    def safe(self, wished: str, otherwise: str) -> str:
        """Return the wished name if it is an identifier that is free, else a fresh name that starts with `otherwise`."""
        if not _IDENTIFIER.fullmatch(wished) or wished in self._taken:
            return self.fresh(otherwise)
        self._taken.add(wished)
        return wished

    def fresh(self, prefix: str) -> str:
        """Return the first free name of prefix0, prefix1, ..."""
        numbered = (f"{prefix}{number}" for number in range(len(self._taken) + 1))
        name = next(name for name in numbered if name not in self._taken)
        self._taken.add(name)
        return name
