"""The building blocks of the fused CPU kernel of stacks, as Python for Numba: each forward pass with its backward pass.

One call works on instances, one after the other, and on each chunk of the data of an instance. A *column* of a chunk is a token,
and an array has a row for each number of a token: `a[at + row * pitch + column]`. The columns of a position follow one after the
other, so a vector holds the same position of several sequences. Every operation but two is then the same on all lanes, with the
weights of the instance spread over them: products, norms, GELU, softmax and also attention. The two are the gradient of a matrix,
which is a sum over columns (`add_four`), and tables, which are read and written column by column.

So an instance needs no other one to fill a vector, and what it works on (its parameters, gradient and the activations of a
chunk) is in the caches. Of a product 4 rows x 2 vectors are accumulated in registers, of the gradient of a matrix 2 x 4 entries.

The kernel is the same for every model: it runs a list of blocks with the places of their arrays (`cpu_run` writes it), of which
each number is a size or a place in `a` (activations), `w` (parameters) or `g` (gradient). So there is one to compile for each
number type. The definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`.
"""

from decimal import Decimal
from math import factorial

from quadsim.simulator.engines.stacks.cpu_functions import ROUND

__all__ = ["BLOCKS", "NUMBERS", "blocks_source"]

BLOCKS = (
    "embed", "embed_back", "features", "positions", "positions_back", "product", "matrix_gradient", "add", "multiply", "clear",
    "norm", "norm_back", "gelu", "relu", "attention", "attention_back", "mean", "mean_back", "cross_entropy", "square_error",
)  # fmt: skip
"""The names of the blocks; the first number of a line of the list of blocks is the place of its name here."""

NUMBERS = 11
"""Numbers in a line of the list of blocks, at most; the others are 0."""

_LN2 = Decimal("0.693147180559945309417232121458176568")

_TAIL = {
    "float32": (
        0.1888212817838964, 0.15197410095365885, 0.09678439072771228, 0.046631677717931246, 0.015098823967489227,
        0.0018780578454378914, -0.0008690419737272307, -0.00039094672470664006, 3.233142033518819e-05, 3.9330142396146074e-05,
    ),
    "float64": (
        0.18882128260393766, 0.15197416049297324, 0.09678435018560537, 0.04663046448989468, 0.01509914372064161,
        0.0018850472422229046, -0.0008699230587644089, -0.0004077046213683964, 3.333580910230286e-05, 5.7773784446822336e-05,
        -4.757841315873594e-07, -8.78640058976113e-06, 1.753490805582972e-07, 1.4807234443854821e-06, -1.5007121855477568e-07,
        -2.5674601753579823e-07, 5.878236198827219e-08, 4.0557908021339184e-08, -1.41813780660178e-08, -4.892402234993517e-09,
        1.694942406399174e-09, 3.193087858239439e-10,
    ),
}  # fmt: skip
"""Coefficients of a polynomial in u = 2 t - 1, t = 1/(1 + |x|/4): t exp(-x^2/2) times it is the probability that a normal number
exceeds |x|. It is the Chebyshev expansion of that quotient on 0 < t < 1, computed with 40 digits; the result is within 1.6e-7 in
float32 and 4e-16 in float64."""


def blocks_source(dtype: str, lanes: int) -> str:
    """Return the source of the kernel, a Python module that defines the entry point `gradient_`.

    Args:
        dtype: "float64" or "float32".
        lanes: numbers in a vector, a multiple of four.
    """
    digits, low = (40, -709.0) if dtype == "float64" else (16, -88.0)
    coarse = int(_LN2 * 2**digits)
    head = {
        "LANES": lanes,
        "LOW": low,
        "ROUND": ROUND[dtype],
        "LOG2E": float(1 / _LN2),
        "LN2": coarse / 2**digits,
        "LN2_REST": float(_LN2 - Decimal(coarse) / 2**digits),
    }
    constants = "\n".join(f"{name} = {value!r}" for name, value in head.items())
    terms = 14 if dtype == "float64" else 8
    return (
        f'"""Gradients of stacks on a CPU, {dtype}, {lanes} numbers in a vector."""\n{_HEADER}\n{constants}\nreal = np.{dtype}\n'
        + _SCALARS.replace("<exp>", _polynomial("r", tuple(1.0 / factorial(i) for i in range(terms)))).replace(
            "<tail>", _polynomial("u", _TAIL[dtype])
        )
        + _product()
        + _matrix_gradient()
        + _BLOCKS
        + _entry()
    )


