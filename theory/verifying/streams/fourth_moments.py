"""Fourth moments of linear rules on a stream of samples: the exact variance of the gap, and whether it stays bounded.

A mean over N runs has a standard error because the gap has a variance, and the gap is quadratic in the error: its variance needs
the fourth moments of the error. Samples multiply the error, so that its stationary law has heavy tails (Kesten 1973): there are
rates at which E gap has a limit while E gap^2 grows without end. Then few runs carry the mean, and no number of runs that is
chosen before the run length gives it a standard error that means anything.

With y = (error, -eta memory) along the eigenvectors of H, a step is y' = B y + N s with s = (1/b) sum_k z_k r_k, z_k ~ N(0, I),
r_k = z_k'd - v xi_k and d = sqrt(lambda) e = L y. Given y, Isserlis' theorem gives, with rho = |d|^2 + v^2 and kappa = E xi^4,

    E z_i r = d_i,  E z_i z_j r^2 = rho I + 2 dd,  E z_i z_j z_k r^3 = 6 ddd + 3 rho sum I d,
    E z_i z_j z_k z_l r^4 = 24 dddd + 12 rho sum I dd + (3 rho^2 + (kappa - 3) v^4) sum I I

(sums over the places of the indices), and independent samples the moments of s. So E yyyy and E yy follow an affine recursion.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.support.noise_law import degrees_of_freedom

__all__ = ["FourthMoments"]

Array = NDArray[np.float64]

_LETTERS = "ijkl"


@dataclass(frozen=True, eq=False)
class FourthMoments:
    """The moments of gradient descent or heavy-ball under one setting on one problem.

    Attributes:
        lr: eta.
        momentum: beta of heavy-ball; None for gradient descent.
        eigenvalues: lambda_i, (P,).
        oracle: the stream.

    Raises:
        ValueError: from `deviations`, a law of the noise without a fourth moment.
    """

    lr: float
    momentum: float | None
    eigenvalues: Array
    oracle: Stream

    @cached_property
    def _linear(self) -> tuple[Array, Array, Array]:
        """B, C = N L and L of y' = B y + N s, (D, D), (D, D) and (P, D); N = -eta (1, 1) sqrt(lambda)."""
        root, one = np.diag(np.sqrt(self.eigenvalues)), np.eye(self.eigenvalues.size)
        if self.momentum is None:
            return one, -self.lr * root @ root, root
        kept = np.block([[one, self.momentum * one], [0.0 * one, self.momentum * one]])
        along = np.hstack([root, 0.0 * root])
        return kept, -self.lr * np.vstack([root, root]) @ along, along

    @cached_property
    def _noise(self) -> Array:
        """K = N N', (D, D)."""
        root = np.diag(np.sqrt(self.eigenvalues))
        into = -self.lr * (root if self.momentum is None else np.vstack([root, root]))
        return np.asarray(into @ into.T)

    @cached_property
    def _kurtosis(self) -> float:
        """E xi^4.

        Raises:
            ValueError: a law without it.
        """
        degrees = degrees_of_freedom(self.oracle.noise_law)
        if np.isinf(degrees):
            return 3.0
        if degrees <= 4.0 and self.oracle.label_noise:
            raise ValueError(
                f"noise law must have a fourth moment, got {self.oracle.noise_law}; use more than 4 degrees of freedom."
            )
        return 3.0 * (degrees - 2.0) / (degrees - 4.0) if degrees > 4.0 else 3.0

    def _fourth(self, four: Array, two: Array, noise: float) -> Array:
        """Return E y'y'y'y'.

        Args:
            four: E yyyy, (D, D, D, D).
            two: E yy, (D, D).
            noise: v^2.
        """
        kept, into, along = self._linear
        b = float(self.oracle.batch)
        n1, n2, n3, n4 = b, b * (b - 1), b * (b - 1) * (b - 2), b * (b - 1) * (b - 2) * (b - 3)
        inner = along.T @ along
        rho_yy = np.tensordot(four, inner, 2) + noise * two
        rho_rho = np.tensordot(np.tensordot(four, inner, 2), inner, 2) + 2 * noise * np.sum(two * inner) + noise**2
        straight = (
            1.0,
            1.0,
            (2 * n1 + n2) / b**2,
            (6 * n1 + 6 * n2 + n3) / b**3,
            (24 * n1 + 36 * n2 + 12 * n3 + n4) / b**4,
        )
        total = np.asarray(
            sum(
                factor * _placed(four, [into] * k + [kept] * (4 - k), [*combinations(range(4), k)])
                for k, factor in enumerate(straight)
            )
        )
        bent = (
            (kept, kept, n1 / b**2),
            (kept, into, (3 * n1 + n2) / b**3),
            (into, into, (12 * n1 + 8 * n2 + n3) / b**4),
        )
        pairs = np.asarray(
            sum(
                factor * (left @ rho_yy @ right.T + (right @ rho_yy @ left.T if left is not right else 0.0))
                for left, right, factor in bent
            )
        )
        for first, second in combinations(range(4), 2):
            rest = [p for p in range(4) if p not in (first, second)]
            total = total + _outer(self._noise, pairs, (first, second, *rest))
        alone = ((3 * n1 + n2) * rho_rho + n1 * (self._kurtosis - 3.0) * noise**2) / b**4
        for pairing in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)):
            total = total + alone * _outer(self._noise, self._noise, pairing)
        return np.asarray(total)

    def _second(self, two: Array, noise: float) -> Array:
        """Return E y'y'."""
        kept, into, along = self._linear
        b, step = float(self.oracle.batch), kept + into
        rho = np.sum(two * (along.T @ along)) + noise
        return np.asarray(step @ two @ step.T + (into @ two @ into.T + rho * self._noise) / b)

    def deviations(self, errors: Array, last: int) -> Array:
        """Return the standard deviation of the gap at the steps 0 to `last` from a given start, (last + 1,).

        Args:
            errors: e(0) along the eigenvectors, (P,).
            last: the last step.

        Raises:
            ValueError: a law of the noise without a fourth moment.
        """
        noise = self.oracle.label_noise**2
        inner = self._linear[2].T @ self._linear[2]
        start = np.zeros(inner.shape[0])
        start[: errors.size] = errors
        two = np.outer(start, start)
        four = np.multiply.outer(two, two)
        out = np.zeros(last + 1)
        for t in range(1, last + 1):
            four, two = _symmetric(self._fourth(four, two, noise)), self._second(two, noise)
            square = np.sum(np.tensordot(four, inner, 2) * inner) - np.sum(two * inner) ** 2
            out[t] = np.sqrt(max(square, 0.0)) / 2.0
        return out

    @cached_property
    def radius(self) -> float:
        """Spectral radius of the recursion of E yyyy: the variance of the gap stays bounded if and only if it is below 1.

        Only products in which every eigenvector stands an even number of times matter: mirrored at an eigenvector, the stream
        is the same, so that these are closed among themselves, and by Cauchy and Schwarz they bound the others.
        """
        size, modes = self._noise.shape[0], self.eigenvalues.size
        ordered = np.sort(np.indices((size,) * 4).reshape(4, -1), axis=0)
        even = (np.sum(ordered[:, :, None] % modes == np.arange(modes), axis=0) % 2 == 0).all(axis=1)
        where = np.flatnonzero(even)
        _, first, place = np.unique(
            np.ravel_multi_index(tuple(ordered[:, where]), (size,) * 4), return_index=True, return_inverse=True
        )
        matrix, none = np.empty((first.size, first.size)), np.zeros((size, size))
        for column in range(first.size):
            four = np.zeros(size**4)
            four[where[place == column]] = 1.0
            matrix[:, column] = self._fourth(four.reshape((size,) * 4), none, 0.0).ravel()[where[first]]
        return float(np.abs(np.linalg.eigvals(matrix)).max())


def _symmetric(four: Array) -> Array:
    """Return the symmetric part of a tensor: the recursion makes rounding grow in what is not symmetric."""
    return np.asarray(sum(four.transpose(order) for order in permutations(range(4))) / 24.0)


def _placed(four: Array, matrices: list[Array], places: list[tuple[int, ...]]) -> Array:
    """Apply matrices to the axes of a symmetric tensor, the first ones at the given places; return the sum over the places."""
    turned = np.einsum("abcd,ia,jb,kc,ld->ijkl", four, *matrices, optimize="greedy")
    return np.asarray(sum(np.moveaxis(turned, range(len(own)), own) for own in places))


def _outer(left: Array, right: Array, places: tuple[int, ...]) -> Array:
    """Return the product of two matrices whose indices stand at the given places of a tensor."""
    first = "".join(_LETTERS[p] for p in places[:2])
    second = "".join(_LETTERS[p] for p in places[2:])
    return np.asarray(np.einsum(f"{first},{second}->{_LETTERS}", left, right))
