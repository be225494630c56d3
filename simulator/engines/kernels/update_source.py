"""Print the update of a stack of models as a Numba kernel: one pass over parameters, gradients and states, in place.

Used by training on a CPU (`FusedUpdate`). As torch operations, an Adam step reads and writes every array many times; one
pass reads and writes each array once.

Each instance has a loop over its coordinates, with plain IEEE operations in a fixed order, so that an instance has the same bits
whatever other instances are in the stack. Settings, clocks and values that depend on them alone are float64 under names that end
in `_wide_`, and are then rounded to the type of the parameters (1 - beta2 would lose its digits in float32).

Names of the kernel end in an underscore; all other names come from the rule.
"""

from collections.abc import Iterable
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any

import sympy as sp
import torch

from quadsim.simulator.engines.kernels.cache import import_source, say_if_new
from quadsim.simulator.engines.kernels.lowering import program, why_no_program
from quadsim.simulator.engines.kernels.printer import ExpressionPrinter, label
from quadsim.simulator.engines.kernels.program import Assignment, Program
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["FusedUpdate", "update_source", "why_no_update"]

Tensor = torch.Tensor

_LOADING = Lock()  # threads that train different chunks ask for the same module at the same time; it is compiled once


@lru_cache(maxsize=256)
def why_no_update(rule: Rule) -> str | None:
    """Return the reason why a rule cannot be updated in one pass, as a clause for an error message; None if it can.

    A mean over a block needs a second pass, and L_l and mu_l are not known for models.
    """
    if (reason := why_no_program(rule)) is not None:
        return reason
    whole = program(rule)
    if len(whole.start) > 1 or len(whole.advance) > 1 or whole.block_states:
        return f"{rule.name} averages over blocks"
    if {symbols.L_l, symbols.mu_l} & {s for a in _all(whole) for s in a.value.free_symbols}:
        return f"{rule.name} needs the curvature of blocks"
    return None


def _all(whole: Program) -> list[Assignment]:
    phases = [a for phase in (*whole.start, *whole.advance) for a in (*phase.block, *phase.coordinate)]
    return [*whole.once, *whole.per_block, *whole.step, *phases]


class FusedUpdate:
    """States and clocks of E instances on a CPU, and their update in place.

    Args:
        rule: a rule for which `why_no_update` is None.
        settings: learning rate and hyperparameters in the order of `rule.names`, (E, number of names). Give float64: values are
            rounded to the type of `theta` only after the rule has used them.
        theta: parameters, (E, P), contiguous; its number type is the type of the run.
    """

    def __init__(self, rule: Rule, settings: Tensor, theta: Tensor) -> None:
        whole = program(rule)
        self._module = _module(rule, str(theta.dtype).removeprefix("torch."))
        self._started = whole.starts_at_numbers
        self.settings = settings.to(torch.float64).contiguous()
        self.clocks = torch.ones((theta.shape[0], len(whole.clocks)), dtype=torch.float64, device="cpu")
        self.states = [torch.zeros_like(theta) for _ in whole.states]
        if self._started:
            for kept, state in zip(self.states, whole.states, strict=True):
                kept.fill_(float(whole.started[state]))

    def __call__(
        self, theta: Tensor, gradient: Tensor, factor: "float | Tensor", increment: Tensor | None = None
    ) -> None:
        """Take one step: theta, clocks and states change in place. The first call also starts the states from its gradient.

        Args:
            theta: parameters, (E, P), contiguous.
            gradient: gradient at theta, (E, P).
            factor: the schedule's factor, which multiplies all learning rates.
            increment: receives the values that were added to theta, (E, P); None where they are not needed.
        """
        kept = theta.new_empty((0, 0)) if increment is None else increment
        own = (self.settings, self.clocks, theta, gradient.contiguous(), kept, *self.states)
        arrays = [tensor.detach().numpy() for tensor in own]
        if not self._started:
            self._module.start_(*arrays)
            self._started = True
        self._module.update_(float(factor), *arrays)

    def select(self, at: Tensor) -> None:
        """Keep the instances with the indices `at` and drop all others."""
        self.settings, self.clocks = self.settings[at], self.clocks[at]
        self.states = [state[at] for state in self.states]


def _module(rule: Rule, dtype: str) -> ModuleType:
    with _LOADING:
        return _load(rule, dtype)


@lru_cache(maxsize=256)
def _load(rule: Rule, dtype: str) -> ModuleType:
    import llvmlite
    import numba

    source = update_source(rule, dtype)
    module = import_source(f"{source}\n# Made with {numba.__version__} {llvmlite.__version__}\n", "update")
    say_if_new(module.__file__, f"the update of {rule.name}")
    return module


class _Printer(ExpressionPrinter):
    """Prints constants in the kernel's number type, and functions under the names of its header."""

    def number(self, value: float) -> str:
        return f"real_({value!r})"

    def call(self, function: str, *arguments: str) -> str:
        return super().call(f"{function}_", *arguments)


