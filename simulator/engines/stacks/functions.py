"""The building blocks of the fused kernels of stacks, in Triton: each forward pass with its backward pass.

A chunk of data has a row for every token, in tiles of 16 rows: activations are (tiles, 16, width). The rows of a sequence follow one
after the other in one tile and are filled up to a power of two (SLOTS). Widths are filled up to powers of two of at least 16, as the
matrix units need. Added entries of parameters are 0, and no block moves them.

A product of float32 matrices is the sum of three products on the matrix units (`product`). With a tile for every warp, no warp waits
for another between two products; only the gradient of a matrix adds up the rows of all tiles.

The definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`, against which every block is tested.
"""

import triton
import triton.language as tl

__all__ = [
    "attention",
    "attention_back",
    "cross_entropy",
    "gain_gradient",
    "gather",
    "gelu",
    "gelu_back",
    "gradient_of",
    "linear",
    "linear_back",
    "matrix",
    "mean_of_sequence",
    "mean_of_sequence_back",
    "norm",
    "norm_back",
    "one_hot",
    "sum_of_positions",
]

_EPSILON = tl.constexpr(1e-5)
_SQRT_HALF = tl.constexpr(0.7071067811865476)
_DENSITY = tl.constexpr(0.3989422804014327)  # of the normal distribution at 0
_TILE = tl.constexpr(16)  # rows of a tile


@triton.jit
def _first(x):
    """Return a float32 cut to the 11 significant bits that the matrix units read of it (tf32)."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):
    """Return `total` plus the matrix product a b, with the accuracy of float32.

    With PRECISION "three", each number is its first 11 bits plus a rest of 13, of which the matrix units read 11; the product of
    the two rests, 2^-22 of the whole, is left out. The `tf32x3` of Triton also looks for infinities, which takes a fifth of the
    time; here an infinity becomes NaN, and the run has diverged in both cases.
    """
    if PRECISION == "three":
        a_first = _first(a)
        b_first = _first(b)
        total = tl.dot(a - a_first, b_first, total, input_precision="tf32", out_dtype=tl.float32)
        total = tl.dot(a_first, b - b_first, total, input_precision="tf32", out_dtype=tl.float32)
        return tl.dot(a_first, b_first, total, input_precision="tf32", out_dtype=tl.float32)
    else:
        return tl.dot(a, b, total, input_precision=PRECISION, out_dtype=tl.float32)


@triton.jit
def matrix(
    theta_, scale_, begin, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    WIDE: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """Load a matrix (ROWS, COLUMNS) of parameters, filled up with 0 to (PAD, WIDE).

    It begins at coordinate `begin`, and its rows are STRIDE coordinates apart.
    """
    i = tl.arange(0, PAD)[:, None]
    j = tl.arange(0, WIDE)[None, :]
    at = begin + i * STRIDE + j
    if (ROWS == PAD) and (COLUMNS == WIDE):
        value = tl.load(theta_ + at)
        if SCALED:
            value = value * tl.load(scale_ + at)
    else:
        inside = (i < ROWS) & (j < COLUMNS)
        value = tl.load(theta_ + at, mask=inside, other=0.0)
        if SCALED:
            value = value * tl.load(scale_ + at, mask=inside, other=0.0)
    return value


@triton.jit
def gather(
    theta_, scale_, begin, which, real, COLUMNS: tl.constexpr, WIDE: tl.constexpr, SCALED: tl.constexpr
):  # fmt: skip
    """Load row `which` of a table (the embedding of a token or of a position) for every row that is real, else 0."""
    j = tl.arange(0, WIDE)[None, None, :]
    at = begin + which[:, :, None] * COLUMNS + j
    inside = real[:, :, None] & (j < COLUMNS)
    value = tl.load(theta_ + at, mask=inside, other=0.0)
    if SCALED:
        value = value * tl.load(scale_ + at, mask=inside, other=0.0)
    return value


@triton.jit
def one_hot(which, real, PAD: tl.constexpr):
    """Return the matrix whose product with a table is `gather`; its transpose makes the table's gradient."""
    return tl.where((which[:, :, None] == tl.arange(0, PAD)[None, None, :]) & real[:, :, None], 1.0, 0.0)


