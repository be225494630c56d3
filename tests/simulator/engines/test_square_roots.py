"""The square root of the CPU kernels is that of the processor, bit for bit (see `cpu_vectors`)."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numba import njit

from quadsim.simulator.engines.kernels import cpu_vectors
from quadsim.simulator.engines.kernels.cpu_vectors import sqrt, store

_LANES = 16
_load = cpu_vectors.vectors_of(_LANES, np.float64)[0]


@njit
def _roots(numbers, found):
    for at in range(0, numbers.size, _LANES):
        store(found, at, sqrt(_load(numbers, at)))


def kernel_roots(numbers):
    """The square roots of the kernels, each of a vector of its own: one number that is not moderate changes the way of all."""
    found = np.empty((len(numbers), _LANES))
    _roots(np.repeat(numbers, _LANES), found.reshape(-1))
    return found[:, 0]


def same_bits(one, other):
    np.testing.assert_array_equal(np.asarray(one).view(np.int64), np.asarray(other).view(np.int64))


_FARTHEST = 34  # of X from M (M + 1)


def hard_squares(digits):
    """All X whose root lies near the middle M + 1/2 of two numbers of so many digits, as (number A, scale) with X = 2^scale A.

    In units of the last place, M and A are in [2^(digits - 1), 2^digits), and X - M (M + 1) = n is even with |n| <= 34. For each
    n there are two M modulo a power of 2, as the derivative 2 M + 1 is odd.
    """
    least = 2 ** (digits - 1)
    found = set()
    for n in range(-_FARTHEST, _FARTHEST + 2, 2):
        for root in (0, 1):
            for bit in range(1, digits):  # a root modulo 2^bit is one modulo 2^(bit + 1), with the next digit 0 or 1
                root += ((root * (root + 1) + n) >> bit & 1) << bit
            for scale, middle in ((digits - 1, root % least + least), (digits, root)):
                number, rest = divmod(middle * (middle + 1) + n, 2**scale)
                assert rest == 0
                if least <= number < 2 * least and least <= middle < 2 * least:
                    found.add((number, scale))
    return found


def hard_numbers():
    """The numbers in [1, 4) whose root the kernel's formula might round to another number than the nearest."""
    return np.array(sorted(math.ldexp(number, scale - 104) for number, scale in hard_squares(53)))


def test_all_hard_squares_of_a_short_format_are_found():
    tried = [(number, scale) for number in range(2**13, 2**14) for scale in (13, 14)]
    squares = {each: each[0] << each[1] for each in tried}
    middles = {each: math.isqrt(x) for each, x in squares.items()}
    near = {each for each, m in middles.items() if abs(squares[each] - m * (m + 1)) <= _FARTHEST and m < 2**14}
    assert hard_squares(14) == near


def test_hard_numbers_lie_near_the_middle():
    numbers = hard_numbers()
    assert numbers.size > 40
    for number in numbers.tolist():
        root = math.isqrt(int(Fraction(number) * 2**204))  # in units of 2^-50 ulp
        assert abs(root % 2**50 - 2**49) <= 2**4


def emulated(number, error):
    """The kernel's formula in exact numbers, each operation rounded once, from an estimate with a relative error."""

    def fma(a, b, c):
        return float(Fraction(a) * Fraction(b) + Fraction(c))

    y = float(Fraction(1.0 / math.sqrt(number)) * (1 + Fraction(error)))
    g, h = number * y, 0.5 * y
    for _ in range(2):
        r = fma(-g, h, 0.5)
        g, h = fma(g, r, g), fma(h, r, h)
    return fma(fma(-g, g, number), h, g)


@pytest.mark.parametrize("error", [-(2.0**-14), -(2.0**-16), 0.0, 2.0**-16, 2.0**-14])
def test_every_hard_number_is_rounded_right(error):
    numbers = hard_numbers().tolist()
    assert [emulated(x, error) for x in numbers] == [math.sqrt(x) for x in numbers]


def test_an_estimate_that_is_too_rough_is_found():
    numbers = hard_numbers().tolist()
    assert [emulated(x, 2.0**-9) for x in numbers] != [math.sqrt(x) for x in numbers]


def test_hard_numbers_in_the_kernel():
    numbers = np.concatenate([hard_numbers() * 4.0**k for k in (-255, -30, 0, 7, 255)])
    same_bits(kernel_roots(numbers), np.sqrt(numbers))


def test_numbers_of_every_size():
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 0x7FF0000000000001, size=2000, dtype=np.int64)
    ends = [
        0.0,
        5e-324,
        2.0**-1022,
        2.0**-511,
        np.nextafter(2.0**-511, 0.0),
        2.0**513,
        np.nextafter(2.0**513, 0.0),
        np.inf,
    ]
    near = generator.uniform(1.0, 4.0, size=2000)
    numbers = np.concatenate([bits.view(np.float64), ends, [-0.0], near, near * 1e-20, near * 1e100])
    same_bits(kernel_roots(numbers), np.sqrt(numbers))


def test_a_mixed_vector_and_negative_numbers():
    numbers = np.array([1.5, 0.0, 2.0, np.inf, 5e-324, 3.0, 1e300, 1e-300, 7.0, -0.0, 11.0, 0.3, 0.7, 1e-5, 1e5, 9.0])
    found = np.empty(_LANES)
    _roots(numbers, found)
    same_bits(found, np.sqrt(numbers))
    numbers[[2, 9]] = -1.0, np.nan
    _roots(numbers, found)
    assert np.isnan(found[[2, 9]]).all()
    assert np.isnan(kernel_roots([-4.0])).all()
