"""The building blocks of the fused kernels of stacks, in Triton: each forward pass with its backward pass.

A chunk of data is a tile with a row for every token. The rows of a sequence follow one after the other and are filled up to a power
of two (SLOTS); matrices are filled up to powers of two of at least 16 rows and columns, as the matrix units need. Added entries of
parameters are 0, and no block moves them. PRECISION is the `input_precision` of `tl.dot`.

The definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`, against which every block is tested.
"""

import triton
import triton.language as tl

__all__ = [
    "attention",
    "attention_back",
    "cross_entropy",
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
    "sum_over_sequences",
]

_EPSILON = tl.constexpr(1e-5)
_SQRT_HALF = tl.constexpr(0.7071067811865476)
_DENSITY = tl.constexpr(0.3989422804014327)  # of the normal distribution at 0
_TILE = tl.constexpr(16)  # rows that attend to each other at most


@triton.jit
def matrix(
    theta_, scale_, begin, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PAD: tl.constexpr, WIDE: tl.constexpr,
    SCALED: tl.constexpr,
):  # fmt: skip
    """Load a parameter of the shape (ROWS, COLUMNS) that begins at coordinate `begin`, filled up with 0 to (PAD, WIDE)."""
    i = tl.arange(0, PAD)[:, None]
    j = tl.arange(0, WIDE)[None, :]
    at = begin + i * COLUMNS + j
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
    j = tl.arange(0, WIDE)[None, :]
    at = begin + which[:, None] * COLUMNS + j
    inside = real[:, None] & (j < COLUMNS)
    value = tl.load(theta_ + at, mask=inside, other=0.0)
    if SCALED:
        value = value * tl.load(scale_ + at, mask=inside, other=0.0)
    return value


@triton.jit
def one_hot(which, real, PAD: tl.constexpr):
    """Return the matrix (rows, PAD) whose product with a table is `gather`; its transpose makes the table's gradient."""
    return tl.where((which[:, None] == tl.arange(0, PAD)[None, :]) & real[:, None], 1.0, 0.0)


@triton.jit
def linear(x, weight, PRECISION: tl.constexpr):
    """Return x (rows, in) times a matrix (out, in): (rows, out)."""
    return tl.dot(x, tl.trans(weight), input_precision=PRECISION, out_dtype=x.dtype)


@triton.jit
def linear_back(d, weight, PRECISION: tl.constexpr):
    """Return the gradient of `linear` in x, from the gradient d (rows, out) of its result."""
    return tl.dot(d, weight, input_precision=PRECISION, out_dtype=d.dtype)


@triton.jit
def gradient_of(total, d, x, PRECISION: tl.constexpr):
    """Return `total` plus the gradient of `linear` in its matrix, (out, in)."""
    return tl.dot(tl.trans(d), x, total, input_precision=PRECISION, out_dtype=d.dtype)


@triton.jit
def norm(x, WIDTH: tl.constexpr):
    """Return x with mean 0 and variance 1 in every row (over its first WIDTH columns), and what each row was multiplied by."""
    centred = x - (tl.sum(x, axis=1) / WIDTH)[:, None]
    if x.shape[1] != WIDTH:
        centred = tl.where(tl.arange(0, x.shape[1])[None, :] < WIDTH, centred, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, axis=1) / WIDTH + _EPSILON)[:, None]
    return centred * factor, factor


@triton.jit
def norm_back(d, normed, factor, WIDTH: tl.constexpr):
    """Return the gradient of `norm` in x, from the gradient d of its result."""
    means = (tl.sum(d, axis=1) / WIDTH)[:, None], (tl.sum(d * normed, axis=1) / WIDTH)[:, None]
    back = (d - means[0] - normed * means[1]) * factor
    if d.shape[1] != WIDTH:
        back = tl.where(tl.arange(0, d.shape[1])[None, :] < WIDTH, back, 0.0)
    return back


@triton.jit
def gelu(x):
    """Return x times the probability that a normal number is at most x (Hendrycks and Gimpel, arXiv 1606.08415)."""
    return x * (0.5 + 0.5 * tl.erf(x * _SQRT_HALF))


@triton.jit
def gelu_back(d, x):
    """Return the gradient of `gelu` in x, from the gradient d of its result."""
    return d * (0.5 + 0.5 * tl.erf(x * _SQRT_HALF) + x * (_DENSITY * tl.exp(-0.5 * x * x)))