@triton.jit
def _times(x, weight, PRECISION: tl.constexpr):
    """Return x (tiles, 16, in) times a matrix (in, out)."""
    every = tl.broadcast_to(weight[None, :, :], (x.shape[0], weight.shape[0], weight.shape[1]))
    zero = tl.zeros((x.shape[0], x.shape[1], weight.shape[1]), tl.float32)
    return product(x, every, zero, PRECISION)


@triton.jit
def linear(x, weight, PRECISION: tl.constexpr):
    """Return x (tiles, 16, in) times a matrix (out, in) as in torch.nn.Linear: (tiles, 16, out)."""
    return _times(x, tl.trans(weight), PRECISION)


@triton.jit
def linear_back(d, weight, PRECISION: tl.constexpr):
    """Return the gradient of `linear` in x, from the gradient d of its result."""
    return _times(d, weight, PRECISION)


@triton.jit
def _rows(x):
    return tl.reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


@triton.jit
def gradient_of(total, d, x, PRECISION: tl.constexpr):
    """Return `total` plus the gradient of `linear` in its matrix, (out, in)."""
    return product(tl.trans(_rows(d)), _rows(x), total, PRECISION)


@triton.jit
def norm(x, WIDTH: tl.constexpr):
    """Return x with mean 0 and variance 1 in every row (over its first WIDTH columns), and what each row was multiplied by."""
    centred = x - (tl.sum(x, axis=2) * (1.0 / WIDTH))[:, :, None]
    if x.shape[2] != WIDTH:
        centred = tl.where(tl.arange(0, x.shape[2])[None, None, :] < WIDTH, centred, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, axis=2) * (1.0 / WIDTH) + _EPSILON)[:, :, None]
    return centred * factor, factor


@triton.jit
def norm_back(d, normed, factor, WIDTH: tl.constexpr):
    """Return the gradient of `norm` in x, from the gradient d of its result."""
    mean = (tl.sum(d, axis=2) * (1.0 / WIDTH))[:, :, None]
    along = (tl.sum(d * normed, axis=2) * (1.0 / WIDTH))[:, :, None]
    back = (d - mean - normed * along) * factor
    if d.shape[2] != WIDTH:
        back = tl.where(tl.arange(0, d.shape[2])[None, None, :] < WIDTH, back, 0.0)
    return back


@triton.jit
def gain_gradient(d, normed):
    """Return the gradient of a gain by tile, (tiles, width), from the gradient d of `normed` times the gain."""
    return tl.sum(d * normed, axis=1)


@triton.jit
def gelu(x):
    """Return x times the probability that a normal number is at most x (Hendrycks and Gimpel, arXiv 1606.08415)."""
    return x * (0.5 + 0.5 * tl.erf(x * _SQRT_HALF))


@triton.jit
def gelu_back(d, x):
    """Return the gradient of `gelu` in x, from the gradient d of its result."""
    return d * (0.5 + 0.5 * tl.erf(x * _SQRT_HALF) + x * (_DENSITY * tl.exp(-0.5 * x * x)))


