"""Kernels of products of many small matrices, in Triton's language: one program multiplies the matrices of one instance.

A library of products takes kernels made for large matrices, one for each of the three products of a layer, and reads everything
that two of them share twice. Here the way back is one kernel, and an activation is applied where its argument is read.

In float32 a product is the sum of three products of the matrix units, of the parts of both arguments that tf32 can hold
(`tf32x3`). Its error is that of float32: against float64, 1e-7 to 2e-7 of the norm of the result, as by the library.

Shapes are constants of a kernel, filled up with zeros to powers of two (BN, BI, BO). The matrices of two instances may lie any
number of coordinates (`stride`) apart, as they are parts of longer rows of parameters.
"""

import triton
import triton.language as tl

__all__ = ["lookup", "lookup_backward", "product", "product_backward"]


@triton.jit
def normal(x):
    """Return the distribution function and the density of the normal law."""
    return 0.5 + 0.5 * tl.erf(x * 0.7071067811865476), 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def product(
    x, weight, y, stride,
    N: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, BN: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
    GELU: tl.constexpr,
):  # fmt: skip
    """Set y (E, N, OUT) to x W^T, or gelu(x) W^T, for x (E, N, IN) and W (E, OUT, IN)."""
    e = tl.program_id(0).to(tl.int64)
    n = (tl.program_id(1) * BN + tl.arange(0, BN))[:, None]
    i, o = tl.arange(0, BI)[None, :], tl.arange(0, BO)
    a = tl.load(x + e * (N * IN) + n * IN + i, mask=(n < N) & (i < IN), other=0.0)
    b = tl.load(weight + e * stride + o[:, None] * IN + i, mask=(o[:, None] < OUT) & (i < IN), other=0.0)
    if GELU:
        below, _ = normal(a)
        a *= below
    c = tl.dot(a, tl.trans(b), input_precision="tf32x3")
    tl.store(y + e * (N * OUT) + n * OUT + o[None, :], c, mask=(n < N) & (o[None, :] < OUT))


@triton.jit
def product_backward(
    d, x, weight, dx, dweight, stride,
    N: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, BN: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
    GELU: tl.constexpr,
):  # fmt: skip
    """Set dx (E, N, IN) and dweight (E, OUT, IN) to the gradients of `product` whose result has the gradient d (E, N, OUT)."""
    e = tl.program_id(0).to(tl.int64)
    i, o = tl.arange(0, BI)[None, :], tl.arange(0, BO)
    at, own = o[:, None] * IN + i, (o[:, None] < OUT) & (i < IN)
    b = tl.load(weight + e * stride + at, mask=own, other=0.0)
    total = tl.zeros((BO, BI), dtype=tl.float32)
    for first in range(0, N, BN):
        n = (first + tl.arange(0, BN))[:, None]
        inside = (n < N) & (i < IN)
        deep = e * (N * IN) + n * IN + i
        c = tl.load(d + e * (N * OUT) + n * OUT + o[None, :], mask=(n < N) & (o[None, :] < OUT), other=0.0)
        a = tl.load(x + deep, mask=inside, other=0.0)
        back = tl.dot(c, b, input_precision="tf32x3")
        if GELU:
            below, density = normal(a)
            back *= below + a * density
            a *= below
        tl.store(dx + deep, back, mask=inside)
        total = tl.dot(tl.trans(c), a, total, input_precision="tf32x3")
    tl.store(dweight + e * (OUT * IN) + at, total, mask=own)


@triton.jit
def lookup(
    table, inputs, y, stride, N: tl.constexpr, V: tl.constexpr, IN: tl.constexpr, BN: tl.constexpr, BI: tl.constexpr
):  # fmt: skip
    """Set y (E, N, IN) to the rows of the tables (E, V, IN) whose numbers are in inputs, (E, N)."""
    e = tl.program_id(0).to(tl.int64)
    n, i = tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BI)[None, :]
    inside = (n[:, None] < N) & (i < IN)
    number = tl.load(inputs + e * N + n, mask=n < N, other=0)[:, None]
    rows = tl.load(table + e * stride + number * IN + i, mask=inside, other=0.0)
    tl.store(y + e * (N * IN) + n[:, None] * IN + i, rows, mask=inside)


@triton.jit
def lookup_backward(
    d, inputs, dtable,
    N: tl.constexpr, V: tl.constexpr, IN: tl.constexpr, BN: tl.constexpr, BV: tl.constexpr, BI: tl.constexpr,
):  # fmt: skip
    """Set dtable (E, V, IN) to sums of the rows of d (E, N, IN): row v of those whose number in inputs, (E, N), is v."""
    e = tl.program_id(0).to(tl.int64)
    i, v = tl.arange(0, BI)[None, :], (tl.program_id(1) * BV + tl.arange(0, BV))[:, None]
    total = tl.zeros((BV, BI), dtype=tl.float32)
    for first in range(0, N, BN):
        n = first + tl.arange(0, BN)
        a = tl.load(d + e * (N * IN) + n[:, None] * IN + i, mask=(n[:, None] < N) & (i < IN), other=0.0)
        number = tl.load(inputs + e * N + n, mask=n < N, other=-1)
        # Atomic additions would give other last bits in every run.
        total = tl.dot((v == number[None, :]).to(tl.float32), a, total, input_precision="tf32x3")
    tl.store(dtable + e * (V * IN) + v * IN + i, total, mask=(v < V) & (i < IN))
