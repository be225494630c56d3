"""Print the fused kernel of a model under a rule as Python source for Triton, from the building blocks of `functions.py`.

One program is one copy of one instance. In each step it runs over its data in chunks of TILES_ tiles of 16 rows, adds up the gradient of every
parameter in registers, and then updates its parameters by the rule; parameters and states stay in memory, where the first-level
caches of the GPU hold them. Losses of every step are stored, so that the caller decides afterwards which instances have finished.

The order of the blocks is written as in `models/transformer.py` and `models/mlp.py`. The writer of each block returns the name of
its result and the writer of its backward pass, so that the order of the backward pass follows from that of the forward pass.

Names of the kernel end in an underscore; all other names come from the rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from quadsim.simulator.engines.kernels.gpu_source import RuleSource, step_names
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.printer import label
from quadsim.simulator.models.base import DataShape, Model, Parameter
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.rules.rule import Rule, symbols

__all__ = ["Form", "padded", "slots_of", "stack_source"]

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
class _Piece:
    """A matrix of parameters, or some rows or columns of one.

    Attributes:
        gradient: name of its gradient.
        begin: its first coordinate.
        rows: its rows.
        columns: its columns.
        stride: number of coordinates between two of its rows.
        kind: "matrix", "gain" (one row) or "position" (a row for each position).
    """

    gradient: str
    begin: int
    rows: int
    columns: int
    stride: int
    kind: str = "matrix"

    @property
    def sizes(self) -> str:
        """The arguments of a function that reads or writes it."""
        pad = padded(self.rows) if self.kind == "matrix" else 1 << (self.rows - 1).bit_length()
        return f"{self.rows}, {self.columns}, {self.stride}, {pad}, {padded(self.columns)}"

    @property
    def tile(self) -> str:
        """The shape of its gradient while chunks are added up."""
        rows = {"matrix": f"{padded(self.rows)}", "gain": "TILES_", "position": "TILES_, 16"}[self.kind]
        return f"({rows}, {padded(self.columns)})"

    @property
    def total(self) -> str:
        """The gradient once all chunks are added up."""
        sums = {"gain": "tl.sum({}, axis=0)[None, :]", "position": "sum_of_positions_({}, SLOTS_)"}
        return sums.get(self.kind, "{}").format(self.gradient)


def padded(size: int) -> int:
    """Return the next power of two of at least 16: the matrix units take no fewer rows or columns."""
    return max(16, 1 << (size - 1).bit_length())


def slots_of(form: Form) -> int:
    """Return the number of rows that a sequence has in a chunk."""
    return 1 if _is_flat(form) else 1 << (form.shape.tokens - 1).bit_length()


def _is_flat(form: Form) -> bool:
    """Whether the embeddings of a sequence, end to end, are one input."""
    return isinstance(form.model, MLP) and form.shape.readout != "every"


@lru_cache(maxsize=256)
def stack_source(form: Form, rule: Rule) -> str:
    """Return the source of the kernel, a Python module that needs `triton`.

    Args:
        form: a form of a Transformer or an MLP.
        rule: a rule for which `why_no_update` is None.
    """
    return _StackSource(form, rule).text(label(rule))


class _StackSource(RuleSource):
    def __init__(self, form: Form, rule: Rule) -> None:
        super().__init__(program(rule), "float32")
        self._form, self._model, self._shape = form, form.model, form.shape
        self._slots, self._tokens = slots_of(form), 1 if _is_flat(form) else form.shape.tokens
        self._scaled = form.scaled == "parameter"
        self._pieces: dict[str, _Piece] = {}
        self._slices: dict[str, int] = {}
        begin = 0
        for parameter in form.model.parameters(form.shape):
            self._cut(parameter, begin)
            begin += parameter.size
        self._dimension, self._number = begin, 0
        self._from = "forth_"

    def _cut(self, parameter: Parameter, begin: int) -> None:
        """Name the pieces of a parameter: q, k and v, slices of the hidden numbers of a network, else the whole."""
        name = parameter.name
        if len(parameter.shape) == 1:
            self._piece(name, begin, 1, *parameter.shape, kind="gain")
            return
        rows, columns = parameter.shape
        if parameter.parts:
            each = rows // len(parameter.parts)
            for i, part in enumerate(parameter.parts):
                self._piece(part, begin + i * each * columns, each, columns)
        elif name.endswith((".w1", ".w2")):
            hidden = max(rows, columns)
            for i, first in enumerate(range(0, hidden, _SLICE)):
                number = min(_SLICE, hidden - first)
                if name.endswith(".w1"):
                    self._piece(f"{name}_{i}", begin + first * columns, number, columns)
                else:
                    self._piece(f"{name}_{i}", begin + first, rows, number, stride=columns)
        else:
            self._piece(name, begin, rows, columns, kind="position" if name == "pos" else "matrix")

    def _piece(
        self, name: str, begin: int, rows: int, columns: int, *, stride: int | None = None, kind: str = "matrix"
    ) -> None:
        gradient = f"d_{name.replace('.', '_')}_"
        self._pieces[name] = _Piece(gradient, begin, rows, columns, stride or columns, kind)

    def text(self, name: str) -> str:
        """Return the source of the whole module, with the name of the rule in its docstring."""
        imports = (f"from quadsim.simulator.engines.stacks.functions import {f} as {f}_" for f in _BLOCKS)
        self._begin(f"Fused steps of {name} on {type(self._model).name}.", *imports)
        self._update()
        self._kernel()
        return "\n".join(self._lines) + "\n"

    # The rule.

    @property
    def _values(self) -> list[str]:
        """The names of settings and values of a step that the update reads."""
        whole = self._program
        once = (a.name for a in whole.once)
        return [str(name) for name in dict.fromkeys([*whole.hyperparameters, *once, *step_names(whole)])]

    def _update(self) -> None:
        """Write `update_`, which takes the step of one piece, and `keep_`, which stores its gradient instead."""
        whole, states = self._program, list(self._program.states)
        (start,), (advance,) = whole.start, whole.advance
        sizes = ", ".join(f"{name}: tl.constexpr" for name in ("ROWS", "COLUMNS", "STRIDE", "PAD", "WIDE"))
        places = [
            "i_ = tl.arange(0, PAD)[:, None]",
            "j_ = tl.arange(0, WIDE)[None, :]",
            "at_ = piece_ + i_ * STRIDE + j_",
            "inside_ = (i_ < ROWS) & (j_ < COLUMNS)",
        ]
        if self._form.scaled:
            factor = "tl.load(scale_ + at_, mask=inside_, other=0.0)"
            places += [f"scales_ = {factor}", f"g = g * {'scales_' if self._scaled else '(scales_ * scales_)'}"]
        body = [*places, "tl.store(gradient_ + at_, g, mask=inside_)"]
        self._function("keep_", f"gradient_, scale_, piece_, g, {sizes}", body)
        values = "".join(f", {name}" for name in self._values)
        self._function("update_", f"theta_, states_, scale_, piece_, g, stride_, first_{values}, {sizes}", places)
        self._line(f"{symbols.w} = tl.load(theta_ + at_, mask=inside_, other=0.0)")
        for index, state in enumerate(states):
            self._line(f"{state} = tl.load(states_ + {index} * stride_ + at_, mask=inside_, other=0.0)")
        if not whole.starts_at_numbers:
            self._assign((*start.block, *start.coordinate))
            for state in states:
                begun = self._shaped(whole.started[state], "g", {}, self._by_coordinate)
                self._line(f"{state} = tl.where(first_, {begun}, {state})")
        self._assign((*advance.block, *advance.coordinate))
        for index, state in enumerate(states):
            value = self._shaped(whole.advanced[state], "g", {}, self._by_coordinate)
            self._line(f"tl.store(states_ + {index} * stride_ + at_, {value}, mask=inside_)")
        increment = self._shaped(whole.increment, "g", {}, self._by_coordinate)
        self._line(f"tl.store(theta_ + at_, {symbols.w} + ({increment}), mask=inside_)")

    # The steps.

    def _kernel(self) -> None:
        form, dimension = self._form, self._dimension
        self._function("train_", _ARGUMENTS)
        own = [
            "slot_ = tl.load(alive_ + tl.program_id(0)).to(tl.int64)",
            f"instance_ = slot_ // {form.copies}",
            "k_ = tl.load(setting_ + instance_) + tl.zeros((1, 1), tl.int32)",
            f"theta_ += slot_ * {dimension}",
            f"states_ += slot_ * {dimension}",
            f"gradient_ += slot_ * {dimension}",
            f"scale_ += tl.load(problem_ + instance_).to(tl.int64) * {dimension * form.copies}",
            f"scale_ += slot_ % {form.copies} * {dimension}",
            "data_ = tl.load(problem_ + instance_).to(tl.int64) * longest_",
            "sequences_of_ = tl.load(sequences_ + instance_)",
            "factor_ = tl.load(factors_ + slot_ * 2)",
            "even_ = tl.load(factors_ + slot_ * 2 + 1)",
            f"SLOTS_: tl.constexpr = {self._slots}",
            "SEQUENCES_: tl.constexpr = TILES_ * 16 // SLOTS_",
            "n_ = tl.arange(0, TILES_)[:, None] * 16 + tl.arange(0, 16)[None, :]",
            "position_ = n_ % SLOTS_",
        ]
        for line in own:
            self._line(line)
        if isinstance(self._model, Transformer):
            root = (self._model.width // self._model.heads) ** 0.5
            tempered = " * tl.load(temperature_ + instance_)" if form.tempered else ""
            self._line(f"divisor_ = {root!r}{tempered}")
        self._settings(narrow=True)
        self._line("for t_ in range(count_(steps_)):")
        self._depth += 1
        self._load_step()
        for piece in self._pieces.values():
            self._line(f"{piece.gradient} = tl.zeros({piece.tile}, tl.float32)")
        self._line("loss_ = tl.zeros((TILES_, 16), tl.float32)")
        self._line("even_loss_ = tl.zeros((TILES_, 16), tl.float32)")
        self._line("for chunk_ in range(count_(tl.cdiv(sequences_of_, SEQUENCES_))):")
        self._depth += 1
        self._chunk()
        self._depth -= 1
        self._line("tl.debug_barrier()  # no thread changes a parameter that another still reads")
        values = "".join(f", {name}" for name in self._values)
        self._line("if learns_:")
        for piece in self._pieces.values():
            where = f"theta_, states_, scale_, {piece.begin}, {piece.total}, stride_, begin_ + t_ == 0"
            self._line(f"    update_({where}{values}, {piece.sizes})")
        self._line("else:")
        for piece in self._pieces.values():
            self._line(f"    keep_(gradient_, scale_, {piece.begin}, {piece.total}, {piece.sizes})")
        self._line("losses_at_ = losses_ + t_ * 2 * programs_ + tl.program_id(0)")
        self._line("tl.store(losses_at_, tl.sum(tl.sum(even_loss_, axis=1), axis=0))")
        self._line("tl.store(losses_at_ + programs_, tl.sum(tl.sum(loss_, axis=1), axis=0))")
        self._line("tl.debug_barrier()  # the next step reads the parameters")
        self._depth -= 1

    def _chunk(self) -> None:
        """Write the forward and the backward pass of one chunk."""
        # Loads of the parameters depend on the chunk (by nothing, which the compiler cannot know), as do those of the backward
        # pass on another number: else the compiler would keep all parameters, and all that is computed again, in registers.
        self._line("forth_ = theta_ + chunk_ * nothing_")
        self._line("sequence_ = chunk_ * SEQUENCES_ + n_ // SLOTS_")
        self._line(f"real_ = (sequence_ < sequences_of_) & (position_ < {self._tokens})")
        if self._form.batched:
            drawn = "drawn_rows_ + (t_ * instances_ + instance_) * drawn_ + sequence_"
            self._line(f"sequence_ = tl.load({drawn}, mask=real_, other=0)")
        self._line(f"token_ = (data_ + sequence_) * {self._shape.tokens} + position_")
        answer, counted = "token_", "real_"
        if self._shape.readout != "every":
            answer, counted = "(data_ + sequence_)", f"(real_ & (position_ == {self._tokens - 1}))"
        for name, array in (("target_", "targets_"), ("weight_", "weights_"), ("share_", "shares_")):
            zero = "0" if name == "target_" else "0.0"
            self._line(f"{name} = tl.load({array} + {answer}, mask={counted}, other={zero})")
        self._line("weight_ = weight_ * factor_")
        self._from = "forth_"
        forward = self._transformer if isinstance(self._model, Transformer) else self._mlp
        x, back = forward()
        logits, back_to_x = self._linear(x, "head")
        self._line(f"each_, d_logits_ = cross_entropy_({logits}, target_, {self._shape.classes})")
        self._line("loss_ += each_ * weight_")
        self._line("even_loss_ += each_ * (share_ * even_)")
        self._line("back_ = theta_ + (chunk_ + 1) * nothing_")
        self._from = "back_"
        back(back_to_x(self._new("d_logits_ * weight_[:, :, None]")))

    def _transformer(self) -> tuple[str, Back]:
        model = self._model
        assert isinstance(model, Transformer)
        x, back = self._embed("")
        backs = [back]
        for i in range(model.layers):
            for branch, norm in ((self._attention, f"layer{i}.norm1"), (self._network, f"layer{i}.norm2")):
                if model.norm == "pre":
                    x, back = self._sum(x, *self._chain(x, (self._norm, norm), (branch, f"layer{i}")))
                else:
                    x, back = self._sum(x, *branch(x, f"layer{i}"))
                backs.append(back)
                if model.norm == "post":
                    x, back = self._norm(x, norm)
                    backs.append(back)
        if model.norm == "pre":
            x, back = self._norm(x, "norm")
            backs.append(back)
        if self._shape.readout == "mean":
            x, back = self._mean(x)
            backs.append(back)
        return x, _composed(backs)

    def _mlp(self) -> tuple[str, Back]:
        model = self._model
        assert isinstance(model, MLP)
        x, back = self._embed("")
        backs = [back]
        for i in range(model.layers):
            if model.norm == "pre":
                x, back = self._norm(x, f"layer{i}.norm")
                backs.append(back)
            x, back = self._chain(x, (self._linear, f"layer{i}.w"), (self._gelu, ""))
            backs.append(back)
            if model.norm == "post":
                x, back = self._norm(x, f"layer{i}.norm")
                backs.append(back)
        return x, _composed(backs)

    # Blocks: each writes its forward pass and returns the name of its result and its backward pass.

    def _new(self, value: str, number: int = 1) -> str:
        """Write the assignment of a value (or of several) to a new name, and return it."""
        names = [f"v{self._number + i}_" for i in range(number)]
        self._number += number
        self._line(f"{', '.join(names)} = {value}")
        return names[0]

    def _chain(self, x: str, *blocks: tuple[Callable[[str, str], tuple[str, Back]], str]) -> tuple[str, Back]:
        backs = []
        for block, name in blocks:
            x, back = block(x, name)
            backs.append(back)
        return x, _composed(backs)

    def _sum(self, x: str, y: str, back: Back) -> tuple[str, Back]:
        """A residual sum x + y, where `back` is the backward pass from y to x."""
        return self._new(f"{x} + {y}"), lambda d: self._new(f"{d} + {back(d)}")

    def _weight(self, name: str) -> str:
        piece = self._pieces[name]
        return self._new(f"matrix_({self._from}, scale_, {piece.begin}, {piece.sizes}, {self._scaled})")

    def _add_gradient(self, name: str, d: str, x: str) -> None:
        total = self._pieces[name].gradient
        self._line(f"{total} = gradient_of_({total}, {d}, {x}, PRECISION_)")

    def _linear(self, x: str, name: str) -> tuple[str, Back]:
        y = self._new(f"linear_({x}, {self._weight(name)}, PRECISION_)")

        def back(d: str) -> str:
            self._add_gradient(name, d, x)
            return self._new(f"linear_back_({d}, {self._weight(name)}, PRECISION_)")

        return y, back

    def _gelu(self, x: str, _: str) -> tuple[str, Back]:
        return self._new(f"gelu_({x})"), lambda d: self._new(f"gelu_back_({d}, {x})")

    def _norm(self, x: str, name: str) -> tuple[str, Back]:
        piece = self._pieces[name]
        normed = self._new(f"norm_({x}, {piece.columns})", 2)
        factor = f"v{self._number - 1}_"

        def back(d: str) -> str:
            self._line(f"{piece.gradient} += gain_gradient_({d}, {normed})")
            return self._new(f"norm_back_({d} * {self._weight(name)}, {normed}, {factor}, {piece.columns})")

        return self._new(f"{normed} * {self._weight(name)}"), back

    def _network(self, x: str, layer: str) -> tuple[str, Back]:
        """The network of a layer, slice by slice of its hidden numbers, which the backward pass computes again."""
        slices = [name.rsplit("_", 1)[1] for name in self._pieces if name.startswith(f"{layer}.w1_")]

        def hidden(i: str) -> tuple[str, Back]:
            return self._linear(x, f"{layer}.w1_{i}")

        y = ""
        for i in slices:
            part = self._linear(self._gelu(hidden(i)[0], "")[0], f"{layer}.w2_{i}")[0]
            y = self._new(f"{y} + {part}") if y else part

        def back(d: str) -> str:
            out = ""
            for i in slices:
                h, back_to_x = hidden(i)
                a, back_to_h = self._gelu(h, "")
                self._add_gradient(f"{layer}.w2_{i}", d, a)
                d_a = self._new(f"linear_back_({d}, {self._weight(f'{layer}.w2_{i}')}, PRECISION_)")
                part = back_to_x(back_to_h(d_a))
                out = self._new(f"{out} + {part}") if out else part
            return out

        return y, back

    def _attention(self, x: str, layer: str) -> tuple[str, Back]:
        model, shape = self._model, self._shape
        assert isinstance(model, Transformer)
        (q, back_q), (k, back_k), (v, back_v) = (self._linear(x, f"{layer}.{name}") for name in "qkv")
        sizes = f"{model.heads}, {model.width // model.heads}, SLOTS_, {shape.tokens}, {shape.causal}, PRECISION_"
        mixed = self._new(f"attention_({q}, {k}, {v}, divisor_, {sizes})")
        y, back_to_mixed = self._linear(mixed, f"{layer}.o")

        def back(d: str) -> str:
            d = back_to_mixed(d)
            first = self._new(f"attention_back_({d}, {q}, {k}, {v}, divisor_, {sizes})", 3)
            at = int(first[1:-1])
            parts = [each(f"v{at + i}_") for i, each in enumerate((back_q, back_k, back_v))]
            return self._new(" + ".join(parts))

        return y, back

    def _mean(self, x: str) -> tuple[str, Back]:
        sizes = f"real_, SLOTS_, {self._shape.tokens}"
        y = self._new(f"mean_of_sequence_({x}, {sizes})")
        return y, lambda d: self._new(f"mean_of_sequence_back_({d}, {sizes})")

    def _embed(self, _: str) -> tuple[str, Back]:
        """The embedding of tokens or features plus that of positions; its backward pass ends at the data."""
        table, position = self._pieces["embed"], self._pieces["pos"]
        width = f"{table.columns}, {padded(table.columns)}, {self._scaled}"
        place = self._new(f"gather_(forth_, scale_, {position.begin}, position_, real_, {width})")
        if self._form.features:
            i = f"tl.arange(0, {padded(table.rows)})[None, None, :]"
            inside = f"real_[:, :, None] & ({i} < {table.rows})"
            data = self._new(f"tl.load(inputs_ + token_[:, :, None] * {table.rows} + {i}, mask={inside}, other=0.0)")
            x = self._new(f"linear_back_({data}, {self._weight('embed')}, PRECISION_)")
        else:
            data = self._new("tl.load(inputs_ + token_, mask=real_, other=0)")
            x = self._new(f"gather_(forth_, scale_, {table.begin}, {data}, real_, {width})")

        def back(d: str) -> str:
            self._line(f"{position.gradient} += {d}")
            each = data if self._form.features else self._new(f"one_hot_({data}, real_, {padded(table.rows)})")
            self._add_gradient("embed", each, d)
            return ""

        return self._new(f"{x} + {place}"), back


_SLICE = 32  # hidden numbers of a network that are evaluated together


def _composed(backs: list[Back]) -> Back:
    def back(d: str) -> str:
        for each in reversed(backs):
            d = each(d)
        return d

    return back


_BLOCKS = (
    "attention", "attention_back", "cross_entropy", "gain_gradient", "gather", "gelu", "gelu_back", "gradient_of", "linear",
    "linear_back", "matrix", "mean_of_sequence", "mean_of_sequence_back", "norm", "norm_back", "one_hot", "sum_of_positions",
)  # fmt: skip

_ARGUMENTS = (
    "theta_, states_, gradient_, scale_, inputs_, targets_, weights_, shares_, drawn_rows_, problem_, setting_, sequences_, factors_, "
    "temperature_, alive_, settings_, table_, losses_, begin_, steps_, width_, programs_, instances_, longest_, drawn_, stride_, "
    "learns_, nothing_, TILES_: tl.constexpr, PRECISION_: tl.constexpr"
)
