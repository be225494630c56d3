"""What the printed GPU kernels call: functions of one number, and the kernels that are the same for every rule.

Square roots and quotients in float64 start from the hardware's float32 seeds and are refined by one step of third order, to
about one unit in the last place: the exactly rounded ones cost several times as much, and are most of Adam's time. Divisors
below 2.2e-308 count as 0. Under Triton's interpreter the plain ones are used.
"""

import os

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from quadsim.simulator.trajectory import DIVERGED_ABOVE

__all__ = [
    "NEVER", "absolute", "count", "exp", "follow", "limits", "limits_of", "log", "maximum", "minimum", "power", "ratio", "sign",
    "sqrt", "tanh",
]  # fmt: skip

NEVER = tl.constexpr(2**31 - 1)
"""The step at which something happens that does not."""

_INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
_VARIANT = tl.constexpr("plain" if triton.knobs.runtime.interpret else os.environ.get("QUADSIM_GPU_MATH", "single"))
_DIVERGED_ABOVE = tl.constexpr(DIVERGED_ABOVE)
_LARGEST = tl.constexpr(float(np.finfo(np.float64).max))
_LARGEST_START = tl.constexpr(float(np.nextafter(np.finfo(np.float64).max / DIVERGED_ABOVE, 0.0)))

# A seed y of 1/sqrt(x) from the mantissa and the parity of the exponent, then s = t + t*e*(1/2 + 3/8 e) with t = x*y and
# e = 1 - t*y. Numbers that are not normal (0, infinite, NaN) are their own roots, negative ones have none.
_ROOT_REFINED = """
mul.rn.f64 t, $1, y; neg.f64 n, t; fma.rn.f64 e, n, y, 0d3FF0000000000000;
fma.rn.f64 p, e, 0d3FD8000000000000, 0d3FE0000000000000; mul.rn.f64 p, p, e; fma.rn.f64 s, t, p, t;
mov.pred bad, 0; @!normal setp.lt.f64 bad, $1, 0d0000000000000000;
selp.f64 s, s, $1, normal; selp.f64 $0, 0d7FF8000000000000, s, bad;
}"""
_SQRT_SINGLE = tl.constexpr(
    """{
.reg .b32 lo, hi, a, b; .reg .f32 f; .reg .f64 y, t, n, e, p, s; .reg .pred normal, bad;
mov.b64 {lo, hi}, $1;
and.b32 a, hi, 0x001fffff; xor.b32 a, a, 0x00100000; shl.b32 a, a, 3; add.u32 a, a, 0x3f800000;
mov.b32 f, a; rsqrt.approx.ftz.f32 f, f; mov.b32 a, f;
shr.u32 a, a, 3; add.u32 a, a, 0x58000000;
add.u32 b, hi, 0x00100000; shr.u32 b, b, 1; and.b32 b, b, 0x7ff00000; sub.u32 a, a, b;
mov.b32 lo, 0; mov.b64 y, {lo, a};
sub.u32 b, hi, 0x00100000; setp.lt.u32 normal, b, 0x7fe00000;"""
    + _ROOT_REFINED
)
_SQRT_DOUBLE = tl.constexpr(
    """{
.reg .b32 lo, hi, b; .reg .f64 y, t, n, e, p, s; .reg .pred normal, bad;
mov.b64 {lo, hi}, $1; rsqrt.approx.ftz.f64 y, $1;
sub.u32 b, hi, 0x00100000; setp.lt.u32 normal, b, 0x7fe00000;"""
    + _ROOT_REFINED
)
# A seed r of 1/b in the same way, then r + r*e*(1 + e) with e = 1 - b*r; 0 wherever a is.
_RATIO_REFINED = """
neg.f64 n, $2; fma.rn.f64 e, n, r, 0d3FF0000000000000; fma.rn.f64 e, e, e, e; fma.rn.f64 e, r, e, r;
selp.f64 r, e, r, normal; mul.rn.f64 r, $1, r;
setp.eq.f64 zero, $1, 0d0000000000000000; selp.f64 $0, 0d0000000000000000, r, zero;
}"""
_RATIO_SINGLE = tl.constexpr(
    """{
.reg .b32 lo, hi, a, b; .reg .f32 f; .reg .f64 r, n, e; .reg .pred normal, zero;
mov.b64 {lo, hi}, $2;
and.b32 a, hi, 0x000fffff; shl.b32 a, a, 3; add.u32 a, a, 0x3f800000;
mov.b32 f, a; rcp.approx.ftz.f32 f, f; mov.b32 a, f;
shr.u32 a, a, 3; add.u32 a, a, 0x77f00000; and.b32 b, hi, 0xfff00000; sub.u32 a, a, b;
mov.b32 lo, 0; mov.b64 r, {lo, a};
and.b32 b, hi, 0x7fffffff; sub.u32 b, b, 0x00100000; setp.lt.u32 normal, b, 0x7fc00000;
@!normal rcp.approx.ftz.f64 r, $2;"""
    + _RATIO_REFINED
)
_RATIO_DOUBLE = tl.constexpr(
    """{
.reg .b32 lo, hi, b; .reg .f64 r, n, e; .reg .pred normal, zero;
mov.b64 {lo, hi}, $2; rcp.approx.ftz.f64 r, $2;
and.b32 b, hi, 0x7fffffff; sub.u32 b, b, 0x00100000; setp.lt.u32 normal, b, 0x7fc00000;"""
    + _RATIO_REFINED
)


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
def sqrt(x):
    """Square root."""
    if x.dtype == tl.float64 and _VARIANT == "single":
        return tl.inline_asm_elementwise(_SQRT_SINGLE, "=d,d", [x], dtype=tl.float64, is_pure=True, pack=1)
    elif x.dtype == tl.float64 and _VARIANT == "double":
        return tl.inline_asm_elementwise(_SQRT_DOUBLE, "=d,d", [x], dtype=tl.float64, is_pure=True, pack=1)
    else:
        return tl.sqrt(x)


@triton.jit
def ratio(a, b):
    """a/b, and 0 wherever a is 0."""
    if b.dtype == tl.float64 and _VARIANT == "single":
        return tl.inline_asm_elementwise(_RATIO_SINGLE, "=d,d,d", [a, b], dtype=tl.float64, is_pure=True, pack=1)
    elif b.dtype == tl.float64 and _VARIANT == "double":
        return tl.inline_asm_elementwise(_RATIO_DOUBLE, "=d,d,d", [a, b], dtype=tl.float64, is_pure=True, pack=1)
    else:
        return tl.where(a == 0.0, 0.0, a / b)


@triton.jit
def sign(x):
    """-1, 0 or 1; 0 at 0 and at NaN."""
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, 0.0)).to(x.dtype)


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
    """x to the power of y."""
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
    """Twice the gap, summed over the blocks in their order."""
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
    gaps_, blocks_, width_, columns_, begin_, steps_, slots_, below_, limit_, hit_, diverged_, records_,
    STEPS_: tl.constexpr, LANES_: tl.constexpr,
):  # fmt: skip
    """First hits, first divergences and records from gaps (steps, problems, blocks, width) of the steps from begin_ on.

    Which programs run first does not matter: the smallest step wins.
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
    diverged = tl.min(tl.where(gap <= limit[None, :], NEVER, now), axis=0)
    tl.atomic_min(diverged_ + n, diverged, mask=(n < columns_) & (diverged < NEVER))
    slot = tl.load(slots_ + begin_ + t, mask=t < steps_, other=-1)
    place = slot.to(tl.int64)[:, None] * columns_ + n[None, :]
    tl.store(records_ + place, gap, mask=inside & (slot >= 0)[:, None])
