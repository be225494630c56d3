"""Print the fused CPU kernel of a rule as Python source for Numba, with the vector type of `cpu_vectors.py`.

Layout. A vector holds one number for each of LANES settings (a *tile*). One *job* of the kernel is one problem under one tile
of settings. Different settings never interact, so all lanes run the same operations and no lane depends on its neighbours.

Order of the loops, outermost first: job, stretch of STRETCH steps, block, step, row of H_l. Blocks do not interact within a
step (the gradient of block l is H_l e_l), so a block can run many steps before the next block starts. Its Hessian, errors and
states then stay in the cache, which is the reason why the kernel is fast; with the step outside the block, every step would
load all Hessians again. Only the gap needs all blocks: each block adds its part to `sums_`, and after the stretch `follow_`
reads the total gap of every step.

Within a block, up to 4 rows of the product H_l e are accumulated in registers, and the rule uses the gradient from there; it is
not written to memory unless the rule has means over the block and must visit the coordinates again.

Precision. Values that depend on settings and the step alone are evaluated in float64 and then rounded to the type of the run. In
float32, 1 - beta2 would be 0 for a beta2 that is rounded to 1.

Errors are kept at two places, `now_` and `next_`, that are exchanged after every step: a row of H_l e reads the errors of all
coordinates, so none may be overwritten before the last row is done.

*Divided* blocks. Where the blocks of a rule are smaller than those of H (a coupled problem is one block for the product and
several for the rule), one block of H runs step by step, and within a step one block of the rule after the other: the product
takes the errors of all columns, at `now_`, of which no block of the rule has overwritten any.

*Packed* lanes. A tile of one problem leaves lanes without work where the number of settings is not a multiple of LANES. A packed
kernel takes a problem and a setting for every lane: matrices, extremes and minimizers have the lanes as their last axis, too, and
are loaded where another kernel spreads one number over all lanes. Every lane runs the same operations in both kernels.

Arrays are flat, with the lanes of the tile as the last axis. Names of the kernel end in an underscore; all other names come from
the rule.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import sympy as sp

from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.printer import ExpressionPrinter, label
from quadsim.simulator.engines.kernels.program import (
    ROWS,
    STRETCH,
    UNROLLED,
    Assignment,
    CpuKernel,
    Phase,
    Program,
    variant,
)
from quadsim.simulator.engines.kernels.streams.cpu_source import (
    SAMPLED_ARGUMENTS,
    SAMPLED_ARRAYS,
    SAMPLED_BEGIN,
    SAMPLED_DECORATOR,
    SAMPLED_FUNCTIONS,
    SAMPLED_LOOP,
)
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import DIVERGED_ABOVE, MEAN_WINDOW

__all__ = ["cpu_kernel", "cpu_source"]


def cpu_source(
    rule: Rule,
    block_sizes: Iterable[int],
    *,
    dtype: str = "float64",
    lanes: int = 16,
    divided: bool = False,
    sampled: bool = False,
    packed: bool = False,
) -> str:
    """Return the source of the kernel, a Python module that defines the entry points `steps_` and `run_`.

    `steps_` writes the table of values that depend on settings and the step alone; `run_` runs jobs over a range of steps.

    Args:
        rule: a rule for which `why_no_program` is None.
        block_sizes: block sizes that the kernel must run; only their variants matter.
        dtype: "float64" or "float32", the type of errors and states.
        lanes: settings in a tile.
        divided: whether a block of H may hold several blocks of the rule; `block_sizes` are those of the rule.
        sampled: whether the gradient is that of samples of a stream (`Stream`), not of the full batch; the blocks are then those
            of the rule in any case.
        packed: whether every lane of a tile has a problem of its own; neither divided nor sampled.
    """
    how = {"divided": divided, "sampled": sampled, "packed": packed}
    return cpu_kernel(rule, block_sizes, dtype=dtype, lanes=lanes, **how).source


def cpu_kernel(
    rule: Rule, block_sizes: Iterable[int], *, dtype: str, lanes: int, divided: bool, sampled: bool, packed: bool
) -> CpuKernel:
    """Return the kernel of a rule; see `cpu_source` for the arguments."""
    variants = sorted({variant(size) for size in block_sizes})
    whole = program(rule)
    source = _Source(whole, variants, dtype, lanes, divided=divided and not sampled, sampled=sampled, packed=packed)

    def first(states: Iterable[sp.Symbol]) -> tuple[float | None, ...]:
        return tuple(float(whole.started[state]) if whole.starts_at_numbers else None for state in states)

    return CpuKernel(
        source.text(label(rule)), source.step_values, len(whole.clocks), first(whole.states), first(whole.block_states)
    )


class _Printer(ExpressionPrinter):
    """Prints sums of products as fused multiply-adds, constants as vectors, and coordinate values with the number of their row.

    LLVM is not allowed to contract a*b + c by itself, so that the result is the same on every machine. Where the kernel uses a
    fused multiply-add is therefore decided here, by the formula alone.
    """

    def __init__(self, by_row: set[sp.Symbol] | None = None, row: int = 0, number: str = "number_") -> None:
        super().__init__()
        self._by_row, self._row, self._number = by_row or set(), row, number

    def number(self, value: float) -> str:
        return f"{self._number}({value!r})"

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return f"{symbol.name}__{self._row}" if symbol in self._by_row else str(symbol.name)

    def call(self, function: str, *arguments: str) -> str:
        return super().call(f"{function}_", *arguments)

    def _print_Add(self, expression: sp.Expr, **_: object) -> str:
        products = [term for term in expression.args if _is_product(term)]
        others = [term for term in expression.args if term not in products] or [products.pop(0)]
        text = str(super()._print_Add(sp.Add(*others))) if len(others) > 1 else self._print(others[0])
        for product in products:
            first, *rest = product.args
            text = self.call("fma", self._print(first), self._print(sp.Mul(*rest)), text)
        return text


def _is_product(term: sp.Expr) -> bool:
    """Whether a term can be the product of a fused multiply-add: at least two factors, none of them -1 or a divisor."""
    return isinstance(term, sp.Mul) and not any(f == -1 or (f.is_Pow and f.args[1].is_negative) for f in term.args)


class _Source:
    """Writes the lines of one kernel module; `_depth` is the present indentation."""

    def __init__(
        self,
        whole: Program,
        variants: Sequence[int],
        dtype: str,
        lanes: int,
        *,
        divided: bool,
        sampled: bool,
        packed: bool,
    ) -> None:
        self._program, self._variants, self._dtype, self._lanes = whole, variants, dtype, lanes
        self._divided, self._sampled, self._packed = divided, sampled, packed
        self._arguments = _BLOCK_ARGUMENTS + (_DIVIDED_ARGUMENTS if divided else SAMPLED_ARGUMENTS if sampled else "")
        self._lines: list[str] = []
        self._depth = 0

    @property
    def step_values(self) -> int:
        """Number of values in the table of `steps_`, for each step."""
        return len(self._step_names())

    def text(self, name: str) -> str:
        """Return the source of the whole module, with the name of the rule in its docstring."""
        for line in _HEADER.splitlines():
            self._line(line)
        constants = {"LANES_": self._lanes, "STRETCH_": STRETCH, "STEP_VALUES_": self.step_values}
        for key, value in constants.items():
            self._line(f"{key} = {value}")
        self._line(f"STATES_, BLOCK_STATES_ = {len(self._program.states)}, {len(self._program.block_states)}")
        self._line(f"real_ = np.{self._dtype}")
        self._line("load_, spread_, number_ = vectors_.vectors_of(LANES_, real_)")
        self._line("wide_ = vectors_.vectors_of(LANES_, np.float64)[2]")
        self._line("narrow_ = vectors_.narrow_to(real_)")
        # Neither needs a wrapper for Python: an entry point is called by its machine code (`machine`).
        self._line(
            'entry_ = part_ = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)'
        )
        if self._sampled:
            self._line(SAMPLED_DECORATOR)
        self._clocks()
        for kind in self._variants:
            if not self._program.starts_at_numbers:
                self._block(kind, "start", self._program.start)
            self._block(kind, "advance", self._program.advance)
        for line in self._run().splitlines():
            if line.strip() == "<blocks>":
                self._depth = (len(line) - len(line.lstrip())) // 4
                self._take_block()
                self._depth = 0
            else:
                self._line(line)
        rule_line = f'"""Fused kernel of {name} on a CPU, {self._dtype}, {self._lanes} settings at a time."""'
        return "\n".join([rule_line, "", *self._lines]) + "\n"

    def _run(self) -> str:
        """Return what follows the functions of the blocks: passages, and the entry point `run_`."""
        loop = SAMPLED_LOOP if self._sampled else _DIVIDED_LOOP if self._divided else _LOOP
        before = SAMPLED_FUNCTIONS if self._sampled else ""
        more = SAMPLED_ARRAYS if self._sampled else ""
        job, row = (_PACKED_JOB, "0") if self._packed else (_JOB, "problem_")
        run = _RUN.replace("<job>", job).replace("<row>", row)
        run = run.replace("<loop>", loop).replace("<divided>", _DIVIDED_ARRAYS if self._divided else "")
        return _FOLLOW + before + run.replace("<more>", more).replace("<begin>", SAMPLED_BEGIN if self._sampled else "")

    # Writing.

    def _line(self, text: str = "") -> None:
        self._lines.append("    " * self._depth + text if text else "")

    def _open(self, text: str) -> None:
        self._line(text)
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1

    def _assign(self, assignments: Iterable[Assignment], printer: _Printer | None = None) -> None:
        printer = printer or _Printer()
        for assignment in assignments:
            self._line(f"{printer.doprint(assignment.name)} = {printer.doprint(assignment.value)}")

    # Pieces.

    def _settings(self, *, narrow: bool) -> None:
        """Load the hyperparameters and evaluate `once`, in float64; with `narrow`, round all of them to the run's type after."""
        whole = self._program
        for index, symbol in enumerate(whole.hyperparameters, 1):
            self._line(f"{symbol} = load_(settings_, settings_at_ + {index} * LANES_)")
        self._assign(whole.once, _Printer(number="wide_"))
        if narrow:
            for name in (*whole.hyperparameters, *(assignment.name for assignment in whole.once)):
                self._line(f"{name} = narrow_({name})")

    def _clocks(self) -> None:
        """Write `steps_`: advance the clocks step by step and store what the blocks need of every step in a table."""
        whole = self._program
        self._line()
        self._line()
        self._line("@entry_")
        self._open("def steps_(tile_, factors_, settings_, clocks_, table_):")
        self._line(f"settings_at_ = tile_ * {len(whole.hyperparameters) + 1} * LANES_")
        self._line("lr_ = load_(settings_, settings_at_)")
        self._settings(narrow=False)
        at = f"tile_ * {len(whole.clocks)}"
        for index, clock in enumerate(whole.clocks):
            self._line(f"{clock.name} = load_(clocks_, ({at} + {index}) * LANES_)")
        self._open("for t_ in range(factors_.size):")
        self._line(f"{symbols.lr} = lr_ * spread_(factors_[t_])")
        if whole.clocks:
            printer = _Printer(number="wide_")
            names = ", ".join(str(clock.name) for clock in whole.clocks)
            self._line(f"{names} = {', '.join(printer.doprint(clock.value) for clock in whole.clocks)}")
        self._assign(whole.step, _Printer(number="wide_"))
        for index, name in enumerate(self._step_names()):
            place = f"((tile_ * factors_.size + t_) * STEP_VALUES_ + {index}) * LANES_"
            self._line(f"store_(table_, {place}, narrow_({name}))")
        self._close()
        for index, clock in enumerate(whole.clocks):
            self._line(f"store_(clocks_, ({at} + {index}) * LANES_, {clock.name})")
        self._close()

    def _step_names(self) -> list[sp.Symbol]:
        """Return the values of a step that the blocks read (lr, clocks, `step`), in the order of the table's columns."""
        read = self._program.uses(self._program.advance) | self._program.increment.free_symbols
        read |= set().union(*(value.free_symbols for value in self._program.advanced.values()), set())
        candidates = [symbols.lr, *(c.name for c in self._program.clocks), *(s.name for s in self._program.step)]
        return [name for name in candidates if name in read]

    def _block(self, kind: int, what: str, phases: tuple[Phase, ...]) -> None:
        """Write the function that starts a block (`what` = "start") or advances it by `steps_` steps (`what` = "advance")."""
        starting = what == "start"
        whole = self._program
        self._line()
        self._line()
        self._line("@inside_" if self._sampled else "@part_")
        self._open(f"def {what}_{kind}_({self._arguments}):")
        if kind <= UNROLLED:
            self._line(f"size_ = {kind}")
        self._settings(narrow=True)
        self._line(f"{symbols.L_l} = {self._of_problem('extremes_', 'extremes_at_')}")
        self._line(f"{symbols.mu_l} = {self._of_problem('extremes_', 'extremes_at_ + 1')}")
        self._assign(whole.per_block)
        self._line("count_ = spread_(real_(size_))")
        if not starting:
            for index, state in enumerate(whole.block_states):
                self._line(f"{state} = load_(block_states_, block_states_at_ + {index} * blocks_ * LANES_)")
            self._open("for t_ in range(steps_):")
            for index, name in enumerate(self._step_names()):
                self._line(f"{name} = load_(table_, table_at_ + (t_ * STEP_VALUES_ + {index}) * LANES_)")
            if not self._sampled:
                self._line("gap_ = number_(0.0)")
        for number, phase in enumerate(phases):
            self._phase(
                kind, phase, starting=starting, first=number == 0, last=number == len(phases) - 1, more=len(phases) > 1
            )
        if not starting:
            place = "sums_at_" if self._divided else "t_ * LANES_"
            if not self._sampled:
                self._line(f"store_(sums_, {place}, load_(sums_, {place}) + gap_)")
            for state in whole.block_states:
                if whole.advanced[state] != state:
                    self._line(f"{state} = {_Printer().doprint(whole.advanced[state])}")
            self._line("now_, next_ = next_, now_")
            self._close()
        for index, state in enumerate(whole.block_states):
            value = _Printer().doprint(whole.started[state]) if starting else str(state)
            self._line(f"store_(block_states_, block_states_at_ + {index} * blocks_ * LANES_, {value})")
        self._close()

    def _phase(self, kind: int, phase: Phase, *, starting: bool, first: bool, last: bool, more: bool) -> None:
        """Write one pass over the coordinates of a block.

        Only the first pass evaluates the gradient. A large block with several passes keeps the gradient in `gradient_`; a small
        one has it in registers (`g__0`, `g__1`, ...) through all passes.
        """
        self._assign(phase.block)
        for mean in phase.means:
            self._line(f"{mean.name}_sum_ = number_(0.0)")
        in_registers = kind <= UNROLLED
        if first or in_registers:
            loops = [("i_ = 0", kind)] if in_registers else [(f"for i_ in range(0, size_ - {kind - 8}, {ROWS}):", ROWS)]
            if not in_registers and kind > 8:
                loops.append((f"i_ = size_ - {kind - 8}", kind - 8))
        else:
            loops = [("for i_ in range(size_):", 1)]
        for opening, rows in loops:
            self._line(opening)
            before = len(self._lines)
            self._depth += opening.startswith("for")
            if first and self._reads_gradient(starting):
                self._product(rows)
            for row in range(rows):
                self._coordinate(phase, row, starting=starting, first=first, last=last, kept=more and not in_registers)
            self._depth -= opening.startswith("for")
            if len(self._lines) == before:
                self._lines.pop()  # nothing to do for these rows
        for mean in phase.means:
            self._line(f"{mean.name} = {mean.name}_sum_ / count_")

    def _reads_gradient(self, starting: bool) -> bool:
        """Whether a start needs the gradient; an advance always does, as the gap is e'g / 2."""
        started = self._program.started.values()
        return not starting or symbols.g in self._program.uses(self._program.start).union(
            *(v.free_symbols for v in started)
        )

    def _product(self, rows: int) -> None:
        """Write the loop that evaluates `rows` numbers of the gradient, one fused multiply-add per column or sample."""
        self._line(f"{', '.join(f'g__{r}' for r in range(rows))} = {', '.join(['number_(0.0)'] * rows)}")
        if self._sampled:  # sum_k r_k x_k, which are divided by the square root of the batch
            self._open("for k_ in range(samples_):")
            self._line("r_ = load_(left_, left_at_ + k_ * LANES_)")
            for row in range(rows):
                self._line(f"g__{row} = fma_(spread_(pick_(x_, x_at_ + k_ * stride_ + i_ + {row})), r_, g__{row})")
            self._close()
            return
        width, columns = ("width_", "columns_") if self._divided else ("size_", "now_")
        self._line(f"row_ = hessian_at_ + i_ * {width}")
        self._open(f"for j_ in range({width}):")
        self._line(f"e_ = load_(error_, {columns} + j_ * LANES_)")
        for row in range(rows):
            entry = self._of_problem("hessian_", f"row_ + {row} * {width} + j_")
            self._line(f"g__{row} = fma_({entry}, e_, g__{row})")
        self._close()

    def _of_problem(self, array: str, place: str) -> str:
        """Return a number of a problem as a vector: the same in all lanes, or that of every lane's own problem."""
        return f"load_({array}, ({place}) * LANES_)" if self._packed else f"spread_(pick_({array}, {place}))"

    def _coordinate(self, phase: Phase, row: int, *, starting: bool, first: bool, last: bool, kept: bool) -> None:
        """Write what one phase evaluates for one coordinate; the last phase also stores the new states and the new error."""
        whole = self._program
        by_row = {symbols.g, symbols.w, *whole.states, *(a.name for a in phase.coordinate)}
        printer = _Printer(by_row, row)
        read = whole.uses((phase,))
        outputs = whole.started if starting else whole.advanced
        if last:
            read |= set().union(*(value.free_symbols for value in outputs.values()), set())
            read |= set() if starting else whole.increment.free_symbols
        error = f"e__{row}_ = load_(error_, now_ + (i_ + {row}) * LANES_)"
        if not starting or symbols.w in read:
            self._line(error)
        if first and not starting and not self._sampled:
            self._line(f"gap_ = fma_(e__{row}_, g__{row}, gap_)")
        if first and kept and self._reads_gradient(starting):
            self._line(f"store_(gradient_, (i_ + {row}) * LANES_, g__{row})")
        if not first and kept and symbols.g in read:
            self._line(f"g__{row} = load_(gradient_, (i_ + {row}) * LANES_)")
        if symbols.w in read:
            minimizer = self._of_problem("minimizer_", f"minimizer_at_ + i_ + {row}")
            self._line(f"w__{row} = e__{row}_ + {minimizer}")
        place = f"states_at_ + ({{}} * dimension_ + i_ + {row}) * LANES_"
        for index, state in enumerate(whole.states):
            if state in read and not starting:
                self._line(f"{printer.doprint(state)} = load_(states_, {place.format(index)})")
        # The increment is not assigned to a name: printed as one sum with the error, its last product becomes a multiply-add.
        inside = {a.name: a.value for a in phase.coordinate}
        increment = inside.get(whole.increment, whole.increment)
        self._assign((a for a in phase.coordinate if starting or a.name != whole.increment), printer)
        for mean in phase.means:
            self._line(f"{mean.name}_sum_ = {mean.name}_sum_ + {printer.doprint(mean.value)}")
        if not last:
            return
        for index, state in enumerate(whole.states):
            if outputs[state] != state:
                self._line(f"store_(states_, {place.format(index)}, {printer.doprint(outputs[state])})")
        if not starting:
            text = printer.doprint(sp.Add(sp.Symbol(f"e__{row}_"), increment))
            self._line(f"store_(error_, next_ + (i_ + {row}) * LANES_, {text})")

    def _take_block(self) -> None:
        """Write the calls that run a block, chosen by its size."""
        for number, kind in enumerate(self._variants):
            test = f"size_ == {kind}" if kind <= UNROLLED else f"size_ > {UNROLLED} and size_ % {ROWS} == {kind - 8}"
            self._open(f"{'if' if number == 0 else 'elif'} {test}:")
            by_step = self._divided or self._sampled
            arguments = self._arguments.replace("steps_", "1") if by_step else self._arguments
            if not self._program.starts_at_numbers:
                self._open("if begin_ + t_ + step_ == 0:" if by_step else "if begin_ + t_ == 0:")
                self._line(f"start_{kind}_({arguments})")
                self._close()
            self._line(f"advance_{kind}_({arguments})")
            self._close()


