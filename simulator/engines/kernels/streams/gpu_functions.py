"""What the kernels of a stream on a GPU call: means over blocks; and the kernel that draws samples, the same for every rule.

The counters and the uniform numbers are those of `support.draws`, bit for bit: Triton's Philox has the same rounds and constants.
The normal numbers, of Box and Muller, agree with `Stream.features` to rounding.
"""

import triton
import triton.language as tl

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
def unit(high, low):
    """Return a number in (0, 1] with 53 bits from two words; it is never 0, so its logarithm is finite."""
    bits = (high >> 5).to(tl.int64) * 67108864 + (low >> 6).to(tl.int64)
    return 1.0 - bits.to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def uniforms(seed, number, step, low, high, PURPOSE: tl.constexpr):
    """Return the two uniform numbers of each counter: the number of a draw, its step, and the two words of its problem."""
    first = number.to(tl.uint32) | tl.full((1,), PURPOSE, tl.uint32)
    a, b, c, d = tl.philox(seed, first, step, low, high)
    return unit(a, b), unit(c, d)


@triton.jit(do_not_specialize=["seed_", "begin_", "steps_", "batch_"])
def draw(
    root_, index_, noise_, seed_, begin_, steps_, batch_, samples_, labels_,
    SIZE_: tl.constexpr, PAD_: tl.constexpr, ROWS_: tl.constexpr, LAW_: tl.constexpr,
):  # fmt: skip
    """Store x = R z of every sample, (problems, steps, b, P), and v xi, (problems, steps, b).

    A program makes ROWS_ samples of a problem, which may be of several steps. LAW_ is 1 for normal errors of the labels; 2 for
    uniform numbers in their place, of which the host makes quantiles; 0 where there are none.
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
    one, two = uniforms(seed_, number, step[:, None], low, high, _SAMPLE)
    radius = tl.sqrt(-2.0 * tl.log(one))
    angle = 6.283185307179586 * two
    z = tl.reshape(tl.join(radius * tl.cos(angle), radius * tl.sin(angle)), (ROWS_, PAD_))
    i = tl.arange(0, PAD_)
    inside = (i < SIZE_)[None, :]
    # The transpose of R, whose rows for numbers beyond P are 0: there a pair has more of them than the sample.
    turned = tl.load(
        root_ + (row * SIZE_ + i[None, :]) * SIZE_ + i[:, None], mask=inside & (i < SIZE_)[:, None], other=0.0
    )
    x = tl.dot(z.to(turned.dtype), turned, input_precision="ieee", out_dtype=turned.dtype)
    real = n < samples
    place = row * samples + n
    tl.store(samples_ + place[:, None] * SIZE_ + i[None, :], x, mask=real[:, None] & inside)
    if LAW_ > 0:
        first, second = uniforms(seed_, sample, step, low, high, _LABEL)
        if LAW_ == 1:
            first = tl.sqrt(-2.0 * tl.log(first)) * tl.cos(6.283185307179586 * second) * tl.load(noise_)
        tl.store(labels_ + place, first.to(labels_.dtype.element_ty), mask=real)
