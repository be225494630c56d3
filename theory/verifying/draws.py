"""Random numbers of trials: powers of ten, and fractions, orthogonal matrices and rates that exact arithmetic can follow."""

from fractions import Fraction

import numpy as np

__all__ = ["Draw", "dyadic", "fraction", "powers", "product", "rational_rotation"]

Draw = np.random.Generator


def powers(draw: Draw, low: float, high: float) -> float:
    """Return 10^x for a uniform x between low and high."""
    return float(10.0 ** draw.uniform(low, high))


def fraction(draw: Draw, top: int = 9) -> Fraction:
    """Return p/q for p and q from 1 to top."""
    return Fraction(int(draw.integers(1, top + 1)), int(draw.integers(1, top + 1)))


def rational_rotation(draw: Draw, size: int) -> list[list[Fraction]]:
    """Draw an orthogonal rational matrix: the Cayley transform (I - S)(I + S)^-1 of a rational skew-symmetric S."""
    skew = [[Fraction(0)] * size for _ in range(size)]
    for i in range(size):
        for j in range(i):
            skew[i][j] = Fraction(int(draw.integers(-3, 4)), int(draw.integers(1, 4)))
            skew[j][i] = -skew[i][j]
    plus = [[Fraction(i == j) + skew[i][j] for j in range(size)] for i in range(size)]
    minus = [[Fraction(i == j) - skew[i][j] for j in range(size)] for i in range(size)]
    return product(minus, _inverse(plus))


def product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the product of two matrices."""
    return [
        [sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in zip(*b, strict=True)]
        for row in a
    ]


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    from flint import fmpq, fmpq_mat

    n = len(matrix)
    inverse = fmpq_mat(n, n, [fmpq(x.numerator, x.denominator) for row in matrix for x in row]).inv()
    return [[Fraction(int(inverse[i, j].p), int(inverse[i, j].q)) for j in range(n)] for i in range(n)]


def dyadic(value: float) -> float:
    """Return a value rounded down to 20 bits: exact arithmetic stays fast, and rounding never exceeds a limit."""
    exponent = np.floor(np.log2(value)) - 20
    return float(np.floor(value / 2.0**exponent) * 2.0**exponent)