_BLOCK_ARGUMENTS = (
    "size_, steps_, dimension_, blocks_, hessian_, hessian_at_, extremes_, extremes_at_, minimizer_, minimizer_at_, "
    "settings_, settings_at_, table_, table_at_, error_, now_, next_, states_, states_at_, block_states_, "
    "block_states_at_, gradient_, sums_"
)

_DIVIDED_ARGUMENTS = ", width_, columns_, sums_at_"

_HEADER = """\
import numpy as np
from numba import njit

from quadsim.simulator.engines.kernels import cpu_vectors as vectors_
from quadsim.simulator.engines.kernels.cpu_vectors import absolute as absolute_
from quadsim.simulator.engines.kernels.cpu_vectors import exp as exp_
from quadsim.simulator.engines.kernels.cpu_vectors import fma as fma_
from quadsim.simulator.engines.kernels.cpu_vectors import log as log_
from quadsim.simulator.engines.kernels.cpu_vectors import maximum as maximum_
from quadsim.simulator.engines.kernels.cpu_vectors import minimum as minimum_
from quadsim.simulator.engines.kernels.cpu_vectors import pick as pick_
from quadsim.simulator.engines.kernels.cpu_vectors import power as power_
from quadsim.simulator.engines.kernels.cpu_vectors import ratio as ratio_
from quadsim.simulator.engines.kernels.cpu_vectors import sign as sign_
from quadsim.simulator.engines.kernels.cpu_vectors import sqrt as sqrt_
from quadsim.simulator.engines.kernels.cpu_vectors import store as store_
from quadsim.simulator.engines.kernels.cpu_vectors import tanh as tanh_
from quadsim.simulator.engines.kernels.cpu_vectors import unless_below as unless_below_
from quadsim.simulator.engines.kernels.cpu_vectors import widen as widen_
"""

