"""Print the fused GPU kernels of a rule as Python source for Triton, with the functions of `gpu_functions.py`.

There are two layouts, because a small matrix product is too small for the matrix units and a large one does not fit in the
registers of one thread:

- *Lanes*, for blocks of up to LANES_UP_TO coordinates. A lane is one setting on one block (or on all blocks of a problem, where
  they have at most WHOLE_UP_TO coordinates together). It holds its Hessian, errors and states in registers, and the kernel
  writes every entry of the product out: `g__0 = h0_0_0_ * e0_ + h0_0_1_ * e1_`.
- *Tiles*, for larger blocks. A tile is an array (settings x coordinates) that one program holds. Its width is filled up to a
  power of two (PAD_) with coordinates that stay 0, because Triton's arrays need such a size. The gradient is a matrix product.

In both layouts one launch runs many steps; errors and states are in memory only between launches. A lane that holds the whole
problem knows the gap and follows it itself. Otherwise every block writes its part of the gap per step (`gaps_`), and the kernel
`follow` adds the parts in a fixed order: sums by atomic additions would depend on the order in which the programs finish.

Precision. Values that depend on settings and the step alone are evaluated in float64 and then rounded to the type of the run
(in float32, 1 - beta2 would be 0 for a beta2 that is rounded to 1). A float32 matrix product is the sum of six bfloat16 products
on the matrix units (see `Source._thirds`), exact to a few units in the last place of a float32.

Names of the kernel end in an underscore; all other names come from the rule.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import sympy as sp

from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.printer import ExpressionPrinter, label
from quadsim.simulator.engines.kernels.program import Assignment, Phase, Program
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = [
    "LANES_UP_TO",
    "PRODUCT",
    "SHUFFLED",
    "WHOLE_UP_TO",
    "Source",
    "Unit",
    "gpu_source",
    "kernel_source",
    "padded",
    "shuffle",
    "step_names",
    "units_of",
]

LANES_UP_TO = 8
"""Largest number of coordinates of a block in the layout of lanes."""

WHOLE_UP_TO = 12
"""Largest number of coordinates of a problem whose blocks are all held by one lane."""


@dataclass(frozen=True)
class Unit:
    """What one lane or tile runs: the blocks of one size, or all blocks of a problem. Each unit has its own pair of kernels.

    Not to be confused with the units of work of a sweep (chunks).

    Attributes:
        sizes: the block sizes; one size, or those of all blocks where `whole` is true.
        whole: whether the unit is the whole problem, so that a lane can add up the gap and follow it without memory traffic.
        sampled: whether the gradient is one of samples: such a unit is whole, and a tile (`streams.gpu_source`).
        divided: whether the rule has other blocks than H; for units of samples alone.
    """

    sizes: tuple[int, ...]
    whole: bool = False
    sampled: bool = False
    divided: bool = False

    @property
    def in_lanes(self) -> bool:
        """Whether the unit has the layout of lanes; else it has the layout of tiles."""
        return not self.sampled and (self.whole or self.sizes[0] <= LANES_UP_TO)

    @property
    def name(self) -> str:
        """The end of the names of its kernels, as `lanes_8`. All tiles share one pair, which has the size as a constant."""
        if self.sampled:
            return "stream"
        if not self.in_lanes:
            return "tile"
        return ("whole" if self.whole else "lanes") + "".join(f"_{size}" for size in self.sizes)


def units_of(block_sizes: Sequence[int]) -> tuple[Unit, ...]:
    """Return the units that run problems with these blocks: one unit for the whole problem, or one per block size.

    Examples:
        >>> [unit.name for unit in units_of((4, 4))], [unit.name for unit in units_of((8, 16, 8))]
        (['whole_4_4'], ['lanes_8', 'tile'])
    """
    if max(block_sizes) <= LANES_UP_TO and sum(block_sizes) <= WHOLE_UP_TO:
        return (Unit(tuple(block_sizes), whole=True),)
    return tuple(Unit((size,)) for size in dict.fromkeys(block_sizes))


def gpu_source(rule: Rule, block_sizes: Sequence[int], *, dtype: str = "float64") -> str:
    """Return the source of the kernels, a Python module that needs `triton`.

    Args:
        rule: a rule for which `why_no_program` is None.
        block_sizes: the block sizes of the problems.
        dtype: "float64" or "float32", the type of errors and states.
    """
    units = {unit.name: unit for unit in units_of(block_sizes)}
    return Source(program(rule), dtype).text(label(rule), units.values())


@lru_cache(maxsize=256)
def kernel_source(rule: Rule, sizes: tuple[int, ...], dtype: str = "float64") -> str:
    """Return the source of the kernels that run a rule on problems with these block sizes; nothing is compiled.

    Args:
        rule: a rule for which `why_no_program` is None.
        sizes: the block sizes of the problems.
        dtype: "float64" or "float32".
    """
    return gpu_source(rule, sizes, dtype=dtype)


def padded(size: int) -> int:
    """Return the padded width of a tile: the next power of two, at least 16 (the smallest operand of the matrix units)."""
    return max(16, 1 << (size - 1).bit_length())


def step_names(whole: Program) -> list[sp.Symbol]:
    """Return the values of a step that the blocks read (lr, clocks, `step`), in the order of the table's columns."""
    read = whole.uses(whole.advance) | whole.increment.free_symbols
    read |= set().union(*(value.free_symbols for value in whole.advanced.values()), set())
    candidates = [symbols.lr, *(c.name for c in whole.clocks), *(s.name for s in whole.step)]
    return [name for name in candidates if name in read]


