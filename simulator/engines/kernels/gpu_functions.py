"""What the printed GPU kernels call: functions of one number, and the kernels that are the same for every rule.

Square roots and quotients in float64 start from the hardware's seeds of some twenty bits and are refined by one step of third
order, to a unit in the last place: the exactly rounded ones take longer, and are most of Adam's time. What is neither exact
nor NaN where it should be lies beyond 1e-290 and 1e+290: below 2.2e-308 a square root is rough and a divisor counts as one of
about 1e-308, and by an infinite divisor the quotient is NaN. Under Triton's interpreter the plain ones are used.
"""

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from quadsim.simulator.runs.trajectory import DIVERGED_ABOVE

__all__ = [
    "NEVER",
    "absolute",
    "count",
    "exp",
    "first_bits",
    "follow",
    "limits",
    "limits_of",
    "log",
    "maximum",
    "minimum",
    "power",
    "ratio",
    "root",
    "sign",
    "sqrt",
    "tanh",
]

NEVER = tl.constexpr(2**31 - 1)
"""The step at which something happens that does not."""

_INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
_DIVERGED_ABOVE = tl.constexpr(DIVERGED_ABOVE)
_LARGEST = tl.constexpr(float(np.finfo(np.float64).max))
_LARGEST_START = tl.constexpr(float(np.nextafter(np.finfo(np.float64).max / DIVERGED_ABOVE, 0.0)))

# From the hardware's seed y of 1/sqrt(x): t + t*e*(1/2 + 3/8 e) with t = x*y and e = 1 - t*y. The seed is taken of 2^-1022 at
# least and is itself so large at least: then nothing special has to be done at 0 and at infinity.
_ROOT = tl.constexpr(
    """{
.reg .b32 lo, hi; .reg .f64 x, y, t, n, e, p;
mov.b64 {lo, hi}, $1; max.u32 hi, hi, 0x00100000; mov.b64 x, {lo, hi};
rsqrt.approx.ftz.f64 y, x;
mov.b64 {lo, hi}, y; max.u32 hi, hi, 0x00100000; mov.b64 y, {lo, hi};
mul.rn.f64 t, $1, y; neg.f64 n, t; fma.rn.f64 e, n, y, 0d3FF0000000000000;
fma.rn.f64 p, e, 0d3FD8000000000000, 0d3FE0000000000000; mul.rn.f64 p, p, e; fma.rn.f64 $0, t, p, t;
}"""
)
# From the seed r of 1/b: a*(r + r*e*(1 + e)) with e = 1 - b*r. The seed is 2^1021 at most, so that 0 times it is 0.
_RATIO = tl.constexpr(
    """{
.reg .b32 lo, hi; .reg .f64 r, n, e;
rcp.approx.ftz.f64 r, $2;
mov.b64 {lo, hi}, r; min.s32 hi, hi, 0x7fc00000; mov.b64 r, {lo, hi};
neg.f64 n, $2; fma.rn.f64 e, n, r, 0d3FF0000000000000; fma.rn.f64 e, e, e, e; fma.rn.f64 r, r, e, r;
mul.rn.f64 $0, $1, r;
}"""
)
_ROOT_32 = tl.constexpr("sqrt.approx.ftz.f32 $0, $1;")
_RATIO_32 = tl.constexpr("{.reg .f32 r; rcp.approx.ftz.f32 r, $2; min.NaN.f32 r, r, 0f7F000000; mul.rn.f32 $0, $1, r;}")


if _INTERPRETED:

    def count(x):
        """A whole number that bounds a loop; the interpreter of triton 3.6 cannot make one of it under numpy 2.4."""
        return int(x.handle.data.item())

else:

    @triton.jit
    def count(x):
        """A whole number that bounds a loop."""
        return x