@triton.jit
def _shares(q, k, SLOTS: tl.constexpr, TOKENS: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr):
    """Return the softmax of q k^T over the tokens of the own sequence, (tiles, 16, 16)."""
    i = tl.arange(0, _TILE)[None, :, None]
    j = tl.arange(0, _TILE)[None, None, :]
    seen = (i // SLOTS == j // SLOTS) & (j % SLOTS < TOKENS)
    if CAUSAL:
        seen = seen & (j <= i)
    zero = tl.zeros((q.shape[0], _TILE, _TILE), tl.float32)
    scores = product(q, tl.permute(k, (0, 2, 1)), zero, PRECISION)
    scores = tl.where(seen, scores, float("-inf"))
    scores = tl.exp(scores - tl.max(scores, axis=2)[:, :, None])
    return scores * (1.0 / tl.sum(scores, axis=2))[:, :, None]


@triton.jit
def attention(
    q, k, v, divisor, HEADS: tl.constexpr, EACH: tl.constexpr, SLOTS: tl.constexpr, TOKENS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the attention of all heads, (tiles, 16, width); scores are q k^T over `divisor`.

    A head takes the whole width, with the columns of other heads set to 0: the matrix units take no shorter product.
    """
    head = (tl.arange(0, q.shape[2]) // EACH)[None, None, :]
    q = q * (1.0 / divisor)
    mixed = tl.zeros_like(q)
    for h in tl.static_range(HEADS):
        shares = _shares(tl.where(head == h, q, 0.0), k, SLOTS, TOKENS, CAUSAL, PRECISION)
        mixed = product(shares, tl.where(head == h, v, 0.0), mixed, PRECISION)
    return mixed


@triton.jit
def attention_back(
    d, q, k, v, divisor, HEADS: tl.constexpr, EACH: tl.constexpr, SLOTS: tl.constexpr, TOKENS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the gradients of `attention` in q, k and v; the shares are computed again, as keeping them needs more room."""
    head = (tl.arange(0, q.shape[2]) // EACH)[None, None, :]
    q = q * (1.0 / divisor)
    dq = tl.zeros_like(q)
    dk = tl.zeros_like(q)
    dv = tl.zeros_like(q)
    for h in tl.static_range(HEADS):
        own_q = tl.where(head == h, q, 0.0)
        own_d = tl.where(head == h, d, 0.0)
        shares = _shares(own_q, k, SLOTS, TOKENS, CAUSAL, PRECISION)
        dv = product(tl.permute(shares, (0, 2, 1)), own_d, dv, PRECISION)
        back = product(own_d, tl.permute(v, (0, 2, 1)), tl.zeros_like(shares), PRECISION)
        back = shares * (back - tl.sum(shares * back, axis=2)[:, :, None])
        dq = product(back, tl.where(head == h, k, 0.0), dq, PRECISION)
        dk = product(tl.permute(back, (0, 2, 1)), own_q, dk, PRECISION)
    return dq * (1.0 / divisor), dk, dv


@triton.jit
def cross_entropy(logits, target, CLASSES: tl.constexpr):
    """Return the cross-entropy of every row, (tiles, 16), and its gradient in the logits, (tiles, 16, classes)."""
    column = tl.arange(0, logits.shape[2])[None, None, :]
    if logits.shape[2] != CLASSES:
        logits = tl.where(column < CLASSES, logits, float("-inf"))
    top = tl.max(logits, axis=2)
    shares = tl.exp(logits - top[:, :, None])
    total = tl.sum(shares, axis=2)
    right = column == target[:, :, None]
    each = tl.log(total) + top - tl.sum(tl.where(right, logits, 0.0), axis=2)
    return each, shares * (1.0 / total)[:, :, None] - tl.where(right, 1.0, 0.0)


@triton.jit
def sum_of_positions(x, SLOTS: tl.constexpr):
    """Return the sum of the rows at every position of a sequence, (SLOTS, width)."""
    return tl.sum(tl.reshape(x, (x.shape[0] * _TILE // SLOTS, SLOTS, x.shape[2])), axis=0)


@triton.jit
def _sum_of_sequence(x, SLOTS: tl.constexpr):
    whole = tl.reshape(x, (x.shape[0] * _TILE // SLOTS, SLOTS, x.shape[2]))
    whole = tl.broadcast_to(tl.sum(whole, axis=1)[:, None, :], whole.shape)
    return tl.reshape(whole, x.shape)


@triton.jit
def mean_of_sequence(x, real, SLOTS: tl.constexpr, TOKENS: tl.constexpr):
    """Return the mean over the tokens of a sequence, in every row of the sequence."""
    return _sum_of_sequence(tl.where(real[:, :, None], x, 0.0), SLOTS) * (1.0 / TOKENS)


@triton.jit
def mean_of_sequence_back(d, real, SLOTS: tl.constexpr, TOKENS: tl.constexpr):
    """Return the gradient of `mean_of_sequence` in x, from the gradient d of its rows."""
    return tl.where(real[:, :, None], _sum_of_sequence(d, SLOTS) * (1.0 / TOKENS), 0.0)
