"""What the kernels of a stream on a GPU call: means over blocks; and the kernel that draws samples, the same for every rule.

The counters and the uniform numbers are those of `support.draws`, bit for bit: Triton's Philox has the same rounds and constants.
The normal numbers, of Box and Muller, agree with `Stream.features` to rounding.
"""

import triton
import triton.language as tl

from quadsim.simulator.engines.kernels.gpu_functions import first_bits, ratio, sqrt
from quadsim.simulator.support.draws import Purpose

__all__ = ["draw", "means_of"]

_SAMPLE = tl.constexpr(int(Purpose.SAMPLE) << 28)
_LABEL = tl.constexpr(int(Purpose.LABEL) << 28)


@triton.jit
def means_of(value, block, share, BLOCKS: tl.constexpr):
    """Return the mean over each block, for all of its coordinates; `value` must be 0 beyond the last coordinate."""
    total = tl.zeros_like(value)
    for number in range(BLOCKS):
        own = block == number
        total = tl.where(own, tl.sum(tl.where(own, value, 0.0), axis=1, keep_dims=True), total)
    return total * share


@triton.jit
def product(a, b):
    """Return a matrix product: in float32 the sum of six bfloat16 products of the thirds of both, the largest one last."""
    if a.dtype == tl.float64:
        return tl.dot(a, b, input_precision="ieee", out_dtype=tl.float64)
    else:
        a0, a = first_bits(a)
        a1, a = first_bits(a)
        a2, a = first_bits(a)
        b0, b = first_bits(b)
        b1, b = first_bits(b)
        b2, b = first_bits(b)
        g = tl.dot(a1, b1, tl.dot(a2, b0, out_dtype=tl.float32), out_dtype=tl.float32)
        g = tl.dot(a1, b0, tl.dot(a0, b2, g, out_dtype=tl.float32), out_dtype=tl.float32)
        return tl.dot(a0, b0, tl.dot(a0, b1, g, out_dtype=tl.float32), out_dtype=tl.float32)


@triton.jit
def bits_of(high, low):
    """Return k, the 53 bits of two words; the uniform number of `support.draws` is 1 - k/2^53, in (0, 1]."""
    return (high >> 5).to(tl.int64) * 67108864 + (low >> 6).to(tl.int64)


@triton.jit
def words(seed, number, step, low, high, PURPOSE: tl.constexpr):
    """Return the bits of the two uniform numbers of a counter: the number of a draw, its step, the two words of its problem."""
    first = number.to(tl.uint32) | tl.full((1,), PURPOSE, tl.uint32)
    a, b, c, d = tl.philox(seed, first, step, low, high)
    return bits_of(a, b), bits_of(c, d)


@triton.jit
def minus_log(k, TYPE: tl.constexpr):
    """Return -log(u) of u = 1 - k/2^53, to rounding also near u = 1.

    u = 2^n m with m in [3/4, 3/2), and log m = 2 artanh(s) with s = (m - 1)/(m + 1), |s| <= 1/5. Where n = 0, m - 1 is -k/2^53
    exactly; from a rounded u it would have no digits left.
    """
    u = (9007199254740992 - k).to(TYPE)
    if tl.float64 == TYPE:
        bits = u.to(tl.int64, bitcast=True)
        n = ((bits + 0x0008000000000000) >> 52).to(tl.int32) - 1023
        m = (bits - (n.to(tl.int64) << 52)).to(tl.float64, bitcast=True)
    else:
        bits = u.to(tl.int32, bitcast=True)
        n = ((bits + 0x00400000) >> 23) - 127
        m = (bits - (n << 23)).to(tl.float32, bitcast=True)
    n -= 53
    f = tl.where(n == 0, k.to(TYPE) * -1.1102230246251565e-16, m - 1.0)
    s = ratio(f, 2.0 + f)
    q = s * s
    p = 2.0 / 9 + q * (2.0 / 11 + q * (2.0 / 13 + q * (2.0 / 15)))
    if tl.float64 == TYPE:
        p = 2.0 / 15 + q * (2.0 / 17 + q * (2.0 / 19 + q * (2.0 / 21 + q * (2.0 / 23))))
        p = 2.0 / 9 + q * (2.0 / 11 + q * (2.0 / 13 + q * p))
    p = 2.0 / 3 + q * (2.0 / 5 + q * (2.0 / 7 + q * p))
    return n.to(TYPE) * -0.6931471805599453 - (2.0 * s + s * q * p)


