"""Print the fused kernel of a model under a rule as CUDA C++, from the blocks of `blocks.py`.

One block of threads is one copy of one instance. In each step it runs over its data in chunks, adds up the gradient of every
parameter, and then updates its parameters by the rule; they stay in shared memory for all steps of a launch. Losses of every step
are stored, so that the caller decides afterwards which instances have finished.

The order of the blocks is that of `order.py`. The writer of each block returns the name of its result and the writer of its
backward pass.

Names of the kernel end in an underscore; all other names come from the rule.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import sympy as sp

from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.printer import ExpressionPrinter, label
from quadsim.simulator.engines.kernels.program import Assignment, Phase
from quadsim.simulator.engines.stacks.blocks import BLOCKS, HEADER
from quadsim.simulator.engines.stacks.order import Order
from quadsim.simulator.engines.stacks.whole import WHOLE_BLOCKS
from quadsim.simulator.models.base import DataShape, Model
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["Form", "Layout", "shared_bytes", "slots_of", "stack_source"]

Written = TypeVar("Written")

Back = Callable[[str], str]
"""Writes a backward pass: the name of the gradient of the result to that of the gradient of the argument."""


@dataclass(frozen=True)
class Form:
    """What the source of a kernel depends on, beside the rule.

    Attributes:
        model: the model.
        shape: properties of the task.
        features: whether an input is a vector of numbers.
        scaled: where the scales of coordinates go: "parameter", "gradient" or "" (there are none).
        tempered: whether every instance has a temperature.
        batched: whether steps take mini-batches.
        copies: number of copies of the model in an instance.
    """

    model: Model
    shape: DataShape
    features: bool = False
    scaled: str = ""
    tempered: bool = False
    batched: bool = False
    copies: int = 1


@dataclass(frozen=True)
class Layout:
    """How a chunk is spread over threads.

    Attributes:
        threads: threads of a block.
        rows: rows that a thread holds.
        blocks: blocks that a multiprocessor must have registers for.
        lanes: threads that share a row: 4 where products run on the matrix units, else 1.
        joined: number of teams that add up one gradient together.
        whole: whether the teams hold all rows of a step at once, so that each coordinate takes its step as soon as its gradient
            is computed (`whole.py`).
    """

    threads: int
    rows: int
    blocks: int = 1
    lanes: int = 1
    joined: int = 1
    whole: bool = False

    @property
    def teams(self) -> int:
        """Number of teams of threads, each of which takes a chunk."""
        return 1 if self.lanes == 1 else self.threads // 32

    @property
    def gradients(self) -> int:
        """Number of gradients in global memory while steps are taken."""
        return 0 if self.whole else max(1, self.teams // self.joined - 1)

    @property
    def team_rows(self) -> int:
        """Rows of a chunk."""
        return self.threads // self.teams // self.lanes * self.rows


def slots_of(shape: DataShape) -> int:
    """Return the number of rows that a sequence has in a chunk."""
    return 1 << (shape.tokens - 1).bit_length()


def lanes_of(form: Form) -> int:
    """Return the largest number of threads that can share a row."""
    width: int = form.model.width  # type: ignore[attr-defined]
    return 4 if width % 16 == 0 and not form.features and form.shape.readout != "mean" else 1


def padded(number: int, lanes: int) -> int:
    """Return the place of a parameter in shared memory, as `padded` of `blocks.BLOCKS`."""
    return number if lanes == 1 else number + number // 16 * 4


def shared_bytes(form: Form, layout: Layout) -> int:
    """Return the bytes of shared memory of a block: parameters, two regions for the rows of every team, and room for sums.

    With several lanes, the gradient of the first teams is there as well, or, in a whole layout, that of gains by team.
    """
    dimension = sum(p.size for p in form.model.parameters(form.shape))
    parameters = padded(dimension, layout.lanes)
    if layout.whole:
        parameters += sum(layout.teams * p.size for p in form.model.parameters(form.shape) if p.std is None)
    elif layout.lanes == 4:
        parameters += dimension
    rows, heads = layout.team_rows, int(getattr(form.model, "heads", 1))
    width: int = form.model.width  # type: ignore[attr-defined]
    if layout.whole:
        regions = rows * (6 * width + 8)
    elif layout.lanes == 4:
        regions = 2 * rows * (width + 8)
    else:
        regions = 2 * (rows * (width + 4) + rows // slots_of(form.shape) * 4)
    return 4 * (parameters + layout.teams * (regions + rows * 2 * heads) + 2 * layout.threads)


@lru_cache(maxsize=256)
def stack_source(form: Form, rule: Rule, layout: Layout) -> str:
    """Return the source of the kernel `train_`, in CUDA C++ that a C++ compiler takes too (with one thread).

    Args:
        form: a form of a Transformer or an MLP.
        rule: a rule for which `why_no_update` is None.
        layout: how a chunk is spread over threads.
    """
    return _StackSource(form, rule, layout).text()


class _Printer(ExpressionPrinter):
    """Prints expressions in C++; constants are float, functions have the names of `blocks.HEADER`."""

    def number(self, value: float) -> str:
        return f"{value!r}f"

    def call(self, function: str, *arguments: str) -> str:
        return super().call(f"{function}_", *arguments)


class _WidePrinter(_Printer):
    """Prints constants in double and names with the end `_wide_`, for values that are rounded later."""

    def number(self, value: float) -> str:
        return repr(value)

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return f"{symbol.name}_wide_"


class _StackSource(Order[str]):
    """Writes the lines of a kernel; `_depth` is the present indentation."""

    def __init__(self, form: Form, rule: Rule, layout: Layout) -> None:
        self._form, self._model, self._shape, self._layout = form, form.model, form.shape, layout
        self._rule, self._program = rule, program(rule)
        self._lines: list[str] = []
        self._depth = self._number = 0
        self._begin: dict[str, int] = {}
        self._layer_at = ""  # how far behind that of the first layer a parameter is, where layers are a loop
        self._forms: dict[str, str] = {}  # array to its form
        self._remade: dict[str, str] = {}  # array to the line that computes it again
        self._gains: list[str] = []
        at = 0
        for parameter in form.model.parameters(form.shape):
            self._begin[parameter.name] = at
            if parameter.std is None:
                self._gains.append(parameter.name)
            for i, part in enumerate(parameter.parts):
                self._begin[part] = at + i * parameter.size // len(parameter.parts)
            at += parameter.size
        self._dimension = at

    def text(self) -> str:
        """Return the whole source."""
        name = type(self._model).name
        self._line(f"// Fused steps of {label(self._rule)} on {name}, float32.")
        # Copied to where they are used, the blocks are faster, unless they exceed the instruction cache, as several layers
        # do without matrix units.
        copied = self._layout.lanes == 4 or getattr(self._model, "layers", 1) == 1
        self._line(f"#define CALLED_OR_COPIED {'__forceinline__' if copied else '__noinline__'}")
        self._line(f"#define LANES {self._layout.lanes}")
        self._line(f"#define JOINED {self._layout.joined}")
        self._line(f"#define WHOLE {int(self._layout.whole)}")
        self._lines += HEADER.splitlines()
        for constant, value in self._constants().items():
            self._line(f"constexpr int {constant} = {value};")
        self._line(f"typedef {'float' if self._form.features else 'int'} INPUT;")
        self._lines += BLOCKS.splitlines()
        if self._layout.whole:
            self._lines += WHOLE_BLOCKS.splitlines()
        self._kernel()
        return "\n".join(self._lines) + "\n"

    def _constants(self) -> dict[str, int]:
        model, shape = self._model, self._shape
        width: int = model.width  # type: ignore[attr-defined]
        heads: int = getattr(model, "heads", 1)
        return {
            "THREADS": self._layout.threads,
            "ROWS_EACH": self._layout.rows,
            "WIDTH": width,
            "SLOTS": slots_of(shape),
            "TOKENS": shape.tokens,
            "HEADS": heads,
            "EACH": width // heads,
            "CAUSAL": int(shape.causal),
            "HIDDEN": 4 * width,
            "SLICE": min(width, 16),
            "CLASSES": shape.classes,
            "INPUTS": shape.inputs,
            "DIMENSION": self._dimension,
            "COPIES": self._form.copies,
            "STATES": len(self._program.states),
            "BATCH": 4,
            "BLOCKS_AT_ONCE": self._layout.blocks,
        }

    def _line(self, text: str = "") -> None:
        self._lines.append("    " * self._depth + text if text else "")

    def _open(self, text: str) -> None:
        self._line(text + " {")
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1
        self._line("}")

    # The kernel.

    def _kernel(self) -> None:
        self._line("#ifdef __CUDACC__")
        self._line("extern __shared__ __align__(16) float shared_[];")
        self._line(f'extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_AT_ONCE) train_({_ARGUMENTS}) {{')
        self._line("#else")
        self._line(f'extern "C" void train_(int BLOCK, {_ARGUMENTS}) {{')
        self._line("static thread_local float shared_[DIMENSION + TEAMS * TEAM_NUMBERS + 2 * THREADS];")
        self._line("#endif")
        self._depth = 1
        for line in _BEGINNING.splitlines():
            self._line(line)
        scale = " * scale_[i_]" if self._form.scaled == "parameter" else ""
        self._line(f"for (int i_ = THREAD; i_ < DIMENSION; i_ += THREADS) w_[padded(i_)] = theta_[i_]{scale};")
        self._line("for (int i_ = MEMBER; i_ < TEAM_NUMBERS; i_ += TEAM) one_[i_] = 0.0f;")
        temperature = " * temperature_[instance_]" if self._form.tempered else ""
        self._line(f"const float sharpness_ = 1.0f / (sqrtf(float(EACH)){temperature});")
        self._clocks()
        self._open("for (int t_ = 0; t_ < steps_; ++t_)")
        self._line("float loss_ = 0.0f, even_loss_ = 0.0f;")
        self._line("SYNC();")
        if self._layout.whole:
            self._rule_of_step()
        self._open("for (int chunks_ = 0; chunks_ * (ROWS / SLOTS) < sequences_of_; chunks_ += TEAMS)")
        self._line(
            "const int chunk_ = chunks_ + THREAD / TEAM;  // the last teams may have none: all their rows are empty"
        )
        if not self._layout.whole:
            self._line("const bool fresh_ = chunks_ == 0;            // nothing is added up yet")
        self._chunk()
        self._close()
        if self._layout.whole:
            self._gain_steps()
        else:
            self._line("SYNC();")
            self._rule_of_step()
            self._step()
        self._line("const float2 sums_of_step_ = sums_of_threads(even_loss_, loss_, room_);")
        self._open("if (THREAD == 0)")
        self._line("losses_[(t_ * 2LL) * programs_ + BLOCK] = sums_of_step_.x;")
        self._line("losses_[(t_ * 2LL + 1) * programs_ + BLOCK] = sums_of_step_.y;")
        self._close()
        self._close()
        scale = "" if self._form.scaled != "parameter" else " && false"  # then each step has stored them
        self._line(
            f"if (learns_{scale}) for (int i_ = THREAD; i_ < DIMENSION; i_ += THREADS) theta_[i_] = w_[padded(i_)];"
        )
        for index, clock in enumerate(self._program.clocks):
            self._line(
                f"if (THREAD == 0 && learns_) clocks_[slot_ * {len(self._program.clocks)} + {index}] = {clock.name}_wide_;"
            )
        self._close()

    def _clocks(self) -> None:
        """Load settings and clocks and evaluate what depends on the settings alone, in double."""
        whole = self._program
        for index, symbol in enumerate((symbols.lr, *whole.hyperparameters)):
            name = "lr_given_" if index == 0 else f"{symbol}_wide_"
            self._line(f"const double {name} = settings_[{index} * width_ + setting_of_];")
        self._assign(whole.once, wide=True)
        for index, clock in enumerate(whole.clocks):
            self._line(f"double {clock.name}_wide_ = clocks_[slot_ * {len(whole.clocks)} + {index}];")

    def _assign(self, assignments: "tuple[Assignment, ...]", *, wide: bool = False) -> None:
        printer, kind = (_WidePrinter(), "double") if wide else (_Printer(), "float")
        for a in assignments:
            self._line(f"const {kind} {printer.doprint(a.name)} = {printer.doprint(a.value)};")

    def _rule_of_step(self) -> None:
        """Write what the step of a coordinate needs, and `rule_`: how four coordinates load their states, and take their step."""
        whole, wide = self._program, _WidePrinter()
        self._line("const double lr_wide_ = lr_given_ * factors_[t_];")
        for index, clock in enumerate(whole.clocks):
            self._line(f"const double next{index}_ = {wide.doprint(clock.value)};")
        for index, clock in enumerate(whole.clocks):
            self._line(f"{clock.name}_wide_ = next{index}_;")
        self._assign(whole.step, wide=True)
        names = (symbols.lr, *whole.hyperparameters, *(a.name for a in (*whole.once, *whole.clocks, *whole.step)))
        for name in names:
            self._line(f"const float {name} = float({wide.doprint(name)});")
        (start,), (advance,) = whole.start, whole.advance
        self._assign(advance.block)
        if self._layout.whole:
            self._line("bool fresh_ = true;  // whether no gradient is added up yet")
        self._open("const auto load_ = [&](int first_of_four_, float (&old_)[STATES + 1][4])")
        self._line("UNROLL for (int s_ = 0; s_ < STATES; ++s_)")
        self._line("    store4(old_[s_], load4(states_ + s_ * stride_ + first_of_four_));")
        self._depth -= 1
        self._line("};")
        self._open(
            "const auto advance_ = [&](int first_of_four_, const float (&raw_)[4], float (&old_)[STATES + 1][4])"
        )
        # Not `w_`: where a function holds a reference to it, the compiler takes its memory for another one (IN_SHARED).
        place = "shared_ + padded(first_of_four_)"
        own = "theta_ + first_of_four_" if self._form.scaled == "parameter" else place
        self._line("alignas(16) float now_[4];")
        self._line(f"if (learns_) store4(now_, load4({own}));")
        self._open("UNROLL for (int c_ = 0; c_ < 4; ++c_)")
        self._line("const int i_ = first_of_four_ + c_;")
        self._coordinate(start, advance)
        self._close()
        self._line("if (!learns_) return;")
        if self._form.scaled == "parameter":
            self._line("UNROLL for (int c_ = 0; c_ < 4; ++c_)")
            self._line(f"    ({place})[c_] = now_[c_] * scale_[first_of_four_ + c_];")
        self._line(f"store4({own}, load4(now_));")
        self._line("UNROLL for (int s_ = 0; s_ < STATES; ++s_)")
        self._line("    store4(states_ + s_ * stride_ + first_of_four_, load4(old_[s_]));")
        self._depth -= 1
        self._line("};")
        if self._layout.whole:
            self._line("const auto rule_ = rule_of(load_, advance_);")

    def _step(self) -> None:
        """Write the step of all parameters by the rule, or the store of the gradient."""
        # The states of several fours of coordinates are on their way at the same time: from memory, each takes a thousand cycles.
        self._open("for (int base_ = THREAD * 4; base_ < DIMENSION; base_ += THREADS * 4 * BATCH)")
        self._line("alignas(16) float old_[BATCH][STATES + 1][4], raw_[BATCH][4];")
        each = "base_ + b_ * THREADS * 4"
        self._line(f"UNROLL for (int b_ = 0; b_ < BATCH; ++b_) if ({each} < DIMENSION) load_({each}, old_[b_]);")
        self._line("UNROLL for (int b_ = 0; b_ < BATCH; ++b_)")
        self._line(f"    if ({each} < DIMENSION) store4(raw_[b_], gradient4(first_ + {each}, gradient_ + {each}));")
        self._line("UNROLL for (int b_ = 0; b_ < BATCH; ++b_)")
        self._line(f"    if ({each} < DIMENSION) advance_({each}, raw_[b_], old_[b_]);")
        self._close()

    def _coordinate(self, start: Phase, advance: Phase) -> None:
        """Write the step of coordinate `i_`, or the store of its gradient."""
        whole, form, printer = self._program, self._form, _Printer()
        scale = {"": "", "parameter": " * scale_[i_]", "gradient": " * (scale_[i_] * scale_[i_])"}[form.scaled]
        self._line(f"const float {symbols.g} = raw_[c_]{scale};")
        if self._layout.whole:
            self._open("if (!learns_)")
            self._line(f"if (gradient_) gradient_[i_] = fresh_ ? {symbols.g} : gradient_[i_] + {symbols.g};")
            self._line("continue;")
            self._close()
        else:
            self._line(f"if (!learns_) {{ gradient_[i_] = {symbols.g}; continue; }}")
        self._line(f"const float {symbols.w} = now_[c_];")
        for index, state in enumerate(whole.states):
            self._line(f"float {state} = old_[{index}][c_];")
        if not whole.starts_at_numbers:
            self._open("if (begin_ + t_ == 0)")
            self._assign((*start.block, *start.coordinate))
            for state in whole.states:
                self._line(f"{state} = {printer.doprint(whole.started[state])};")
            self._close()
        self._assign(advance.coordinate)
        for index, state in enumerate(whole.states):
            self._line(f"old_[{index}][c_] = {printer.doprint(whole.advanced[state])};")
        self._line(f"now_[c_] = {symbols.w} + ({printer.doprint(whole.increment)});")

    def _gain_steps(self) -> None:
        """Write the steps of the gains, of which every team has a sum; a thread takes four coordinates."""
        if not self._gains:
            return
        self._line("fresh_ = true;  // each team has added up its rows of all chunks")
        begins = [self._begin[name] for name in self._gains]
        self._open(f"for (int four_ = THREAD; four_ < {len(begins)} * (WIDTH / 4); four_ += THREADS)")
        self._line("const int gain_ = four_ / (WIDTH / 4);")
        chosen = "".join(f"gain_ == {k} ? {begin} : " for k, begin in enumerate(begins[:-1]))
        self._line(f"const int from_ = {chosen}{begins[-1]};")
        self._line("take_gain(gains_ + gain_ * TEAMS * WIDTH, from_, four_ % (WIDTH / 4) * 4, rule_);")
        self._close()

    def _chunk(self) -> None:
        """Write the forward and the backward pass of one chunk."""
        every = self._shape.readout == "every"
        self._line("int position_[ROWS_EACH], target_[ROWS_EACH];")
        self._line("float weight_[ROWS_EACH], share_[ROWS_EACH];")
        self._line("long long token_[ROWS_EACH];")
        self._open("EACH_ROW")
        self._line("int sequence_ = chunk_ * (ROWS / SLOTS) + row_of(r) / SLOTS;")
        self._line("position_[r] = row_of(r) % SLOTS;")
        self._line("const bool real_ = sequence_ < sequences_of_ && position_[r] < TOKENS;")
        if self._form.batched:
            self._line(
                "if (real_) sequence_ = drawn_rows_[(t_ * (long long)instances_ + instance_) * drawn_ + sequence_];"
            )
        self._line("token_[r] = real_ ? (data_ + sequence_) * TOKENS + position_[r] : -1;")
        self._line(f"const bool counts_ = real_{'' if every else ' && position_[r] == TOKENS - 1'};")
        self._line(f"const long long answer_ = {'token_[r]' if every else 'data_ + sequence_'};")
        self._line("target_[r] = counts_ ? targets_[answer_] : -1;")
        self._line("weight_[r] = counts_ ? weights_[answer_] * factor_ : 0.0f;")
        self._line("share_[r] = counts_ ? shares_[answer_] * even_ : 0.0f;")
        self._line("if (!real_) position_[r] = -1;")
        self._close()
        forward = self._transformer if isinstance(self._model, Transformer) else self._mlp
        x, back = forward()
        d = self._array()
        self._line("float each_[ROWS_EACH];")
        self._line("float sum_[ROWS_EACH];")
        self._line(f"cross_entropy({self._w('head')}, {x}, target_, each_, sum_);")
        given = f"{x}, target_, weight_, sum_, {d}"
        if self._layout.whole:
            self._line(f"answer_back_whole({self._w('head')}, {self._begin['head']}, {given}, one_, teams_, rule_);")
        else:
            self._line(f"answer_back({self._places('head')}, {given}, one_, two_, fresh_);")
        self._line("if (LANE == 0) EACH_ROW { loss_ += each_[r] * weight_[r]; even_loss_ += each_[r] * share_[r]; }")
        back(d)
        if self._layout.whole:
            self._line("fresh_ = false;")

    # Layers.

    def _transformer(self) -> tuple[str, Back]:
        """Several layers are a loop on the matrix units: written out, they would not fit in the cache of instructions."""
        model = self._model
        assert isinstance(model, Transformer)
        if model.layers == 1 or self._layout.lanes == 1:
            return super()._transformer()
        x, embed_back = self._embed()
        forward, (y, layer_back) = self._written(lambda: self._one_layer(x))
        d = self._array(written=False)
        backward, out = self._written(lambda: layer_back(d))
        declared = [name for name in self._forms if f"float {name}[" in "\n".join(forward)]
        used = [name for name in declared if re.search(rf"\b{name}\b", "\n".join(backward))]
        kept = [name for name in used if name not in self._remade]
        for name in kept:
            self._line(f"float kept_{name}[{model.layers}]{self._forms[name]};")
        self._open(f'_Pragma("unroll 1") for (int layer_ = 0; layer_ < {model.layers}; ++layer_)')
        self._lines += forward
        for name in kept:
            self._line(f"copy({name}, kept_{name}[layer_]);")
        self._line(f"copy({y}, {x});")
        self._close()
        top, top_back = self._norm(x, "norm") if model.norm == "pre" else (x, None)
        last, mean_back = self._mean(top) if self._shape.readout == "mean" else (top, None)

        def back(given: str) -> str:
            for each in (mean_back, top_back):
                given = given if each is None else each(given)
            self._line(f"float {d}[ROWS_EACH][OWN];")
            self._line(f"copy({given}, {d});")
            self._open(f'_Pragma("unroll 1") for (int layer_ = {model.layers - 1}; layer_ >= 0; --layer_)')
            for name in kept:
                self._line(f"float {name}{self._forms[name]};")
                self._line(f"copy(kept_{name}[layer_], {name});")
            for name in used:
                if name in self._remade:
                    self._line(f"float {name}{self._forms[name]};")
                    self._line(self._remade[name])
            self._lines += backward
            self._line(f"copy({out}, {d});")
            self._close()
            return embed_back(d)

        return last, back

    def _one_layer(self, x: str) -> tuple[str, Back]:
        """Write layer `layer_`, with the names of the first one."""
        model = self._model
        assert isinstance(model, Transformer)
        size = self._begin["layer1.qkv"] - self._begin["layer0.qkv"]
        assert size % 16 == 0  # so that places in shared memory are as far apart in every layer
        self._layer_at = str(size)
        y, backs = self._array(), []  # a copy of x, which the next layer overwrites
        self._line(f"copy({x}, {y});")
        for branch, norm in ((self._attention, "layer0.norm1"), (self._network, "layer0.norm2")):
            y, back = self._residual(y, branch, "layer0", norm if model.norm == "pre" else "")
            backs.append(back)
            if model.norm == "post":
                y, back = self._norm(y, norm)
                backs.append(back)
        self._layer_at = ""

        def whole(d: str) -> str:
            self._layer_at = str(size)
            for each in reversed(backs):
                d = each(d)
            self._layer_at = ""
            return d

        return y, whole

    def _written(self, write: "Callable[[], Written]") -> "tuple[list[str], Written]":
        """Return the lines that `write` writes, without adding them, and its result."""
        lines, self._lines = self._lines, []
        self._depth += 1
        result = write()
        self._depth -= 1
        written, self._lines = self._lines, lines
        return written, result

    # Blocks: each writes its forward pass and returns the name of its result and its backward pass.

    def _array(self, form: str = "[ROWS_EACH][OWN]", *, written: bool = True) -> str:
        """Write the declaration of an array of a thread, all 0, by default with its numbers of every row; return its name."""
        self._number += 1
        name = f"v{self._number}_"
        self._forms[name] = form
        if written:
            self._line(f"float {name}{form} = {{}};")
        return name

    def _at(self, name: str) -> str:
        """The place of a parameter among the coordinates."""
        begin = self._begin[name]
        return f"{begin} + layer_ * {self._layer_at}" if self._layer_at else str(begin)

    def _places(self, name: str) -> str:
        """The parameter and where its gradient is added up; for a gain of a whole layout by team."""
        if self._layout.whole:
            index = str(self._gains.index(name))
            if self._layer_at:  # two gains a layer
                index += " + layer_ * 2"
            return f"{self._w(name)}, gains_ + (({index}) * TEAMS + team_) * WIDTH"
        return f"{self._w(name)}, total_ + {self._at(name)}"

    def _w(self, name: str) -> str:
        place = f"w_ + {padded(self._begin[name], self._layout.lanes)}"
        return f"{place} + layer_ * padded({self._layer_at})" if self._layer_at else place

    def _add(self, x: str, y: str) -> None:
        self._line(f"EACH_ROW EACH_OWN {x}[r][i] += {y}[r][i];")

    def _matrix_gradient(self, name: str, d: str, x: str) -> None:
        self._line(f"put(one_, {d});")
        self._line(f"put(two_, {x});")
        if self._layout.whole:
            self._line(f"take_matrices<1>(teams_, {self._at(name)}, [](int) {{ return 1; }}, rule_);")
        else:
            self._line(f"add_gradient<WIDTH, WIDTH>(total_ + {self._at(name)}, WIDTH, one_, two_, fresh_);")

    def _layer(self, x: str, name: str) -> tuple[str, Back]:
        """A matrix and a GELU."""
        h, y = self._array(), self._array()
        self._line(f"linear<WIDTH, WIDTH>({self._w(name)}, WIDTH, {x}, {h});")
        self._line(f"EACH_ROW EACH_OWN {y}[r][i] = gelu({h}[r][i]);")

        def back(d: str) -> str:
            out = self._array()
            self._line(f"EACH_ROW EACH_OWN {{ float s_; gelu({h}[r][i], s_); {d}[r][i] *= s_; }}")
            self._line(f"linear_back<WIDTH, WIDTH>({self._w(name)}, WIDTH, {d}, {out});")
            self._matrix_gradient(name, d, x)
            return out

        return y, back

    def _norm(self, x: str, name: str) -> tuple[str, Back]:
        normed, factor, y = self._array(), self._array("[ROWS_EACH]"), self._array()
        self._line(f"norm({x}, {normed}, {factor});")
        self._remade[y] = f"times({self._w(name)}, {normed}, {y});"
        self._line(f"times({self._w(name)}, {normed}, {y});")

        def back(d: str) -> str:
            out = self._array()
            self._line(f"norm_back({self._places(name)}, {d}, {normed}, {factor}, {out}, one_, fresh_);")
            return out

        return y, back

    def _network(self, x: str, layer: str) -> tuple[str, Back]:
        y, one, two = self._array(), f"{layer}.w1", f"{layer}.w2"
        self._line(f"network({self._w(one)}, {self._w(two)}, {x}, {y});")

        def back(d: str) -> str:
            out = self._array()
            if self._layout.whole:
                begins = f"{self._at(one)}, {self._at(two)}"
                given = f"{self._w(one)}, {self._w(two)}, {begins}, {d}, {x}, {out}"
                self._line(f"network_back_whole({given}, one_, teams_, rule_);")
                return out
            totals = f"total_ + {self._at(one)}, total_ + {self._at(two)}"
            self._line(f"network_back({self._w(one)}, {self._w(two)}, {totals}, {d}, {x}, {out}, one_, two_, fresh_);")
            return out

        return y, back

    def _attention(self, x: str, layer: str) -> tuple[str, Back]:
        q, k, v, mixed, total, y = *(self._array() for _ in "qkvm"), self._array("[TASKS_EACH]"), self._array()
        for part, name in ((q, "q"), (k, "k"), (v, "v")):
            self._line(f"linear<WIDTH, WIDTH>({self._w(f'{layer}.{name}')}, WIDTH, {x}, {part});")
        self._line(f"EACH_ROW EACH_OWN {q}[r][i] *= sharpness_;")
        self._line(f"attention({q}, {k}, {v}, {mixed}, {total}, one_, two_);")
        self._line(f"linear<WIDTH, WIDTH>({self._w(f'{layer}.o')}, WIDTH, {mixed}, {y});")

        def back(d: str) -> str:
            back, dq, dk, dv, out = (self._array() for _ in range(5))
            self._line(f"linear_back<WIDTH, WIDTH>({self._w(f'{layer}.o')}, WIDTH, {d}, {back});")
            if (
                self._layout.whole
            ):  # the gradients of all four matrices come together, from these two columns and four more
                self._line(f"put(one_ + 3 * WIDTH, {d});")
                self._line(f"put(one_ + 5 * WIDTH, {mixed});")
            else:
                self._matrix_gradient(f"{layer}.o", d, mixed)
            results = f"{dq}, {dk}, {dv}, one_, two_, sums_"
            self._line(f"attention_back({back}, {total}, {q}, {k}, {v}, {results});")
            self._line(f"EACH_ROW EACH_OWN {dq}[r][i] *= sharpness_;")
            for part, name in ((dq, "q"), (dk, "k"), (dv, "v")):
                self._line(f"linear_back<WIDTH, WIDTH>({self._w(f'{layer}.{name}')}, WIDTH, {part}, {out});")
                if not self._layout.whole:
                    self._matrix_gradient(f"{layer}.{name}", part, x)
            if self._layout.whole:
                for column, part in enumerate((dq, dk, dv)):
                    self._line(f"put(one_ + {column} * WIDTH, {part});")
                self._line(f"put(one_ + 4 * WIDTH, {x});")
                begin = self._at(f"{layer}.qkv")  # that of o follows
                self._line(f"take_matrices<4>(teams_, {begin}, [](int m) {{ return m == 3 ? 5 : 4; }}, rule_);")
            return out

        return y, back

    def _mean(self, x: str) -> tuple[str, Back]:
        y = self._array()
        self._line(f"mean_of_sequence({x}, {y}, one_);")

        def back(d: str) -> str:
            out = self._array()
            self._line(f"mean_of_sequence({d}, {out}, one_);")
            return out

        return y, back

    def _embed(self) -> tuple[str, Back]:
        """The embedding of tokens or features plus that of positions; its backward pass ends at the data."""
        x = self._array()
        self._line(f"gather({self._w('pos')}, position_, {x});")
        if self._form.features:
            self._line("float input_[ROWS_EACH][INPUTS];")
            self._line("EACH_ROW UNROLL for (int i_ = 0; i_ < INPUTS; ++i_)")
            self._line("    input_[r][i_] = token_[r] >= 0 ? inputs_[token_[r] * INPUTS + i_] : 0.0f;")
            self._line(f"linear_back<INPUTS, WIDTH>({self._w('embed')}, WIDTH, input_, {x});")
        else:
            self._line("int input_[ROWS_EACH];")
            self._line("EACH_ROW input_[r] = token_[r] >= 0 ? inputs_[token_[r]] : -1;")
            self._line(f"gather({self._w('embed')}, input_, {x});")

        def back(d: str) -> str:
            if self._layout.whole:
                begins = f"{self._begin['embed']}, {self._begin['pos']}"
                self._line(f"take_tables(one_, teams_, {begins}, {d}, input_, position_, rule_);")
                return ""
            room = "reinterpret_cast<int*>(two_)"
            self._line(f"put(one_, {d});")
            self._line(f"gather_back<TOKENS>(total_ + {self._begin['pos']}, one_, position_, {room}, fresh_);")
            self._line(f"put(one_, {d});")
            if self._form.features:
                self._feature_gradient()
            else:
                self._line(f"gather_back<INPUTS>(total_ + {self._begin['embed']}, one_, input_, {room}, fresh_);")
            return ""

        return x, back

    def _feature_gradient(self) -> None:
        """Write the gradient of the table of features, as many of its rows at a time as a region has columns."""
        self._open('_Pragma("unroll") for (int first_ = 0; first_ < INPUTS; first_ += WIDTH)')
        self._line("float some_[ROWS_EACH][WIDTH];")
        self._line("EACH_ROW UNROLL for (int i_ = 0; i_ < WIDTH; ++i_)")
        self._line("    some_[r][i_] = first_ + i_ < INPUTS ? input_[r][(first_ + i_) % INPUTS] : 0.0f;")
        self._line("put(two_, some_);")
        places = f"total_ + {self._begin['embed']} + first_ * WIDTH"
        self._line(f"add_gradient<WIDTH, WIDTH>({places}, WIDTH, two_, one_, fresh_, INPUTS - first_);")
        self._close()


_BEGINNING = """\
const long long slot_ = alive_[BLOCK];
const int instance_ = int(slot_ / COPIES);
const long long problem_of_ = problem_[instance_];
const int setting_of_ = setting_[instance_], sequences_of_ = sequences_[instance_];
theta_ += slot_ * DIMENSION;
states_ += slot_ * DIMENSION;
scale_ += (problem_of_ * COPIES + slot_ % COPIES) * DIMENSION;
const long long data_ = problem_of_ * longest_;
const float factor_ = weight_of_[slot_ * 2], even_ = weight_of_[slot_ * 2 + 1];
if (gradient_) gradient_ += slot_ * (!WHOLE && TEAMS / JOINED > 1 ? TEAMS / JOINED - 1 : 1) * DIMENSION;
const int team_ = THREAD / TEAM, club_ = team_ / JOINED;
float *w_ = shared_, *after_ = w_ + padded(DIMENSION), *first_ = LANES == 4 ? after_ : gradient_;
float *total_ = club_ == 0 ? first_ : gradient_ + (club_ - 1) * DIMENSION;
float *teams_ = LANES == 4 && !WHOLE ? after_ + DIMENSION : after_, *room_ = teams_ + TEAMS * TEAM_NUMBERS;
float *gains_ = room_ + 2 * THREADS, *one_ = teams_ + team_ * TEAM_NUMBERS, *two_ = one_ + REGION, *sums_ = one_ + REGIONS;"""

_ARGUMENTS = (
    "float* theta_, float* states_, float* gradient_, const float* scale_, const INPUT* inputs_, const int* targets_, "
    "const float* weights_, const float* shares_, const int* drawn_rows_, const int* problem_, const int* setting_, "
    "const int* sequences_, const float* weight_of_, const float* temperature_, const int* alive_, const double* settings_, "
    "const double* factors_, double* clocks_, float* losses_, long long stride_, int begin_, int steps_, int width_, "
    "int programs_, int instances_, int longest_, int drawn_, int learns_"
)
