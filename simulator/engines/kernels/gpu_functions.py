"""Functions that the printed GPU kernels call, and the two kernels that are the same for every rule (`limits`, `follow`).

Square roots and quotients in float64 start from the approximation of the hardware (about 20 bits) and are refined by one
iteration of third order, to one unit in the last place. Correctly rounded ones take longer and would be most of the time of an
Adam step. The price: results are imprecise for numbers below 1e-290 or above 1e+290. Below 2.2e-308 a square root is rough and a
divisor counts as about 1e-308; a quotient by an infinite divisor is NaN. Runs with such numbers have converged or diverged.

Under Triton's interpreter (tests without a GPU) the plain operations are used, so results there differ in the last place.
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
"""The step number that stands for "it never happened" (the run did not reach the tolerance, or did not diverge)."""

_INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
_DIVERGED_ABOVE = tl.constexpr(DIVERGED_ABOVE)
_LARGEST = tl.constexpr(float(np.finfo(np.float64).max))
_LARGEST_START = tl.constexpr(float(np.nextafter(np.finfo(np.float64).max / DIVERGED_ABOVE, 0.0)))

# From the hardware's approximation y of 1/sqrt(x): t + t*e*(1/2 + 3/8 e) with t = x*y and e = 1 - t*y. The argument of the
# approximation and its result are both raised to at least 2^-1022 (`max.u32` on the high word): at x = 0 the result is then
# 0 * finite = 0, and at x = infinity it is infinity * positive, without a branch. A raised result instead of 0 keeps NaN out.
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
# From the approximation r of 1/b: a*(r + r*e*(1 + e)) with e = 1 - b*r. The approximation is cut at 2^1021: at b = 0 it would be
# infinite, and 0 * infinity is NaN where Ratio(0, 0) must be 0.
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
        """Return an integer argument as the bound of a loop; Triton 3.6's interpreter cannot convert it under NumPy 2.4."""
        return int(x.handle.data.item())

else:

    @triton.jit
    def count(x):
        """Return an integer argument as the bound of a loop."""
        return x


@triton.jit
def first_bits(x):
    """Return the first 8 significant bits of a float32 as a bfloat16, and the exact remainder as a float32.

    Triton's interpreter has no product of bfloat16: there the first part is the whole number and the remainder is 0.
    """
    if _INTERPRETED:
        return x, x - x
    else:
        bits = x.to(tl.int32, bitcast=True)
        first = (bits >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
        return first, x - (bits & -65536).to(tl.float32, bitcast=True)


@triton.jit
def root(x):
    """Return the square root of a number that is known not to be negative; NaN for a negative number and for -0.

    `sqrt` also handles -0; this function saves its addition.
    """
    if x.dtype == tl.float64 and not _INTERPRETED:
        return tl.inline_asm_elementwise(_ROOT, "=d,d", [x], dtype=tl.float64, is_pure=True, pack=1)
    elif not _INTERPRETED:
        return tl.inline_asm_elementwise(_ROOT_32, "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return tl.sqrt(x)


@triton.jit
def sqrt(x):
    """Return the square root; adding 0 turns -0 into 0."""
    return root(x + 0.0)


@triton.jit
def ratio(a, b):
    """Return a/b, and 0 wherever a is 0 (also where b is 0)."""
    if b.dtype == tl.float64 and not _INTERPRETED:
        return tl.inline_asm_elementwise(_RATIO, "=d,d,d", [a, b], dtype=tl.float64, is_pure=True, pack=1)
    elif not _INTERPRETED:
        return tl.inline_asm_elementwise(_RATIO_32, "=f,f,f", [a, b], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return tl.where(a == 0.0, 0.0, a / b)


@triton.jit
def sign(x):
    """Return -1, 0 or 1; 0 at 0 and at NaN.

    The sign bit is copied with integer operations: float64 comparisons would wait for the units that the matrix product uses.
    """
    if x.dtype == tl.float64:
        bits = (x.to(tl.int64, bitcast=True) & -0x8000000000000000) | 0x3FF0000000000000
    else:
        bits = (x.to(tl.int32, bitcast=True) & -0x80000000) | 0x3F800000
    return tl.where(tl.abs(x) > 0.0, bits.to(x.dtype, bitcast=True), 0.0)


@triton.jit
def absolute(x):
    """Return the absolute value."""
    return tl.abs(x)


@triton.jit
def exp(x):
    """Return the exponential."""
    return tl.exp(x)


@triton.jit
def log(x):
    """Return the natural logarithm."""
    return tl.log(x)


@triton.jit
def tanh(x):
    """Return the hyperbolic tangent."""
    if _INTERPRETED:
        e = tl.exp(-2.0 * tl.abs(x))
        return sign(x) * (1.0 - e) / (1.0 + e)
    else:
        return libdevice.tanh(x)


@triton.jit
def power(x, y):
    """Return the power x^y."""
    if _INTERPRETED:
        return tl.exp(y * tl.log(x))
    else:
        return libdevice.pow(x, y)


@triton.jit
def maximum(a, b):
    """Return the larger of two numbers; NaN where either is NaN."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(a, b):
    """Return the smaller of two numbers; NaN where either is NaN."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def limits_of(start, tolerance):
    """Return the gap at which a run has reached the tolerance, and the gap above which it has diverged, from its first gap.

    All in float64. The first gap is capped so that the limit of divergence stays finite; a start at the solution has the largest
    float64 as its limit.
    """
    scale = tl.where(start < _LARGEST_START, start, tl.full(start.shape, _LARGEST_START, tl.float64))
    largest = tl.full(start.shape, _LARGEST, tl.float64)
    return tolerance * start, tl.where(start > 0.0, _DIVERGED_ABOVE * scale, largest)


@triton.jit
def _sum_of_blocks(gaps_, first_, blocks_, width_, mask):
    """Return twice the gap: the sum over the slots of a problem (its blocks, or parts of them), always in the same order."""
    twice = tl.zeros(first_.shape, tl.float64)
    for block in range(count(blocks_)):
        twice += tl.load(gaps_ + first_ + block * width_, mask=mask, other=0.0).to(tl.float64)
    return twice


@triton.jit
def limits(gaps_, blocks_, width_, columns_, tolerance_, below_, limit_, LANES_: tl.constexpr):
    """Store the `limits_of` every run, from the gaps of step 0."""
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
    """Update first hits, last steps above the tolerance and first divergences, and store the recorded gaps.

    `gaps_` has the shape (steps, problems, slots, width) and begins at step `begin_`. The order in which programs run does not
    change the result: the smallest step wins (atomic minimum), or the largest (atomic maximum).
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
