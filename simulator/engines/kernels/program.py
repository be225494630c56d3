"""A rule as straight-line code: assignments that run once, per block, per step and per coordinate.

`lowering` makes a Program of a Rule; `cpu_source`, `gpu_source` and `update_source` print it. What the source of a CPU kernel and
its caller agree on is here, too: it needs no SymPy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy as sp

__all__ = ["ROWS", "STRETCH", "UNROLLED", "Assignment", "CpuKernel", "Phase", "Program", "variant"]

STRETCH = 128
"""Steps that one block runs before the next block starts.

It must be even: the errors are at two places in turn, and `run_` expects those of the next stretch at the first place.
"""

ROWS = 4
"""Rows of the product H_l e that are accumulated in registers at the same time."""

UNROLLED = 7
"""Largest block size with all rows in registers and its own code."""


def variant(size: int) -> int:
    """Return the number of the code that runs a block of this size.

    Sizes up to 7 have code of their own, with all rows in registers. Larger sizes share code: rows run four at a time, so only
    the remainder of the size divided by 4 makes a difference. Fewer variants mean less to compile.

    Examples:
        >>> variant(3), variant(8), variant(12), variant(13)
        (3, 8, 8, 9)
    """
    return size if size <= UNROLLED else 8 + size % ROWS


@dataclass(frozen=True)
class CpuKernel:
    """The source of a kernel, and what its caller has to know of the arrays that it takes.

    Attributes:
        source: see `cpu_source.cpu_source`.
        step_values: number of values in the table of `steps_`, for each step.
        clocks: number of clocks.
        states: the value before the first step of every state with a value for each coordinate; None where the kernel computes it
            from the first gradient.
        block_states: likewise for every state with one value for each block.
    """

    source: str
    step_values: int
    clocks: int
    states: tuple[float | None, ...]
    block_states: tuple[float | None, ...]


@dataclass(frozen=True)
class Assignment:
    """One line of a program, `name = value`.

    Attributes:
        name: the symbol that gets the value; each symbol is assigned once in a program.
        value: an expression in symbols that are assigned earlier or that are inputs (g, w, lr, hyperparameters, states).
    """

    name: "sp.Symbol"
    value: "sp.Expr"

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True)
class Phase:
    """A part of a step between two means over the block: one pass over the block's coordinates.

    A mean is known only after all coordinates of the block were visited. A rule with a mean (for example adam-mini) therefore
    needs one pass more than it has levels of nested means; a rule without a mean has exactly one phase.

    Attributes:
        block: assignments that run first, once per block (and setting and step). They may use the means of earlier phases.
        coordinate: assignments that run next, for every coordinate of the block. They read g, w, the old states and values of
            lower levels, but never a coordinate value of another phase: kernels keep no coordinate values between two passes,
            so a later phase recomputes what it needs.
        means: assignments `name = value`, where `name` becomes the mean of `value` over the block's coordinates; `value` is a
            name from `coordinate`, g, w or an old state. Empty in the last phase.
    """

    block: tuple[Assignment, ...]
    coordinate: tuple[Assignment, ...]
    means: tuple[Assignment, ...]


@dataclass(frozen=True)
class Program:
    """A separable rule as straight-line code.

    Names are valid identifiers that shadow no builtin and never end in `_`: names that end in `_` are reserved for the kernels'
    own variables, so the two cannot collide.

    The parts run in this order, from rarely to often. Every value exists once per setting.

    1. `once`: before the run. Uses the hyperparameters only.
    2. `per_block`: before the run, for every block. Uses L_l, mu_l, hyperparameters and `once`.
    3. `start`: at the first gradient g, for every block. Its phases run, then `started` gives each state its first value.
    4. At every step: all `clocks` (each starts at 1) advance at the same time, from their old values; then `step` runs. It uses
       lr (of this step, schedule included), the new clocks and everything above.
    5. At every step, for every block: the phases of `advance` run; then all states get their values from `advanced` at the same
       time, and `increment` is added to the iterate.

    "At the same time" matters: an update may read the old value of another state, so no state is overwritten before all new
    values are known.

    Attributes:
        hyperparameters: the symbol of each hyperparameter, in the order of `rule.hyperparameters`.
        clocks: the new value of each clock, in old clocks and hyperparameters.
        once: assignments of part 1.
        per_block: assignments of part 2.
        step: assignments of part 4.
        states: the states with a value per coordinate.
        block_states: the states with one value per block: their updates depend on the coordinates through means only.
        start: the phases of part 3.
        started: maps each state to its first value, a symbol or a number.
        advance: the phases of part 5.
        advanced: maps each state to its new value, a symbol or a number.
        increment: the value that is added to the iterate, a symbol or a number.

    Examples:
        >>> from quadsim.simulator.engines.kernels.lowering import program
        >>> from quadsim.simulator.rules.catalogue import RULES
        >>> print(program(RULES["signsgd"]))
        step: step0 = -lr
        advance, coordinate: increment = step0*sign(g)
        advance: w <- w + increment
    """

    hyperparameters: "tuple[sp.Symbol, ...]"
    clocks: tuple[Assignment, ...]
    once: tuple[Assignment, ...]
    per_block: tuple[Assignment, ...]
    step: tuple[Assignment, ...]
    states: "tuple[sp.Symbol, ...]"
    block_states: "tuple[sp.Symbol, ...]"
    start: tuple[Phase, ...]
    started: "Mapping[sp.Symbol, sp.Expr]"
    advance: tuple[Phase, ...]
    advanced: "Mapping[sp.Symbol, sp.Expr]"
    increment: "sp.Expr"

    @property
    def starts_at_numbers(self) -> bool:
        """Whether every state starts at a number, so that no kernel has to compute the start from the first gradient."""
        return all(value.is_number for value in self.started.values())

    def uses(self, phases: Iterable[Phase]) -> "set[sp.Symbol]":
        """The symbols that the phases read and do not assign themselves."""
        whole = [assignment for phase in phases for assignment in (*phase.block, *phase.coordinate, *phase.means)]
        return set().union(*(a.value.free_symbols for a in whole)) - {a.name for a in whole}

    def __str__(self) -> str:
        def lines(title: str, assignments: Iterable[Assignment]) -> list[str]:
            return [f"{title}: {assignment}" for assignment in assignments]

        def phase_lines(title: str, phases: tuple[Phase, ...]) -> list[str]:
            out = []
            for phase in phases:
                out += lines(f"{title}, block", phase.block) + lines(f"{title}, coordinate", phase.coordinate)
                out += lines(f"{title}, mean", phase.means)
            return out

        out = lines("once", self.once) + lines("per block", self.per_block) + phase_lines("start", self.start)
        out += [f"start: {state} = {value}" for state, value in self.started.items()]
        out += lines("clock", self.clocks) + lines("step", self.step) + phase_lines("advance", self.advance)
        out += [f"advance: {state} <- {value}" for state, value in self.advanced.items()]
        return "\n".join([*out, f"advance: w <- w + {self.increment}"])