def _polynomial(name: str, coefficients: tuple[float, ...]) -> str:
    """Return the lines that evaluate a polynomial as `p`, by Horner's rule."""
    lines = [f"p = number({coefficients[-1]!r})"]
    lines += [f"p = fma(p, {name}, number({value!r}))" for value in coefficients[-2::-1]]
    return "\n    ".join(lines)


_ROWS, _VECTORS = 4, 2
"""Rows and vectors of columns of a product that are accumulated in registers at the same time: with 16 registers, 8 sums hide the
latency of a multiply-add, and their 6 operands fit beside them."""


def _product() -> str:
    """Return `product`: y (outs rows) = W x, where the entry (o, i) of W is at `o * over_o + i * over_i`."""
    out = ["\n\n@part\ndef product(w, at, over_o, over_i, outs, ins, a, x, x_pitch, y, y_pitch, columns):"]
    out += [f"    tall = outs - outs % {_ROWS}", f"    wide = columns - columns % ({_VECTORS} * LANES)"]
    for rows, begin, end in ((_ROWS, "0", "tall"), (1, "tall", "outs")):
        out += [f"    for o in range({begin}, {end}, {rows}):"]
        out += [f"        w{k} = at + (o + {k}) * over_o" for k in range(rows)]
        for vectors, first, last in ((_VECTORS, "0", "wide"), (1, "wide", "columns")):
            cells = [(k, v) for k in range(rows) for v in range(vectors)]
            places = {(k, v): f"y + (o + {k}) * y_pitch + c + {v} * LANES" for k, v in cells}
            out += [f"        for c in range({first}, {last}, {vectors} * LANES):"]
            out += [f"            s{k}{v} = number(0.0)" for k, v in cells]
            out += ["            for i in range(ins):"]
            out += [f"                x{v} = load(a, x + i * x_pitch + c + {v} * LANES)" for v in range(vectors)]
            for k in range(rows):
                out += [f"                m = spread(pick(w, w{k} + i * over_i))"]
                out += [f"                s{k}{v} = fma(m, x{v}, s{k}{v})" for v in range(vectors)]
            out += [f"            store(a, {places[k, v]}, s{k}{v})" for k, v in cells]
    return "\n".join(out) + "\n"


def _matrix_gradient() -> str:
    """Return `matrix_gradient`: the gradient (outs, ins) += d x^T, a sum over columns; ins is a multiple of four."""
    out = ["\n\n@part\ndef matrix_gradient(g, at, outs, ins, a, d, d_pitch, x, x_pitch, columns):"]
    out += ["    even = outs - outs % 2"]
    for rows, begin, end in ((2, "0", "even"), (1, "even", "outs")):
        cells = [(k, j) for k in range(rows) for j in range(4)]
        out += [f"    for o in range({begin}, {end}, {rows}):", "        for i in range(0, ins, 4):"]
        out += [f"            s{k}{j} = number(0.0)" for k, j in cells]
        out += ["            for c in range(0, columns, LANES):"]
        out += [f"                d{k} = load(a, d + (o + {k}) * d_pitch + c)" for k in range(rows)]
        for j in range(4):
            out += [f"                v = load(a, x + (i + {j}) * x_pitch + c)"]
            out += [f"                s{k}{j} = fma(d{k}, v, s{k}{j})" for k in range(rows)]
        for k in range(rows):
            sums = ", ".join(f"s{k}{j}" for j in range(4))
            out += [f"            add_four(g, at + (o + {k}) * ins + i, {sums})"]
    return "\n".join(out) + "\n"


_HEADER = """\
import math

import numpy as np
from numba import njit

from quadsim.simulator.engines.kernels import cpu_vectors as vectors
from quadsim.simulator.engines.kernels.cpu_vectors import absolute, fma, pick, sqrt, store
from quadsim.simulator.engines.stacks.cpu_functions import add_four, larger, power_of_two, total, unless_negative
"""

