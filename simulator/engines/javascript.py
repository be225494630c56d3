"""Print rules as JavaScript, for pages that run optimizers in a browser.

The third printer of rules, beside those of kernels for CPU and GPU. It prints every rule, also those that need the whole gradient
at once: a page runs one small problem, so that a rule may pass over the coordinates as often as its sums and means ask for.

Each rule becomes a function that makes an optimizer with its own states. Its steps have the stages of `Rule.stages`: clocks, sums
and means of the update, update, sums and means of the step, step. Parts that depend on settings and clocks alone are evaluated
once per step (`cut_settings`).
"""

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping

import sympy as sp

from quadsim.simulator.engines.kernels.printer import ExpressionPrinter
from quadsim.simulator.rules.rule import BlockMean, Rule, Total, symbols
from quadsim.simulator.rules.settings_first import cut_settings

__all__ = ["HEADER", "JavaScriptPrinter", "javascript_source", "quoted"]

HEADER = """\
const sqrt = Math.sqrt, power = Math.pow, exp = Math.exp, log = Math.log, tanh = Math.tanh, absolute = Math.abs;
const maximum = Math.max, minimum = Math.min;
const ratio = (a, b) => (a === 0 ? 0 : a / b);
const sign = (a) => (a > 0 ? 1 : a < 0 ? -1 : 0);
"""
"""The functions that printed expressions call, `FUNCTIONS` with `sqrt` and `power`; put it once before them."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_NATURAL = ("L", "mu", "trace", "dimension", "error_scale", "tolerance")


class JavaScriptPrinter(ExpressionPrinter):
    """Prints an expression as JavaScript.

    Args:
        names: symbol to its JavaScript; a symbol that is missing is a KeyError, as its name may be anything.
    """

    def __init__(self, names: Mapping[sp.Symbol, str]) -> None:
        super().__init__()
        self._of = names

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return self._of[symbol]


def quoted(value: object) -> str:
    """Return a value of JSON as JavaScript that is safe inside a `<script>` element, whatever texts it holds."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def javascript_source(rules: Iterable[Rule]) -> str:
    """Return the source of `RULES`, an object with one entry per rule, without `HEADER`.

    An entry has two functions. `natural(scales, settings)` returns the rule's natural rate from an object with the values of
    L, mu, trace, dimension, error_scale and tolerance. `make(layout, settings)` returns an optimizer: `start(g)` is called
    once with the first gradient, then `advance(g, w, lr, step)` writes to `step` what is added to the iterate. Arrays have
    one entry per coordinate; `layout.begin` holds the first coordinate of every block and their number at the end,
    `layout.L_l` and `layout.mu_l` the extreme eigenvalues of every block; `settings` are the hyperparameters in the order of
    the rule.

    Raises:
        ValueError: two rules of one name, or a function without JavaScript.
    """
    out = ["const RULES = {"]
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise ValueError(f"rules must differ in name, got {rule.name!r} twice; rename one.")
        seen.add(rule.name)
        out += [f"  {quoted(rule.name)}: {{", *(f"    {line}" for line in _Source(rule).lines()), "  },"]
    return "\n".join([*out, "};"]) + "\n"