@triton.jit
def cosine_sine(k, TYPE: tl.constexpr):
    """Return the cosine and the sine of 2 pi u, u = 1 - k/2^53.

    The angle is -2 pi k/2^53. Its nearest multiple of a right angle is subtracted from the whole number k, thus exactly. What is
    left is at most pi/4, where Taylor's series are short. Library functions would reduce an angle of any size.
    """
    quarter = (k + 1125899906842624) >> 51
    x = (k - (quarter << 51)).to(TYPE) * 6.975736996017264e-16
    turns = quarter.to(tl.int32)
    q = x * x
    if tl.float64 == TYPE:
        c = -1.1470745597729725e-11 + q * 4.779477332387385e-14
        c = 2.48015873015873e-05 + q * (-2.755731922398589e-07 + q * (2.08767569878681e-09 + q * c))
        s = 1.6059043836821613e-10 + q * -7.647163731819816e-13
        s = -1.984126984126984e-04 + q * (2.7557319223985893e-06 + q * (-2.505210838544172e-08 + q * s))
    else:
        c = 2.48015873015873e-05 + q * -2.755731922398589e-07
        s = -1.984126984126984e-04 + q * 2.7557319223985893e-06
    c = 1.0 + q * (-0.5 + q * (0.041666666666666664 + q * (-0.001388888888888889 + q * c)))
    s = x + x * q * (-0.16666666666666666 + q * (0.008333333333333333 + q * s))
    odd = (turns & 1) == 1
    cosine, sine = tl.where(odd, s, c), tl.where(odd, c, s)
    return tl.where((turns + 1 & 2) == 0, cosine, -cosine), tl.where((turns & 2) == 0, -sine, sine)


@triton.jit
def normals(seed, number, step, low, high, PURPOSE: tl.constexpr, TYPE: tl.constexpr):
    """Return the two normal numbers of each counter, by Box and Muller."""
    one, two = words(seed, number, step, low, high, PURPOSE)
    radius = sqrt(2.0 * minus_log(one, TYPE))
    cosine, sine = cosine_sine(two, TYPE)
    return radius * cosine, radius * sine


@triton.jit(do_not_specialize=["seed_", "begin_", "steps_", "batch_"])
def draw(
    root_, index_, factors_, seed_, begin_, steps_, batch_, samples_, labels_,
    SIZE_: tl.constexpr, PAD_: tl.constexpr, ROWS_: tl.constexpr, LAW_: tl.constexpr,
):  # fmt: skip
    """Store x/sqrt(b), x = R z, of every sample, (problems, steps, b, P), and v xi/sqrt(b), (problems, steps, b).

    A program makes ROWS_ samples of a problem, which may be of several steps. LAW_ is 1 for normal errors of the labels; 2 for
    uniform numbers in their place, of which the host makes quantiles; 0 where there are none. `factors_` holds 1/sqrt(b) and
    v/sqrt(b).
    """
    samples = steps_ * batch_
    parts = tl.cdiv(samples, ROWS_)
    row = (tl.program_id(0) // parts).to(tl.int64)
    n = tl.program_id(0) % parts * ROWS_ + tl.arange(0, ROWS_)
    step = (begin_ + n // batch_).to(tl.int32)
    sample = n % batch_
    low = tl.load(index_ + 2 * row)
    high = tl.load(index_ + 2 * row + 1)
    pair = tl.arange(0, PAD_ // 2)
    number = sample[:, None] * ((SIZE_ + 1) // 2) + pair[None, :]
    kind = samples_.dtype.element_ty
    one, two = normals(seed_, number, step[:, None], low, high, _SAMPLE, kind)
    z = tl.reshape(tl.join(one, two), (ROWS_, PAD_))
    i = tl.arange(0, PAD_)
    inside = (i < SIZE_)[None, :]
    # The transpose of R, whose rows for numbers beyond P are 0: there a pair has more of them than the sample.
    turned = tl.load(
        root_ + (row * SIZE_ + i[None, :]) * SIZE_ + i[:, None], mask=inside & (i < SIZE_)[:, None], other=0.0
    )
    x = product(z, turned) * tl.load(factors_).to(kind)
    real = n < samples
    place = row * samples + n
    tl.store(samples_ + place[:, None] * SIZE_ + i[None, :], x, mask=real[:, None] & inside)
    if LAW_ == 1:
        first, _ = normals(seed_, sample, step, low, high, _LABEL, kind)
        tl.store(labels_ + place, first * tl.load(factors_ + 1).to(kind), mask=real)
    if LAW_ == 2:
        first, _ = words(seed_, sample, step, low, high, _LABEL)
        tl.store(labels_ + place, 1.0 - first.to(tl.float64) * 1.1102230246251565e-16, mask=real)