_JOB = "problem_, tile_, run_ = job_ // tiles_, job_ % tiles_, job_ % tiles_ * LANES_"
_PACKED_JOB = "problem_, tile_, run_ = job_, job_ % tiles_, job_ * LANES_"
"""Of a job: where its problem, or its row of problems, its settings and its first run in `gap_` are; packed jobs see `gap_` as
the runs of one problem."""

_LOOP = """\
            for block_ in range(blocks_):
                size_ = sizes_[block_]
                begins_ = coordinates_[block_]
                hessian_at_ = problem_ * per_problem_ + entries_[block_]
                extremes_at_ = 2 * (problem_ * blocks_ + block_)
                minimizer_at_ = problem_ * dimension_ + begins_
                table_at_ = (tile_ * total_ + t_) * STEP_VALUES_ * LANES_
                now_ = (2 * job_ * dimension_ + begins_) * LANES_
                next_ = now_ + dimension_ * LANES_
                states_at_ = (STATES_ * job_ * dimension_ + begins_) * LANES_
                block_states_at_ = (BLOCK_STATES_ * job_ * blocks_ + block_) * LANES_
                <blocks>"""

_DIVIDED_LOOP = """\
            for outer_ in range(outers_.size - 1):
                for step_ in range(steps_):
                    for block_ in range(outers_[outer_], outers_[outer_ + 1]):
                        size_ = sizes_[block_]
                        begins_ = coordinates_[block_]
                        width_ = widths_[outer_]
                        hessian_at_ = problem_ * per_problem_ + entries_[block_]
                        extremes_at_ = 2 * (problem_ * blocks_ + block_)
                        minimizer_at_ = problem_ * dimension_ + begins_
                        table_at_ = (tile_ * total_ + t_ + step_) * STEP_VALUES_ * LANES_
                        now_ = ((2 * job_ + step_ % 2) * dimension_ + begins_) * LANES_
                        next_ = ((2 * job_ + 1 - step_ % 2) * dimension_ + begins_) * LANES_
                        columns_ = now_ - (begins_ - coordinates_[outers_[outer_]]) * LANES_
                        states_at_ = (STATES_ * job_ * dimension_ + begins_) * LANES_
                        block_states_at_ = (BLOCK_STATES_ * job_ * blocks_ + block_) * LANES_
                        sums_at_ = step_ * LANES_
                        <blocks>"""

