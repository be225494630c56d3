"""Draw the samples of a stream for the fused engine, x = R z with z ~ N(0, I) and the labels' errors, in one compiled function.

Both are divided by the square root of the batch: of these, the gradient is the sum of the residuals times x (`cpu_source`).
R = V sqrt(lambda) of every block, as in `BlockQuadratic.roots`. The settings of a problem share its samples, so that
turning them costs little where there are several settings.

The counters and the uniform numbers are those of `support.draws`, bit for bit. Their logarithm, sine and cosine are evaluated
here by polynomials, in loops over arrays that LLVM turns into vector instructions: the functions of NumPy, called from compiled
code one number at a time, take ten times as long. The normal numbers agree with `Stream.features` to rounding.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.machine import CompiledModule, made_with_vectors
from quadsim.simulator.problems.oracles import Stream, unit_noise
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.support.draws import Purpose

__all__ = ["Sampler"]

_AT_ONCE = 8  # numbers in a vector
_LOG_TERMS = 11  # of 2 artanh(s) = log((1 + s)/(1 - s)), |s| <= .172
_SIN_TERMS, _COS_TERMS = 8, 9  # of x in [-pi/4, pi/4]


class Sampler:
    """Samples of the problems of a batch, by problem and step.

    Args:
        problem: M problems.
        oracle: the stream.
        dtype: of the samples that are returned.
    """

    def __init__(self, problem: BlockQuadratic, oracle: Stream, dtype: np.dtype[Any]) -> None:
        self._oracle, self._dtype, self._index, self.batch = oracle, dtype, problem.index, oracle.batch
        self._even = problem.dimension + problem.dimension % 2
        self._widths = np.array(problem.block_sizes)
        self._stride = problem.dimension + -problem.block_sizes[-1] % _AT_ONCE
        self._roots = _padded_roots(problem) / math.sqrt(oracle.batch)
        self._key = (problem.seed & 0xFFFFFFFF, (problem.seed >> 32) & 0xFFFFFFFF)

    @property
    def bytes_per_step(self) -> int:
        """Memory of the samples of one problem in one step."""
        return self._oracle.batch * (self._stride + 1) * (8 + self._dtype.itemsize)

    def draw(self, first: int, last: int, begin: int, steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return x and v xi of problems `first` to `last` - 1 at `steps` steps from `begin` on, over the square root of b.

        Returns:
            Arrays (problems, steps, b, P), where P may be followed by numbers that are not used, and (problems, steps, b).
        """
        oracle = self._oracle
        shape = (last - first, steps, oracle.batch)
        features, labels = np.empty((*shape, self._stride)), np.zeros(shape)
        z = np.empty(oracle.batch * self._even)
        counters = oracle.batch * (self._even // 2 + 1)  # of samples and labels, and what fills up vectors
        scratch = np.empty((4, counters + 2 * _AT_ONCE))
        law = 0 if not oracle.label_noise else 1 if oracle.noise_law == "normal" else 2
        _kernel().run_(
            self._index[first:last],
            *self._key,
            begin,
            scratch,
            law,
            self._widths,
            self._roots[first:last],
            z,
            features,
            labels,
        )
        if law == 2:
            labels = unit_noise(oracle.noise_law, labels)
        labels *= oracle.label_noise / math.sqrt(oracle.batch)
        return features.astype(self._dtype, copy=False), labels.astype(self._dtype, copy=False)


def _padded_roots(problem: BlockQuadratic) -> NDArray[np.float64]:
    """Return R' of every block, one after the other, (M, numbers): its rows are filled up with 0 to whole vectors."""
    every: dict[int, NDArray[np.float64]] = {}
    for size, members in problem.layout.groups.items():
        turned = np.pad(np.swapaxes(problem.roots[size], -1, -2), ((0, 0), (0, 0), (0, 0), (0, -size % _AT_ONCE)))
        every |= {int(block): turned[:, at].reshape(problem.problems, -1) for at, block in enumerate(members)}
    return np.concatenate([every[block] for block in range(len(every))], axis=1)


@lru_cache(maxsize=1)
def _kernel() -> CompiledModule:
    return CompiledModule(f"{_source()}\n# Made with {made_with_vectors()}\n", "sampling", ("run_",))


def _polynomial(variable: str, coefficients: list[float]) -> str:
    """Return a polynomial in `variable`: even and odd powers apart, so that two short chains of operations run at a time."""

    def horner(own: list[float]) -> str:
        text = repr(own[-1])
        for coefficient in reversed(own[:-1]):
            text = f"fma_({text}, {variable}{variable}, {coefficient!r})"
        return text

    return f"fma_({horner(coefficients[1::2])}, {variable}, {horner(coefficients[::2])})"


def _source() -> str:
    log = [2.0 / (2 * k + 1) for k in range(_LOG_TERMS)]
    sine = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(_SIN_TERMS)]
    cosine = [(-1.0) ** k / math.factorial(2 * k) for k in range(_COS_TERMS)]
    return _SOURCE.format(
        log=_polynomial("s2_", log), sine=_polynomial("x2_", sine), cosine=_polynomial("x2_", cosine),
        sample=int(Purpose.SAMPLE) << 28, label=int(Purpose.LABEL) << 28, ln2=math.log(2.0), turn=2.0 * math.pi,
        root_half=math.sqrt(0.5), at_once=_AT_ONCE,
    )  # fmt: skip


