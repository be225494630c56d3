"""Print the fused GPU kernels of a rule for gradients of samples from a stream.

The residual of a sample, x'e - v xi, is a sum over all blocks. So a program holds a whole problem and a tile of settings: arrays
(settings x coordinates), whose width is filled up to a power of two (PAD_) with coordinates that stay 0. A step is three products
of matrices, with X = R z/sqrt(b) and l = v xi/sqrt(b) from `gpu_draws`, which makes the samples of many steps for all tiles of
a problem:

    d = e R, twice the gap |d|^2;    r = e X - l;    g = r X'.

Where a block of R ends in the middle of the padded width (HALVED_), d is a product of two halves: half the work. Smaller parts
would be below the 16 coordinates that the matrix units take. The samples of a step are taken BATCH_AT_ONCE at a time; those that
fill up the last part are 0 and change nothing. The product r has TAKEN_ columns, half as many where the samples of a step are so
few.

In float32 a product is the sum of six bfloat16 products on the matrix units, exact to a few units in the last place. A product of
float32 numbers by plain multiplications is slower than one of float64 numbers on the matrix units.

What a rule reads of a block (L_l, mu_l, its states and means) has a value for every coordinate here, the same for all of a block,
so that blocks of any sizes share one source.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from quadsim.simulator.engines.kernels.gpu_source import SHUFFLED, Source, Unit, shuffle
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.printer import label
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import MEAN_WINDOW

__all__ = ["BATCH_AT_ONCE", "is_halved", "stream_source"]

BATCH_AT_ONCE = 16
"""Samples that one product takes: the fewest that the matrix units take."""

_ARGUMENTS = (
    "factor_, extremes_, minimizer_, settings_, error_, states_, block_states_, rows_, width_, of_blocks_, samples_, labels_, "
    "batch_"
)
_FOLLOWED = "table_, begin_, steps_, slots_, below_, limit_, hit_, above_, diverged_, records_, mean_, window_"
_HEADER = "from quadsim.simulator.engines.kernels.streams.gpu_functions import means_of as means_of_"
_CONSTANTS = (
    "SIZE_: tl.constexpr, PAD_: tl.constexpr, LANES_: tl.constexpr, CHUNKS_: tl.constexpr, TAKEN_: tl.constexpr, "
    "HALVED_: tl.constexpr, BLOCKS_: tl.constexpr"
)


@lru_cache(maxsize=256)
def stream_source(rule: Rule, dtype: str = "float64") -> str:
    """Return the source of the kernels that run a rule on samples of a stream, for blocks of any sizes; nothing is compiled.

    Args:
        rule: a rule for which `why_no_program` is None.
        dtype: "float64" or "float32", the type of errors and states.
    """
    return _StreamSource(program(rule), dtype).text(label(rule), (Unit((), whole=True, sampled=True),), _HEADER)


def is_halved(block_sizes: Sequence[int], pad: int) -> bool:
    """Return whether R can be cut in the middle of the padded width without cutting a block.

    Examples:
        >>> is_halved((8, 8, 8, 8), 32), is_halved((5, 3, 1, 17), 32), is_halved((4, 4), 16)
        (True, False, False)
    """
    return pad >= 32 and pad // 2 in accumulate(block_sizes)


class _StreamSource(Source):
    """Writes the module of a rule on a stream: the kernels of its clocks, and one pair for whole problems."""

    _like_of_block = "e_"

    def _tile(self, unit: Unit, *, starting: bool) -> None:
        """The kernel of a tile of settings: load what the run has so far, take the steps, store it."""
        whole = self._program
        verb, more = ("start", "tolerance_, below_, limit_") if starting else ("advance", _FOLLOWED)
        self._function(f"{verb}_{unit.name}_", f"{_ARGUMENTS}, {more}, {_CONSTANTS}")
        self._problem()
        one = "rows_.to(tl.int64) * width_ * SIZE_"
        places = [(s, f"states_ + {i} * {one} + at_") for i, s in enumerate(whole.states)]
        places += [(s, f"block_states_ + {i} * {one} + at_") for i, s in enumerate(whole.block_states)]
        if starting:
            self._gradient("row_ * batch_")
            self._line("below_of_, limit_of_ = limits_of_(twice_ * 0.5, tl.load(tolerance_))")
            self._line("tl.store(below_ + n_, below_of_)")
            self._line("tl.store(limit_ + n_, limit_of_)")
            self._tile_values(starting=True)
        else:
            for state, place in places:
                self._line(f"{state} = tl.load({place}, mask=real_, other=0.0)")
            self._loop(unit)
        for state, place in places:
            self._line(f"tl.store({place}, {state}, mask=real_)")

    def _problem(self) -> None:
        """Load the errors, R, what is computed once per block, and the minimiser; padded coordinates are of the last block."""
        self._line("tiles_ = width_ // LANES_")
        self._line("row_ = (tl.program_id(0) // tiles_).to(tl.int64)")
        self._line("k_ = (tl.program_id(0) % tiles_ * LANES_ + tl.arange(0, LANES_))[:, None]")
        self._line("n_ = row_ * width_ + k_")
        self._line("lanes_ = rows_.to(tl.int64) * width_")
        self._line("i_ = tl.arange(0, PAD_)")
        self._line("own_ = tl.minimum(i_, SIZE_ - 1)[None, :]")
        self._line("real_ = (i_ < SIZE_)[None, :]")
        self._line("at_ = n_ * SIZE_ + i_[None, :]")
        self._line(f"j_ = {SHUFFLED if self._shuffles else 'i_'}")
        self._line(f"m_ = tl.arange(0, {BATCH_AT_ONCE})")
        self._line(f"q_ = {SHUFFLED.replace('i_', 'm_') if self._shuffles else 'm_'}")
        self._line("v_ = tl.arange(0, TAKEN_)")
        self._line("if HALVED_:")
        self._depth += 1
        self._line("h_ = tl.arange(0, PAD_ // 2)")
        half = f"({SHUFFLED.replace('i_', 'h_')})" if self._shuffles else "h_"
        self._root("left", half, "h_")
        self._root("right", f"({half} + PAD_ // 2)", "(h_ + PAD_ // 2)")
        self._depth -= 1
        self._line("else:")
        self._depth += 1
        self._root("r", "j_", "i_")
        self._depth -= 1
        if any(phase.means for phase in (*self._program.start, *self._program.advance)):
            self._line("block_ = tl.load(of_blocks_ + own_)")
            self._line("share_ = tl.load(of_blocks_ + SIZE_ + own_)")
        self._line("e_ = tl.load(error_ + at_, mask=real_, other=0.0)")
        self._settings(narrow=True)
        self._extremes("(row_ * SIZE_ + own_) * 2", "")
        self._assign(self._program.per_block)
        if self._uses_iterate():
            self._line("o_ = tl.load(minimizer_ + row_ * SIZE_ + i_, mask=i_ < SIZE_, other=0.0)[None, :]")

    def _root(self, name: str, rows: str, columns: str) -> None:
        """Write the load of R, or of a part of it."""
        used = f"({rows} < SIZE_)[:, None] & ({columns} < SIZE_)[None, :]"
        place = f"factor_ + (row_ * SIZE_ + {rows}[:, None]) * SIZE_ + {columns}[None, :]"
        self._line(f"{name}_ = tl.load({place}, mask={used}, other=0.0)")
        if not self._shuffles:
            self._thirds(name, f"{name}_")

    def _gradient(self, first: str) -> None:
        """Write twice the gap and the gradient of the samples of a step, whose first one is at the place `first`."""
        ends = ("",) if self._shuffles else ("0", "1", "2")
        if self._shuffles:
            self._line(f"a_ = {shuffle('e_', 'PAD_')}")
        else:
            self._thirds("a", "e_")
        self._line("if HALVED_:")
        self._depth += 1
        for end in ends:
            halves = f"tl.permute(tl.reshape(a{end}_, (LANES_, 2, PAD_ // 2)), (0, 2, 1))"
            self._line(f"before{end}_, after{end}_ = tl.split({halves})")
        self._dot("d_", "before", "left")
        self._dot("f_", "after", "right")
        self._line("d_ = d_ * d_ + f_ * f_")
        self._depth -= 1
        self._line("else:")
        self._depth += 1
        self._dot("d_", "a", "r")
        self._line("d_ = d_ * d_")
        self._depth -= 1
        self._line("twice_ = tl.sum(d_, axis=1, keep_dims=True).to(tl.float64)")
        self._line("g = tl.zeros_like(e_)")
        self._line(f"first_ = {first}")
        self._line("for c_ in range(CHUNKS_):")
        self._depth += 1
        self._line(f"s_ = c_ * {BATCH_AT_ONCE} + v_[None, :]")
        self._line("s_used_ = (j_ < SIZE_)[:, None] & (s_ < batch_)")
        self._line("x_ = tl.load(samples_ + (first_ + s_) * SIZE_ + j_[:, None], mask=s_used_, other=0.0)")
        self._line(f"l_ = tl.load(labels_ + first_ + s_, mask=s_ < batch_, other=0.0).to(tl.{self._dtype})")
        self._line(f"z_ = c_ * {BATCH_AT_ONCE} + q_[:, None]")
        self._line(
            "y_ = tl.load(samples_ + (first_ + z_) * SIZE_ + i_[None, :], mask=real_ & (z_ < batch_), other=0.0)"
        )
        if not self._shuffles:
            self._thirds("x", "x_")
            self._thirds("y", "y_")
        self._dot("u_", "a", "x")
        self._line("u_ = u_ - l_")
        self._line(f"if TAKEN_ < {BATCH_AT_ONCE}:")
        filled = "tl.permute(tl.join(u_, tl.zeros_like(u_)), (0, 2, 1))"
        self._line(f"    u_ = tl.reshape({filled}, (LANES_, {BATCH_AT_ONCE}))")
        if self._shuffles:
            self._line(f"u_ = {shuffle('u_', str(BATCH_AT_ONCE))}")
        else:
            self._thirds("u", "u_")
        self._dot("g", "u", "y", onto="g")
        self._depth -= 1

    def _dot(self, name: str, left: str, right: str, *, onto: str | None = None) -> None:
        """Write a product: one in float64, six of the thirds of both operands in float32, the largest one last."""
        pairs = (
            (("", ""),) if self._shuffles else (("2", "0"), ("1", "1"), ("0", "2"), ("1", "0"), ("0", "1"), ("0", "0"))
        )
        for i, j in pairs:
            added = f", {onto}" if onto else ""
            more = 'input_precision="ieee", ' if self._shuffles else ""
            self._line(f"{name} = tl.dot({left}{i}_, {right}{j}_{added}, {more}out_dtype=tl.{self._dtype})")
            onto = name

    def _mean(self, value: str) -> str:
        """Return the source of the mean of a value over the coordinates of each block, for all of its coordinates."""
        return f"means_of_(tl.where(real_, {value}, 0.0), block_, share_, BLOCKS_)"

    def _loop(self, unit: Unit) -> None:
        """Take the steps, from the loaded states to the errors that are stored."""
        self._before_loop(unit)
        self._line("mean_of_ = tl.load(mean_ + n_)")
        self._line("window_of_ = tl.load(window_ + n_)")
        self._line(f"below_window_ = below_of_ * {float(MEAN_WINDOW)!r}")
        self._line("for t_ in range(count_(steps_)):")
        self._depth += 1
        self._load_step()
        self._gradient("(row_ * steps_ + t_) * batch_")
        self._tile_values(starting=False)
        self._after_step(unit)
        self._line("window_of_ += tl.where(now_ > 0, gap_, 0.0)")
        self._line(f"ends_ = (now_ % {MEAN_WINDOW} == 0) & (now_ > 0)")
        self._line("mean_of_ = tl.where(ends_ & (window_of_ <= below_window_), tl.minimum(mean_of_, now_), mean_of_)")
        self._line("window_of_ = tl.where(ends_, 0.0, window_of_)")
        self._move()
        self._depth -= 1
        self._line("tl.store(error_ + at_, e_, mask=real_)")
        for name in ("hit", "above", "diverged", "mean", "window"):
            self._line(f"tl.store({name}_ + n_, {name}_of_)")