_DIVIDED_ARRAYS = " outers_, widths_,"

_LARGEST = float(np.finfo(np.float64).max)
_LARGEST_START = float(np.nextafter(_LARGEST / DIVERGED_ABOVE, 0.0))

_FOLLOW = f'''

@part_
def limits_(sums_, tolerance_, at_, below_, limit_):
    """From the first gap of every setting: what counts as reached, and above what the run has diverged."""
    largest_ = {_LARGEST!r}
    for k_ in range(LANES_):
        start_ = np.float64(sums_[k_]) / 2.0
        below_[at_ + k_] = tolerance_ * start_
        scale_ = min(start_, {_LARGEST_START!r})
        limit_[at_ + k_] = {DIVERGED_ABOVE!r} * scale_ if start_ > 0.0 else largest_


@part_
def follow_(begin_, steps_, sums_, at_, below_, limit_, hit_, above_, diverged_):
    """First step within the tolerance, last step above it (or at NaN), and first divergence."""
    below_v_, limit_v_ = load_(below_, at_), load_(limit_, at_)
    hit_v_, above_v_, diverged_v_ = load_(hit_, at_), load_(above_, at_), load_(diverged_, at_)
    for t_ in range(steps_):
        twice_ = widen_(load_(sums_, t_ * LANES_))
        gap_v_, step_v_ = twice_ / spread_(2.0), spread_(np.float64(begin_ + t_))
        hit_v_ = unless_below_(gap_v_, below_v_, hit_v_, minimum_(hit_v_, step_v_))
        above_v_ = unless_below_(gap_v_, below_v_, step_v_, above_v_)
        diverged_v_ = unless_below_(gap_v_, limit_v_, minimum_(diverged_v_, step_v_), diverged_v_)
    store_(hit_, at_, hit_v_)
    store_(above_, at_, above_v_)
    store_(diverged_, at_, diverged_v_)


@part_
def average_(begin_, steps_, sums_, at_, below_, window_, mean_):
    """First window whose mean gap is within the tolerance; what a stretch leaves of a window is kept for the next one.

    A loop of its own: in that of `follow_` the sum and the result would push other vectors out of the registers.
    """
    below_v_, window_v_, mean_v_ = load_(below_, at_), load_(window_, at_), load_(mean_, at_)
    t_ = 1 if begin_ == 0 else 0  # step 0 is in no window
    while t_ < steps_:
        left_ = {MEAN_WINDOW} - (begin_ + t_ - 1) % {MEAN_WINDOW}
        end_ = min(t_ + left_, steps_)
        for s_ in range(t_, end_):
            window_v_ = window_v_ + widen_(load_(sums_, s_ * LANES_)) / spread_(2.0)
        if end_ == t_ + left_:
            step_v_, gap_v_ = spread_(np.float64(begin_ + end_ - 1)), window_v_ / spread_({float(MEAN_WINDOW)!r})
            mean_v_ = unless_below_(gap_v_, below_v_, mean_v_, minimum_(mean_v_, step_v_))
            window_v_ = spread_(0.0)
        t_ = end_
    store_(window_, at_, window_v_)
    store_(mean_, at_, mean_v_)
'''