_SOURCE = '''\
"""Samples of a stream, on a CPU."""

import numpy as np
from numba import njit

from quadsim.simulator.engines.kernels import cpu_vectors as vectors_
from quadsim.simulator.engines.kernels.cpu_vectors import fma as fma_
from quadsim.simulator.engines.kernels.cpu_vectors import pick as pick_
from quadsim.simulator.engines.kernels.cpu_vectors import sqrt as sqrt_
from quadsim.simulator.engines.kernels.cpu_vectors import store as store_
from quadsim.simulator.engines.kernels.cpu_vectors import widest as widest_

AT_ONCE_ = {at_once}
load_, spread_, number_ = vectors_.vectors_of(AT_ONCE_, np.float64)
entry_ = part_ = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@part_
def unit_(high_, low_):
    """A number in (0, 1] of 53 bits, in two parts whose sum is exact: of 32 bits, they become floats in one instruction."""
    first_, second_ = np.float64(np.int32(high_ >> np.uint64(5))), np.float64(np.int32(low_ >> np.uint64(6)))
    return 1.0 - (first_ * 67108864.0 + second_) * 2.0**-53


@part_
def uniforms_(samples_, count_, step_, problem_, key0_, key1_, one_, two_):
    """Philox4x32-10: two uniform numbers in (0, 1] of 53 bits for each of the first counters, of samples and then of labels."""
    widest_()
    low_ = np.uint64(0xFFFFFFFF)
    shift_ = np.uint64(32)
    half_ = count_ // 2
    for n_ in range(half_):  # with the counter n_ + half_, as the rounds of one are a long chain of operations
        c0_, c1_ = np.uint64(n_ | {sample} if n_ < samples_ else (n_ - samples_) | {label}), np.uint64(step_)
        c2_, c3_ = problem_ & low_, problem_ >> shift_
        m_ = n_ + half_
        d0_, d1_, d2_, d3_ = np.uint64(m_ | {sample} if m_ < samples_ else (m_ - samples_) | {label}), c1_, c2_, c3_
        k0_, k1_ = key0_, key1_
        for _ in range(10):
            # Only the low halves count: one instruction multiplies those of two numbers.
            a_ = np.uint64(0xD2511F53) * (c0_ & low_)
            b_ = np.uint64(0xCD9E8D57) * (c2_ & low_)
            c0_, c1_, c2_, c3_ = (b_ >> shift_) ^ c1_ ^ k0_, b_, (a_ >> shift_) ^ c3_ ^ k1_, a_
            a_ = np.uint64(0xD2511F53) * (d0_ & low_)
            b_ = np.uint64(0xCD9E8D57) * (d2_ & low_)
            d0_, d1_, d2_, d3_ = (b_ >> shift_) ^ d1_ ^ k0_, b_, (a_ >> shift_) ^ d3_ ^ k1_, a_
            k0_ = (k0_ + np.uint64(0x9E3779B9)) & low_
            k1_ = (k1_ + np.uint64(0xBB67AE85)) & low_
        one_[n_], two_[n_] = unit_(c0_ & low_, c1_ & low_), unit_(c2_ & low_, c3_ & low_)
        one_[n_ + half_], two_[n_ + half_] = unit_(d0_ & low_, d1_ & low_), unit_(d2_ & low_, d3_ & low_)


@part_
def normals_(count_, one_, two_, first_, second_):
    """Box and Muller (1958): two normal numbers for each pair of uniform ones."""
    widest_()
    bits_ = one_.view(np.int64)
    for n_ in range(count_):
        exponent_ = (bits_[n_] >> 52) - 1022
        mantissa_ = (bits_[n_] & 0xFFFFFFFFFFFFF) | 0x3FE0000000000000  # of a number in [1/2, 1)
        bits_[n_] = mantissa_
        first_[n_] = np.float64(np.int32(exponent_))
    for n_ in range(count_):
        below_ = one_[n_] < {root_half!r}
        m_ = one_[n_] * 2.0 if below_ else one_[n_]
        exponent_ = first_[n_] - 1.0 if below_ else first_[n_]
        s_ = (m_ - 1.0) / (m_ + 1.0)
        s2_ = s_ * s_
        s2_s2_ = s2_ * s2_
        log_ = exponent_ * {ln2!r} + s_ * ({log})
        first_[n_] = -2.0 * log_
    for n_ in range(0, count_, AT_ONCE_):  # the numbers that follow the last one in its vector are not used
        store_(first_, n_, sqrt_(load_(first_, n_)))
    for n_ in range(count_):  # a loop of its own: the processor works on several rounds of a short one at a time
        quarter_ = np.floor(4.0 * two_[n_] + 0.5)
        x_ = (two_[n_] - 0.25 * quarter_) * {turn!r}
        x2_ = x_ * x_
        x2_x2_ = x2_ * x2_
        sin_ = x_ * ({sine})
        cos_ = {cosine}
        swap_ = quarter_ == 1.0 or quarter_ == 3.0
        a_ = sin_ if swap_ else cos_
        b_ = cos_ if swap_ else sin_
        a_ = -a_ if quarter_ == 1.0 or quarter_ == 2.0 else a_
        b_ = -b_ if quarter_ == 2.0 or quarter_ == 3.0 else b_
        second_[n_] = first_[n_] * b_
        first_[n_] = first_[n_] * a_


@part_
def turn_(batch_, even_, widths_, roots_, roots_at_, z_, x_, x_at_, stride_):
    """Write x = R z of the samples of a step; the numbers of a vector that lie beyond a block are overwritten later."""
    column_ = 0
    for block_ in range(widths_.size):
        width_ = widths_[block_]
        padded_ = (width_ + {at_once} - 1) // {at_once} * {at_once}
        for i_ in range(0, width_, {at_once}):
            k_ = 0
            while k_ < batch_:
                z_at_ = k_ * even_ + column_
                to_ = x_at_ + k_ * stride_ + column_ + i_
                a_ = number_(0.0)
                if k_ + 4 <= batch_:
                    b_, c_, d_ = number_(0.0), number_(0.0), number_(0.0)
                    for j_ in range(width_):
                        r_ = load_(roots_, roots_at_ + j_ * padded_ + i_)
                        a_ = fma_(r_, spread_(pick_(z_, z_at_ + j_)), a_)
                        b_ = fma_(r_, spread_(pick_(z_, z_at_ + even_ + j_)), b_)
                        c_ = fma_(r_, spread_(pick_(z_, z_at_ + 2 * even_ + j_)), c_)
                        d_ = fma_(r_, spread_(pick_(z_, z_at_ + 3 * even_ + j_)), d_)
                    store_(x_, to_, a_)
                    store_(x_, to_ + stride_, b_)
                    store_(x_, to_ + 2 * stride_, c_)
                    store_(x_, to_ + 3 * stride_, d_)
                    k_ += 4
                else:
                    for j_ in range(width_):
                        a_ = fma_(load_(roots_, roots_at_ + j_ * padded_ + i_), spread_(pick_(z_, z_at_ + j_)), a_)
                    store_(x_, to_, a_)
                    k_ += 1
        roots_at_ += width_ * padded_
        column_ += width_


@entry_
def run_(index_, key0_, key1_, begin_, scratch_, law_, widths_, roots_, z_, features_, labels_):
    """Fill x (problems, steps, b, P), and the labels (problems, steps, b) if law_ is 1 (normal) or 2 (uniform)."""
    widest_()
    problems_, steps_, batch_, stride_ = features_.shape
    even_ = z_.size // batch_
    x_ = features_.reshape(-1)
    low_, high_ = np.uint64(key0_), np.uint64(key1_)
    pairs_ = batch_ * (even_ // 2)
    one_, two_, first_, second_ = scratch_[0], scratch_[1], scratch_[2], scratch_[3]
    roots_flat_ = roots_.reshape(-1)
    count_ = pairs_ + (batch_ if law_ > 0 else 0)
    whole_ = (count_ + 2 * AT_ONCE_ - 1) // (2 * AT_ONCE_) * (2 * AT_ONCE_)  # no number is left over from the vectors
    at_ = 0
    for p_ in range(problems_):
        problem_ = np.uint64(index_[p_])
        for t_ in range(steps_):
            uniforms_(pairs_, whole_, begin_ + t_, problem_, low_, high_, one_, two_)
            if law_ == 2:
                for k_ in range(batch_):
                    labels_[p_, t_, k_] = one_[pairs_ + k_]
            normals_(count_ if law_ == 1 else pairs_, one_, two_, first_, second_)
            if law_ == 1:
                for k_ in range(batch_):
                    labels_[p_, t_, k_] = first_[pairs_ + k_]
            for n_ in range(pairs_):
                z_[2 * n_] = first_[n_]
                z_[2 * n_ + 1] = second_[n_]
            turn_(batch_, even_, widths_, roots_flat_, p_ * roots_.shape[1], z_, x_, at_, stride_)
            at_ += batch_ * stride_
'''