_SCALARS = '''
load, spread, number = vectors.vectors_of(LANES, real)
entry = part = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@inlined
def exp(x):
    """exp(x) = 2^k exp(r) with |r| <= ln(2)/2; NaN stays NaN. At LOW and below, the bits of 2^k are those of 0, and so is exp(x):
    a share of 1e-38 would give gradients whose sign moves SignSGD by a whole step."""
    x = larger(number(LOW), x)
    n = fma(x, number(LOG2E), number(ROUND))
    k = n - number(ROUND)
    r = fma(k, number(-LN2_REST), fma(k, number(-LN2), x))
    <exp>
    return p * power_of_two(n)


@inlined
def normal_tail(size, density):
    """The probability that a normal number exceeds `size`, from exp(-size^2/2)."""
    t = number(1.0) / fma(number(0.25), size, number(1.0))
    u = fma(number(2.0), t, number(-1.0))
    <tail>
    return p * t * density
'''

_BLOCKS = '''

@part
def gelu(a, h, y, count):
    """y = h P(normal number < h), and h becomes the derivative."""
    for i in range(0, count, LANES):
        x = load(a, h + i)
        density = exp(x * x * number(-0.5))
        tail = normal_tail(absolute(x), density)
        below = unless_negative(x, number(1.0) - tail, tail)
        store(a, y + i, x * below)
        store(a, h + i, fma(x * number(0.3989422804014327), density, below))


@part
def relu(a, h, y, count):
    """y = max(h, 0), and h becomes the derivative."""
    for i in range(0, count, LANES):
        x = load(a, h + i)
        store(a, y + i, larger(number(0.0), x))
        store(a, h + i, unless_negative(-x, number(0.0), number(1.0)))


@part
def add(a, y, x, count):
    for i in range(0, count, LANES):
        store(a, y + i, load(a, y + i) + load(a, x + i))


@part
def multiply(a, y, x, count):
    for i in range(0, count, LANES):
        store(a, y + i, load(a, y + i) * load(a, x + i))


@part
def clear(a, y, count):
    for i in range(0, count, LANES):
        store(a, y + i, number(0.0))


@part
def norm(w, gain, a, x, normed, factor, y, rows, columns):
    """The layer norm: every column with mean 0 and variance 1 (`normed`), and what it was multiplied by (`factor`)."""
    over = spread(real(1.0) / real(rows))
    for c in range(0, columns, LANES):
        mean = number(0.0)
        for f in range(rows):
            mean = mean + load(a, x + f * columns + c)
        mean = mean * over
        square = number(0.0)
        for f in range(rows):
            v = load(a, x + f * columns + c) - mean
            square = fma(v, v, square)
        by = number(1.0) / sqrt(fma(square, over, number(1e-5)))
        by = by + (square - square)  # squares that overflow are NaN, a divergence: by 0, all logits would be those of a guess
        store(a, factor + c, by)
        for f in range(rows):
            v = (load(a, x + f * columns + c) - mean) * by
            store(a, normed + f * columns + c, v)
            store(a, y + f * columns + c, v * spread(pick(w, gain + f)))


@part
def norm_back(w, gain, g, a, d, normed, factor, back, rows, columns):
    over = spread(real(1.0) / real(rows))
    for f in range(0, rows, 4):
        s0 = s1 = s2 = s3 = number(0.0)
        for c in range(0, columns, LANES):
            at = f * columns + c
            s0 = fma(load(a, d + at), load(a, normed + at), s0)
            s1 = fma(load(a, d + at + columns), load(a, normed + at + columns), s1)
            s2 = fma(load(a, d + at + 2 * columns), load(a, normed + at + 2 * columns), s2)
            s3 = fma(load(a, d + at + 3 * columns), load(a, normed + at + 3 * columns), s3)
        add_four(g, gain + f, s0, s1, s2, s3)
    for c in range(0, columns, LANES):
        mean = slope = number(0.0)
        for f in range(rows):
            v = load(a, d + f * columns + c) * spread(pick(w, gain + f))
            mean = mean + v
            slope = fma(v, load(a, normed + f * columns + c), slope)
        mean = mean * over
        slope = slope * over
        by = load(a, factor + c)
        for f in range(rows):
            v = load(a, d + f * columns + c) * spread(pick(w, gain + f)) - mean
            store(a, back + f * columns + c, (v - load(a, normed + f * columns + c) * slope) * by)


@part
def attention(a, qkv, shares, mixed, sharpness, tokens, sequences, heads, each, causal):
    """Attention of the rows q, k, v of `qkv`; `shares` has those of every head, asking and asked token."""
    columns = tokens * sequences
    k = qkv + heads * each * columns
    v = k + heads * each * columns
    sharp = spread(sharpness)
    for s in range(0, sequences, LANES):
        for h in range(heads):
            for p in range(tokens):
                asked = p + 1 if causal else tokens
                mine = shares + (h * tokens + p) * columns + s
                top = number(-np.inf)
                for j in range(asked):
                    score = number(0.0)
                    for e in range(h * each, h * each + each):
                        at = e * columns + s
                        score = fma(load(a, qkv + at + p * sequences), load(a, k + at + j * sequences), score)
                    score = score * sharp
                    store(a, mine + j * sequences, score)
                    top = larger(score, top)
                sum = number(0.0)
                for j in range(asked):
                    share = exp(load(a, mine + j * sequences) - top)
                    store(a, mine + j * sequences, share)
                    sum = sum + share
                over = number(1.0) / sum
                for j in range(tokens):
                    share = number(0.0)
                    if j < asked:
                        share = load(a, mine + j * sequences) * over
                    store(a, mine + j * sequences, share)
                for e in range(h * each, h * each + each):
                    mix = number(0.0)
                    for j in range(asked):
                        mix = fma(load(a, mine + j * sequences), load(a, v + e * columns + j * sequences + s), mix)
                    store(a, mixed + e * columns + p * sequences + s, mix)


@part
def attention_back(a, qkv, shares, slopes, d, back, sharpness, tokens, sequences, heads, each, causal):
    """The gradient in q, k and v (the rows of `back`); `slopes` gets that of every score, which is 0 where it is masked."""
    columns = tokens * sequences
    k = qkv + heads * each * columns
    v = k + heads * each * columns
    back_k = back + heads * each * columns
    back_v = back_k + heads * each * columns
    sharp = spread(sharpness)
    for s in range(0, sequences, LANES):
        for h in range(heads):
            for p in range(tokens):
                mine = (h * tokens + p) * columns + s
                mean = number(0.0)
                for j in range(tokens):
                    along = number(0.0)
                    for e in range(h * each, h * each + each):
                        at = e * columns + s
                        along = fma(load(a, d + at + p * sequences), load(a, v + at + j * sequences), along)
                    store(a, slopes + mine + j * sequences, along)
                    mean = fma(load(a, shares + mine + j * sequences), along, mean)
                for j in range(tokens):
                    at = mine + j * sequences
                    slope = load(a, shares + at) * (load(a, slopes + at) - mean)
                    store(a, slopes + at, slope * sharp)
                for e in range(h * each, h * each + each):
                    sum = number(0.0)
                    for j in range(tokens):
                        sum = fma(load(a, slopes + mine + j * sequences), load(a, k + e * columns + j * sequences + s), sum)
                    store(a, back + e * columns + p * sequences + s, sum)
            for j in range(tokens):
                for e in range(h * each, h * each + each):
                    key = number(0.0)
                    value = number(0.0)
                    for p in range(tokens):
                        at = (h * tokens + p) * columns + j * sequences + s
                        asks = e * columns + p * sequences + s
                        key = fma(load(a, slopes + at), load(a, qkv + asks), key)
                        value = fma(load(a, shares + at), load(a, d + asks), value)
                    store(a, back_k + e * columns + j * sequences + s, key)
                    store(a, back_v + e * columns + j * sequences + s, value)


@part
def mean(a, x, y, rows, tokens, sequences):
    """The mean over the tokens of a sequence."""
    over = spread(real(1.0) / real(tokens))
    for f in range(rows):
        for s in range(0, sequences, LANES):
            sum = number(0.0)
            for p in range(tokens):
                sum = sum + load(a, x + (f * tokens + p) * sequences + s)
            store(a, y + f * sequences + s, sum * over)


@part
def mean_back(a, d, back, rows, tokens, sequences):
    over = spread(real(1.0) / real(tokens))
    for f in range(rows):
        for s in range(0, sequences, LANES):
            v = load(a, d + f * sequences + s) * over
            for p in range(tokens):
                store(a, back + (f * tokens + p) * sequences + s, v)


@part
def embed(w, table, a, x, pitch, apart, rows, tokens, sequences, ids):
    """x = the row of the table that every token asks for. Position p is `apart` numbers behind position p - 1."""
    for p in range(tokens):
        for s in range(sequences):
            row = table + ids[p * sequences + s] * rows
            for f in range(rows):
                a[x + f * pitch + p * apart + s] = w[row + f]


@part
def embed_back(g, table, a, d, pitch, apart, rows, tokens, sequences, ids):
    for p in range(tokens):
        for s in range(sequences):
            row = table + ids[p * sequences + s] * rows
            for f in range(rows):
                g[row + f] += a[d + f * pitch + p * apart + s]


@part
def positions(w, table, a, x, pitch, apart, rows, tokens, sequences):
    for p in range(tokens):
        for f in range(rows):
            own = spread(pick(w, table + p * rows + f))
            for s in range(0, sequences, LANES):
                at = x + f * pitch + p * apart + s
                store(a, at, load(a, at) + own)


@part
def positions_back(g, table, a, d, pitch, apart, rows, tokens, sequences):
    for p in range(tokens):
        for f in range(0, rows, 4):
            s0 = s1 = s2 = s3 = number(0.0)
            for s in range(0, sequences, LANES):
                at = d + f * pitch + p * apart + s
                s0 = s0 + load(a, at)
                s1 = s1 + load(a, at + pitch)
                s2 = s2 + load(a, at + 2 * pitch)
                s3 = s3 + load(a, at + 3 * pitch)
            add_four(g, table + p * rows + f, s0, s1, s2, s3)


@part
def cross_entropy(a, logits, sums, classes, columns, answers, targets, learns):
    """The losses of the answers, weighted and unweighted; logits become the gradient of the weighted sum.

    `answers` has the weights of the columns, then the unweighted ones; `sums` is room for two rows.
    """
    weighted = even = 0.0
    for c in range(0, columns, LANES):
        top = load(a, logits + c)
        for o in range(1, classes):
            top = larger(load(a, logits + o * columns + c), top)
        store(a, sums + c, top)
    for c in range(columns):
        a[sums + columns + c] = a[logits + targets[c] * columns + c]
    for c in range(0, columns, LANES):
        top = load(a, sums + c)
        right = load(a, sums + columns + c) - top
        sum = number(0.0)
        for o in range(classes):
            share = exp(load(a, logits + o * columns + c) - top)
            store(a, logits + o * columns + c, share)
            sum = sum + share
        store(a, sums + c, sum)
        store(a, sums + columns + c, right)
        if learns:
            by = load(a, answers + c) / sum
            for o in range(classes):
                store(a, logits + o * columns + c, load(a, logits + o * columns + c) * by)
    for c in range(columns):
        loss = math.log(np.float64(a[sums + c])) - np.float64(a[sums + columns + c])
        weighted += np.float64(a[answers + c]) * loss
        even += np.float64(a[answers + columns + c]) * loss
        a[logits + targets[c] * columns + c] -= a[answers + c]
    return weighted, even


@part
def square_error(a, logits, classes, columns, answers, targets):
    """The same for half the squared distance of the logits from the one-hot vector of the class."""
    weighted = even = 0.0
    for c in range(columns):
        a[logits + targets[c] * columns + c] -= real(1.0)
        loss = 0.0
        for o in range(classes):
            v = a[logits + o * columns + c]
            loss += 0.5 * np.float64(v) * np.float64(v)
            a[logits + o * columns + c] = v * a[answers + c]
        weighted += np.float64(a[answers + c]) * loss
        even += np.float64(a[answers + columns + c]) * loss
    return weighted, even


@part
def features(a, x, pitch, apart, given, number_of, tokens, sequences, data, begin, length, chosen, chosen_at):
    """x = the features of every token, 0 beyond the last sequence."""
    for p in range(tokens):
        for s in range(sequences):
            row = begin + s
            if row < length and chosen.size > 0:
                row = chosen[chosen_at + row]
            for f in range(number_of):
                value = real(0.0)
                if begin + s < length:
                    value = given[((data + row) * tokens + p) * number_of + f]
                a[x + f * pitch + p * apart + s] = value


@part
def lay_out(a, answers, ids, targets, tokens, sequences, per_sequence, given, classes, weights, shares, factor, even, data,
            begin, length, chosen, chosen_at):
    """Ids, targets and weights of the columns of a chunk; the weights are 0 beyond the last sequence."""
    columns = per_sequence * sequences
    for s in range(sequences):
        row = begin + s
        real_row = row < length
        if not real_row:
            row = 0
        if chosen.size > 0:
            row = chosen[chosen_at + row]
        if given.size > 0:
            for p in range(tokens):
                ids[p * sequences + s] = given[(data + row) * tokens + p]
        for p in range(per_sequence):
            at = (data + row) * per_sequence + p
            targets[p * sequences + s] = classes[at]
            a[answers + p * sequences + s] = weights[at] * factor if real_row else real(0.0)
            a[answers + columns + p * sequences + s] = shares[at] * even if real_row else real(0.0)
'''