class _Source:
    """The source of one rule.

    Names cannot collide or be words of JavaScript: each begins with its role (`state_`, `clock_`, `setting_`) or its stage
    (`start_`, `update_`, `step_`), and a symbol that is no identifier is called by its number.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._names: dict[sp.Symbol, str] = {
            symbols.g: "g[i]",
            symbols.w: "w[i]",
            symbols.lr: "lr",
            symbols.L_l: "layout.L_l[l]",
            symbols.mu_l: "layout.mu_l[l]",
        }
        self._clocks = self._named("clock", rule.clocks)
        self._settings = self._named("setting", rule.hyperparameters)
        self._states = self._named("state", rule.update)
        self._names |= {state: f"{name}[i]" for state, name in self._states.items()}
        self._means: list[str] = []  # arrays with an entry per block

    def _named(self, role: str, own: Iterable[sp.Symbol]) -> dict[sp.Symbol, str]:
        """Return a safe name for each symbol, and remember it."""
        out = {}
        for number, symbol in enumerate(own):
            is_safe = _IDENTIFIER.fullmatch(str(symbol)) is not None
            out[symbol] = f"{role}_{symbol}" if is_safe else f"{role}{number}"
        self._names |= out
        return out

    def _print(self, expression: sp.Expr) -> str:
        return str(JavaScriptPrinter(self._names).doprint(expression))

    def lines(self) -> Iterator[str]:
        """Yield the lines of an entry of RULES."""
        settings = [f"const [{', '.join(self._settings.values())}] = settings;"] if self._settings else []
        scales = {getattr(symbols, name): f"scales.{name}" for name in _NATURAL}
        natural = JavaScriptPrinter({**self._names, **scales}).doprint(self._rule.natural_lr)
        start, advance = list(self._start()), list(self._advance())  # before the arrays are declared that they use
        yield "natural(scales, settings) {"
        yield from (f"  {line}" for line in (*settings, f"return {natural};"))
        yield "},"
        yield "make(layout, settings) {"
        yield from (f"  {line}" for line in settings)
        yield "  const begin = layout.begin, B = begin.length - 1;"
        yield from (f"  let {clock} = 1;" for clock in self._clocks.values())
        yield from (f"  const {state} = new Float64Array(begin[B]);" for state in self._states.values())
        yield from (f"  const {mean} = new Float64Array(B);" for mean in self._means)
        yield "  return {"
        yield "    start(g) {"
        yield from (f"      {line}" for line in start)
        yield "    },"
        yield "    advance(g, w, lr, step) {"
        yield from (f"      {line}" for line in advance)
        yield "    },"
        yield "  };"
        yield "},"

    def _start(self) -> Iterator[str]:
        starts = {s: e for s, e in self._rule.start.items() if s in self._states and e != 0}
        values = yield from self._stage("start", starts.values(), set(self._rule.hyperparameters))
        if starts:
            yield from _loop(f"{self._states[s]}[i] = {value};" for s, value in zip(starts, values, strict=True))

    def _advance(self) -> Iterator[str]:
        rule = self._rule
        own = {symbols.lr, *rule.hyperparameters, *rule.clocks}
        if self._clocks:
            values = ", ".join(self._print(e) for e in rule.clocks.values())
            yield f"[{', '.join(self._clocks.values())}] = [{values}];"
        updates = yield from self._stage("update", rule.update.values(), own)
        if updates:  # all states advance at once: an update may read the old value of another state
            new = [f"const new{n} = {value};" for n, value in enumerate(updates)]
            yield from _loop((*new, *(f"{state}[i] = new{n};" for n, state in enumerate(self._states.values()))))
        (step,) = yield from self._stage("step", [rule.step], own)
        yield from _loop([f"step[i] = {step};"])

    def _stage(
        self, stage: str, expressions: Iterable[sp.Expr], settings: set[sp.Symbol]
    ) -> Generator[str, None, list[str]]:
        """Yield the lines that evaluate what expressions share, and return the expressions, printed for one coordinate.

        What depends on settings alone comes first; then every sum over the problem and every mean over a block, the inner ones
        before those that use them.

        Args:
            stage: start of the names of this stage.
            expressions: expressions of the rule.
            settings: hyperparameters, and learning rate and clocks where they have a value.
        """
        formed: dict[sp.Expr, sp.Symbol] = {}
        reduced: dict[sp.Expr, sp.Symbol] = {}
        left = [cut_settings(expression, settings, formed, stage) for expression in expressions]
        left = [_cut_reductions(expression, reduced, stage) for expression in left]
        self._names |= {symbol: str(symbol) for symbol in formed.values()}
        for expression, symbol in formed.items():
            yield f"const {symbol} = {self._print(expression)};"
        for expression, symbol in reduced.items():
            summand = self._print(expression.args[0])
            if isinstance(expression, Total):
                self._names[symbol] = str(symbol)
                yield f"let {symbol} = 0;"
                yield from _loop([f"{symbol} += {summand};"])
            else:
                self._names[symbol] = f"{symbol}[l]"
                self._means.append(str(symbol))
                yield from _loop(
                    [f"sum += {summand};"], "let sum = 0;", f"{symbol}[l] = sum / (begin[l + 1] - begin[l]);"
                )
        return [self._print(expression) for expression in left]


def _loop(body: Iterable[str], before: str = "", after: str = "") -> Iterator[str]:
    """Yield a loop over blocks `l` and their coordinates `i`, with a statement before and after the coordinates of a block."""
    yield "for (let l = 0; l < B; l++) {"
    yield from (f"  {line}" for line in (before,) if line)
    yield "  for (let i = begin[l]; i < begin[l + 1]; i++) {"
    yield from (f"    {line}" for line in body)
    yield "  }"
    yield from (f"  {line}" for line in (after,) if line)
    yield "}"


def _cut_reductions(expression: sp.Expr, reduced: dict[sp.Expr, sp.Symbol], stage: str) -> sp.Expr:
    """Replace every Total and BlockMean by a symbol, and add it to the table, the inner ones first."""
    if not expression.has(Total, BlockMean):
        return expression
    expression = expression.func(*(_cut_reductions(argument, reduced, stage) for argument in expression.args))
    if not isinstance(expression, Total | BlockMean):
        return expression
    kind = "total" if isinstance(expression, Total) else "mean"
    return reduced.setdefault(expression, sp.Symbol(f"{stage}_{kind}{len(reduced)}", real=True))