_RUN = '''

@entry_
def run_(
    first_, last_, begin_, total_, record_, record_at_, tolerance_, tiles_, dimension_, sizes_, coordinates_, entries_,<divided>
    hessian_, extremes_, minimizer_, settings_, table_, error_, states_, block_states_, gradient_, sums_, below_, limit_,
    hit_, above_, window_, mean_, diverged_, done_, gap_,<more>
):
    """Jobs first_ to last_, each a problem and a tile of settings, from step begin_ on for total_ steps."""
    blocks_ = sizes_.size
    per_problem_ = hessian_.size // (minimizer_.size // dimension_)
<begin>
    for job_ in range(first_, last_):
        if done_[job_]:
            continue
        <job>
        at_ = job_ * LANES_
        settings_at_ = tile_ * (settings_.size // tiles_)
        t_ = 0
        r_ = record_at_
        while t_ < total_:
            steps_ = min(STRETCH_, total_ - t_)
            for k_ in range(steps_ * LANES_):
                sums_[k_] = 0.0
<loop>
            if begin_ + t_ == 0:
                limits_(sums_, tolerance_, at_, below_, limit_)
            follow_(begin_ + t_, steps_, sums_, at_, below_, limit_, hit_, above_, diverged_)
            average_(begin_ + t_, steps_, sums_, at_, below_, window_, mean_)
            end_ = r_
            while end_ < record_.size and record_[end_] < begin_ + t_ + steps_:
                end_ += 1
            lanes_ = min(LANES_, gap_.shape[1] - run_)
            for k_ in range(lanes_):
                for s_ in range(r_, end_):
                    gap_[<row>, run_ + k_, s_] = np.float64(sums_[(record_[s_] - begin_ - t_) * LANES_ + k_]) / 2.0
            r_ = end_
            t_ += steps_
            running_ = 0
            for k_ in range(LANES_):
                running_ += diverged_[at_ + k_] == np.inf
            if running_ == 0:
                for k_ in range(lanes_):
                    for s_ in range(r_, record_.size):
                        gap_[<row>, run_ + k_, s_] = np.inf
                done_[job_] = True
                break
'''