_CALLS = {
    "embed": "embed(w, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences, ids)",
    "embed_back": "embed_back(g, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences, ids)",
    "features": "features(a, o[1], o[2], o[3], reals, o[4], tokens, sequences, data, begin, length, chosen, chosen_at)",
    "positions": "positions(w, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences)",
    "positions_back": "positions_back(g, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences)",
    "product": "product(w, base + o[1], o[2], o[3], o[4], o[5], a, o[6], o[7], o[8], o[9], o[10])",
    "matrix_gradient": "matrix_gradient(g, base + o[1], o[2], o[3], a, o[4], o[5], o[6], o[7], o[8])",
    "add": "add(a, o[1], o[2], o[3])",
    "multiply": "multiply(a, o[1], o[2], o[3])",
    "clear": "clear(a, o[1], o[2])",
    "norm": "norm(w, base + o[1], a, o[2], o[3], o[4], o[5], o[6], o[7])",
    "norm_back": "norm_back(w, base + o[1], g, a, o[2], o[3], o[4], o[5], o[6], o[7])",
    "gelu": "gelu(a, o[1], o[2], o[3])",
    "relu": "relu(a, o[1], o[2], o[3])",
    "attention": "attention(a, o[1], o[2], o[3], sharp, tokens, sequences, o[4], o[5], o[6])",
    "attention_back": "attention_back(a, o[1], o[2], o[3], o[4], o[5], sharp, tokens, sequences, o[6], o[7], o[8])",
    "mean": "mean(a, o[1], o[2], o[3], tokens, sequences)",
    "mean_back": "mean_back(a, o[1], o[2], o[3], tokens, sequences)",
    "cross_entropy": "loss = cross_entropy(a, o[1], o[2], o[3], o[4], answers, targets, learns)",
    "square_error": "loss = square_error(a, o[1], o[3], o[4], answers, targets)",
}
"""The call of every block, where `o` is its line of the list of blocks."""