_COUNTS = (
    "rows_",
    "steps_",
    "begin_",
    "group_",
    "blocks_",
    "batch_",
)  # a kernel is compiled once for all of their values
_NUMBER = re.compile(r"\(?-?(\d+(\.\d*)?(e[+-]?\d+)?|inf)\)?")


@dataclass
class _Printer(ExpressionPrinter):
    """Prints names with the number of their coordinate or block, and constants as tensors where a function needs one.

    Attributes:
        ends: symbol to the end of its name, as `__0`; symbols that are not listed have none.
        number_of: the function that makes a tensor of a constant. The functions of `gpu_functions` read the number type of their
            arguments, and a bare literal has none.
    """

    ends: Mapping[sp.Symbol, str] = field(default_factory=dict)
    number_of: str = "number_"

    def __post_init__(self) -> None:
        super().__init__()

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return f"{symbol.name}{self.ends.get(symbol, '')}"

    def _print_Pow(self, expression: sp.Expr, **settings: object) -> str:
        base, exponent = expression.args
        if exponent == sp.S.Half and base.is_nonnegative:
            return self.call("root", self._print(base))
        return str(super()._print_Pow(expression, **settings))

    def call(self, function: str, *arguments: str) -> str:
        return super().call(
            f"{function}_", *(f"{self.number_of}({a})" if _NUMBER.fullmatch(a) else a for a in arguments)
        )