@triton.jit
def first_bits(x):
    """The first 8 bits of a float32, as a bfloat16, and the rest. The interpreter has no product of bfloat16: all bits."""
    if _INTERPRETED:
        return x, x - x
    else:
        bits = x.to(tl.int32, bitcast=True)
        first = (bits >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
        return first, x - (bits & -65536).to(tl.float32, bitcast=True)


@triton.jit
def root(x):
    """Square root of a number that is not negative; NaN of others and of -0."""
    if x.dtype == tl.float64 and not _INTERPRETED:
        return tl.inline_asm_elementwise(_ROOT, "=d,d", [x], dtype=tl.float64, is_pure=True, pack=1)
    elif not _INTERPRETED:
        return tl.inline_asm_elementwise(_ROOT_32, "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return tl.sqrt(x)


@triton.jit
def sqrt(x):
    """Square root."""
    return root(x + 0.0)


@triton.jit
def ratio(a, b):
    """a/b, and 0 wherever a is 0."""
    if b.dtype == tl.float64 and not _INTERPRETED:
        return tl.inline_asm_elementwise(_RATIO, "=d,d,d", [a, b], dtype=tl.float64, is_pure=True, pack=1)
    elif not _INTERPRETED:
        return tl.inline_asm_elementwise(_RATIO_32, "=f,f,f", [a, b], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return tl.where(a == 0.0, 0.0, a / b)


@triton.jit
def sign(x):
    """-1, 0 or 1; 0 at 0 and at NaN. Made of bits: comparisons of float64 take turns with the matrix products."""
    if x.dtype == tl.float64:
        bits = (x.to(tl.int64, bitcast=True) & -0x8000000000000000) | 0x3FF0000000000000
    else:
        bits = (x.to(tl.int32, bitcast=True) & -0x80000000) | 0x3F800000
    return tl.where(tl.abs(x) > 0.0, bits.to(x.dtype, bitcast=True), 0.0)


@triton.jit
def absolute(x):
    """Absolute value."""
    return tl.abs(x)


@triton.jit
def exp(x):
    """Exponential."""
    return tl.exp(x)


@triton.jit
def log(x):
    """Natural logarithm."""
    return tl.log(x)


@triton.jit
def tanh(x):
    """Hyperbolic tangent."""
    if _INTERPRETED:
        e = tl.exp(-2.0 * tl.abs(x))
        return sign(x) * (1.0 - e) / (1.0 + e)
    else:
        return libdevice.tanh(x)


@triton.jit
def power(x, y):
    """The power x^y."""
    if _INTERPRETED:
        return tl.exp(y * tl.log(x))
    else:
        return libdevice.pow(x, y)


@triton.jit
def maximum(a, b):
    """The larger of two; NaN where either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(a, b):
    """The smaller of two; NaN where either is."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def limits_of(start, tolerance):
    """What counts as reached, and above what a run has diverged, from its first gap (float64)."""
    scale = tl.where(start < _LARGEST_START, start, tl.full(start.shape, _LARGEST_START, tl.float64))
    largest = tl.full(start.shape, _LARGEST, tl.float64)
    return tolerance * start, tl.where(start > 0.0, _DIVERGED_ABOVE * scale, largest)


@triton.jit
def _sum_of_blocks(gaps_, first_, blocks_, width_, mask):
    """Twice the gap, summed over the slots of a problem in their order: its blocks, or parts of them."""
    twice = tl.zeros(first_.shape, tl.float64)
    for block in range(count(blocks_)):
        twice += tl.load(gaps_ + first_ + block * width_, mask=mask, other=0.0).to(tl.float64)
    return twice


@triton.jit
def limits(gaps_, blocks_, width_, columns_, tolerance_, below_, limit_, LANES_: tl.constexpr):
    """`limits_of` every run, from the gaps of step 0."""
    n = tl.program_id(0).to(tl.int64) * LANES_ + tl.arange(0, LANES_)
    inside = n < columns_
    first = n // width_ * blocks_ * width_ + n % width_
    below, limit = limits_of(_sum_of_blocks(gaps_, first, blocks_, width_, inside) * 0.5, tl.load(tolerance_))
    tl.store(below_ + n, below, mask=inside)
    tl.store(limit_ + n, limit, mask=inside)


@triton.jit
def follow(
    gaps_, blocks_, width_, columns_, begin_, steps_, slots_, below_, limit_, hit_, above_, diverged_, records_,
    STEPS_: tl.constexpr, LANES_: tl.constexpr,
):  # fmt: skip
    """First hits, last steps above the tolerance, first divergences and records, of the steps from begin_ on.

    Gaps are (steps, problems, slots, width). Which programs run first does not matter: the smallest step wins, or the largest.
    """
    n = tl.program_id(0).to(tl.int64) * LANES_ + tl.arange(0, LANES_)
    t = tl.program_id(1) * STEPS_ + tl.arange(0, STEPS_)
    inside = (n < columns_)[None, :] & (t < steps_)[:, None]
    first = (n // width_ * blocks_ * width_ + n % width_)[None, :] + t.to(tl.int64)[:, None] * (columns_ * blocks_)
    gap = _sum_of_blocks(gaps_, first, blocks_, width_, inside) * 0.5
    below = tl.load(below_ + n, mask=n < columns_, other=0.0)
    limit = tl.load(limit_ + n, mask=n < columns_, other=0.0)
    now = tl.where(inside, (begin_ + t)[:, None], NEVER)
    hit = tl.min(tl.where(gap <= below[None, :], now, NEVER), axis=0)
    tl.atomic_min(hit_ + n, hit, mask=(n < columns_) & (hit < NEVER))
    above = tl.max(tl.where(inside & ~(gap <= below[None, :]), now, -1), axis=0)
    tl.atomic_max(above_ + n, above, mask=(n < columns_) & (above >= 0))
    diverged = tl.min(tl.where(gap <= limit[None, :], NEVER, now), axis=0)
    tl.atomic_min(diverged_ + n, diverged, mask=(n < columns_) & (diverged < NEVER))
    slot = tl.load(slots_ + begin_ + t, mask=t < steps_, other=-1)
    place = slot.to(tl.int64)[:, None] * columns_ + n[None, :]
    tl.store(records_ + place, gap, mask=inside & (slot >= 0)[:, None])