_ENTRY = '''

@entry
def gradient_(
    ops, number_of_ops, learns, sizes, first, last, w, g, inputs, reals, classes, weights, shares, chosen, factors, sharpness, a,
    ids, targets, losses
):
    """Gradients of slots first to last (a slot is a copy of an instance), and their unweighted and weighted losses."""
    tokens, sequences, per_sequence, stored, length = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    dimension, copies, answers = sizes[5], sizes[6], sizes[7]
    for slot in range(first, last):
        base = slot * dimension
        instance = slot // copies
        data, chosen_at = instance * stored, instance * length
        sharp = sharpness[instance]
        if learns:
            for i in range(base, base + dimension):
                g[i] = real(0.0)
        weighted = even = 0.0
        for begin in range(0, length, sequences):
            lay_out(a, answers, ids, targets, tokens, sequences, per_sequence, inputs, classes, weights, shares, factors[slot, 0],
                    factors[slot, 1], data, begin, length, chosen, chosen_at)
            for line in range(number_of_ops):
                op = line * <numbers>
                kind = ops[op]
                loss = (0.0, 0.0)
<calls>
                weighted += loss[0]
                even += loss[1]
        losses[slot, 0] = even
        losses[slot, 1] = weighted
'''


def _entry() -> str:
    """Return the entry point."""
    out = []
    for number, name in enumerate(BLOCKS):
        out += [
            f"{'if' if number == 0 else 'elif'} kind == {number}:",
            f"    {_CALLS[name].replace('o[', 'ops[op + ')}",
        ]
    calls = "\n".join(" " * 16 + line for line in out)
    return _ENTRY.replace("<numbers>", str(NUMBERS)).replace("<calls>", calls)