class Source:
    """Writes the lines of one kernel module; `_depth` is the present indentation.

    Two choices are made once, from the number type and the rule. `_shuffles`: float64 tiles reorder the operands of the product
    (see `shuffle`). `_quiet`: the padding of a tile stays 0 by itself, so that no mask is needed (see `_padding_is_quiet`).
    """

    def __init__(self, whole: Program, dtype: str) -> None:
        self._program, self._dtype = whole, dtype
        self._lines: list[str] = []
        self._depth = 0
        self._by_coordinate = {symbols.g, symbols.w, *whole.states}
        self._by_block = {symbols.L_l, symbols.mu_l, *whole.block_states, *(a.name for a in whole.per_block)}
        for phase in (*whole.start, *whole.advance):
            self._by_coordinate |= {a.name for a in phase.coordinate}
            self._by_block |= {a.name for a in (*phase.block, *phase.means)}
        self._shuffles = dtype == "float64"
        self._narrows = dtype != "float64"
        self._wide = _Printer(number_of="wide_number_" if self._narrows else "number_")
        self._quiet = _padding_is_quiet(whole)

    def text(self, name: str, units: Iterable[Unit], *imports: str) -> str:
        """Return the source of the whole module, with the name of the rule in its docstring, and more imports if given."""
        self._lines += [f'"""Fused kernels of {name} on a GPU, {self._dtype}."""', "", *_HEADER.splitlines(), *imports]
        self._line()
        self._function("number_", "value_", [f"return tl.full((1,), value_, tl.{self._dtype})"])
        if self._narrows:
            self._function("wide_number_", "value_", ["return tl.full((1,), value_, tl.float64)"])
        self._clocks()
        for unit in units:
            for starting in (True, False):
                (self._lanes if unit.in_lanes else self._tile)(unit, starting=starting)
        return "\n".join(self._lines) + "\n"

    # Writing.

    def _line(self, text: str = "") -> None:
        self._lines.append("    " * self._depth + text if text else "")

    def _function(self, name: str, arguments: str, body: Iterable[str] = ()) -> None:
        """Write the head of a kernel, and its body if there is one.

        Counts are marked `do_not_specialize`: else Triton would compile again for a count of 1 and for multiples of 16.
        """
        self._depth = 0
        counts = ", ".join(repr(name) for name in _COUNTS if name in arguments.split(", "))
        decorator = f"@triton.jit(do_not_specialize=[{counts}])" if counts else "@triton.jit"
        for line in ("", "", decorator, f"def {name}({arguments}):"):
            self._line(line)
        self._depth = 1
        for line in body:
            self._line(line)

    def _assign(
        self,
        assignments: Iterable[Assignment],
        ends: Mapping[sp.Symbol, str] | None = None,
        printer: _Printer | None = None,
    ) -> None:
        printer = printer or _Printer(ends or {})
        for assignment in assignments:
            self._line(f"{printer.doprint(assignment.name)} = {printer.doprint(assignment.value)}")

    def _shaped(self, value: sp.Expr, like: str, ends: Mapping[sp.Symbol, str], shaped: set[sp.Symbol]) -> str:
        """Return the source of a symbol or number with the full shape of `like`: a loop must not change a value's shape."""
        text = _Printer(ends).doprint(value)
        return text if value in shaped else f"{text} + tl.zeros_like({like})"

    # What depends on the step alone.

    def _settings(self, *, narrow: bool) -> None:
        """Load the hyperparameters and evaluate `once`, in float64; with `narrow`, round all of them to the run's type after."""
        whole = self._program
        for index, symbol in enumerate(whole.hyperparameters, 1):
            self._line(f"{symbol} = tl.load(settings_ + {index} * width_ + k_)")
        self._assign(whole.once, printer=self._wide)
        if narrow and self._narrows:
            for name in (*whole.hyperparameters, *(assignment.name for assignment in whole.once)):
                self._line(f"{name} = {self._rounded(name)}")

    def _rounded(self, name: sp.Symbol) -> str:
        return f"{name}.to(tl.{self._dtype})" if self._narrows else str(name)

    def _clocks(self) -> None:
        """Write the kernels `clocks_` and `steps_`.

        The clocks depend on their values at the step before, so one loop over the steps advances them and stores every value.
        Everything that is made of them depends on one step alone, so `steps_` evaluates it for all steps in parallel.
        """
        whole, number = self._program, len(self._program.clocks)
        if number:
            self._function("clocks_", "settings_, clocks_, table_, steps_, width_, LANES_: tl.constexpr")
            self._line("k_ = tl.minimum(tl.program_id(0) * LANES_ + tl.arange(0, LANES_), width_ - 1)")
            self._settings(narrow=False)
            for index, clock in enumerate(whole.clocks):
                self._line(f"{clock.name} = tl.load(clocks_ + {index} * width_ + k_)")
            self._line("for t_ in range(count_(steps_)):")
            self._depth += 1
            printer = self._wide
            names = ", ".join(str(clock.name) for clock in whole.clocks)
            self._line(f"{names} = {', '.join(printer.doprint(clock.value) for clock in whole.clocks)}")
            for index, clock in enumerate(whole.clocks):
                self._line(f"tl.store(table_ + (t_ * {number} + {index}) * width_ + k_, {clock.name})")
            self._depth -= 1
            for index, clock in enumerate(whole.clocks):
                self._line(f"tl.store(clocks_ + {index} * width_ + k_, {clock.name})")
        arguments = "settings_, factors_, clock_table_, table_, steps_, width_, LANES_: tl.constexpr"
        self._function("steps_", arguments)
        self._line("n_ = tl.minimum(tl.program_id(0) * LANES_ + tl.arange(0, LANES_), steps_ * width_ - 1)")
        self._line("t_ = n_ // width_")
        self._line("k_ = n_ % width_")
        self._settings(narrow=False)
        self._line(f"{symbols.lr} = tl.load(settings_ + k_) * tl.load(factors_ + t_)")
        for index, clock in enumerate(whole.clocks):
            self._line(f"{clock.name} = tl.load(clock_table_ + (t_ * {number} + {index}) * width_ + k_)")
        self._assign(whole.step, printer=self._wide)
        values = step_names(whole)
        for index, name in enumerate(values):
            self._line(f"tl.store(table_ + (t_ * {len(values)} + {index}) * width_ + k_, {self._rounded(name)})")

    def _load_step(self) -> None:
        values = step_names(self._program)
        for index, name in enumerate(values):
            self._line(f"{name} = tl.load(table_ + (t_ * {len(values)} + {index}) * width_ + k_)")

    # Lanes.

    def _lanes(self, unit: Unit, *, starting: bool) -> None:
        """The kernel of lanes: load what the run has so far, take the steps, store it."""
        verb = "start" if starting else "advance"
        self._function(f"{verb}_{unit.name}_", _arguments(unit, starting=starting) + ", LANES_: tl.constexpr")
        self._line("lanes_ = rows_.to(tl.int64) * width_")
        self._line("n_ = tl.minimum(tl.program_id(0).to(tl.int64) * LANES_ + tl.arange(0, LANES_), lanes_ - 1)")
        self._line("row_ = n_ // width_")
        self._line("k_ = (n_ % width_).to(tl.int32)")
        self._settings(narrow=True)
        self._lanes_problem(unit.sizes)
        places = self._lanes_places(unit.sizes)
        if starting:
            self._lanes_blocks(unit, starting=True)
            if unit.whole:
                self._line("below_of_, limit_of_ = limits_of_(twice_ * 0.5, tl.load(tolerance_))")
                self._line("tl.store(below_ + n_, below_of_)")
                self._line("tl.store(limit_ + n_, limit_of_)")
        else:
            self._lanes_loop(unit, places)
        for state, place in places:
            self._line(f"tl.store({place}, {state})")

    def _lanes_problem(self, sizes: Sequence[int]) -> None:
        """Load the upper triangles of the blocks, what is computed once per block, the errors and the minimiser."""
        dimension, first = sum(sizes), 0
        for block, size in enumerate(sizes):
            for i in range(size):
                for j in range(i, size):
                    at = f"row_ * {sum(s**2 for s in sizes)} + {first + i * size + j}"
                    self._line(f"h{block}_{i}_{j}_ = tl.load(hessian_ + {at})")
            first += size**2
            self._extremes(f"(row_ * {len(sizes)} + {block}) * 2", f"__{block}")
            self._assign(self._program.per_block, self._ends(block, 0))
        for c in range(dimension):
            self._line(f"e{c}_ = tl.load(error_ + {c} * lanes_ + n_)")
        for c in range(dimension) if self._uses_iterate() else ():
            self._line(f"o{c}_ = tl.load(minimizer_ + row_ * {dimension} + {c})")

    def _lanes_places(self, sizes: Sequence[int]) -> list[tuple[str, str]]:
        """Every value of a state, by coordinate or by block, with its place in memory."""
        found = []
        for states, memory, number in (
            (self._program.states, "states_", sum(sizes)),
            (self._program.block_states, "block_states_", len(sizes)),
        ):
            for index, state in enumerate(states):
                places = (f"{memory} + {index * number + at} * lanes_ + n_" for at in range(number))
                found += [(f"{state}__{at}", place) for at, place in enumerate(places)]
        return found

    def _lanes_blocks(self, unit: Unit, *, starting: bool) -> None:
        if unit.whole:
            self._line("twice_ = tl.zeros((LANES_,), tl.float64)")
        begin = 0
        for block, size in enumerate(unit.sizes):
            self._lanes_block(unit, block, size, begin, starting=starting)
            begin += size

    def _lanes_loop(self, unit: Unit, places: Iterable[tuple[str, str]]) -> None:
        """Take the steps, from the stored states to the errors (and hits) that are stored."""
        for state, place in places:
            self._line(f"{state} = tl.load({place})")
        self._before_loop(unit)
        self._line("for t_ in range(count_(steps_)):")
        self._depth += 1
        self._load_step()
        self._lanes_blocks(unit, starting=False)
        self._after_step(unit)
        for c in range(sum(unit.sizes)):
            self._line(f"e{c}_ = next{c}_")
        self._depth -= 1
        for c in range(sum(unit.sizes)):
            self._line(f"tl.store(error_ + {c} * lanes_ + n_, e{c}_)")
        if unit.whole:
            self._line("tl.store(hit_ + n_, hit_of_)")
            self._line("tl.store(above_ + n_, above_of_)")
            self._line("tl.store(diverged_ + n_, diverged_of_)")

    def _ends(self, block: int, coordinate: int) -> dict[sp.Symbol, str]:
        """Return the ends of the names: `__block` for values per block, `__coordinate` for values per coordinate."""
        return dict.fromkeys(self._by_block, f"__{block}") | dict.fromkeys(self._by_coordinate, f"__{coordinate}")

    def _before_loop(self, unit: Unit) -> None:
        """Write what a kernel needs before its first step to follow the gap, or to store its part of the gap."""
        if unit.whole:
            for name in ("below", "limit", "hit", "above", "diverged"):
                self._line(f"{name}_of_ = tl.load({name}_ + n_)")
        else:
            part = "" if unit.in_lanes else " + tl.arange(0, PARTS_)[None, :]"
            self._line(f"slot_ = tl.load(slots_ + row_ % group_){part}")
            self._line("gap_at_ = (row_ // group_ * blocks_ + slot_) * width_ + k_")
            self._line("stride_ = rows_.to(tl.int64) // group_ * blocks_ * width_")

    def _after_step(self, unit: Unit) -> None:
        """Write what a kernel does with the gap of a step.

        A whole problem compares the gap with its limits. The comparisons are written so that a NaN gap counts as diverged and
        never as reached: `gap_ <= limit` is false at NaN.
        """
        if not unit.whole:
            self._line("tl.store(gaps_ + t_ * stride_ + gap_at_, gap_)")
            return
        self._line("gap_ = twice_ * 0.5")
        self._line("now_ = begin_ + t_")
        self._line("hit_of_ = tl.where(gap_ <= below_of_, tl.minimum(hit_of_, now_), hit_of_)")
        self._line("above_of_ = tl.where(gap_ <= below_of_, above_of_, now_)")
        self._line("diverged_of_ = tl.where(gap_ <= limit_of_, diverged_of_, tl.minimum(diverged_of_, now_))")
        self._line("slot_ = tl.load(slots_ + now_)")
        self._line("if slot_ >= 0:")
        self._line("    tl.store(records_ + slot_ * lanes_ + n_, gap_)")

    def _lanes_block(self, unit: Unit, block: int, size: int, begin: int, *, starting: bool) -> None:
        """Write one step of one block in a lane: gradient, part of the gap, phases, new states and new errors (`next0_`, ...)."""
        whole = self._program
        phases = whole.start if starting else whole.advance
        outputs = whole.started if starting else whole.advanced
        ends = [self._ends(block, begin + i) for i in range(size)]
        for i in range(size):
            terms = [f"h{block}_{min(i, j)}_{max(i, j)}_ * e{begin + j}_" for j in range(size)]
            self._line(f"g__{begin + i} = {' + '.join(terms)}")
        if not starting or unit.whole:
            total = " + ".join(f"e{begin + i}_ * g__{begin + i}" for i in range(size))
            self._line(f"twice_ += ({total}).to(tl.float64)" if unit.whole else f"gap_ = {total}")
        if self._uses_iterate():
            for i in range(begin, begin + size):
                self._line(f"w__{i} = e{i}_ + o{i}_")
        for phase in phases:
            self._assign(phase.block, ends[0])
            for i in range(size):
                self._assign(phase.coordinate, ends[i])
            for mean in phase.means:
                total = " + ".join(_Printer(end).doprint(mean.value) for end in ends)
                self._line(f"{mean.name}__{block} = ({total}) / {float(size)!r}")
        for state, value in outputs.items():
            shaped = self._by_coordinate | self._by_block
            for i in range(size if state in whole.states else 1):
                name = _Printer(ends[i]).doprint(state)
                if starting or value != state:
                    # The old state may be overwritten: all phases are done, and no later line reads a state of this block.
                    self._line(f"{name} = {self._shaped(value, f'e{begin}_', ends[i], shaped)}")
        if not starting:
            for i in range(size):
                self._line(f"next{begin + i}_ = e{begin + i}_ + {_Printer(ends[i]).doprint(whole.increment)}")

    # Tiles.

    def _tile(self, unit: Unit, *, starting: bool) -> None:
        """The kernel of tiles: load what the run has so far, take the steps, store it."""
        whole = self._program
        verb = "start" if starting else "advance"
        constants = ", SIZE_: tl.constexpr, PAD_: tl.constexpr, LANES_: tl.constexpr"
        if not starting:
            constants += ", PARTS_: tl.constexpr, HELD_: tl.constexpr"
        self._function(f"{verb}_tile_", _arguments(unit, starting=starting) + constants)
        self._tile_problem(starting=starting)
        one = "rows_.to(tl.int64) * width_"
        places = [(s, f"states_ + {i} * {one} * SIZE_ + at_", ", mask=real_") for i, s in enumerate(whole.states)]
        places += [
            (s, f"block_states_ + {i} * {one} + row_ * width_ + k_", "") for i, s in enumerate(whole.block_states)
        ]
        if starting:
            self._product(starting=True)
            self._tile_values(starting=True)
        else:
            for state, place, mask in places:
                self._line(f"{state} = tl.load({place}{mask}{', other=0.0' if mask else ''})")
            self._tile_loop(unit)
        for state, place, mask in places:
            self._line(f"tl.store({place}, {state}{mask})")

    def _tile_problem(self, *, starting: bool) -> None:
        """Load the block, the errors, what is computed once per block, and the minimiser."""
        self._line("tiles_ = width_ // LANES_")
        self._line("row_ = (tl.program_id(0) // tiles_).to(tl.int64)")
        self._line("k_ = (tl.program_id(0) % tiles_ * LANES_ + tl.arange(0, LANES_))[:, None]")
        self._line("i_ = tl.arange(0, PAD_)")
        self._line("real_ = (i_ < SIZE_)[None, :]")
        self._line("at_ = (row_ * width_ + k_) * SIZE_ + i_[None, :]")
        self._line(f"j_ = {SHUFFLED if self._shuffles else 'i_'}")
        self._matrix("h_", "j_")
        if self._shuffles and not starting:
            # Two products of half the matrix, one after the other, make Triton give every warp whole rows of a tile that has as
            # many rows as columns: then no warp waits for the errors of another. The compiler drops the loads that the chosen
            # branch of `_product` does not use.
            self._line(f"half_ = {SHUFFLED.replace('i_', 'tl.arange(0, PAD_ // 2)')}")
            self._matrix("h0_", "half_")
            self._matrix("h1_", "(half_ + PAD_ // 2)")
        if self._shuffles and not starting and not self._program.states:
            self._held_matrix()
        if not self._shuffles:
            self._thirds("h", "h_")
        self._line("e_ = tl.load(error_ + at_, mask=real_, other=0.0)")
        self._settings(narrow=True)
        self._extremes("row_ * 2 + tl.zeros_like(k_)", "")
        self._assign(self._program.per_block)
        if self._uses_iterate():
            self._line("o_ = tl.load(minimizer_ + row_ * SIZE_ + i_, mask=i_ < SIZE_, other=0.0)[None, :]")

    def _tile_loop(self, unit: Unit) -> None:
        """Take the steps, from the loaded states to the errors that are stored."""
        self._before_loop(unit)
        self._line("for t_ in range(count_(steps_)):")
        self._depth += 1
        self._load_step()
        self._product(starting=False)
        # A slot for the coordinates of every warp: then no warp waits for another to add them up.
        self._line("parts_ = tl.reshape(e_ * g, (LANES_, PAD_ // 8 // PARTS_, PARTS_, 8))")
        self._line("gap_ = tl.sum(tl.sum(parts_, axis=1), axis=2)")
        self._tile_values(starting=False)
        self._after_step(unit)
        self._move()
        self._depth -= 1
        self._line("tl.store(error_ + at_, e_, mask=real_)")

    def _move(self) -> None:
        """Add the step to the errors of a tile."""
        increment = _Printer().doprint(self._program.increment)
        self._line(f"e_ = e_ + {increment}" if self._quiet else f"e_ = e_ + tl.where(real_, {increment}, 0.0)")

    def _tile_values(self, *, starting: bool) -> None:
        """From the gradient to the new states."""
        whole = self._program
        if self._uses_iterate():
            self._line("w = e_ + o_")
        for phase in whole.start if starting else whole.advance:
            self._assign(phase.block)
            self._assign(phase.coordinate)
            for mean in phase.means:
                value = self._shaped(mean.value, "e_", {}, self._by_coordinate)
                self._line(f"{mean.name} = {self._mean(value)}")
        for state, value in (whole.started if starting else whole.advanced).items():
            if starting or value != state:
                shaped, like = (
                    (self._by_coordinate, "e_") if state in whole.states else (self._by_block, self._like_of_block)
                )
                self._line(f"{state} = {self._shaped(value, like, {}, shaped)}")

    _like_of_block = str(symbols.L_l)
    """What has the shape of the values that a tile has once per block."""

    def _mean(self, value: str) -> str:
        """Return the source of the mean of a value over the block's coordinates."""
        return f"tl.sum(tl.where(real_, {value}, 0.0), axis=1, keep_dims=True) / SIZE_"

    def _matrix(self, name: str, rows: str) -> None:
        """Write the load of some rows of a block's Hessian.

        In float64 the transpose is loaded (H is symmetric, so the values are the same): what a warp reads of the right operand
        then is in different banks of shared memory.
        """
        places = ("i_[None, :]", f"{rows}[:, None]")[:: 1 if self._shuffles else -1]
        corner = f"hessian_ + row_ * SIZE_ * SIZE_ + {places[0]} * SIZE_ + {places[1]}"
        mask = f"({rows} < SIZE_)[:, None] & (i_ < SIZE_)[None, :]"
        self._line(f"{name} = tl.load({corner}, mask={mask}, other=0.0)")

    def _held_matrix(self) -> None:
        """Write the move of a block's Hessian to registers (`HELD_`: a tile of one warp, at most 32 coordinates wide).

        Triton reads a right operand from shared memory at every step. A product with the identity has the layout of a result, in
        which a thread holds, after the same reordering as that of the errors and a transposition (H is symmetric), exactly what
        it must supply as right operand. A rule without states has the registers for it.
        """
        self._line("if HELD_:")
        self._depth += 1
        self._matrix("symmetric_", "i_")
        self._line("one_ = tl.where(i_[:, None] == i_[None, :], 1.0, 0.0).to(tl.float64)")
        self._line(PRODUCT.format("held_", "one_", "symmetric_"))
        self._line(
            "h_ = tl.reshape(tl.permute(tl.reshape(held_, (PAD_, PAD_ // 8, 4, 2)), (1, 3, 2, 0)), (PAD_, PAD_))"
        )
        self._depth -= 1

    def _product(self, *, starting: bool) -> None:
        """Write g = e H for the tile.

        In float32 the six partial products are added from the smallest to the largest, so that the small ones are not lost to
        rounding.
        """
        if self._shuffles:
            self._line(f"a_ = {shuffle('e_', 'PAD_')}")
            if starting:
                self._line(PRODUCT.format("g", "a_", "h_"))
                return
            self._line("if (LANES_ >= PAD_) and (PAD_ >= 32):")
            halves = "tl.permute(tl.reshape(a_, (LANES_, 2, PAD_ // 2)), (0, 2, 1))"
            self._line(f"    a0_, a1_ = tl.split({halves})")
            self._line(f"    {PRODUCT.format('g', 'a0_', 'h0_')}")
            self._line(f"    {PRODUCT.format('g', 'a1_', 'h1_, g')}")
            self._line("else:")
            self._line(f"    {PRODUCT.format('g', 'a_', 'h_')}")
            return
        self._thirds("a", "e_")
        self._line("g = tl.dot(a2_, h0_, out_dtype=tl.float32)")
        for left, right in ((1, 1), (0, 2), (1, 0), (0, 1), (0, 0)):
            self._line(f"g = tl.dot(a{left}_, h{right}_, g, out_dtype=tl.float32)")

    def _thirds(self, name: str, value: str) -> None:
        """Write the split of a float32 value into three bfloat16 values, whose 8 bits each hold its 24 bits.

        A product of two such values has nine parts; the three smallest are below the rounding of a float32 and are left out.
        """
        self._line(f"{name}0_, {name}_rest_ = first_bits_({value})")
        self._line(f"{name}1_, {name}_rest_ = first_bits_({name}_rest_)")
        self._line(f"{name}2_, {name}_rest_ = first_bits_({name}_rest_)")

    def _extremes(self, at: str, end: str) -> None:
        """Write the loads of L_l and mu_l of a block."""
        self._line(f"{symbols.L_l}{end} = tl.load(extremes_ + {at})")
        self._line(f"{symbols.mu_l}{end} = tl.load(extremes_ + {at} + 1)")

    def _uses_iterate(self) -> bool:
        whole = self._program
        return symbols.w in whole.uses(whole.advance) | whole.increment.free_symbols