@triton.jit
def _tiles(x):
    return tl.reshape(x, (x.shape[0] // _TILE, _TILE, x.shape[1]))


@triton.jit
def _shares(q, k, SLOTS: tl.constexpr, TOKENS: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr):
    """Return the softmax of q k^T over the tokens of the own sequence, (tiles, 16, 16)."""
    i = tl.arange(0, _TILE)[:, None]
    j = tl.arange(0, _TILE)[None, :]
    seen = (i // SLOTS == j // SLOTS) & (j % SLOTS < TOKENS)
    if CAUSAL:
        seen = seen & (j <= i)
    scores = tl.dot(q, tl.permute(k, (0, 2, 1)), input_precision=PRECISION, out_dtype=q.dtype)
    scores = tl.where(seen[None, :, :], scores, float("-inf"))
    scores = tl.exp(scores - tl.max(scores, axis=2)[:, :, None])
    return scores / tl.sum(scores, axis=2)[:, :, None]


@triton.jit
def attention(
    q, k, v, divisor, HEADS: tl.constexpr, EACH: tl.constexpr, SLOTS: tl.constexpr, TOKENS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the attention of all heads, (rows, width); scores are q k^T over `divisor`.

    Tiles of 16 rows hold whole sequences. A head takes the whole width, with the columns of other heads set to 0: the matrix
    units take no shorter product.
    """
    head = (tl.arange(0, q.shape[1]) // EACH)[None, None, :]
    q = _tiles(q / divisor)
    k = _tiles(k)
    v = _tiles(v)
    mixed = tl.zeros_like(q)
    for h in tl.static_range(HEADS):
        shares = _shares(tl.where(head == h, q, 0.0), k, SLOTS, TOKENS, CAUSAL, PRECISION)
        mixed = tl.dot(shares, tl.where(head == h, v, 0.0), mixed, input_precision=PRECISION, out_dtype=q.dtype)
    return tl.reshape(mixed, (q.shape[0] * _TILE, q.shape[2]))


@triton.jit
def attention_back(
    d, q, k, v, divisor, HEADS: tl.constexpr, EACH: tl.constexpr, SLOTS: tl.constexpr, TOKENS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the gradients of `attention` in q, k and v; the shares are computed again, as keeping them needs more room."""
    head = (tl.arange(0, q.shape[1]) // EACH)[None, None, :]
    q = _tiles(q / divisor)
    k = _tiles(k)
    v = _tiles(v)
    d = _tiles(d)
    dq = tl.zeros_like(q)
    dk = tl.zeros_like(q)
    dv = tl.zeros_like(q)
    for h in tl.static_range(HEADS):
        own_q = tl.where(head == h, q, 0.0)
        own_d = tl.where(head == h, d, 0.0)
        shares = _shares(own_q, k, SLOTS, TOKENS, CAUSAL, PRECISION)
        dv = tl.dot(tl.permute(shares, (0, 2, 1)), own_d, dv, input_precision=PRECISION, out_dtype=q.dtype)
        back = tl.dot(own_d, tl.permute(v, (0, 2, 1)), input_precision=PRECISION, out_dtype=q.dtype)
        back = shares * (back - tl.sum(shares * back, axis=2)[:, :, None])
        own_k = tl.where(head == h, k, 0.0)
        dq = tl.dot(back, own_k, dq, input_precision=PRECISION, out_dtype=q.dtype)
        dk = tl.dot(tl.permute(back, (0, 2, 1)), own_q, dk, input_precision=PRECISION, out_dtype=q.dtype)
    rows: tl.constexpr = q.shape[0] * _TILE
    width: tl.constexpr = q.shape[2]
    return tl.reshape(dq, (rows, width)) / divisor, tl.reshape(dk, (rows, width)), tl.reshape(dv, (rows, width))


@triton.jit
def cross_entropy(logits, target, CLASSES: tl.constexpr):
    """Return the cross-entropy of every row, (rows,), and its gradient in the logits, (rows, classes)."""
    column = tl.arange(0, logits.shape[1])[None, :]
    if logits.shape[1] != CLASSES:
        logits = tl.where(column < CLASSES, logits, float("-inf"))
    top = tl.max(logits, axis=1)
    shares = tl.exp(logits - top[:, None])
    total = tl.sum(shares, axis=1)
    right = column == target[:, None]
    each = tl.log(total) + top - tl.sum(tl.where(right, logits, 0.0), axis=1)
    return each, shares / total[:, None] - tl.where(right, 1.0, 0.0)


@triton.jit
def sum_over_sequences(x, SLOTS: tl.constexpr):
    """Return the sum of the rows at every position, (SLOTS, width): the gradient of the position embedding."""
    return tl.sum(tl.reshape(x, (x.shape[0] // SLOTS, SLOTS, x.shape[1])), axis=0)


@triton.jit
def _sum_of_sequence(x, SLOTS: tl.constexpr):
    whole = tl.reshape(x, (x.shape[0] // SLOTS, SLOTS, x.shape[1]))
    whole = tl.broadcast_to(tl.sum(whole, axis=1)[:, None, :], whole.shape)
    return tl.reshape(whole, x.shape)


@triton.jit
def mean_of_sequence(x, real, SLOTS: tl.constexpr, TOKENS: tl.constexpr):
    """Return the mean over the tokens of a sequence, in every row of the sequence."""
    return _sum_of_sequence(tl.where(real[:, None], x, 0.0), SLOTS) / TOKENS


@triton.jit
def mean_of_sequence_back(d, real, SLOTS: tl.constexpr, TOKENS: tl.constexpr):
    """Return the gradient of `mean_of_sequence` in x, from the gradient d of its rows."""
    return tl.where(real[:, None], _sum_of_sequence(d, SLOTS) / TOKENS, 0.0)
