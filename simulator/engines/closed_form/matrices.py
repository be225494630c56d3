"""Batches of small matrices, their powers, and the gap of a batch of coefficients.

A^t is computed by repeated squaring. Eigenvectors of A are never used: at the best momentum the two roots of A coincide, A has
only one eigenvector, and near there its eigenvectors are numerically useless (docs/theory.md, gd-exact).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUMBERS_AT_ONCE", "Array", "Matrix", "Powers", "Weights", "apply"]

Array = NDArray[np.float64]
Matrix = list[list[Array]]
"""A batch of n x n matrices: entry [i][j] is an array over the batch. n is 1 or 2."""
Rows = NDArray[np.bool_] | NDArray[np.int64] | tuple[NDArray[np.int64], ...]
"""An index of a part of a batch."""
NUMBERS_AT_ONCE = 1 << 22
"""Numbers in memory while gaps are evaluated at many steps (32 MB)."""


@dataclass(frozen=True)
class Weights:
    """Eigenvalues in two factors, lambda = rest * scale^2, where scale is a power of two.

    The gap is the sum of lambda x^2 / 2. With a small lambda, x^2 alone may overflow although lambda x^2 does not. A sum of
    rest * (scale x)^2 has the same bits, as a power of two does not round, and overflows only where the gap does.
    """

    rest: Array
    scale: Array

    @classmethod
    def of(cls, eigenvalues: Array) -> "Weights":
        """Return the two factors of eigenvalues."""
        exponents = np.frexp(eigenvalues)[1] // 2
        return cls(np.ldexp(eigenvalues, -2 * exponents), np.ldexp(1.0, exponents))

    def gap(self, x: Array) -> Array:
        """Return the gap of modes with the coefficients x, summed over the last axis."""
        return np.asarray(np.sum(self.rest * (x * self.scale) ** 2, axis=-1) / 2.0)

    def map(self, function: Callable[[Array], Array]) -> "Weights":
        """Return the weights with `function` applied to both factors (a reshaping)."""
        return Weights(function(self.rest), function(self.scale))

    def select(self, rows: Rows) -> "Weights":
        """Return the weights of some rows of the batch."""
        return Weights(self.rest[rows], self.scale[rows])


def apply(matrix: Matrix, states: list[Array]) -> list[Array]:
    """Return matrix times states; the error is the first state."""
    return [sum((a * x for a, x in zip(row[1:], states[1:], strict=True)), row[0] * states[0]) for row in matrix]


class Powers:
    """Powers of a batch of small matrices by repeated squaring.

    The squares A, A^2, A^4, ... are kept, as is the last power: records that are equally far apart ask for the same power.
    """

    def __init__(self, matrix: Matrix, squares: list[Matrix] | None = None) -> None:
        self._squares = squares or [matrix]
        self._last: tuple[int, Matrix] = (1, matrix)

    def of(self, exponent: int) -> Matrix:
        """Return A^exponent; the exponent must be at least 1."""
        if self._last[0] == exponent:
            return self._last[1]
        out: Matrix | None = None
        for bit in range(exponent.bit_length()):
            if bit == len(self._squares):
                self._squares.append(_compose(self._squares[-1], self._squares[-1]))
            if exponent >> bit & 1:
                out = self._squares[bit] if out is None else _compose(self._squares[bit], out)
        assert out is not None
        self._last = (exponent, out)
        return out

    def run_to(self, states: list[Array], steps: Array) -> list[Array]:
        """Return the states after a number of steps of every row's own, (rows,)."""
        whole = steps.astype(np.int64)
        for bit in range(int(whole.max()).bit_length()):
            moves = (whole >> bit & 1).astype(bool)[:, None]
            moved = apply(self.of(1 << bit), states)
            states = [np.where(moves, new, old) for new, old in zip(moved, states, strict=True)]
        return states

    def select(self, rows: Rows) -> "Powers":
        """Return the powers of some rows of the batch."""
        chosen = [[[entry[rows] for entry in row] for row in square] for square in self._squares]
        return Powers(chosen[0], chosen)


def _compose(a: Matrix, b: Matrix) -> Matrix:
    """Return the product a b."""
    columns = list(zip(*b, strict=True))
    return [
        [sum((x * y for x, y in zip(row[1:], column[1:], strict=True)), row[0] * column[0]) for column in columns]
        for row in a
    ]