def _arguments(unit: Unit, *, starting: bool) -> str:
    first = "hessian_, extremes_, minimizer_, settings_, error_, states_, block_states_, rows_, width_"
    if starting:
        return f"{first}, tolerance_, below_, limit_" if unit.whole else first
    if unit.whole:
        return f"{first}, table_, begin_, steps_, slots_, below_, limit_, hit_, above_, diverged_, records_"
    return f"{first}, table_, steps_, gaps_, slots_, group_, blocks_"


def _padding_is_quiet(whole: Program) -> bool:
    """Whether a coordinate with g = 0, w = 0 and states that start at 0 is never moved, whatever the settings.

    Decided by algebra: assume that the states which start at 0 stay 0; drop a state whose update is not 0 under this assumption,
    until none is dropped; then the increment must be 0. A rule for which this cannot be shown gets a mask at every step, which
    is slower but safe.
    """
    zero = dict.fromkeys((symbols.g, symbols.w), sp.S.Zero)

    def after(phases: tuple[Phase, ...], known: Mapping[sp.Symbol, sp.Expr], value: sp.Expr) -> sp.Expr:
        values = dict(known)
        for phase in phases:
            for assignment in phase.coordinate:
                values[assignment.name] = assignment.value.subs(values)
        return value.subs(values)

    still = {s for s in whole.states if after(whole.start, zero, whole.started[s]) == 0}
    while True:
        known = zero | dict.fromkeys(still, sp.S.Zero)
        moved = {s for s in still if after(whole.advance, known, whole.advanced[s]) != 0}
        if not moved:
            return bool(after(whole.advance, known, whole.increment) == 0)
        still -= moved