class _WidePrinter(_Printer):
    """Prints constants in float64 and names with the end `_wide_`, for values that are rounded later."""

    def number(self, value: float) -> str:
        return f"np.float64({value!r})"

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return f"{symbol.name}_wide_"


def update_source(rule: Rule, dtype: str) -> str:
    """Return the source of the kernel, a Python module that defines the entry points `start_` and `update_`.

    Args:
        rule: a rule for which `why_no_update` is None.
        dtype: "float64" or "float32", the type of the parameters.
    """
    whole = program(rule)
    print_, wide = _Printer().doprint, _WidePrinter().doprint

    def lines(assignments: tuple[Assignment, ...], depth: int) -> list[str]:
        return [f"{'    ' * depth}{a.name} = {print_(a.value)}" for a in assignments]

    def wide_lines(assignments: tuple[Assignment, ...]) -> list[str]:
        return [f"        {wide(a.name)} = {wide(a.value)}" for a in assignments]

    def rounded(names: Iterable[sp.Symbol]) -> list[str]:
        return [f"        {name} = real_({wide(name)})" for name in names]

    clocks = tuple(clock.name for clock in whole.clocks)
    own = (symbols.lr, *whole.hyperparameters, *(a.name for a in whole.once))
    settings = [f"        {wide(n)} = settings_[e_, {i}]" for i, n in enumerate((symbols.lr, *whole.hyperparameters))]
    settings += wide_lines(whole.once)
    (start,), (advance,) = whole.start, whole.advance
    out = [f'"""Update of {label(rule)}, {dtype}."""', "", *_HEADER.splitlines(), f"real_ = np.{dtype}", ""]

    # Every state is an array of its own. In one array for all states the compiler could not prove that a write to one state
    # leaves the others unchanged, and would not use vector instructions.
    states = {state: f"state{index}_[e_, i_]" for index, state in enumerate(whole.states)}
    arguments = ", ".join([_ARGUMENTS, *(place.split("[")[0] for place in states.values())])
    out += ["@entry_", f"def start_({arguments}):", "    for e_ in range(theta_.shape[0]):", *settings]
    out += [*rounded(own), *lines(start.block, 2), *_loop(), *lines(start.coordinate, 3)]
    out += [f"            {place} = {print_(whole.started[state])}" for state, place in states.items()]

    out += ["", "", "@entry_", f"def update_(factor_, {arguments}):"]
    out += ["    keep_ = increment_.size > 0", "    for e_ in range(theta_.shape[0]):", *settings]
    out += [f"        {wide(symbols.lr)} = {wide(symbols.lr)} * factor_"]
    out += [f"        {wide(clock)} = clocks_[e_, {index}]" for index, clock in enumerate(clocks)]
    if clocks:
        left = ", ".join(map(wide, clocks))
        out += [f"        {left} = {', '.join(wide(clock.value) for clock in whole.clocks)}"]
    out += [f"        clocks_[e_, {index}] = {wide(clock)}" for index, clock in enumerate(clocks)]
    out += [*wide_lines(whole.step), *rounded((*own, *clocks, *(a.name for a in whole.step)))]
    out += [*lines(advance.block, 2), *_loop()]
    out += [f"            {state} = {place}" for state, place in states.items()]
    out += lines(advance.coordinate, 3)
    moved = {place: whole.advanced[state] for state, place in states.items() if whole.advanced[state] != state}
    out += [f"            {place} = {print_(value)}" for place, value in moved.items()]
    out += [f"            by_ = {print_(whole.increment)}", f"            theta_[e_, i_] = {symbols.w} + by_"]
    out += ["            if keep_:", "                increment_[e_, i_] = by_"]
    return "\n".join(out) + "\n"


def _loop() -> list[str]:
    pairs: dict[sp.Symbol, Any] = {symbols.g: "gradient_", symbols.w: "theta_"}
    return [
        "        for i_ in range(theta_.shape[1]):",
        *(f"            {name} = {array}[e_, i_]" for name, array in pairs.items()),
    ]


_ARGUMENTS = "settings_, clocks_, theta_, gradient_, increment_"

_HEADER = """\
import math

import numpy as np
from numba import njit

entry_ = njit(nogil=True, error_model="numpy")
part_ = njit(inline="always", error_model="numpy")
sqrt_, exp_, log_, tanh_, absolute_ = math.sqrt, math.exp, math.log, math.tanh, abs


@part_
def ratio_(a_, b_):
    return a_ / b_ if a_ != 0.0 else a_ - a_


@part_
def sign_(a_):
    return real_(a_ > 0.0) - real_(a_ < 0.0)


@part_
def power_(a_, b_):
    return a_**b_


@part_
def maximum_(a_, b_):
    return a_ if a_ > b_ or a_ != a_ else b_


@part_
def minimum_(a_, b_):
    return a_ if a_ < b_ or a_ != a_ else b_

"""