def shuffle(value: str, width: str) -> str:
    """Return the source of the left operand of a product in float64, (LANES_, width), in the order of the matrix units."""
    return f"tl.reshape(tl.permute(tl.reshape({value}, (LANES_, {width} // 8, 4, 2)), (0, 1, 3, 2)), (LANES_, {width}))"


# In float64 the new errors are computed in the registers that held the last product, and they are the left operand of the next
# one. The matrix units return a result in another order than they read an operand: of every 8 coordinates, thread q holds 2q and
# 2q + 1, but must supply q and q + 4. Instead of moving the errors through shared memory at every step, both
# operands are reordered in the same way (`shuffle` for the errors, `SHUFFLED` for the rows of H), which leaves the product
# unchanged, as a sum over the same pairs.
PRODUCT = '{} = tl.dot({}, {}, input_precision="ieee", out_dtype=tl.float64)'
SHUFFLED = "i_ // 8 * 8 + i_ % 4 * 2 + i_ // 4 % 2"

_HEADER = """\
import triton
import triton.language as tl

from quadsim.simulator.engines.kernels.gpu_functions import absolute as absolute_
from quadsim.simulator.engines.kernels.gpu_functions import count as count_
from quadsim.simulator.engines.kernels.gpu_functions import exp as exp_
from quadsim.simulator.engines.kernels.gpu_functions import first_bits as first_bits_
from quadsim.simulator.engines.kernels.gpu_functions import limits_of as limits_of_
from quadsim.simulator.engines.kernels.gpu_functions import log as log_
from quadsim.simulator.engines.kernels.gpu_functions import maximum as maximum_
from quadsim.simulator.engines.kernels.gpu_functions import minimum as minimum_
from quadsim.simulator.engines.kernels.gpu_functions import power as power_
from quadsim.simulator.engines.kernels.gpu_functions import ratio as ratio_
from quadsim.simulator.engines.kernels.gpu_functions import root as root_
from quadsim.simulator.engines.kernels.gpu_functions import sign as sign_
from quadsim.simulator.engines.kernels.gpu_functions import sqrt as sqrt_
from quadsim.simulator.engines.kernels.gpu_functions import tanh as tanh_"""
